//! SIGHUP: what can change changes, what cannot is named, and a wrong setting changes nothing.

use std::fs;
use std::io::{Read, Write};
use std::thread;
use std::time::{Duration, Instant};

use rustix::process::Signal;
use tempfile::NamedTempFile;

use crate::client::{Client, get, reserve};
use crate::redis::RedisServer;
use crate::secure::{Files, Secure};
use crate::server::{ANSWER_DEADLINE, Server};

const BUY: &str = "GET /buy/ticket HTTP/1.1\r\nHost: a\r\n\r\n";

/// A server with a file of settings.
struct Place {
    file: NamedTempFile,
    server: Server,
}

impl Place {
    fn start(settings: &str) -> Self {
        Self::start_with(settings, &[])
    }

    fn start_with(settings: &str, options: &[&str]) -> Self {
        let file = NamedTempFile::new().expect("a file");
        fs::write(file.path(), settings).expect("write");
        let config = ["--cores", "0", "--config", file.path().to_str().expect("UTF-8")];
        let server = Server::start(&[&config, options].concat());
        Self { file, server }
    }

    /// Reads these settings instead. Returns the log of that, up to this text.
    #[track_caller]
    fn reload(&self, settings: &str, said: &str) -> String {
        fs::write(self.file.path(), settings).expect("write");
        self.reload_files(said)
    }

    /// The same after a change of files that settings name.
    #[track_caller]
    fn reload_files(&self, said: &str) -> String {
        let before = self.server.log().len();
        self.server.signal(Signal::HUP);
        let until = Instant::now() + ANSWER_DEADLINE;
        loop {
            let log = self.server.log().split_off(before);
            if log.contains(said) {
                return log;
            }
            assert!(Instant::now() < until, "never said: {said}: {log}");
            thread::sleep(Duration::from_millis(5));
        }
    }

    /// The answer to a connection that sends this and nothing more, until it is closed.
    #[track_caller]
    fn told(&self, bytes: &str) -> Vec<u16> {
        let mut client = Client::new(&self.server);
        client.send(bytes);
        std::iter::from_fn(|| client.next(false)).map(|response| response.status()).collect()
    }
}

const RELOADED: &str = "settings reloaded";

#[test]
fn connection_timeouts_can_be_reloaded() {
    let names = ["idle-timeout", "head-timeout", "body-timeout", "write-timeout"];
    let all = |time: &str| names.map(|name| format!("{name} = '{time}'\n")).concat();
    let place = Place::start(&all("1h"));
    let log = place.reload(&all("500ms"), RELOADED);
    assert!(log.contains(&names.join(", ")), "{log}");
    assert_eq!(place.told(""), [0; 0], "idle");
    assert_eq!(place.told("GET"), [408], "a head");
    let half = reserve("", r#"{"user":"u"}"#);
    assert_eq!(place.told(&half[..half.len() - 1]), [408], "a body");
    let mut takes_nothing = place.server.connect();
    let many = "GET /json HTTP/1.1\r\nHost: a\r\n\r\n".repeat(1000);
    while takes_nothing.write_all(many.as_bytes()).is_ok() {}
}

#[test]
fn connection_bounds_and_trusted_proxies_can_be_reloaded() {
    let place = Place::start("");
    let is_served = || get_or_none(&place.server).is_some_and(|status| status == 200);
    let mut first = Client::new(&place.server);
    first.ask(BUY);
    assert!(is_served());
    let settings = "connections-per-address = 1\nconnections-max = 50";
    let log = place.reload(settings, RELOADED);
    assert!(log.contains("connections-max, connections-per-address"), "{log}");
    assert_eq!(get_or_none(&place.server), Some(503));
    let scrape =
        Client::control(&place.server).ask("GET /metrics HTTP/1.1\r\nHost: localhost\r\n\r\n");
    assert!(scrape.text().contains("stampede_connections_max 50"), "{}", scrape.text());
    place.reload(&format!("{settings}\ntrusted-proxies = ['127.0.0.1']"), RELOADED);
    assert!(is_served(), "a proxy has no limit");
    place.reload("trusted-proxies = ['127.0.0.1']\nproxy-protocol = true", RELOADED);
    assert_eq!(get_or_none(&place.server), None, "it does not say whose it is");
    let mut said = Client::new(&place.server);
    said.send("PROXY TCP4 10.0.0.9 10.0.0.1 1 2\r\n");
    assert_eq!(said.ask(BUY).status(), 200);
    place.reload("", RELOADED);
    assert!(is_served(), "as in the beginning");
    assert_eq!(first.ask(BUY).status(), 200, "who was here stays");
}

/// The status of a purchase on a connection of its own. `None`: no answer.
fn get_or_none(server: &Server) -> Option<u16> {
    let mut client = Client::new(server);
    client.send("GET /buy/ticket HTTP/1.1\r\nHost: a\r\nConnection: close\r\n\r\n");
    // Unread input becomes a reset.
    let mut answer = Vec::new();
    let _ = client.stream.read_to_end(&mut answer);
    String::from_utf8_lossy(&answer).split(' ').nth(1)?.parse().ok()
}

#[test]
fn ledger_timeout_and_waiting_max_can_be_reloaded() {
    let redis = RedisServer::start(&[]);
    let options = ["--ledger", &redis.url(), "--sale", "ticket=100"];
    let place = Place::start_with("ledger-timeout = '30s'", &options);
    assert_eq!(get(&place.server, "/buy/ticket").status(), 200);
    redis.stop();
    place.reload("ledger-timeout = '30s'\nwaiting-max = 1", RELOADED);
    let mut waits = Client::new(&place.server);
    waits.send(BUY);
    // It may come after the second one.
    let until = Instant::now() + ANSWER_DEADLINE;
    while get(&place.server, "/v1/sales/ticket").status() != 503 {
        assert!(Instant::now() < until, "nobody is told that it is busy");
    }
    place.reload("ledger-timeout = '100ms'", RELOADED);
    redis.go_on();
    assert_eq!(waits.response().status(), 200, "who has waited goes on to wait");
    redis.stop();
    assert_eq!(get(&place.server, "/buy/ticket").json()["code"], -7, "unknown, and soon");
    redis.go_on();
}

#[test]
fn drain_times_can_be_reloaded() {
    let mut place = Place::start("drain-delay = '5m'\ndrain-timeout = '5m'");
    // It would delay the drain for two seconds.
    let mut half = Client::new(&place.server);
    half.send("GET");
    place.reload("drain-delay = '0s'\ndrain-timeout = '0s'", RELOADED);
    assert_eq!(place.server.terminate(), 0);
    assert!(
        place.server.log().contains("drain timeout reached; closing the rest"),
        "{}",
        place.server.log()
    );
}

#[test]
fn the_log_filter_can_be_reloaded() {
    let place = Place::start("log = 'off'");
    // The new filter decides whether this is logged.
    place.reload("log = 'info'", RELOADED);
    place.reload("log = 'stampede=debug'", "changed=\"log\"");
}

#[test]
fn the_operators_token_can_be_reloaded() {
    let token = NamedTempFile::new().expect("a file");
    let write = |text: &str| fs::write(token.path(), text).expect("write");
    write("0123456789abcdef");
    let option = ["--control-token-file", token.path().to_str().expect("UTF-8")];
    let place = Place::start_with("", &option);
    let asks = |token: &str| {
        let head = format!("Host: localhost\r\nAuthorization: Bearer {token}\r\n\r\n");
        let request = format!("GET /v1/sales HTTP/1.1\r\n{head}");
        Client::control(&place.server).ask(request).status()
    };
    assert_eq!((asks("0123456789abcdef"), asks("another-token-now")), (200, 401));
    write("another-token-now\n");
    let log = place.reload_files(RELOADED);
    assert!(log.contains("control-token-file") && !log.contains("another-token"), "{log}");
    assert_eq!((asks("0123456789abcdef"), asks("another-token-now")), (401, 200));
    write("short");
    place.reload_files("settings not usable");
    assert_eq!(asks("another-token-now"), 200);
}

#[test]
fn certificates_can_be_reloaded() {
    let (old, new) = (Files::make(&["localhost"], 30), Files::make(&["localhost"], 30));
    let settings = |files: &Files| {
        let [_, certificate, _, key] = files.options();
        format!("tls-cert = ['{certificate}']\ntls-key = ['{key}']")
    };
    let place = Place::start_with(&settings(&old), &["--listen", "tls:127.0.0.1:0"]);
    let is_shown = |files: &Files| {
        Secure::connect(place.server.secure(), &files.client(), "localhost").is_ok()
    };
    assert!(is_shown(&old) && !is_shown(&new));
    let log = place.reload(&settings(&new), RELOADED);
    assert!(log.contains("tls-cert, tls-key"), "{log}");
    assert!(!is_shown(&old) && is_shown(&new));
}

#[test]
fn settings_that_need_a_restart_are_named_at_each_reload() {
    let place = Place::start("splits = 1\nidle-timeout = '1m'");
    let other = "stat-log = '/dev/null'\npublic-confirm = true\nidle-timeout = '2m'";
    let log = place.reload(other, RELOADED);
    assert!(log.contains("changed=\"idle-timeout\""), "{log}");
    let told = "changed settings need a restart; kept the old ones \
                settings=\"public-confirm, splits, stat-log\"";
    assert!(log.contains(told), "{log}");
    let log = place.reload_files(RELOADED);
    assert!(log.contains(told) && log.contains("changed=\"\""), "{log}");
}

#[test]
fn invalid_settings_change_nothing() {
    let place = Place::start("connections-per-address = 1000");
    for (wrong, told) in [
        ("connections-per-address = 1\nidle-timeout = 'soon'", "idle-timeout = soon"),
        ("connections-per-address = 1\nno-such-setting = 1", "there is no such setting"),
        ("connections-per-address = ", "not valid TOML"),
    ] {
        let log = place.reload(wrong, "settings not usable; kept the old ones");
        assert!(log.contains(told) && !log.contains(RELOADED), "{log}");
    }
    fs::remove_file(place.file.path()).expect("remove");
    place.reload_files("settings not usable; kept the old ones");
    let mut first = Client::new(&place.server);
    assert_eq!(first.ask(BUY).status(), 200);
    assert_eq!(get(&place.server, "/buy/ticket").status(), 200);
    first.finish();
    fs::write(place.file.path(), "").expect("write");
    place.reload_files(RELOADED);
}
