//! `serve --orders`: the server of an embedded ledger writes its orders itself.

use std::collections::BTreeMap;

use super::buyer::Buyer;
use super::postgres_server::PostgresServer;
use super::server::Server;
use super::shop::{in_database, wait_for};

/// The sale, and the right to confirm.
const SALE: [&str; 3] = ["--sale", "ticket=1000,hold=1h", "--public-confirm"];

/// Buys some, confirms every third and cancels every fifth; adds the outcome of each.
fn sell(server: &Server, count: usize, became: &mut BTreeMap<String, String>) {
    let mut buyer = Buyer::connect(server.address()).expect("a buyer");
    for n in 0..count {
        let bought = buyer.buy().expect("an answer");
        let id = bought.granted().expect("a reservation");
        let status = match n % 15 {
            0 | 3 | 6 | 9 | 12 => buyer.confirm(&id).map(|_| "confirmed"),
            5 | 10 => buyer.cancel(&id).map(|_| "cancelled"),
            _ => Ok("held"),
        };
        became.insert(id, status.expect("an answer").to_owned());
    }
}

fn wait_for_all(url: &str, became: &BTreeMap<String, String>) {
    wait_for("every order in the database", || {
        let rows = in_database(url, "ticket").unwrap_or_default();
        let rows = rows.into_iter().map(|(id, (_, _, status))| (format!("ticket~{id}"), status));
        rows.collect::<BTreeMap<_, _>>() == *became
    });
}

#[test]
fn every_order_is_written_despite_kills_and_outages() {
    let mut postgres = PostgresServer::start();
    let url = postgres.url();
    let mut server = Server::start(&[&["--orders", &url, "--cores", "0"][..], &SALE].concat());
    let mut became = BTreeMap::new();
    sell(&server, 60, &mut became);
    wait_for_all(&url, &became);

    postgres.crash();
    sell(&server, 60, &mut became);
    postgres.restart();
    wait_for_all(&url, &became);

    // It writes after the next start what it had not written when it was killed.
    postgres.stop();
    sell(&server, 60, &mut became);
    server.restart();
    sell(&server, 60, &mut became);
    postgres.restart();
    wait_for_all(&url, &became);
    assert_eq!(server.terminate(), 0);
}

#[test]
fn a_server_sells_while_orders_cannot_be_written() {
    let folder = tempfile::tempdir().expect("a folder");
    let url = format!("sqlite:{}", folder.path().join("no/such/folder/orders.db").display());
    let mut server = Server::start(&["--orders", &url, "--sale", "ticket=10", "--public-confirm"]);
    sell(&server, 5, &mut BTreeMap::new());
    wait_for("a line in the log", || server.log().contains("orders not written"));
    assert_eq!(server.terminate(), 0);
}

#[test]
fn a_lost_sqlite_file_is_rewritten_from_the_ledger() {
    let folder = tempfile::tempdir().expect("a folder");
    let file = folder.path().join("orders.db");
    let url = format!("sqlite:{}", file.display());
    let beside = |end: &str| folder.path().join(format!("orders.db{end}"));
    let mut server = Server::start(&[&["--orders", &url, "--cores", "0"][..], &SALE].concat());
    let mut became = BTreeMap::new();
    sell(&server, 30, &mut became);
    wait_for_all(&url, &became);

    // While nothing is sold, and while something is.
    std::fs::remove_file(&file).expect("delete");
    wait_for("a new file", || file.exists());
    wait_for_all(&url, &became);
    std::fs::rename(&file, beside(".old")).expect("rename");
    sell(&server, 30, &mut became);
    wait_for_all(&url, &became);
    // Another file of ours takes its place: of an earlier time.
    for end in ["-wal", "-shm"] {
        let _ = std::fs::remove_file(beside(end));
    }
    std::fs::rename(beside(".old"), &file).expect("replace");
    sell(&server, 30, &mut became);
    wait_for_all(&url, &became);
    assert_eq!(server.terminate(), 0);
    let log = server.log();
    assert!(log.contains("the file was deleted or renamed while it was in use"), "{log}");
    assert!(log.contains("the file was replaced by another"), "{log}");
}

#[test]
fn a_database_that_lost_rows_is_rewritten_from_the_ledger() {
    let mut postgres = PostgresServer::start();
    let url = postgres.url();
    let mut server = Server::start(&[&["--orders", &url, "--cores", "0"][..], &SALE].concat());
    let mut became = BTreeMap::new();
    sell(&server, 30, &mut became);
    wait_for_all(&url, &became);
    // The ledger's run is kept beside the position.
    let position = "SELECT version FROM stampede_positions WHERE source NOT LIKE '%:run'";
    let then: i64 = postgres.connect().query_one(position, &[]).expect("a position").get(0);
    sell(&server, 30, &mut became);
    wait_for_all(&url, &became);
    for selling in [false, true] {
        // As a standby that takes over without the last transactions.
        let mut admin = postgres.connect();
        let mut change = admin.transaction().expect("a transaction");
        change.execute("DELETE FROM orders WHERE version > $1", &[&then]).expect("delete");
        let back = "UPDATE stampede_positions SET version = $1 WHERE source NOT LIKE '%:run'";
        change.execute(back, &[&then]).expect("update");
        change.commit().expect("commit");
        drop(admin);
        postgres.crash();
        postgres.restart();
        if selling {
            sell(&server, 30, &mut became);
        }
        wait_for_all(&url, &became);
    }
    assert_eq!(server.terminate(), 0);
    assert!(server.log().contains("was it restored, or did a standby take over?"));
}

/// Runs a server that is to end by itself, and soon. Returns its exit code and its output.
fn run_to_the_end(arguments: &[&str]) -> (Option<i32>, String) {
    let mut command = std::process::Command::new(env!("CARGO_BIN_EXE_stampede"));
    command.args(["serve", "--listen", "127.0.0.1:0", "--control", "off"]).args(arguments);
    let output = command.output().expect("run stampede");
    (output.status.code(), String::from_utf8_lossy(&output.stderr).into_owned())
}

/// A data folder that was restored to an earlier state sells nothing that its orders know to be
/// sold.
#[test]
fn a_restored_folder_behind_its_orders_does_not_sell() {
    let mut postgres = PostgresServer::start();
    let url = postgres.url();
    let dir = tempfile::tempdir().expect("a folder");
    let (data, backup) = (dir.path().join("data"), dir.path().join("backup"));
    let ledger = format!("embedded:{}", data.display());
    let arguments = [&["--ledger", &ledger, "--cores", "0"][..], &SALE].concat();
    let with_orders = [&arguments[..], &["--orders", &url]].concat();
    let copy = |from: &std::path::Path, to: &std::path::Path| {
        let copied = std::process::Command::new("cp").arg("-a").args([from, to]).status();
        assert!(copied.expect("cp").success());
    };
    let mut became = BTreeMap::new();
    let mut server = Server::start(&with_orders);
    sell(&server, 15, &mut became);
    wait_for_all(&url, &became);
    assert_eq!(server.terminate(), 0);
    copy(&data, &backup);
    server.restart();
    let mut lost = became.clone();
    sell(&server, 15, &mut lost);
    wait_for_all(&url, &lost);
    assert_eq!(server.terminate(), 0);
    std::fs::remove_dir_all(&data).expect("remove the folder");
    copy(&backup, &data);

    // A server that does not ask the orders sells past their position.
    let mut server = Server::start(&arguments);
    sell(&server, 60, &mut became);
    assert_eq!(server.terminate(), 0);
    let (code, told) = run_to_the_end(&with_orders);
    assert_eq!(code, Some(1), "{told}");
    assert!(told.contains("the ledger is behind its orders"), "{told}");
    // Discovered late: the database was away.
    postgres.stop();
    let mut server = Server::start(&with_orders);
    sell(&server, 1, &mut became);
    postgres.restart();
    assert_eq!(server.wait(), 1);
    assert!(server.log().contains("the ledger is behind its orders"), "{}", server.log());

    let id = told.trim_end().rsplit_once("--restored-ledger ").expect("the way out").1;
    let mut server = Server::start(&[&with_orders[..], &["--restored-ledger", id]].concat());
    sell(&server, 1, &mut became);
    // Everything that this ledger has, and the orders that it does not know.
    lost.extend(became);
    wait_for_all(&url, &lost);
    assert_eq!(server.terminate(), 0);
    let mut server = Server::start(&with_orders);
    assert_eq!(server.terminate(), 0);
}
