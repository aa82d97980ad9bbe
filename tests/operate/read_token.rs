//! The token that may only read.

use std::process::Command;
use std::thread;
use std::time::{Duration, Instant};

use rustix::process::Signal;

use crate::client::{Client, Response};
use crate::server::{ANSWER_DEADLINE, Server};

const OPERATES: &str = "0123456789abcdef-operates";
const LOOKS: &str = "0123456789abcdef-looks";

fn start() -> Server {
    let tokens = [("STAMPEDE_CONTROL_TOKEN", OPERATES), ("STAMPEDE_READ_TOKEN", LOOKS)];
    Server::start_with(&tokens, &["--sale", "ticket=10"])
}

fn ask(server: &Server, method: &str, path: &str, token: &str) -> Response {
    let shown = match token {
        "" => String::new(),
        token => format!("Authorization: Bearer {token}\r\n"),
    };
    let mut client = Client::control(server);
    client.send(format!("{method} {path} HTTP/1.1\r\nHost: any.example\r\n{shown}\r\n"));
    if method == "HEAD" { client.head_response() } else { client.response() }
}

#[test]
fn the_read_token_shows_the_server_and_its_sales() {
    let server = start();
    for path in [
        "/metrics",
        "/v1/live",
        "/v1/sales",
        "/v1/sales?limit=1",
        "/v1/sales/ticket",
        "/v1/instances",
    ] {
        for method in ["GET", "HEAD"] {
            for token in [LOOKS, OPERATES] {
                assert_eq!(ask(&server, method, path, token).status(), 200, "{method} {path}");
            }
            for wrong in ["", "0123456789abcdef-wrong", "0123456789abcdef-look"] {
                assert_eq!(ask(&server, method, path, wrong).status(), 401, "{method} {path}");
            }
        }
        assert_eq!(ask(&server, "OPTIONS", path, LOOKS).status(), 204, "{path}");
    }
    for path in ["/readyz", "/livez"] {
        assert_eq!(ask(&server, "GET", path, "").status(), 200, "a probe needs no token");
    }
}

#[test]
fn the_read_token_changes_nothing_and_shows_no_buyer() {
    let server = start();
    for (method, path) in [
        ("POST", "/v1/sales/ticket/close"),
        ("POST", "/v1/sales/ticket/add-stock"),
        ("POST", "/v1/sales"),
        ("DELETE", "/v1/sales/ticket"),
        ("POST", "/v1/reservations/ticket~1/confirm"),
        ("GET", "/v1/reservations/ticket~1"),
        ("GET", "/v1/sales/ticket/reservations"),
        ("GET", "/v1/audit"),
        ("POST", "/v1/audit"),
        ("GET", "/v1/%73ales/ticket/reservations"),
        ("GET", "/nothing"),
    ] {
        let refused = ask(&server, method, path, LOOKS);
        refused.assert_problem(403, "forbidden");
        let how = refused.header("WWW-Authenticate");
        assert_eq!(how, Some("Bearer error=\"insufficient_scope\""), "{method} {path}");
        assert!(refused.text().contains("can only read"), "{}", refused.text());
        ask(&server, method, path, "").assert_problem(401, "unauthorized");
    }
    let sale = ask(&server, "GET", "/v1/sales/ticket", LOOKS).json();
    assert_eq!((&sale["state"], &sale["total"]), (&"open".into(), &10.into()));
    assert_eq!(ask(&server, "POST", "/v1/sales/ticket/close", OPERATES).status(), 200);
}

#[test]
fn the_read_token_is_replaced_without_a_restart() {
    let file = tempfile::NamedTempFile::new().expect("a file");
    let write = |token: &str| std::fs::write(file.path(), token).expect("write the token");
    write(LOOKS);
    let path = file.path().to_str().expect("a path");
    let options = ["--sale", "ticket=10", "--read-token-file", path];
    let server = Server::start_with(&[("STAMPEDE_CONTROL_TOKEN", OPERATES)], &options);
    let next = "0123456789abcdef-the-next-one";
    assert_eq!(ask(&server, "GET", "/metrics", next).status(), 401);
    write(next);
    server.signal(Signal::HUP);
    let deadline = Instant::now() + ANSWER_DEADLINE;
    while ask(&server, "GET", "/metrics", next).status() != 200 {
        assert!(Instant::now() < deadline, "{}", server.log());
        thread::sleep(Duration::from_millis(20));
    }
    assert_eq!(ask(&server, "GET", "/metrics", LOOKS).status(), 401);
    assert_eq!(ask(&server, "GET", "/metrics", OPERATES).status(), 200);
    ask(&server, "POST", "/v1/sales/ticket/close", next).assert_problem(403, "forbidden");
}

#[test]
fn operator_commands_accept_the_read_token_for_reading() {
    let server = start();
    let file = tempfile::NamedTempFile::new().expect("a file");
    std::fs::write(&file, format!("{LOOKS}\n")).expect("write the token");
    let operate = |arguments: &[&str]| {
        let mut command = Command::new(env!("CARGO_BIN_EXE_stampede"));
        command.args(arguments).env_clear();
        command.arg("--control").arg(format!("http://{}", server.control()));
        let told = command.arg("--token-file").arg(file.path()).output().expect("run stampede");
        let text = |bytes: &[u8]| String::from_utf8_lossy(bytes).into_owned();
        (told.status.code(), text(&told.stdout), text(&told.stderr))
    };
    let (code, out, err) = operate(&["sale", "list"]);
    assert_eq!((code, err.as_str()), (Some(0), ""));
    assert!(out.contains("ticket"), "{out}");
    let (code, _, err) = operate(&["sale", "close", "ticket"]);
    assert_eq!(code, Some(1));
    assert!(err.contains("can only read"), "{err}");
}
