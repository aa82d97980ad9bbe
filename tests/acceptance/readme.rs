//! README.md as a newcomer reads it: its commands, in order, each against what the one before has
//! started, and what the banner says to do. Only ports are others than there. `tests/newcomer/run`
//! runs the same commands as printed, on a fresh clone.

use std::path::Path;
use std::process::{Command, Stdio};

use crate::postgres_server::PostgresServer;
use crate::redis_server::RedisServer;
use crate::server::Server;
use crate::{eventually, own_address, run};

/// Pages whose commands are run, beside README.md.
const PAGES: [&str; 2] = ["docs/tls.md", "docs/operate.md"];

#[test]
fn every_command_of_the_readme_works() {
    let folder = tempfile::tempdir().expect("a temporary folder");
    let [public, control, secure] = [21_003, 21_004, 21_005].map(own_address);
    let redis = RedisServer::start(&[]);
    let postgres = PostgresServer::start();
    let set_up = "CREATE ROLE shop LOGIN; GRANT CREATE ON SCHEMA public TO shop";
    postgres.connect().batch_execute(set_up).expect("a user");
    let replacements = [
        // It takes no settings from the environment.
        ("stampede demo", format!("stampede demo --listen {public} --control {control}")),
        ("127.0.0.1:3005", public.to_string()),
        ("127.0.0.1:3006", control.to_string()),
        ("127.0.0.1:3443", secure.to_string()),
        ("IP:127.0.0.1", format!("IP:{}", secure.ip())),
        ("127.0.0.1:6379", format!("127.0.0.1:{}", redis.port())),
        ("redis-cli ", format!("redis-cli -e -p {} ", redis.port())),
        ("postgres://shop:secret@127.0.0.1/shop", postgres.url_of("shop")),
    ];
    let root = Path::new(env!("CARGO_MANIFEST_DIR"));
    let program = Path::new(env!("CARGO_BIN_EXE_stampede")).parent().expect("its folder");
    let path = std::env::var("PATH").expect("a PATH");
    let mut reader = Command::new("python3");
    for (name, _) in std::env::vars_os() {
        let name = name.to_string_lossy();
        if name.contains("STAMPEDE") || name.starts_with("PG") {
            reader.env_remove(&*name);
        }
    }
    reader.arg(root.join("tests/newcomer/readme.py")).args(["--skip", "cargo install"]);
    for (old, new) in replacements {
        reader.args(["--replace", &format!("{old}={new}")]);
    }
    for page in ["README.md"].iter().chain(&PAGES) {
        reader.arg(root.join(page));
    }
    std::os::unix::fs::symlink(root.join("tests"), folder.path().join("tests")).expect("a link");
    let output = reader
        .env("PATH", format!("{}:{path}", program.display()))
        .env("STAMPEDE_LISTEN", public.to_string())
        .env("STAMPEDE_CONTROL", control.to_string())
        .current_dir(&folder)
        .stdin(Stdio::null())
        .output()
        .expect("this test needs Python: apt-get install python3");
    let text = |bytes| String::from_utf8(bytes).expect("UTF-8");
    let (out, err) = (text(output.stdout), text(output.stderr));
    assert!(output.status.success(), "{}\n{out}{err}", output.status);
    assert!(out.matches("] $ ").count() >= 25, "few commands:\n{out}");
}

#[test]
fn the_banner_prints_a_working_purchase_command() {
    let banner = |sale: &str| Server::start(&["--sale", sale]);
    let shown = |server: &Server, text: &str| {
        let log = server.log();
        assert!(log.contains(text), "no {text}: {log}");
    };
    let server = banner("ticket=5,limit=2,opens=2090-01-01T10:00:00+08:00");
    shown(&server, "ticket: 5 for sale, opens 2090-01-01T02:00:00.000Z, at most 2 per user\n");
    shown(&server, "buy one, from 2090-01-01T02:00:00.000Z on:\n");
    shown(&banner("ticket=5,closes=2001-01-01T00:00:00Z"), "ticket: 5 for sale, closed\n");
    for sale in ["ticket=5,limit=1", "poster=5,limit=1", "poster=5"] {
        let server = banner(sale);
        eventually("all is printed", 10, || server.log().contains("  curl "));
        let log = server.log();
        let line = log.lines().find(|line| line.contains("curl -i")).expect("how to buy one");
        let bought = run("bash", "bash", &["-c", line]);
        assert!(bought.contains("\"reservation\":") || bought.contains("\"id\":"), "{bought}");
    }
}
