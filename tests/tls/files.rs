//! Certificates and keys: the start's messages about wrong ones, which certificate a client gets,
//! and replacing them.

use std::fs;
use std::process::Command;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::thread;
use std::time::{Duration, Instant};

use rustix::process::Signal;

use crate::BUY;
use crate::client::Client;
use crate::clock::Clock;
use crate::secure::{Files, Secure, text};
use crate::server::{ANSWER_DEADLINE, Server};

/// The start's message. It must end with the exit code of a wrong setting.
fn complaint(options: &[&str]) -> String {
    let mut command = Command::new(env!("CARGO_BIN_EXE_stampede"));
    command.args(["check-config", "--listen", "tls:127.0.0.1:0"]).args(options);
    let output = command.output().expect("it runs");
    assert_eq!(output.status.code(), Some(2), "{output:?}");
    String::from_utf8(output.stderr).expect("UTF-8")
}

#[test]
fn an_unusable_tls_file_stops_the_start_and_is_named() {
    let good = Files::make(&["localhost"], 30);
    let other = Files::make(&["localhost"], 30);
    let clock = Clock::new();
    clock.set("-10d");
    let old = Files::make_with(&["localhost"], 5, &clock.environment());
    clock.set("+10d");
    let early = Files::make_with(&["localhost"], 5, &clock.environment());
    let (certificate, key) = (text(&good.certificate), text(&good.key));
    let folder = tempfile::tempdir().expect("a folder");
    let gap = folder.path().join("gap.pem");
    let both = [&good, &Files::make(&["elsewhere"], 30)]
        .map(|files| fs::read_to_string(&files.certificate).expect("a certificate"));
    fs::write(&gap, both.concat()).expect("write");
    let none = folder.path().join("none.pem");
    let keys = folder.path().join("keys");
    fs::write(&keys, "0123").expect("write");
    for (options, told) in [
        (vec![], "needs a certificate"),
        (vec!["--tls-cert", certificate], "1 certificates and 0 keys"),
        (vec!["--tls-cert", certificate, "--tls-key", text(&other.key)], "is not the private key"),
        (vec!["--tls-cert", text(&old.certificate), "--tls-key", text(&old.key)], "expired on"),
        (
            vec!["--tls-cert", text(&early.certificate), "--tls-key", text(&early.key)],
            "is not valid before",
        ),
        (vec!["--tls-cert", text(&none), "--tls-key", key], "none.pem"),
        (vec!["--tls-cert", certificate, "--tls-key", text(&none)], "no private key"),
        (vec!["--tls-cert", key, "--tls-key", key], "holds no certificate"),
        (vec!["--tls-cert", text(&gap), "--tls-key", key], "the chain is incomplete"),
        (
            vec!["--tls-cert", certificate, "--tls-key", key, "--tls-ticket-keys", text(&keys)],
            "openssl rand -hex 32",
        ),
    ] {
        let complaint = complaint(&options);
        assert!(complaint.contains(told), "{told}: {complaint}");
    }
}

#[test]
fn a_certificate_that_expires_soon_is_warned_of() {
    let soon = Files::make(&["localhost"], 5);
    let listen = ["--listen", "tls:127.0.0.1:0"];
    let server = Server::start(&[&listen[..], &soon.options()].concat());
    assert!(server.log().contains("expires in 4 days"), "{}", server.log());
    let later = Files::make(&["localhost"], 30);
    let server = Server::start(&[&listen[..], &later.options()].concat());
    assert!(!server.log().contains("expires in"), "{}", server.log());
}

#[test]
fn a_client_gets_the_certificate_of_its_server_name() {
    let (one, two) = (Files::make(&["one.example"], 30), Files::make(&["*.two.example"], 30));
    let listen = ["--listen", "tls:127.0.0.1:0"];
    let server = Server::start(&[&listen[..], &one.options(), &two.options()].concat());
    let connect = |files: &Files, host: &str| {
        Secure::connect(server.secure(), &files.client(), host).map(drop)
    };
    connect(&one, "one.example").expect("the first");
    connect(&two, "www.two.example").expect("the second");
    assert!(connect(&two, "one.example").is_err());
    // A client that names no known host gets the first.
    let error = connect(&one, "three.example").expect_err("not its name");
    assert!(error.to_string().contains("not valid for name"), "{error}");
}

#[test]
fn certificates_are_replaced_under_load_without_an_error() {
    const TIMES: usize = 20;
    let files = Files::make(&["localhost"], 30);
    let first = Files::make(&["localhost"], 30);
    files.replace_by(&first);
    let listen = ["--listen", "tls:127.0.0.1:0"];
    let sale = ["--sale", "ticket=1000000"];
    let server = Server::start(&[&listen[..], &sale, &files.options()].concat());
    let others: Vec<_> = (0..2).map(|_| Files::make(&["localhost"], 30)).collect();
    let configs: Vec<_> = [&first, &others[0], &others[1]].iter().map(|f| f.client()).collect();
    let (done, bought) = (AtomicBool::new(false), AtomicUsize::new(0));
    thread::scope(|scope| {
        // One client keeps its connection through all of them.
        let stream = Secure::connect(server.secure(), &configs[0], "localhost");
        let mut client = Client::over(stream.expect("a handshake"));
        let (done, bought) = (&done, &bought);
        scope.spawn(move || {
            while !done.load(Ordering::Relaxed) {
                assert_eq!(client.ask(BUY).json()["code"], 1);
                bought.fetch_add(1, Ordering::Relaxed);
            }
        });
        // Another client opens new ones, and trusts either certificate.
        scope.spawn(|| {
            while !done.load(Ordering::Relaxed) {
                let stream = configs
                    .iter()
                    .find_map(|config| Secure::connect(server.secure(), config, "localhost").ok());
                // The files may have been replaced between two looks.
                let Some(stream) = stream else { continue };
                assert_eq!(Client::over(stream).ask(BUY).json()["code"], 1);
                bought.fetch_add(1, Ordering::Relaxed);
            }
        });
        for time in 0..TIMES {
            let next = &others[time % 2];
            files.replace_by(next);
            server.signal(Signal::HUP);
            let until = Instant::now() + ANSWER_DEADLINE;
            while server.log().matches("TLS files reloaded").count() <= time {
                assert!(Instant::now() < until, "{}", server.log());
                thread::sleep(Duration::from_millis(5));
            }
            while Secure::connect(server.secure(), &configs[1 + time % 2], "localhost").is_err() {
                assert!(Instant::now() < until, "the new certificate is not shown");
                thread::sleep(Duration::from_millis(5));
            }
        }
        done.store(true, Ordering::Relaxed);
    });
    assert!(bought.load(Ordering::Relaxed) > TIMES);
    assert_eq!(server.log().matches("TLS files reloaded").count(), TIMES, "{}", server.log());
}

#[test]
fn an_unusable_tls_file_changes_nothing_at_a_reload() {
    let files = Files::make(&["localhost"], 30);
    let config = files.client();
    let listen = ["--listen", "tls:127.0.0.1:0"];
    let server = Server::start(&[&listen[..], &files.options()].concat());
    fs::write(&files.key, "no key").expect("write");
    server.signal(Signal::HUP);
    let until = Instant::now() + ANSWER_DEADLINE;
    while !server.log().contains("settings not usable; kept the old ones") {
        assert!(Instant::now() < until, "{}", server.log());
        thread::sleep(Duration::from_millis(5));
    }
    let stream = Secure::connect(server.secure(), &config, "localhost").expect("as before");
    assert_eq!(Client::over(stream).ask(BUY).json()["code"], 1);
}
