//! What an old build does not read is not written while a server of that build is there. An old
//! server that comes afterwards takes nothing for something else, and harms nothing.

use redis::Value as Reply;
use serde_json::{Value, json};

use crate::asking::{self, control, settle};
use crate::buyer::{Answer, Buyer};
use crate::database::{Worker, audit, behind, run, sqlite, wait_for_pending, wait_until_written};
use crate::eventually;
use crate::known::Known;
use crate::redis_server::RedisServer;
use crate::server::Server;
use crate::table::Line;

const SALE: &str = "{ticket_hash_key}:sale";
const RESERVATIONS: &str = "{ticket_hash_key}:reservations";
const STREAM: &str = "{ticket_hash_key}:stream";
/// Units of each reservation, so that a part can be given back.
const UNITS: u64 = 3;

/// An old server and a new one, and reservations with which only the new one can do more.
struct Fleet {
    programs: [String; 2],
    old: Server,
    new: Server,
    redis: RedisServer,
    known: Known,
    lines: Vec<Line>,
}

/// A request of the shop that needs a later format: verb, body, and the state afterwards.
type More = (&'static str, &'static str, &'static str, u64);

const EXTEND: More = ("extend", "", "held", UNITS);
const CANCEL_A_PART: More = ("cancel", r#"{"remaining":1}"#, "held", 1);
const REFUND_A_PART: More = ("refund", r#"{"remaining":2}"#, "confirmed", 2);
const REFUND: More = ("refund", "", "refunded", UNITS);
const ALL: [More; 4] = [EXTEND, CANCEL_A_PART, REFUND_A_PART, REFUND];

pub fn all(programs: &[String; 2]) -> Vec<Line> {
    let mut fleet = Fleet::open(programs);
    // One reservation for each of them, and one without such a request.
    let ids: Vec<String> = (0..ALL.len() + 1).map(|number| fleet.buy(number)).collect();
    for (id, (verb, ..)) in ids.iter().zip(ALL) {
        if verb == "refund" {
            fleet.known.confirm(&fleet.new, id);
        }
    }
    fleet.check_no_new_format_beside_the_old(&ids);
    fleet.check_the_old_refuses_sales_with_rules();
    fleet.old.terminate();
    let noted = fleet.ask_for_all_without_the_old(&ids);
    fleet.old.restart();
    fleet.check_the_old_misreads_nothing(&ids, &noted);
    fleet.check_orders_wait_for_a_newer_worker(&noted);
    fleet.lines
}

impl Fleet {
    fn open(programs: &[String; 2]) -> Self {
        let redis = RedisServer::start(&[]);
        let url = redis.url();
        let start = |program: &str, name: &str| {
            let options = ["--ledger", &url, "--instance", name, "--sale", "ticket=60,hold=1h"];
            let options = [&options[..], &["--sale", "quick=5,hold=1s"]].concat();
            Server::start_program(program, &[] as &[(&str, &str)], &options)
        };
        let old = start(&programs[0], "old");
        let new = start(&programs[1], "new");
        let known = Known::new(&new, &["ticket"]);
        Self { programs: programs.clone(), old, new, redis, known, lines: Vec::new() }
    }

    fn show(&mut self, what: &str, wanted: impl ToString, seen: impl ToString) {
        let line = Line::new(what, wanted.to_string(), seen.to_string());
        println!("   {}: {} (wanted: {})", line.what, line.seen, line.wanted);
        self.lines.push(line);
    }

    /// Buys at either server.
    fn buy(&mut self, number: usize) -> String {
        let server = if number.is_multiple_of(2) { &self.old } else { &self.new };
        self.known.buy(server, "ticket", Some(&format!("user {number}")), UNITS, None)
    }

    fn ask_for_more(&self, id: &str, (verb, body, ..): More) -> Answer {
        let mut shop = Buyer::connect(self.new.control()).expect("connect to the control port");
        let path = format!("/v1/reservations/{id}/{verb}");
        shop.request("POST", &path, &[], body).expect("an answer")
    }

    fn ask_with_a_note(&self) -> Answer {
        let mut buyer = Buyer::connect(self.new.address()).expect("connect to the server");
        let body = json!({ "user": "noted", "quantity": UNITS, "note": "row 7" }).to_string();
        buyer.request("POST", "/v1/sales/ticket/reservations", &[], &body).expect("an answer")
    }

    fn stored(&self) -> Vec<String> {
        let mut all = self.redis.connect().list(&format!("HGETALL {RESERVATIONS}"));
        all.sort();
        all
    }

    fn format(&self) -> Reply {
        self.redis.connect().ask(&format!("HGET {SALE} format"))
    }

    /// Each request is refused with the name of the server in the way, and the stored data stays as
    /// it is.
    fn check_no_new_format_beside_the_old(&mut self, ids: &[String]) {
        for server in [&self.old, &self.new] {
            eventually("they know each other", || {
                let list = control(server, "GET", "/v1/instances").json();
                list["instances"].as_array().is_some_and(|list| list.len() == 2)
            });
        }
        let before = self.stored();
        for (id, more) in ids.iter().zip(ALL) {
            is_in_the_way(&self.ask_for_more(id, more), &format!("{more:?}"));
        }
        let note = self.ask_with_a_note();
        assert_eq!((note.status, &note.json()["code"]), (503, &json!("unavailable")), "{note:?}");
        let command = ["reservation", "extend", &ids[0], "--ledger", &self.redis.url()];
        let (code, said) = run(&self.programs[1], &command);
        assert!(code == Some(1) && said.contains("old"), "{code:?}: {said}");
        assert_eq!((self.stored(), self.format()), (before, Reply::Nil));
        for number in [0, 1] {
            audit(&self.programs[number], &self.redis.url(), None);
        }
        self.show("beside the old: asked for more, refused with its name", 5, ALL.len() + 1);
        self.show("what is stored meanwhile, to both audits", "as before", "as before");
    }

    /// The old server would sell them without regard to the rules. It names the format, and sells
    /// and expires the sales that it reads.
    fn check_the_old_refuses_sales_with_rules(&mut self) {
        let url = self.redis.url();
        let sales = [
            ("few", "few=10,hold=1h,min=2", "{few_hash_key}:sale"),
            ("parts", "parts=40,hold=1h,min=2,splits=4", "{parts_hash_key}:sale"),
        ];
        for (sale, spec, key) in sales {
            let (code, said) = run(&self.programs[1], &["sale", "create", spec, "--ledger", &url]);
            assert_eq!(code, Some(0), "{said}");
            let buy = |server: &Server, units| {
                let answer = asking::reserve(server, sale, Some("eve"), units, None);
                (answer.status, answer.json()["code"].as_str().map(str::to_owned))
            };
            assert_eq!(buy(&self.new, 2).0, 201, "{sale}");
            assert_eq!(buy(&self.new, 1), (422, Some("invalid".into())), "{sale}");
            let stored = |redis: &RedisServer| {
                let mut all = redis.connect().list(&format!("HGETALL {key}"));
                all.sort();
                all
            };
            let before = stored(&self.redis);
            for units in [1, 2] {
                assert_eq!(buy(&self.old, units), (503, Some("unavailable".into())), "{sale}");
            }
            let closed = control(&self.old, "POST", &format!("/v1/sales/{sale}/close"));
            let detail = closed.json()["detail"].to_string();
            assert!(closed.status == 503 && detail.contains("format 4"), "{closed:?}");
            assert_eq!(stored(&self.redis), before, "{sale}");
            let (code, said) =
                run(&self.programs[1], &["sale", "reset", sale, "--force", "--ledger", &url]);
            assert_eq!(code, Some(0), "{said}");
            assert_eq!(buy(&self.old, 2).0, 503, "{sale}, begun anew");
            assert_eq!(asking::show(&self.new, sale)["quantity_min"], 2, "{sale}");
            assert_eq!(buy(&self.new, 2).0, 201, "{sale}, begun anew");
        }
        assert!(self.old.log().contains("format 4"), "{}", self.old.log());
        // The sweep of the old server alone.
        asking::reserve(&self.new, "quick", Some("eve"), 1, None);
        self.new.kill();
        eventually("the old one returns to stock what it reads", || {
            asking::show(&self.old, "quick")["held"] == 0
        });
        self.buy(0);
        self.new.restart();
        audit(&self.programs[1], &url, None);
        // Their purchases are no part of what follows.
        for sale in ["few", "parts", "quick"] {
            let command = ["sale", "reset", sale, "--force", "--ledger", &url];
            assert_eq!(run(&self.programs[1], &command).0, Some(0), "{sale}");
        }
        self.show("sales with rules, refused by the old with their format", 2, sales.len());
    }

    /// After the old server's lease has ended, all of these requests succeed. Returns the
    /// reservation with a note.
    fn ask_for_all_without_the_old(&mut self, ids: &[String]) -> String {
        eventually("the lease of the old one has ended", || {
            self.ask_for_more(&ids[0], ALL[0]).status == 200
        });
        for (id, more) in ids.iter().zip(ALL) {
            let done = self.ask_for_more(id, more);
            let (status, quantity) = (&done.json()["status"], &done.json()["quantity"]);
            assert_eq!(
                (done.status, status, quantity),
                (200, &json!(more.2), &json!(more.3)),
                "{more:?}"
            );
            let known = self.known.reservation(id);
            (known.status, known.quantity) = (more.2.to_owned(), more.3);
        }
        let mut made = Value::Null;
        eventually("a note is taken", || {
            let answer = self.ask_with_a_note();
            made = answer.json();
            answer.status == 201
        });
        assert_eq!(made["note"], "row 7");
        assert_eq!(self.redis.connect().text(&format!("HGET {SALE} format")), "3");
        self.show("when it has left: extended, in part, refunded, noted", 5, ALL.len() + 1);
        made["id"].as_str().expect("an id").to_owned()
    }

    /// The old server neither shows nor settles what it cannot read, says why, and continues with
    /// everything else.
    fn check_the_old_misreads_nothing(&mut self, ids: &[String], noted: &str) {
        let (more, plain) = ids.split_at(ALL.len());
        let before = self.stored();
        for id in more.iter().map(String::as_str).chain([noted]) {
            let mut buyer = Buyer::connect(self.old.address()).expect("connect to the server");
            assert_eq!(buyer.reservation(id).expect("an answer").status, 503, "{id}");
            for verb in ["confirm", "cancel"] {
                let refused = settle(&self.old, id, verb);
                assert_eq!(refused.status, 503, "{id}: {refused:?}");
                let own = id.rsplit_once('~').expect("an id").1;
                let named = "is no reservation";
                let detail = refused.json()["detail"].to_string();
                assert!(detail.contains(named) && detail.contains(own), "{detail}");
            }
        }
        assert_eq!(self.stored(), before);
        self.known.confirm(&self.old, &plain[0]);
        self.buy(0);
        self.show("come back: shown, confirmed, cancelled of these by it", 0, 0);
        // Nor does the new one write more of it from now on.
        eventually("the new one knows that it is there", || {
            self.ask_for_more(&ids[0], EXTEND).status == 503
        });
        is_in_the_way(&self.ask_for_more(&ids[0], EXTEND), "an extension");
        let shown = asking::reservation(&self.new, noted);
        assert_eq!((&shown["note"], &shown["status"]), (&json!("row 7"), &json!("held")));
    }

    /// A worker of the old build writes what it reads and leaves everything else where it is; a
    /// worker of the new build writes that.
    fn check_orders_wait_for_a_newer_worker(&mut self, noted: &str) {
        let folder = tempfile::tempdir().expect("a folder");
        let database = sqlite(&folder.path().join("orders.db"));
        let mut plain = self.known.clone();
        plain
            .sale("ticket")
            .reservations
            .retain(|it| it.quantity == UNITS && it.status != "refunded");
        // Its last line is an extension.
        let extended = plain.sale("ticket").reservations.remove(0);
        let url = self.redis.url();
        let mut worker = Worker::start(&self.programs[0], &url, &database, "orders", "old");
        eventually("the old worker has written what it reads", || behind(&database, &plain) == 0);
        wait_for_pending(&self.redis, STREAM, "orders");
        assert!(worker.is_running(), "it goes on");
        let shown = asking::reservation(&self.new, noted);
        let mut all = self.known.clone();
        all.sale("ticket").reservations.push(crate::known::Reservation {
            id: noted.to_owned(),
            user: Some("noted".to_owned()),
            key: None,
            expires_at: shown["expires_at"].as_str().expect("a time").to_owned(),
            ..extended
        });
        let waits = behind(&database, &all);
        assert!(waits >= 4, "{waits}");
        drop(worker);
        let _worker = Worker::start(&self.programs[1], &url, &database, "orders", "new");
        wait_until_written(&database, &all);
        audit(&self.programs[1], &url, Some(&database));
        let rows = all.reservations().count();
        self.show("orders that the old worker left, written by the new one", rows, rows);
        self.show(
            "audit by the new build, with the orders",
            "everything agrees",
            "everything agrees",
        );
    }
}

/// Panics unless it was refused because the old server would not read it.
fn is_in_the_way(refused: &Answer, what: &str) {
    let json = refused.json();
    let detail = json["detail"].to_string();
    assert_eq!(
        (refused.status, &json["code"]),
        (503, &json!("unavailable")),
        "{what}: {refused:?}"
    );
    assert!(detail.contains("old") && detail.contains("0.1.0"), "{what}: {detail}");
}
