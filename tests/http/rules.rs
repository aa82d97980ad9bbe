//! The rules of RFC 9110 and 9112 over raw sockets, at every port: one table, one walk. Each rule
//! is sent whole and in pieces, followed by a request that shows whether the connection goes on.

#[path = "rules/table.rs"]
mod table;

use std::os::unix::net::UnixStream;

use serde_json::Value;

use crate::client::{Client, Response, Stream, sold};
use crate::secure::{Files, Secure};
use crate::server::{ANSWER_DEADLINE, Server};
use table::{ALL, At, DONE, Rule};

/// Pieces that a request is cut into.
const CUTS: [usize; 4] = [1, 2, 7, 1000];

const READ: &str = "/v1/sales/ticket";
const NEXT: &str = "GET {read} HTTP/1.1\r\n{H}Connection: close\r\n\r\n";

/// What a port puts in place of a rule's names.
struct Port {
    at: At,
    name: &'static str,
    /// A path that changes something by POST, and its body.
    act: &'static str,
    json: &'static str,
    /// A port without TLS refuses an `https` target.
    in_the_clear: bool,
}

const TCP: Port = Port {
    at: At::Buyers,
    name: "public",
    act: "/v1/sales/ticket/reservations",
    json: r#"{"user":"u"}"#,
    in_the_clear: true,
};
const UNIX: Port = Port { name: "unix", ..TCP };
const TLS: Port = Port { name: "TLS", in_the_clear: false, ..TCP };
const CONTROL: Port = Port {
    at: At::Control,
    name: "control",
    act: "/v1/sales/ticket/add-stock",
    json: r#"{"units":1}"#,
    in_the_clear: true,
};

impl Port {
    fn fill(&self, text: &str) -> String {
        let json = self.json;
        let size = format!("{:x}", json.len());
        let filled = text
            .replace("{H}", "Host: localhost\r\n")
            .replace("{read}", READ)
            .replace("{act}", self.act)
            .replace("{encoded act}", &self.act.replace("ticket", "%74icket").replace('a', "%61"))
            .replace("{act of none}", &self.act.replace("ticket", "none"))
            .replace("{length}", &json.len().to_string())
            .replace("{chunk}", &format!("{size}\r\n{json}\r\n"))
            .replace("{size}", &size)
            .replace("{json}", json)
            .replace("{many}", &"X: y\r\n".repeat(64))
            .replace("{long}", &"x".repeat(4096));
        assert!(!filled.contains("} HTTP/") && !filled.contains("\r\n{a"), "{filled}");
        filled
    }

    /// Walks the table. Returns how often something was done.
    fn walk<S: Stream>(&self, connect: impl Fn() -> Client<S>) -> u64 {
        let mut done = 0;
        let is_for = |rule: &&Rule| {
            [At::All, self.at].contains(&rule.at) && (self.in_the_clear || rule.status != 421)
        };
        for rule in ALL.into_iter().flatten().filter(is_for) {
            for pieces in CUTS {
                done += u64::from(self.check(rule, pieces, connect()));
            }
        }
        done
    }

    /// Whether something was done.
    fn check<S: Stream>(&self, rule: &Rule, pieces: usize, mut client: Client<S>) -> bool {
        let sent = self.fill(rule.sent);
        let what = format!("{} port, {pieces} pieces, RFC {}: {}", self.name, rule.of, rule.says);
        let size = sent.len().div_ceil(pieces);
        let last_at = (sent.len() - 1) / size * size;
        for piece in sent.as_bytes()[..last_at].chunks(size) {
            // The server may have closed the connection meanwhile.
            let _ = client.stream.write_all(piece);
        }
        // In one piece with the end of the request: what comes after a close is answered by a
        // reset, which may take the answer away.
        let last = [&sent.as_bytes()[last_at..], self.fill(NEXT).as_bytes()].concat();
        let _ = client.stream.write_all(&last);
        let head_only = sent.trim_start().starts_with("HEAD ");
        let mut next = || client.next(head_only).unwrap_or_else(|| panic!("{what}: no answer"));
        let mut response = next();
        while response.status() == 100 && sent.contains("Expect:") {
            response = next();
        }
        rule.assert_kept(&response, head_only, &what);
        if !rule.closes {
            let next = client.next(false).unwrap_or_else(|| panic!("{what}: it closed"));
            assert_eq!(next.status(), 200, "{what}: behind it: {} {}", next.head, next.text());
            assert!(next.closes(), "{what}: {}", next.head);
        }
        let more = client.next(false);
        assert_eq!(more, None, "{what}: after the end");
        rule.status == DONE || rule.contains == r#""code":1"#
    }
}

impl Rule {
    fn assert_kept(&self, response: &Response, head_only: bool, what: &str) {
        let Response { head, .. } = response;
        let what = format!("{what}: {head}{}", response.text());
        assert!(head.starts_with("HTTP/1.1 "), "{what}");
        match self.status {
            DONE => assert!(matches!(response.status(), 200 | 201), "{what}"),
            status => assert_eq!(response.status(), status, "{what}"),
        }
        assert_eq!(response.closes(), self.closes, "{what}");
        let bodiless = head_only || matches!(self.status, 204 | 304);
        assert_eq!(response.body.is_empty(), bodiless, "{what}");
        if head_only {
            let length = response.header("Content-Length").and_then(|text| text.parse().ok());
            assert!(length.is_some_and(|length: u64| length > 0), "as for GET: {what}");
        }
        if let Some(code) = self.code {
            response.assert_problem(self.status, code);
        }
        for (name, value) in self.has {
            assert_eq!(response.header(name), Some(*value), "{name}: {what}");
        }
        for name in self.lacks {
            assert_eq!(response.header(name), None, "{name}: {what}");
        }
        assert!(response.text().contains(self.contains), "{}: {what}", self.contains);
        let is_refusal = matches!(response.status(), 204 | 405);
        assert_eq!(response.header("Allow").is_some(), is_refusal, "Allow: {what}");
    }
}

fn total(server: &Server) -> u64 {
    let ask = format!("GET {READ} HTTP/1.1\r\nHost: localhost\r\n\r\n");
    let sale: Value = Client::control(server).ask(ask).json();
    sale["total"].as_u64().expect("a total")
}

#[test]
fn every_http_rule_holds_at_every_port() {
    assert!(ALL.iter().map(|rules| rules.len()).sum::<usize>() >= 80);
    let folder = tempfile::tempdir().expect("a temporary folder");
    let path = folder.path().join("stampede.sock");
    let unix = format!("unix:{}", path.display());
    let files = Files::make(&["localhost"], 2);
    let listen = ["--listen", "127.0.0.1:0", "--listen", &unix, "--listen", "tls:127.0.0.1:0"];
    let options = [&["--sale", "ticket=100000"], &listen[..], &files.options()].concat();
    let server = Server::start(&options);

    let public = TCP.walk(|| Client::new(&server));
    assert!(public > 0);
    assert_eq!(sold(&server), public, "what is refused at the public port is not done");
    let over_unix = UNIX.walk(|| {
        let stream = UnixStream::connect(&path).expect("connect to the socket");
        stream.set_read_timeout(Some(ANSWER_DEADLINE)).expect("a deadline");
        stream.set_write_timeout(Some(ANSWER_DEADLINE)).expect("a deadline");
        Client::over(stream)
    });
    assert_eq!(over_unix, public);
    assert_eq!(sold(&server), 2 * public, "nor at the Unix socket");
    let config = files.client();
    let over_tls = TLS.walk(|| {
        Client::over(Secure::connect(server.secure(), &config, "localhost").expect("a handshake"))
    });
    assert_eq!(over_tls, public);
    assert_eq!(sold(&server), 3 * public, "nor over TLS");

    let before = total(&server);
    let control = CONTROL.walk(|| Client::control(&server));
    assert!(control > 0);
    assert_eq!(total(&server), before + control, "nor at the control port");
    assert_eq!(sold(&server), 3 * public);
    let sales = Client::control(&server).ask("GET /v1/sales HTTP/1.1\r\nHost: localhost\r\n\r\n");
    assert_eq!(sales.json()["sales"].as_array().map(Vec::len), Some(1), "{}", sales.text());
}
