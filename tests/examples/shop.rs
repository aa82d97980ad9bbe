//! The shop: a buyer with its token of admission pays, and gets a refund if it was too late.

use std::io::{Read, Write};
use std::net::TcpStream;
use std::path::PathBuf;
use std::process::Command;

use serde_json::{Value, json};
use tempfile::TempDir;

use crate::client::{Client, Response, reserve};
use crate::programs::{
    Running, assert_stands, assert_units, example, folder, look, run, set_up, url,
};
use crate::redis_server::port::Port;
use crate::server::{ANSWER_DEADLINE, Server};
use crate::worker::{stampede, wait_for};

pub const SHOP_TOKEN: &str = "c2hvcC10b2tlbi1vZi10aGUtdGVzdHMtMDAwMQ";
pub const SECRET: &str = "whsec_MfKQ9r8GKYqrTwjUPD8ILPZIo2LaLaSw";

/// A shop with its files and its port.
pub struct Shop {
    folder: TempDir,
    port: Port,
    running: Option<Running>,
}

impl Shop {
    /// A shop that is not started yet.
    pub fn new() -> Self {
        let folder = tempfile::tempdir().expect("a folder");
        let shop = Self { folder, port: Port::free(), running: None };
        for (name, text) in [("shop.token", SHOP_TOKEN), ("webhooks.secret", SECRET)] {
            std::fs::write(shop.file(name), text).expect("a file");
        }
        let (code, said) = stampede(&["token", "new-key", "--keys", &shop.path("keys.json")]);
        assert_eq!(code, Some(0), "{said}");
        shop
    }

    pub fn file(&self, name: &str) -> PathBuf {
        self.folder.path().join(name)
    }

    pub fn path(&self, name: &str) -> String {
        self.file(name).display().to_string()
    }

    /// The URL at which it takes webhooks.
    pub fn hooks(&self) -> String {
        format!("http://127.0.0.1:{}/hooks", self.port.number())
    }

    /// A server that accepts its tokens.
    pub fn serve(&self, more: &[&str]) -> Server {
        let (keys, token) = (self.path("keys.json"), self.path("shop.token"));
        let own = ["--admission-keys", &keys, "--shop-token-file", &token];
        Server::start(&[&own, more].concat())
    }

    /// Starts it, and waits until it answers.
    pub fn start(&mut self, server: &Server) {
        let files = ["keys.json", "shop.token", "webhooks.secret", "shop.db"];
        let mut words: Vec<String> = files.map(|name| self.path(name)).into();
        words.push(self.port.number().to_string());
        let words: Vec<&str> = words.iter().map(String::as_str).collect();
        let said = std::fs::File::options().create(true).append(true).open(self.file("said"));
        let mut program = example("shop.py", &url(server), &words);
        program.env("PATIENCE_S", "1").stdout(said.expect("a file"));
        self.running = Some(Running::start(&mut program));
        wait_for("the shop", || {
            let ended = self.running.as_mut().expect("it runs").child().try_wait().expect("wait");
            assert_eq!(ended, None, "the shop has ended");
            TcpStream::connect(("127.0.0.1", self.port.number())).is_ok()
        });
    }

    /// Ends it like `kill -9`.
    pub fn kill(&mut self) {
        self.running = None;
    }

    /// Sends a request. Returns status and answer.
    pub fn ask(&self, user: Option<&str>, line: &str) -> (u16, Value) {
        let login = user.map_or(String::new(), |user| format!("X-Login: {user}\r\n"));
        self.send(&format!("{line} HTTP/1.1\r\nHost: a\r\n{login}\r\n"))
    }

    /// Sends a request. The shop closes the connection after its answer.
    pub fn send(&self, request: &str) -> (u16, Value) {
        let mut stream = TcpStream::connect(("127.0.0.1", self.port.number())).expect("the shop");
        stream.set_read_timeout(Some(ANSWER_DEADLINE)).expect("a deadline");
        stream.write_all(request.as_bytes()).expect("send");
        let mut answer = String::new();
        stream.read_to_string(&mut answer).expect("an answer");
        let (head, body) = answer.split_once("\r\n\r\n").expect("an answer");
        (head[9..12].parse().expect("a status"), serde_json::from_str(body).expect("JSON"))
    }

    /// How often it has charged, and refunded, for a reservation.
    pub fn moved(&self, id: &str) -> [usize; 2] {
        let said = std::fs::read_to_string(self.file("said")).expect("what it said");
        ["charged", "paid back"]
            .map(|what| said.lines().filter(|line| *line == format!("{what} {id}")).count())
    }

    /// A user gets his token from the shop, and buys with it.
    pub fn buy(&self, server: &Server, user: &str, sale: &str) -> String {
        let (status, token) = self.ask(Some(user), &format!("POST /token/{sale}"));
        assert_eq!(status, 200);
        let mut buyer = example("buyer.py", &url(server), &["buy", sale]);
        let said = run(buyer.env("TOKEN", token.as_str().expect("a token")));
        said.assert_done("held");
        said.member("id")
    }
}

/// A request of the shop to the server, by hand.
pub fn by_shop(server: &Server, line: &str) -> Response {
    let token = format!("Authorization: Bearer {SHOP_TOKEN}");
    Client::new(server).ask(format!("{line} HTTP/1.1\r\nHost: a\r\n{token}\r\n\r\n"))
}

/// A payment whose reservation is refunded between its confirmation and the note that it is paid.
const OVERTAKEN: &str = "import sqlite3, sys
sys.path.insert(0, sys.argv[1])
import payments
database = sqlite3.connect(':memory:', isolation_level=None)
database.executescript(payments.SCHEMA)
sql = lambda statement, *values: database.execute(statement, values).fetchall()
class Overtaken(payments.Payments):
    def change(self, reservation, what):
        outcome = super().change(reservation, what)
        if what == 'confirm':
            print('; '.join(['refund', super().change(reservation, 'refund')]))
            self.refunded(database, reservation)
        return outcome
status, state = Overtaken(sql, sys.argv[2]).pay('ann', sys.argv[3])
print('; '.join([state, f'status {status}']))";

#[test]
fn a_payment_overtaken_by_a_refund_is_paid_back() {
    let shop = Shop::new();
    let server = shop.serve(&["--sale", "ticket=1"]);
    let body = r#"{"user":"ann","quantity":1}"#;
    let token = format!("Authorization: Bearer {SHOP_TOKEN}\r\n");
    let held = Client::new(&server).ask(reserve(&token, body)).json();
    let id = held["id"].as_str().expect("an id");
    let mut python = Command::new("python3");
    python.args(["-c", OVERTAKEN, &folder().display().to_string(), SHOP_TOKEN, id]);
    let said = run(set_up(&mut python, &url(&server)));
    said.assert_done("paid_back");
    assert_eq!(said.member("status"), "409");
    assert_stands(&server, id, "ann", 1, "refunded");
    assert_units(&server, "ticket", [1, 0, 0]);
}

/// A payment begun by a shop that died before it had charged or confirmed.
fn leave_open(shop: &Shop, id: &str) {
    let file = rusqlite::Connection::open(shop.file("shop.db")).expect("its file");
    let added = file.execute("INSERT INTO payments VALUES (?1, 'open')", [id]);
    assert_eq!(added.expect("a row"), 1);
}

#[test]
fn a_user_buys_and_pays_once() {
    let mut shop = Shop::new();
    let server = shop.serve(&["--sale", "ticket=3,limit=1"]);
    shop.start(&server);
    let id = shop.buy(&server, "ann", "ticket");
    assert_stands(&server, &id, "ann", 1, "held");
    // No other user can pay for it, nor a client that has not logged in.
    assert_eq!(shop.ask(None, &format!("POST /pay/{id}")).0, 401);
    assert_eq!(shop.ask(Some("bob"), &format!("POST /pay/{id}")).0, 404);
    assert_eq!(shop.ask(Some("ann"), "POST /pay/nothing").0, 404);
    assert_eq!(shop.ask(None, "POST /token/ticket").0, 401);
    assert_eq!(shop.moved(&id), [0, 0]);
    assert_units(&server, "ticket", [2, 1, 0]);

    let pay = |user| shop.ask(Some(user), &format!("POST /pay/{id}"));
    assert_eq!(pay("ann"), (200, json!("paid")));
    assert_eq!(pay("ann"), (200, json!("paid")));
    assert_eq!(shop.moved(&id), [1, 0]);
    assert_stands(&server, &id, "ann", 1, "confirmed");
    assert_units(&server, "ticket", [2, 0, 1]);
    let (status, mine) = shop.ask(Some("ann"), "GET /mine/ticket");
    let found: Vec<_> = mine.as_array().expect("a list").iter().map(|one| &one["id"]).collect();
    assert_eq!((status, found), (200, vec![&json!(id)]));
    assert_eq!(shop.ask(Some("bob"), "GET /mine/ticket"), (200, json!([])));

    // The next shop finishes what a dead shop has left.
    let left = shop.buy(&server, "bob", "ticket");
    shop.kill();
    leave_open(&shop, &left);
    shop.start(&server);
    wait_for("the payment that was left", || {
        look(&server, &format!("/v1/reservations/{left}"))["status"] == "confirmed"
    });
    assert_eq!(shop.ask(Some("bob"), &format!("POST /pay/{left}")), (200, json!("paid")));
    assert_eq!(shop.moved(&left), [1, 0]);
    assert_units(&server, "ticket", [1, 0, 2]);
}

#[test]
fn a_user_who_pays_too_late_gets_the_money_back() {
    let mut shop = Shop::new();
    let server = shop.serve(&["--sale", "ticket=1,hold=100ms"]);
    shop.start(&server);
    let late = shop.buy(&server, "ann", "ticket");
    wait_for("its end", || {
        look(&server, &format!("/v1/reservations/{late}"))["status"] == "expired"
    });
    // Another user pays for it in time, or at least sooner.
    let next = shop.buy(&server, "bob", "ticket");
    let paid = by_shop(&server, &format!("POST /v1/reservations/{next}/confirm"));
    assert_eq!(paid.status(), 200, "{}", paid.text());
    for _ in 0..2 {
        let answer = shop.ask(Some("ann"), &format!("POST /pay/{late}"));
        assert_eq!(answer, (409, json!("paid_back")));
    }
    assert_eq!(shop.moved(&late), [1, 1]);
    assert_stands(&server, &late, "ann", 1, "expired");
    assert_stands(&server, &next, "bob", 1, "confirmed");
    assert_units(&server, "ticket", [0, 0, 1]);
    // Once it is refunded it stays so, also when there are units again.
    by_shop(&server, &format!("POST /v1/reservations/{next}/refund"));
    assert_eq!(shop.ask(Some("ann"), &format!("POST /pay/{late}")).1, json!("paid_back"));
    assert_eq!(shop.moved(&late), [1, 1]);
    assert_units(&server, "ticket", [1, 0, 0]);
}
