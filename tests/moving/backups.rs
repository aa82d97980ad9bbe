//! `stampede backup` and `stampede restore`.

use std::collections::BTreeMap;
use std::fs;
use std::os::unix::fs::PermissionsExt;
use std::path::Path;
use std::sync::Mutex;
use std::sync::atomic::{AtomicBool, Ordering};
use std::thread;

use rustix::process::Signal;
use serde_json::Value;

use super::buyer::{Bought, Buyer};
use super::postgres_server::PostgresServer;
use super::server::Server;
use super::{buy, done, embedded, killed_after, orders, serve, stampede, status, text, wait_for};

fn back_up(data: &Path, to: &Path) -> Value {
    let out = done(&["backup", "--ledger", &embedded(data), "--to", text(to), "--json"]);
    serde_json::from_str(&out).expect("JSON")
}

fn restore(from: &Path, data: &Path, more: &[&str]) -> Value {
    let ledger = embedded(data);
    let own = ["restore", "--from", text(from), "--ledger", &ledger, "--json"];
    serde_json::from_str(&done(&[&own[..], more].concat())).expect("JSON")
}

/// Raises a flag on drop, also after a panic.
struct Raised<'a>(&'a AtomicBool);

impl Drop for Raised<'_> {
    fn drop(&mut self) {
        self.0.store(true, Ordering::SeqCst);
    }
}

#[test]
fn a_backup_under_load_has_every_answered_reservation() {
    let postgres = PostgresServer::start();
    let url = postgres.url_of_database("postgres");
    let folder = tempfile::tempdir().expect("a folder");
    let data = folder.path().join("data");
    let sales = ["--sale", "ticket=100000,hold=1h,limit=2", "--sale", "other=50000,hold=1h"];
    let server = serve(&embedded(&data), &[&["--orders", &url][..], &sales].concat());
    let (answered, stop) = (Mutex::new(BTreeMap::new()), AtomicBool::new(false));
    let mut backups = Vec::new();
    thread::scope(|scope| {
        for thread in 0..4 {
            let (answered, stop, server) = (&answered, &stop, &server);
            scope.spawn(move || {
                let mut buyer = Buyer::connect(server.address()).expect("a buyer");
                for n in 0.. {
                    if stop.load(Ordering::SeqCst) {
                        break;
                    }
                    let (user, key) = (format!("u{thread}-{n}"), format!("k{thread}-{n}"));
                    let sale = if n % 3 == 0 { "other" } else { "ticket" };
                    let bought = buyer.reserve(sale, &user, 1, &key).expect("an answer").bought();
                    let Bought::Granted(id) = bought else { panic!("{bought:?}") };
                    let is_paid = n % 4 == 0;
                    if is_paid {
                        assert_eq!(buyer.confirm(&id).expect("an answer").status, 200);
                    }
                    let mut answered = answered.lock().expect("a lock");
                    answered.insert(id, (sale, user, key, is_paid));
                }
            });
        }
        let _raised = Raised(&stop);
        for round in 0..3 {
            wait_for("sales", || answered.lock().expect("a lock").len() > 200 * (round + 1));
            let before = answered.lock().expect("a lock").clone();
            let to = folder.path().join(format!("backup-{round}"));
            let told = back_up(&data, &to);
            assert!(told["reservations"].as_u64().expect("a number") >= before.len() as u64);
            assert_eq!(told["sales"], 2);
            backups.push((to, before, told));
        }
    });
    // A database that is behind the backup, as a dump taken before it is; and an empty one.
    postgres.connect().batch_execute("CREATE DATABASE empty").expect("a database");
    let (to, before, told) = backups.pop().expect("a backup");
    for (made, _, _) in &backups {
        restore(
            made,
            &folder.path().join(made.file_name().expect("a name")).with_extension("r"),
            &[],
        );
    }
    assert_eq!(fs::metadata(&to).expect("it").permissions().mode() & 0o777, 0o700);
    for entry in fs::read_dir(&to).expect("it").map(|entry| entry.expect("an entry")) {
        assert_eq!(entry.metadata().expect("it").permissions().mode() & 0o777, 0o600);
    }
    let elsewhere = folder.path().join("elsewhere");
    let empty = postgres.url_of_database("empty");
    let restored = restore(&to, &elsewhere, &["--orders", &empty]);
    for name in ["ledger_id", "sales", "reservations", "record"] {
        assert_eq!(restored[name], told[name], "{name}");
    }
    assert_eq!(restored["audit"]["differences"], 0);
    let mut second = serve(&embedded(&elsewhere), &["--orders", &empty]);
    let mut buyer = Buyer::connect(second.address()).expect("a buyer");
    for (id, (sale, user, key, is_paid)) in &before {
        let again = buyer.reserve(sale, user, 1, key).expect("an answer");
        assert_eq!(again.bought().granted().as_ref(), Some(id), "{again:?}");
        let wanted = if *is_paid { "confirmed" } else { "held" };
        let status = again.json()["status"].as_str().expect("a status").to_owned();
        assert!(status == wanted || status == "confirmed", "{id}: {status}");
    }
    let count = restored["reservations"].as_u64().expect("a number");
    wait_for("all orders", || {
        (orders(&empty, "ticket").len() + orders(&empty, "other").len()) as u64 >= count
    });
    assert_eq!(second.terminate(), 0);
    done(&["audit", "--ledger", &embedded(&elsewhere), "--orders", &empty]);
}

/// A ledger whose orders are all written, and the reservations that were sold from it.
fn sold(data: &Path, url: &str) -> (Server, Vec<String>) {
    let server = serve(&embedded(data), &["--orders", url, "--sale", "ticket=100,hold=1h"]);
    let ids: Vec<String> =
        (0..6).map(|n| buy(&server, "ticket", &format!("u{n}"), &format!("k{n}"))).collect();
    let mut buyer = Buyer::connect(server.address()).expect("a buyer");
    assert_eq!(buyer.confirm(&ids[0]).expect("an answer").status, 200);
    wait_for("all orders", || {
        orders(url, "ticket").len() == 6 && orders(url, "ticket")[&ids[0]].0 == "confirmed"
    });
    (server, ids)
}

#[test]
fn a_restored_ledger_continues_after_its_last_order() {
    let postgres = PostgresServer::start();
    let url = postgres.url();
    let folder = tempfile::tempdir().expect("a folder");
    let [data, copy, to] = ["data", "copy", "to"].map(|name| folder.path().join(name));
    let (mut server, ids) = sold(&data, &url);
    assert_eq!(server.terminate(), 0);
    // Of a stopped ledger.
    back_up(&data, &copy);
    let restored = restore(&copy, &to, &["--orders", &url]);
    assert_eq!(restored["audit"]["differences"], 0, "{restored}");
    let highest = orders(&url, "ticket").values().map(|row| row.1).max().expect("rows");
    assert!(restored["next_record"].as_u64().expect("a number") > highest);

    let mut server = serve(&embedded(&to), &["--orders", &url, "--sale", "new=10,hold=1h"]);
    let mut buyer = Buyer::connect(server.address()).expect("a buyer");
    assert_eq!(buyer.confirm(&ids[1]).expect("an answer").status, 200);
    assert_eq!(buy(&server, "ticket", "u2", "k2"), ids[2], "the same key");
    let fresh = buy(&server, "new", "ann", "k");
    wait_for("the orders of both", || {
        orders(&url, "ticket")[&ids[1]].0 == "confirmed" && orders(&url, "new").contains_key(&fresh)
    });
    assert!(orders(&url, "ticket")[&ids[1]].1 > highest);
    assert_eq!(server.terminate(), 0);
    done(&["audit", "--ledger", &embedded(&to), "--orders", &url]);
}

#[test]
fn units_sold_after_a_backup_are_reported_and_withheld() {
    let postgres = PostgresServer::start();
    let url = postgres.url();
    let folder = tempfile::tempdir().expect("a folder");
    let [data, copy, to] = ["data", "copy", "to"].map(|name| folder.path().join(name));
    let (mut server, ids) = sold(&data, &url);
    back_up(&data, &copy);
    // Lost: a reservation, the payment of another one, and a sale with a paid reservation.
    let lost = buy(&server, "ticket", "late", "late");
    let mut buyer = Buyer::connect(server.address()).expect("a buyer");
    assert_eq!(buyer.confirm(&ids[3]).expect("an answer").status, 200);
    let control = format!("http://{}", server.control());
    done(&["sale", "create", "flash=5,hold=1h", "--control", &control]);
    let gone = buy(&server, "flash", "ann", "k");
    assert_eq!(buyer.confirm(&gone).expect("an answer").status, 200);
    wait_for("all orders", || {
        orders(&url, "ticket").contains_key(&lost)
            && orders(&url, "ticket")[&ids[3]].0 == "confirmed"
            && orders(&url, "flash").get(&gone).is_some_and(|row| row.0 == "confirmed")
    });
    server.kill();

    let ledger = embedded(&to);
    let arguments = ["restore", "--from", text(&copy), "--ledger", &ledger, "--orders", &url];
    let (code, out, err) = stampede(&arguments);
    assert_eq!(code, 1, "{out}{err}");
    assert!(
        err.contains("its orders have later changes") && err.contains("--restored-ledger"),
        "{err}"
    );
    let id = lost.rsplit('~').next().expect("an id");
    for named in [id, ids[3].rsplit('~').next().expect("an id"), "flash"] {
        assert!(out.contains(named), "{named} is not in {out}");
    }
    let highest = orders(&url, "ticket").values().map(|row| row.1).max().expect("rows");
    // A server refuses to start.
    let refused = program_of_server(&ledger, &url);
    assert_eq!(refused.0, 1, "{}", refused.1);
    assert!(refused.1.contains("behind its orders"), "{}", refused.1);
    // After settling it goes on, and its versions are later than any lost one.
    let ledger_id = err.rsplit(' ').next().expect("an id").trim();
    let more = ["--orders", &url, "--restored-ledger", ledger_id];
    let mut server = serve(&ledger, &more);
    let mut buyer = Buyer::connect(server.address()).expect("a buyer");
    assert_eq!(status(&server, &ids[3]), "held");
    assert_eq!(buyer.cancel(&ids[3]).expect("an answer").status, 200);
    assert_eq!(buyer.confirm(&ids[4]).expect("an answer").status, 200);
    wait_for("the orders", || {
        let rows = orders(&url, "ticket");
        rows[&ids[3]].0 == "cancelled" && rows[&ids[4]].0 == "confirmed"
    });
    assert!(orders(&url, "ticket")[&ids[3]].1 > highest);
    assert_eq!(server.terminate(), 0);
    // The lost orders stay named until their rows are gone.
    let audit = ["audit", "--ledger", &ledger, "--orders", &url];
    let (code, out, _) = stampede(&audit);
    assert!(code == 1 && out.contains(id) && out.contains("flash"), "{out}");
    let remove = format!("DELETE FROM orders WHERE reservation IN ('{lost}', '{gone}')");
    postgres.connect().batch_execute(&remove).expect("two rows");
    done(&audit);
}

/// A server that does not start: its exit code and its output.
fn program_of_server(ledger: &str, url: &str) -> (i32, String) {
    let mut command = super::program();
    command.args(["serve", "--ledger", ledger, "--orders", url, "--cores", "0"]);
    command.args(["--listen", "127.0.0.1:0", "--control", "127.0.0.1:0"]);
    let done = command.output().expect("stampede");
    let said = [done.stdout, done.stderr].concat();
    (done.status.code().unwrap_or(-1), String::from_utf8_lossy(&said).into_owned())
}

#[test]
fn a_killed_backup_or_restore_leaves_all_or_nothing() {
    let folder = tempfile::tempdir().expect("a folder");
    let data = folder.path().join("data");
    let server = serve(&embedded(&data), &["--sale", "ticket=100000,hold=1h"]);
    let ids: Vec<String> =
        (0..300).map(|n| buy(&server, "ticket", "u", &format!("k{n}"))).collect();
    let ledger = embedded(&data);
    let (mut ended, whole) = (0, folder.path().join("whole"));
    back_up(&data, &whole);
    for n in 0..40u64 {
        let micros = n * n * 40 % 60_000;
        let to = folder.path().join(format!("backup-{n}"));
        let was_killed = killed_after(&["backup", "--ledger", &ledger, "--to", text(&to)], micros);
        ended += u32::from(was_killed && !to.exists());
        if to.exists() {
            let back = folder.path().join(format!("back-{n}"));
            assert_eq!(restore(&to, &back, &[])["reservations"], 300);
        }
        let target = folder.path().join(format!("target-{n}"));
        let at = embedded(&target);
        let arguments = ["restore", "--from", text(&whole), "--ledger", &at];
        killed_after(&arguments, micros);
        let (code, out, err) = stampede(&arguments);
        // It exists already, or it exists by now.
        assert!(code == 0 || code == 2 && err.contains("has a ledger"), "{code} {out}{err}");
        done(&["audit", "--ledger", &at]);
        let shown = done(&["sale", "show", "ticket", "--ledger", &at, "--json"]);
        assert_eq!(serde_json::from_str::<Value>(&shown).expect("JSON")["held"], 300);
    }
    assert!(ended > 0, "none was killed in time");
    assert_eq!(status(&server, &ids[299]), "held");
    server.signal(Signal::TERM);
}

#[test]
fn backup_and_restore_overwrite_nothing_and_explain_refusals() {
    let folder = tempfile::tempdir().expect("a folder");
    let [data, copy, full] = ["data", "copy", "full"].map(|name| folder.path().join(name));
    let server = serve(&embedded(&data), &["--sale", "ticket=10,hold=1h"]);
    buy(&server, "ticket", "ann", "k");
    let ledger = embedded(&data);
    back_up(&data, &copy);
    fs::create_dir(&full).expect("a folder");
    fs::write(full.join("mine"), "x").expect("a file");
    let (missing, is_full) = (embedded(&folder.path().join("none")), embedded(&full));
    let copied = text(&copy);
    for (arguments, code, told) in [
        (&["backup", "--ledger", &ledger, "--to", copied][..], 2, "exists already"),
        (&["backup", "--ledger", &missing, "--to", "x"], 1, "there is no ledger in"),
        (
            &["backup", "--ledger", "redis://127.0.0.1:1", "--to", "x"],
            2,
            "a backup is of an embedded",
        ),
        (&["backup", "--ledger", &ledger, "--to", "/no/such/folder/x"], 1, "can't write"),
        (&["backup", "--ledger", &ledger], 2, "--to"),
        (&["restore", "--from", copied, "--ledger", &ledger], 2, "has a ledger"),
        (&["restore", "--from", copied, "--ledger", &is_full], 2, "is not empty (it has mine)"),
        (&["restore", "--from", text(&full), "--ledger", &missing], 2, "is no whole backup"),
        (&["restore", "--from", copied, "--ledger", &missing, "--orders", "x"], 2, "--orders"),
    ] {
        let (found, out, err) = stampede(arguments);
        assert!(found == code && err.contains(told), "{arguments:?}: {found} {out}{err}");
    }
    // A backup is no ledger to sell from.
    let (code, _, err) = stampede(&["sale", "list", "--ledger", &embedded(&copy)]);
    assert!(code == 1 && err.contains("there is no ledger"), "{err}");
    assert!(!folder.path().join("none").exists());
    let names = fs::read_dir(folder.path()).expect("it").count();
    assert_eq!(names, 3, "nothing is left of what was refused");
}

#[test]
fn a_folder_of_0_1_0_is_backed_up_and_restored() {
    for kept in ["embedded-folded", "embedded-killed", "embedded-stopped"] {
        let folder = tempfile::tempdir().expect("a folder");
        let [data, copy, to] = ["data", "copy", "to"].map(|name| folder.path().join(name));
        let from = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/upgrade/0.1.0").join(kept);
        fs::create_dir(&data).expect("a folder");
        for entry in fs::read_dir(from.join("data")).expect("it").map(|entry| entry.expect("it")) {
            fs::copy(entry.path(), data.join(entry.file_name())).expect("a copy");
        }
        let told = back_up(&data, &copy);
        assert!(told["reservations"].as_u64().expect("a number") > 0, "{kept}: {told}");
        let restored = restore(&copy, &to, &[]);
        assert_eq!(restored["reservations"], told["reservations"], "{kept}");
        // Its own ledger is unchanged, and opens.
        done(&["audit", "--ledger", &embedded(&data)]);
    }
}
