//! Trust: the signatures of several secrets, the receiver's certificate, and settings that would
//! reveal them.

use super::Place;
use super::receiver::{Receiver, Reply, SECRET};
use super::redis_server::RedisServer;
use super::secure::{Files, text};
use super::shop::{Shop, Worker, stampede, wait_for};

const OTHER: &str = "whsec_c2VjcmV0IG9mIHR3ZW50eS1mb3VyIGJ5dGVzISE=";

#[test]
fn a_secret_is_rotated_without_losing_a_webhook() {
    let redis = RedisServer::start(&[]);
    let receiver = Receiver::plain(|_| Reply::Status(200));
    let place = Place::new(&redis, &receiver);
    let put = |text: &str| {
        std::fs::write(place.file("new"), text).expect("a file");
        std::fs::rename(place.file("new"), place.file("secret")).expect("in its place");
    };
    let mut shop = Shop::open(&redis, &["ticket"]);
    let worker = place.start(&receiver, &[]);
    let mut sell_until = |what: &str, is_so: &dyn Fn(&[String]) -> bool| {
        wait_for(what, || {
            shop.sell("ticket", 1);
            receiver.got().last().is_some_and(|got| is_so(&got.signatures))
        });
    };
    sell_until("one signature", &|signatures| signatures.len() == 1);
    put(&format!("{OTHER}\n{SECRET}\n"));
    sell_until("two signatures", &|signatures| signatures.len() == 2);
    receiver.verify_by(OTHER);
    sell_until("two signatures", &|signatures| signatures.len() == 2);
    // An invalid file changes nothing.
    put("hunter2");
    std::thread::sleep(std::time::Duration::from_millis(1_200));
    sell_until("two signatures", &|signatures| signatures.len() == 2);
    put(OTHER);
    sell_until("one signature", &|signatures| signatures.len() == 1);
    worker.terminate();
    let (code, said) = worker.end();
    assert_eq!(code, Some(0), "{said}");
    assert!(said.contains("secrets of the webhooks reloaded"), "{said}");
    assert!(said.contains("not usable; kept the old ones"), "{said}");
    let secrets = ["hunter2", &OTHER[6..], &SECRET[6..]];
    assert!(secrets.iter().all(|secret| !said.contains(secret)), "{said}");
    assert!(receiver.bad().is_empty());
}

#[test]
fn nothing_is_sent_to_a_receiver_with_a_wrong_certificate() {
    let redis = RedisServer::start(&[]);
    let receiver = Receiver::secure(|_| Reply::Status(200));
    let stranger = Files::make(&["localhost"], 30);
    let mut place = Place::new(&redis, &receiver);
    Shop::open(&redis, &["ticket"]).sell("ticket", 3);
    let right = std::mem::replace(&mut place.options[3], text(&stranger.certificate).to_owned());
    let worker = place.start(&receiver, &["--webhook-attempts", "1"]);
    // Two of the three were confirmed.
    wait_for("five dead letters", || place.letters(&["--dead-letters"]).1.lines().count() == 6);
    let (_, said) = place.letters(&["--dead-letters"]);
    assert!(said.lines().skip(1).all(|line| line.contains("certificate")), "{said}");
    worker.terminate();
    assert_eq!(worker.end().0, Some(0));
    assert!(receiver.got().is_empty());
    // Nor by another name than the certificate's.
    place.options[3] = right;
    assert_eq!(place.letters(&["--replay", "all"]).0, Some(0));
    let url = receiver.url().replace("localhost", "127.0.0.1");
    let state = place.state();
    let mut all: Vec<&str> = place.options.iter().map(String::as_str).collect();
    all.extend(["--state", &state, "--webhook-attempts", "1", "--once"]);
    assert_eq!(Worker::start(&redis.url(), &url, &all).end().0, Some(0));
    assert!(receiver.got().is_empty());
    let (_, said) = place.letters(&["--replay", "all"]);
    assert!(said.contains("5 dead letters will be sent again"), "{said}");
    let worker = place.start(&receiver, &[]);
    wait_for("all of them", || receiver.in_order().len() == 3);
    worker.terminate();
    assert_eq!(worker.end().0, Some(0));
}

#[test]
fn wrong_webhook_settings_are_reported_before_the_start() {
    let redis = RedisServer::start(&[]);
    let receiver = Receiver::plain(|_| Reply::Status(200));
    let place = Place::new(&redis, &receiver);
    let (from, state, secret) = (redis.url(), place.state(), place.options[1].clone());
    let good = |to: &'static str| {
        ["orders", "--from", &from, "--to", to, "--state", &state, "--webhook-secret-file", &secret]
            .map(str::to_owned)
            .to_vec()
    };
    let with = |more: &[&str]| {
        let more = more.iter().map(|&word| word.to_owned());
        good("https://shop.example/").into_iter().chain(more).collect::<Vec<_>>()
    };
    let without = |flag: &str| {
        let all = good("https://shop.example/");
        let at = all.iter().position(|word| word == flag).expect("it is there");
        [&all[..at], &all[at + 2..]].concat()
    };
    for (arguments, told) in [
        (good("http://shop.example/"), "--to is in the clear: use https://"),
        (good("https://ann:hunter2@shop.example/"), "--to has a user in it"),
        (good("https:shop.example"), "--to must be"),
        (without("--state"), "--state is missing"),
        (without("--webhook-secret-file"), "--webhook-secret-file is missing"),
        (with(&["--consumer", "a"]), "--consumer is not for webhooks"),
        (with(&["--claim-after", "5s"]), "--claim-after is not for webhooks"),
        (with(&["--group", "orders"]), "the name of a group of webhooks begins with webhooks"),
        (with(&["--webhook-parallel", "0"]), "must be a whole number from 1 to 256"),
        (with(&["--webhook-deadline", "1h"]), "must be from 100ms to 1m"),
        (with(&["--webhook-attempts", "0"]), "must be a whole number from 1 to 100"),
        (with(&["--to-ca", "none.pem"]), "--to-ca: none.pem"),
    ] {
        let arguments: Vec<&str> = arguments.iter().map(String::as_str).collect();
        let (code, said) = stampede(&arguments);
        assert!(code == Some(2) && said.contains(told), "{arguments:?}: {said}");
        assert!(!said.contains("hunter2"), "{said}");
    }
    std::fs::write(place.file("secret"), "hunter2").expect("a file");
    let arguments = good("https://shop.example/");
    let (code, said) = stampede(&arguments.iter().map(String::as_str).collect::<Vec<_>>());
    assert!(code == Some(2) && said.contains("line 1 is no secret"), "{said}");
    assert!(!said.contains("hunter2"), "{said}");
    // The options for webhooks are refused for a database, and so is their group.
    let database = ["orders", "--from", &from, "--to", "sqlite:o.db"];
    for (more, told) in [
        (["--webhook-retry", "1s"], "--webhook-retry is for webhooks"),
        (["--group", "webhooks-2"], "are for webhooks, and an audit"),
    ] {
        let (code, said) = stampede(&[&database[..], &more].concat());
        assert!(code == Some(2) && said.contains(told), "{said}");
    }
    assert!(!place.file("webhooks.db").exists());
}
