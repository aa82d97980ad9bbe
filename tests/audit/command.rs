//! The command: exit codes, JSON, cron.

use std::process;

use serde_json::Value;
use stampede::audit::Report;
use stampede::control::api::Api;
use stampede::control::request::Request;
use stampede::engine::http::Method;

use super::server::RedisServer;
use super::{CLAIMS, RESERVATIONS, STREAM, WithOrders, client};

/// Exit code, standard output, standard error.
fn stampede(arguments: &[&str]) -> (i32, String, String) {
    let output = process::Command::new(env!("CARGO_BIN_EXE_stampede"))
        .args(arguments)
        .env_remove("STAMPEDE_DATABASE")
        .output()
        .unwrap();
    let text = |bytes| String::from_utf8(bytes).unwrap();
    (output.status.code().unwrap(), text(output.stdout), text(output.stderr))
}

#[test]
fn the_exit_code_of_an_audit_shows_differences() {
    let mut all = WithOrders::new();
    let url = all._server.url();
    let orders = format!("sqlite:{}", all._folder.path().join("orders.db").display());
    let command = ["audit", "--ledger", &url, "--orders", &orders];
    let run = |more: &[&str]| stampede(&[&command[..], more].concat());

    let (code, out, err) = run(&[]);
    assert_eq!((code, err.as_str()), (0, ""), "{out}");
    for text in ["sale ", "ticket  held ", "everything agrees", "ticket  orders"] {
        assert!(out.contains(text), "no {text:?}:\n{out}");
    }
    all.redis.ask(&format!("HDEL {CLAIMS} user0\tkey0"));
    all.execute("DELETE FROM orders WHERE reservation = ?1", 3);
    let (code, out, err) = run(&["--sale", "ticket"]);
    assert_eq!(code, 1, "{out}");
    assert!(out.contains("2 differences") && err.contains("2 differences are left"), "{out}{err}");
    let (code, out, _) = run(&["--json"]);
    let report: Report = serde_json::from_str(&out).unwrap();
    assert_eq!((code, report.differences), (1, 2));
    let json: Value = serde_json::from_str(&out).unwrap();
    let checks = &json["sales"][0]["checks"];
    assert_eq!((&checks[0]["check"], &checks[0]["ledger"]), (&"held".into(), &45.into()));
    assert_eq!((&checks[0]["found"], &checks[0]["relation"]), (&45.into(), &Value::Null));
    assert_eq!((&checks[2]["check"], &checks[2]["ledger"]), (&"total".into(), &57.into()));
    assert_eq!(checks[2]["relation"], "at_least");
    // For cron: no output if nothing is wrong.
    let (code, out, err) = run(&["--quiet"]);
    assert!(code == 1 && out.contains("2 differences") && !err.is_empty(), "{code} {out} {err}");
    let (code, out, err) = run(&["--repair"]);
    assert_eq!((code, err.as_str()), (0, ""), "{out}");
    assert!(out.contains("2 checks repaired, everything agrees now"), "{out}");
    assert_eq!(run(&["--quiet"]), (0, String::new(), String::new()));
    assert_eq!(run(&["--quiet", "--json", "--timeout", "60s"]), (0, String::new(), String::new()));

    let (code, _, err) = run(&["--sale", "poster"]);
    assert!(code == 1 && err.contains("no sale poster"), "{code} {err}");
    for wrong in [&["--sale", "a b"][..], &["--sale", &"a".repeat(1024)], &["--config", "/none"]] {
        assert_eq!(run(wrong).0, 2, "{wrong:?}");
    }
    let (code, _, err) = stampede(&["audit", "--ledger", &url, "--orders", "mysql://x"]);
    assert!(code != 0 && err.contains("postgres://"), "{err}");
    let (code, _, err) = stampede(&["audit", "--orders", &orders, "--control", "127.0.0.1:1"]);
    assert!(code == 2 && err.contains("--ledger"), "{err}");
    for wrong in [&["--timeout", "soon"][..], &["--timeout", "0s"], &["--release-units"]] {
        assert_eq!(run(wrong).0, 2, "{wrong:?}");
    }
}

#[test]
fn an_audit_that_could_not_look_exits_with_3() {
    let mut all = WithOrders::new();
    let url = all._server.url();
    let looked = |arguments: &[&str]| stampede(&[&["audit"], arguments].concat());
    let no_redis = looked(&["--ledger", "redis://127.0.0.1:1"]);
    let no_server = looked(&["--control", "127.0.0.1:1"]);
    let no_database = looked(&["--ledger", &url, "--orders", "postgres://x@127.0.0.1:1/x"]);
    let no_folder = looked(&["--ledger", "embedded:/nonexistent/stampede"]);
    for (code, out, err) in [no_redis, no_server, no_database, no_folder] {
        assert!(code == 3 && out.is_empty() && err.starts_with("error: "), "{code} {out} {err}");
    }
    // An address where nothing answers.
    all.redis.ask("CLIENT PAUSE 60000 ALL");
    let (code, out, err) = looked(&["--ledger", &url, "--timeout", "300ms", "--quiet"]);
    assert!(code == 3 && out.is_empty() && err.contains("within 300ms"), "{code} {out} {err}");
    // A user without the right to read.
    drop(all);
    let server = RedisServer::start(&[]);
    server.connect().ask("ACL SETUSER shop on >secret ~* &* +@all -smembers -sscan");
    let url = server.url().replace("redis://", "redis://shop:secret@");
    let (code, _, err) = looked(&["--ledger", &url]);
    assert!(code == 3 && err.contains("SSCAN"), "{code} {err}");
}

#[test]
fn units_are_released_only_with_the_flag() {
    let mut all = WithOrders::new();
    all.redis.ask(&format!("DEL {RESERVATIONS}"));
    all.redis.ask(&format!("DEL {STREAM}"));
    let (url, folder) = (all._server.url(), all._folder.path().join("orders.db"));
    let orders = format!("sqlite:{}", folder.display());
    let run = |more: &[&str]| {
        stampede(&[&["audit", "--ledger", &url, "--orders", &orders, "--repair"], more].concat())
    };
    let (code, out, err) = run(&[]);
    assert!(code == 1 && err.contains("--release-units"), "{out}{err}");
    assert_eq!(all.redis.text("HGET ticket_hash_key ticket_sold_nums"), "57");
    let (code, out, _) = run(&["--release-units"]);
    assert!(code == 1 && out.contains("sold    "), "{out}");
    assert_eq!(all.redis.text("HGET ticket_hash_key ticket_sold_nums"), "0");

    let mut api = Api::new(Box::new(client(&all._server)));
    let mut answer = |method: Method, query: &str| {
        api.answer(&Request::new(method, format!("/v1/audit{query}"))).status().code()
    };
    assert_eq!(answer(Method::Post, "?release_units=true&sale=ticket"), 200);
    assert_eq!(answer(Method::Post, "?release_units=false"), 200);
    assert_eq!(answer(Method::Post, "?release_units=yes"), 422);
    assert_eq!(answer(Method::Get, "?release_units=true"), 422);
}
