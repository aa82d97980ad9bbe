//! `stampede sale restore`: a sale comes back from its archive.

use std::fs;
use std::path::Path;

use super::buyer::Buyer;
use super::redis_server::RedisServer;
use super::{buy, done, embedded, serve, stampede, status, text, wait_for};

/// Sells from a sale until it is over and archives it. Returns the ids by user, and whether they
/// are paid.
fn archived(ledger: &str, more: &[&str], file: &Path) -> Vec<(String, String, bool)> {
    let sale = ["--sale", "ticket=60,hold=2s,limit=1,reservations_per_user=1", "--sale", "other=5"];
    let mut server = serve(ledger, &[&sale[..], more].concat());
    let mut buyer = Buyer::connect(server.address()).expect("a buyer");
    let mut sold = Vec::new();
    for n in 0..20 {
        let user = format!("u{n}");
        let id = buy(&server, "ticket", &user, "a key");
        let is_paid = n % 2 == 0;
        if is_paid {
            assert_eq!(buyer.confirm(&id).expect("an answer").status, 200);
        }
        sold.push((user, id, is_paid));
    }
    let control = format!("http://{}", server.control());
    done(&["sale", "close", "ticket", "--control", &control]);
    wait_for("the end of all holds", || buyer.sale("ticket").expect("the sale")["held"] == 0);
    done(&["sale", "archive", "ticket", "--to", text(file), "--control", &control]);
    done(&["sale", "remove", "ticket", "--control", &control]);
    assert_eq!(server.terminate(), 0);
    sold
}

/// The restored sale is the archived one.
fn check(ledger: &str, sold: &[(String, String, bool)], file: &Path) {
    let mut server = serve(ledger, &["--sale", "other=5"]);
    let mut buyer = Buyer::connect(server.address()).expect("a buyer");
    let sale = buyer.sale("ticket").expect("the sale");
    assert_eq!(
        (&sale["total"], &sale["confirmed"], &sale["free"]),
        (&60.into(), &10.into(), &50.into())
    );
    assert_eq!(sale["state"], "closed");
    for (user, id, is_paid) in sold {
        let again = buyer.reserve("ticket", user, 1, "a key").expect("an answer");
        assert_eq!(again.bought().granted().as_ref(), Some(id), "{again:?}");
        assert_eq!(status(&server, id), if *is_paid { "confirmed" } else { "expired" });
    }
    let control = format!("http://{}", server.control());
    let again = file.with_extension("again");
    done(&["sale", "archive", "ticket", "--to", text(&again), "--control", &control]);
    let same = fs::read_to_string(file).expect("it") == fs::read_to_string(&again).expect("it");
    assert!(same, "the same archive once more");
    fs::remove_file(&again).expect("it");
    // It sells again, and limits count the restored reservations.
    done(&["sale", "open", "ticket", "--control", &control]);
    let second = buyer.reserve("ticket", &sold[0].0, 1, "another").expect("an answer");
    assert!(second.bought().is("limit_reached"), "{second:?}");
    let second = buyer.reserve("ticket", &sold[1].0, 1, "another").expect("an answer");
    assert!(second.bought().is("reservations_exhausted"), "the first one expired: {second:?}");
    for n in 0..50 {
        buy(&server, "ticket", &format!("new{n}"), "k");
    }
    let refused = buyer.reserve("ticket", "too late", 1, "k").expect("an answer");
    assert!(refused.bought().is("sold_out"), "{refused:?}");
    assert_eq!(server.terminate(), 0);
    done(&["audit", "--ledger", ledger]);
}

#[test]
fn an_archive_is_restored_into_either_ledger() {
    let folder = tempfile::tempdir().expect("a folder");
    let (data, file) = (folder.path().join("data"), folder.path().join("ticket.jsonl"));
    let (ledger, redis) = (embedded(&data), RedisServer::start(&[]));
    let sold = archived(&ledger, &[], &file);
    for to in [&ledger, &redis.url()] {
        let restore = ["sale", "restore", "--from", text(&file), "--ledger", to];
        let out = done(&restore);
        assert!(out.starts_with("ticket: the sale and 20 reservations are in "), "{out}");
        check(to, &sold, &file);
    }
    let restore = ["sale", "restore", "--from", text(&file), "--ledger", &ledger];
    let (code, _, err) = stampede(&restore);
    assert!(code == 1 && err.contains("there is a sale ticket already"), "{err}");
}

#[test]
fn a_split_sale_is_restored_with_its_parts() {
    let folder = tempfile::tempdir().expect("a folder");
    let file = folder.path().join("ticket.jsonl");
    let redis = RedisServer::start(&[]);
    let sold = archived(&redis.url(), &["--splits", "3"], &file);
    assert!(sold.iter().all(|(_, id, _)| id.contains("of3~")));
    let second = RedisServer::start(&[]);
    for to in [&redis.url(), &second.url()] {
        done(&["sale", "restore", "--from", text(&file), "--ledger", to]);
        check(to, &sold, &file);
    }
    // An archive of a sale that exists is refused.
    let other = folder.path().join("other.jsonl");
    fs::write(
        &other,
        fs::read_to_string(&file).expect("it").lines().take(21).collect::<Vec<_>>().join("\n")
            + "\n",
    )
    .expect("a file");
    let (code, _, err) =
        stampede(&["sale", "restore", "--from", text(&other), "--ledger", &second.url()]);
    assert!(code == 1 && err.contains("there is a sale ticket already"), "{err}");
    let data = embedded(&folder.path().join("data"));
    done_serving(&data);
    let (code, _, err) = stampede(&["sale", "restore", "--from", text(&file), "--ledger", &data]);
    assert!(code == 2 && err.contains("can't split a sale"), "{err}");
}

fn done_serving(ledger: &str) {
    let mut server = serve(ledger, &["--sale", "x=1"]);
    assert_eq!(server.terminate(), 0);
}

#[test]
fn a_damaged_archive_is_refused_before_any_write() {
    let folder = tempfile::tempdir().expect("a folder");
    let (data, file) = (folder.path().join("data"), folder.path().join("ticket.jsonl"));
    let ledger = embedded(&data);
    archived(&ledger, &[], &file);
    let good = fs::read_to_string(&file).expect("it");
    let lines: Vec<&str> = good.lines().collect();
    let without = |at: usize| {
        let kept = lines.iter().enumerate().filter(|(n, _)| *n != at).map(|(_, line)| *line);
        kept.collect::<Vec<_>>().join("\n") + "\n"
    };
    let paid = lines.iter().position(|line| line.contains(r#""status":"confirmed""#)).expect("one");
    let twice = good.replacen(lines[1], &format!("{}\n{}", lines[1], lines[1]), 1);
    for (bad, told) in [
        (String::new(), "the file is empty"),
        ("x\n".to_owned(), "line 1"),
        (good[..good.len() - 5].to_owned(), "has no end"),
        (without(0), "the first line of an archive is the sale"),
        (without(5), "it was changed or damaged"),
        (good.replacen("u3", "u4", 1), "it was changed or damaged"),
        (twice, "it was changed or damaged"),
        (good.clone() + lines[1] + "\n", "lines after the last line"),
        (good.replacen(r#""archive":1"#, r#""archive":2"#, 1), "use a newer version"),
        // As 0.1.0 wrote them, without a last line: only the counts show it.
        (
            without(lines.len() - 1).replacen(&format!("{}\n", lines[paid]), "", 1),
            "lines are missing",
        ),
    ] {
        let path = folder.path().join("bad.jsonl");
        fs::write(&path, bad).expect("a file");
        let (code, out, err) =
            stampede(&["sale", "restore", "--from", text(&path), "--ledger", &ledger]);
        assert!(code == 2 && err.contains(told), "{told}: {code} {out}{err}");
    }
    assert!(!done(&["sale", "list", "--ledger", &ledger]).contains("ticket"));
    let (code, _, err) = stampede(&["sale", "restore", "--from", text(&file)]);
    assert!(code == 2 && err.contains("opens a ledger directly"), "{err}");
    // An archive of 0.1.0 is accepted, with a note.
    let path = folder.path().join("old.jsonl");
    fs::write(&path, without(lines.len() - 1)).expect("a file");
    let (code, _, err) = stampede(&["sale", "restore", "--from", text(&path), "--ledger", &ledger]);
    assert!(code == 0 && err.contains("only its counts were checked"), "{err}");
}
