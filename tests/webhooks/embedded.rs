//! `serve --orders https://…`: the server of an embedded ledger sends its webhooks itself.

use std::collections::BTreeMap;

use super::buyer::Buyer;
use super::client::Client;
use super::pass_time;
use super::receiver::{Receiver, Reply, SECRET};
use super::server::Server;
use super::shop::{stampede, wait_for};

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

/// The last event of each reservation is its outcome.
fn wait_for_all(receiver: &Receiver, state: &str, became: &BTreeMap<String, String>) {
    let mut looks = 0;
    wait_for("the last state of each reservation", || {
        looks += 1;
        if looks % 100 == 0 {
            pass_time(state);
        }
        let events = receiver.in_order();
        let last = |of_one: Vec<(u64, String)>| of_one.into_iter().next_back().map(|it| it.1);
        let told = events.into_iter().filter_map(|(id, of_one)| Some((id, last(of_one)?)));
        told.collect::<BTreeMap<_, _>>() == *became
    });
}

#[test]
fn every_webhook_is_sent_despite_kills_and_outages() {
    let mut failing = 0;
    let mut receiver = Receiver::plain(move |_| {
        failing += 1;
        // One attempt in five is lost: it is tried again after 5 s.
        if failing % 5 == 0 { Reply::Reset } else { Reply::Status(200) }
    });
    let folder = tempfile::tempdir().expect("a folder");
    let file = |name: &str| folder.path().join(name).display().to_string();
    let (state, secret, data) = (file("webhooks.db"), file("secret"), file("data"));
    std::fs::write(&secret, SECRET).expect("a secret");
    let ledger = format!("embedded:{data}");
    let url = receiver.url();
    let options = [
        "--ledger",
        &ledger,
        "--orders",
        &url,
        "--webhook-state",
        &state,
        "--webhook-secret-file",
        &secret,
        "--cores",
        "0",
        "--sale",
        "ticket=1000,hold=1h",
        "--public-confirm",
    ];
    let mut became = BTreeMap::new();
    let mut server = Server::start(&options);
    sell(&server, 30, &mut became);
    wait_for_all(&receiver, &state, &became);
    // It is no database of orders, so an audit asks for none.
    let control = format!("http://{}", server.control());
    let (code, said) = stampede(&["audit", "--control", &control]);
    assert!(code == Some(0) && !said.contains("--orders"), "{said}");

    let told = |server: &Server, name: &str| -> f64 {
        let text =
            Client::control(server).ask("GET /metrics HTTP/1.1\r\nHost: localhost\r\n\r\n").text();
        let line = text.lines().find_map(|line| line.strip_prefix(name)?.strip_prefix(' '));
        line.unwrap_or_else(|| panic!("{name} in {text}")).parse().expect("a number")
    };
    // They are counted one after the other, once a second. An earlier event of a reservation may
    // have been lost several times, and wait for a minute.
    wait_for("all are delivered, and nothing waits", || {
        pass_time(&state);
        told(&server, "stampede_webhooks_delivered_total") >= became.len() as f64
            && told(&server, "stampede_webhooks_waiting") == 0.0
            && told(&server, "stampede_webhooks_lag_seconds") == 0.0
    });
    assert!(told(&server, "stampede_webhook_failures_total") > 0.0);
    assert_eq!(told(&server, "stampede_webhooks_dead_letters"), 0.0);

    // Neither an outage of the receiver nor a kill of the server loses anything.
    receiver.stop();
    sell(&server, 30, &mut became);
    wait_for("30 that wait, and longer and longer", || {
        told(&server, "stampede_webhooks_waiting") >= 30.0
            && told(&server, "stampede_webhooks_lag_seconds") > 1.0
    });
    server.kill();
    server.restart();
    sell(&server, 30, &mut became);
    receiver.start_again();
    receiver.decide(|_| Reply::Status(200));
    wait_for_all(&receiver, &state, &became);
    // A receiver that stands still delays nobody when a new process takes over, which begins with
    // the old one's unfinished events.
    receiver.decide(|_| Reply::Hang);
    sell(&server, 3, &mut became);
    let before = receiver.got().len();
    wait_for("an attempt that stands still", || {
        sell(&server, 1, &mut became);
        receiver.got().len() > before
    });
    server.hand_over();
    sell(&server, 3, &mut became);
    receiver.decide(|_| Reply::Status(200));
    wait_for_all(&receiver, &state, &became);
    assert_eq!(server.terminate(), 0);
    let log = server.log();
    assert!(log.contains("webhooks worker of the embedded ledger started"), "{log}");
    assert!(log.contains("webhooks worker stopped"), "{log}");

    // A folder that is behind what was sent does not sell.
    let copy = |from: &str, to: &str| {
        let copied = std::process::Command::new("cp").args(["-a", from, to]).status();
        assert!(copied.expect("cp").success());
    };
    let backup = file("backup");
    copy(&data, &backup);
    server.restart();
    sell(&server, 3, &mut became);
    wait_for_all(&receiver, &state, &became);
    assert_eq!(server.terminate(), 0);
    std::fs::remove_dir_all(&data).expect("remove the folder");
    copy(&backup, &data);
    let alone = ["serve", "--listen", "127.0.0.1:0", "--control", "off"];
    let (code, said) = stampede(&[&alone[..], &options].concat());
    assert!(code == Some(1) && said.contains("the ledger is behind its orders"), "{said}");
}

#[test]
fn check_config_requires_and_shows_the_webhook_settings() {
    let folder = tempfile::tempdir().expect("a folder");
    let secret = folder.path().join("secret").display().to_string();
    std::fs::write(&secret, SECRET).expect("a secret");
    let to = ["check-config", "--orders", "https://shop.example/hooks?token=hunter2"];
    let (code, said) = stampede(&to);
    assert!(code == Some(2) && said.contains("need --webhook-state FILE"), "{said}");
    assert!(!said.contains("hunter2"), "{said}");
    let files = ["--webhook-state", "w.db", "--webhook-secret-file", &secret];
    let (code, said) = stampede(&[&to[..], &files].concat());
    assert!(
        code == Some(0) && said.contains("orders = \"https://shop.example/hooks?***\""),
        "{said}"
    );
    for line in ["webhook-state = \"w.db\"", "webhook-secret-file = ", "# webhook-ca"] {
        assert!(said.contains(line), "{line}: {said}");
    }
    assert!(!said.contains("hunter2") && !said.contains(&SECRET[6..]), "{said}");
    let plain = ["check-config", "--orders", "http://shop.example/hooks"];
    let (code, said) = stampede(&[&plain[..], &files].concat());
    assert!(code == Some(2) && said.contains("is in the clear"), "{said}");
    let redis = [&to[..], &files, &["--ledger", "redis://127.0.0.1:1"]].concat();
    let (code, said) = stampede(&redis);
    assert!(code == Some(2) && said.contains("run `stampede orders`"), "{said}");
}
