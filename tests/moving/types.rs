//! A sale with ticket types goes wherever a sale can go, with its caps and every reservation's
//! lines.

use std::fs;
use std::path::Path;

use serde_json::{Value, json};

use super::client::{Client, Response, get, reserve_from};
use super::redis_server::RedisServer;
use super::server::Server;
use super::{done, embedded, orders, serve, stampede, text, wait_for};

const SALE: &str = "fair=20,hold=1h,types=adult:12+child:9";

fn buy(server: &Server, user: &str, lines: Value) -> Response {
    let body = json!({ "user": user, "lines": lines }).to_string();
    Client::new(server).ask(reserve_from("fair", "Idempotency-Key: k\r\n", &body))
}

fn bought(server: &Server, user: &str, lines: Value) -> String {
    let answer = buy(server, user, lines);
    assert_eq!(answer.status(), 201, "{}", answer.text());
    answer.json()["id"].as_str().expect("an id").to_owned()
}

fn control(server: &Server) -> String {
    format!("http://{}", server.control())
}

/// Sells from a server: held, a part of it given back, paid, cancelled. Returns the ids in this
/// order.
fn sell(server: &Server) -> Vec<String> {
    let ids = vec![
        bought(server, "ann", json!({ "adult": 2, "child": 1 })),
        bought(server, "bob", json!({ "adult": 3, "child": 2 })),
        bought(server, "cid", json!({ "child": 4 })),
        bought(server, "dan", json!({ "adult": 1 })),
    ];
    let at = control(server);
    let part = ["--remaining", "adult:1+child:2", "--control", &at];
    done(&[&["reservation", "cancel", &ids[1]], &part[..]].concat());
    done(&["reservation", "confirm", &ids[2], "--control", &at]);
    done(&["reservation", "cancel", &ids[3], "--control", &at]);
    ids
}

/// The sale and its reservations as a server shows them.
fn shown(server: &Server, ids: &[String]) -> Vec<Value> {
    let reservations = ids.iter().map(|id| get(server, &format!("/v1/reservations/{id}")).json());
    reservations.chain([sale(server)]).collect()
}

/// The sale as its ledger has it.
fn sale(server: &Server) -> Value {
    let request = "GET /v1/sales/fair HTTP/1.1\r\nHost: localhost\r\n\r\n";
    Client::control(server).ask(request).json()
}

/// A repeated key finds its reservation; with other lines it is refused.
fn assert_replays(server: &Server, ids: &[String]) {
    let again = buy(server, "bob", json!({ "child": 2, "adult": 3 }));
    assert_eq!((again.status(), &again.json()["id"]), (200, &json!(ids[1])), "{}", again.text());
    buy(server, "bob", json!({ "adult": 5 })).assert_problem(422, "key_reused");
}

#[test]
fn backups_and_moves_keep_ticket_types_and_lines() {
    let folder = tempfile::tempdir().expect("a folder");
    let (data, elsewhere) = (folder.path().join("data"), folder.path().join("elsewhere"));
    let rows = format!("sqlite:{}", folder.path().join("orders.db").display());
    let mut server = serve(&embedded(&data), &["--sale", SALE, "--orders", &rows]);
    let ids = sell(&server);
    done(&["sale", "close", "fair", "--control", &control(&server)]);
    let before = shown(&server, &ids);
    assert_eq!(before[1]["lines"], json!({ "adult": 1, "child": 2 }));
    assert_eq!(before[1]["lines_asked"], json!({ "adult": 3, "child": 2 }));
    let types = &before[4]["types"];
    assert_eq!(types["adult"], json!({ "cap": 12, "free": 9, "held": 3, "confirmed": 0 }));
    assert_eq!(types["child"], json!({ "cap": 9, "free": 2, "held": 3, "confirmed": 4 }));
    wait_for("all orders", || {
        let rows = orders(&rows, "fair");
        rows.len() == 4 && rows[&ids[2]].0 == "confirmed" && rows[&ids[3]].0 == "cancelled"
    });
    let backup = folder.path().join("backup");
    done(&["backup", "--ledger", &embedded(&data), "--to", text(&backup)]);
    assert_eq!(server.terminate(), 0);

    done(&["restore", "--from", text(&backup), "--ledger", &embedded(&elsewhere)]);
    let mut restored = serve(&embedded(&elsewhere), &["--sale", "other=1"]);
    assert_eq!(shown(&restored, &ids), before);
    assert_replays(&restored, &ids);
    assert_eq!(restored.terminate(), 0);
    done(&["audit", "--ledger", &embedded(&elsewhere), "--orders", &rows]);

    let redis = RedisServer::start(&[]);
    done(&["move", "--from", &embedded(&data), "--to", &redis.url()]);
    let mut moved = serve(&redis.url(), &["--sale", "other=1"]);
    assert_eq!(shown(&moved, &ids), before);
    assert_replays(&moved, &ids);
    let at = control(&moved);
    done(&["sale", "open", "fair", "--control", &at]);
    buy(&moved, "eve", json!({ "child": 3 })).assert_problem(409, "sold_out");
    bought(&moved, "eve", json!({ "child": 2 }));
    done(&["audit", "--ledger", &redis.url(), "--sale", "fair"]);
    // And begins anew, with the same types.
    done(&["sale", "reset", "fair", "--force", "--control", &at]);
    let anew = sale(&moved);
    assert_eq!(anew["types"]["child"], json!({ "cap": 9, "free": 9, "held": 0, "confirmed": 0 }));
    // A core learns it within a moment.
    wait_for("all of a type", || buy(&moved, "ann", json!({ "child": 9 })).status() == 201);
    assert_eq!(moved.terminate(), 0);
    done(&["audit", "--ledger", &redis.url(), "--sale", "fair"]);
}

#[test]
fn the_audit_repairs_an_order_with_wrong_lines() {
    let folder = tempfile::tempdir().expect("a folder");
    let (ledger, file) = (embedded(&folder.path().join("data")), folder.path().join("orders.db"));
    let rows = format!("sqlite:{}", file.display());
    let mut server = serve(&ledger, &["--sale", SALE, "--orders", &rows]);
    let ids = sell(&server);
    wait_for("all orders", || {
        let rows = orders(&rows, "fair");
        rows.len() == 4 && rows[&ids[3]].0 == "cancelled"
    });
    assert_eq!(server.terminate(), 0);
    let audit = ["audit", "--ledger", &ledger, "--orders", &rows];
    done(&audit);
    let lines = |id: &str| -> String {
        let sql = rusqlite::Connection::open(&file).expect("the file");
        let select = "SELECT lines FROM orders WHERE reservation = ?1";
        sql.query_row(select, [id], |row| row.get(0)).expect("a row")
    };
    assert_eq!(lines(&ids[1]), r#"{"adult":1,"child":2}"#);
    for wrong in [Some(r#"{"adult":2,"child":1}"#), None] {
        let sql = rusqlite::Connection::open(&file).expect("the file");
        let update = "UPDATE orders SET lines = ?2 WHERE reservation = ?1";
        sql.execute(update, rusqlite::params![ids[1], wrong]).expect("a row");
        let (code, out, _) = stampede(&audit);
        assert!(code == 1 && out.contains(r#"{"adult":1,"child":2}, "#), "{code} {out}");
        done(&[&audit[..], &["--repair"]].concat());
        done(&audit);
        assert_eq!(lines(&ids[1]), r#"{"adult":1,"child":2}"#);
    }
}

/// The archive of a sale that is over, and what it showed.
fn archived(ledger: &str, file: &Path) -> (Vec<String>, Vec<Value>) {
    let mut server = serve(ledger, &["--sale", SALE, "--sale", "other=1"]);
    let ids = sell(&server);
    let at = control(&server);
    done(&["reservation", "confirm", &ids[0], "--control", &at]);
    done(&["reservation", "cancel", &ids[1], "--control", &at]);
    done(&["sale", "close", "fair", "--control", &at]);
    let before = shown(&server, &ids);
    done(&["sale", "archive", "fair", "--to", text(file), "--control", &at]);
    done(&["sale", "remove", "fair", "--control", &at]);
    assert_eq!(server.terminate(), 0);
    (ids, before)
}

#[test]
fn an_archive_keeps_ticket_types_and_lines_in_either_ledger() {
    let folder = tempfile::tempdir().expect("a folder");
    let file = folder.path().join("fair.jsonl");
    let (ledger, redis) = (embedded(&folder.path().join("data")), RedisServer::start(&[]));
    let (ids, before) = archived(&ledger, &file);
    for to in [&ledger, &redis.url()] {
        done(&["sale", "restore", "--from", text(&file), "--ledger", to]);
        let mut server = serve(to, &["--sale", "other=1"]);
        assert_eq!(shown(&server, &ids), before);
        let at = control(&server);
        let again = file.with_extension("again");
        done(&["sale", "archive", "fair", "--to", text(&again), "--control", &at]);
        assert_eq!(fs::read(&file).expect("it"), fs::read(&again).expect("it"));
        fs::remove_file(&again).expect("it");
        done(&["sale", "open", "fair", "--control", &at]);
        buy(&server, "eve", json!({ "child": 5 })).assert_problem(409, "sold_out");
        bought(&server, "eve", json!({ "adult": 10, "child": 0 }));
        buy(&server, "fay", json!({ "adult": 1 })).assert_problem(409, "sold_out");
        assert_eq!(server.terminate(), 0);
        done(&["audit", "--ledger", to]);
    }
}

#[test]
fn an_archive_with_damaged_types_or_lines_is_refused() {
    let folder = tempfile::tempdir().expect("a folder");
    let (file, bad) = (folder.path().join("fair.jsonl"), folder.path().join("bad.jsonl"));
    let ledger = embedded(&folder.path().join("data"));
    archived(&ledger, &file);
    let good = fs::read_to_string(&file).expect("it");
    // Without its last line, whose checksum would show all of these.
    let without_end = &good[..good[..good.len() - 1].rfind('\n').expect("lines") + 1];
    let both = r#""lines":{"adult":2,"child":1}"#;
    let cap = r#""adult":{"cap":12"#;
    let asked = r#""lines_asked":{"adult":3,"child":2}"#;
    for (from, to, told) in [
        (both, r#""lines":{"adult":1,"child":1}"#, "add up to another quantity"),
        (both, r#""lines":{"adult":2,"dog":1}"#, "are none of the sale's ticket types"),
        (both, r#""lines":{"Adult":2,"child":1}"#, "the name of a ticket type is"),
        (both, r#""lines":{"adult":2,"child":-1}"#, "invalid value"),
        (both, r#""lines":[]"#, "invalid type"),
        (both, r#""note":"no lines""#, "are none of the sale's ticket types"),
        (asked, r#""lines_asked":{"child":5}"#, "has lines that it did not ask for"),
        (cap, r#""adult":{"cap":0"#, "the cap of the ticket type adult must be"),
        (cap, r#""adult":{"cap":1"#, "units of 1 of the ticket type adult are sold"),
        (cap, r#""A":{"cap":12"#, "the name of a ticket type is"),
        (r#""types":{"#, r#""kinds":{"#, "are none of the sale's ticket types"),
    ] {
        assert!(without_end.contains(from), "{from} is not in {good}");
        fs::write(&bad, without_end.replacen(from, to, 1)).expect("a file");
        let (code, out, err) =
            stampede(&["sale", "restore", "--from", text(&bad), "--ledger", &ledger]);
        assert!(code == 2 && err.contains(told), "{to}: {code} {out}{err}");
    }
    assert!(!done(&["sale", "list", "--ledger", &ledger]).contains("fair"));
}
