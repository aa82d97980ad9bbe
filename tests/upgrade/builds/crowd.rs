//! A crowd at two servers of different builds, each of which dies during the sale. Every buyer asks
//! with a key, and asks the other server until one answers.

use std::net::SocketAddr;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::thread;
use std::time::{Duration, Instant};

use crate::buyer::{Answer, Buyer};
use crate::known::Reservation;
use crate::together::Pair;
use crate::{DEADLINE, eventually};

/// Users, who all ask for more than the limit.
pub const USERS: usize = 900;
/// The per-user limit.
pub const LIMIT: usize = 3;
/// Less than the limits add up to: the sale sells out.
pub const TOTAL: usize = 2_000;
const THREADS: usize = 16;

/// The result.
#[derive(Default)]
pub struct Sold {
    /// Every reservation that a buyer got.
    pub reservations: Vec<Reservation>,
    /// Requests that were repeated because a server was gone or could not answer.
    pub again: usize,
}

/// Every user asks both servers in turn for one unit more than the limit. After some sales one
/// server is killed, and started again after more sales; then the other.
pub fn rush(pair: &mut Pair, sale: &str) -> Sold {
    let addresses = pair.servers.each_ref().map(|server| server.address());
    let (granted, failed) = (AtomicUsize::new(0), AtomicBool::new(false));
    thread::scope(|scope| {
        let ask = |number: usize| {
            let _failing = Failing(&failed);
            asks(number, sale, addresses, &granted)
        };
        let threads: Vec<_> = (0..THREADS).map(|n| scope.spawn(move || ask(n))).collect();
        let sold_is = |part: usize| {
            eventually(&format!("{part} units sold"), || {
                assert!(!failed.load(Ordering::Relaxed), "a buyer has failed");
                granted.load(Ordering::Relaxed) >= part
            });
        };
        for (number, name) in ["old", "new"].into_iter().enumerate() {
            sold_is(TOTAL * (2 * number + 1) / 5);
            pair.servers[number].kill();
            println!("   killed the {name} server at {}", granted.load(Ordering::Relaxed));
            sold_is(TOTAL * (2 * number + 2) / 5);
            pair.servers[number].restart();
            println!("   started it again at {}", granted.load(Ordering::Relaxed));
        }
        let mut all = Sold::default();
        for thread in threads {
            let sold = thread.join().expect("a buyer");
            all.reservations.extend(sold.reservations);
            all.again += sold.again;
        }
        all
    })
}

/// Sets a flag when its thread panics.
struct Failing<'a>(&'a AtomicBool);

impl Drop for Failing<'_> {
    fn drop(&mut self) {
        self.0.fetch_or(thread::panicking(), Ordering::Relaxed);
    }
}

/// The users of one thread.
fn asks(number: usize, sale: &str, addresses: [SocketAddr; 2], granted: &AtomicUsize) -> Sold {
    let mut line = Line { addresses, turn: number, buyer: None, again: 0 };
    let mut reservations = Vec::new();
    for user in (number..USERS).step_by(THREADS) {
        let name = format!("user {user}");
        let mut got = 0;
        for unit in 0..=LIMIT {
            line.next();
            let key = format!("unit {unit} of {user}");
            let answer = line.ask(|buyer| buyer.reserve(sale, &name, 1, &key));
            let json = answer.json();
            match (json["id"].as_str(), json["code"].as_str()) {
                (Some(id), _) => {
                    got += 1;
                    granted.fetch_add(1, Ordering::Relaxed);
                    reservations.push(Reservation {
                        id: id.to_owned(),
                        user: Some(name.clone()),
                        key: Some(key),
                        quantity: 1,
                        status: "held".into(),
                        expires_at: json["expires_at"].as_str().expect("a time").to_owned(),
                    });
                }
                (None, Some("limit_reached")) => assert_eq!(got, LIMIT, "{name}"),
                (None, Some("sold_out")) => {}
                _ => panic!("{name}: {answer:?}"),
            }
        }
        assert!(got <= LIMIT, "{name} got {got}");
    }
    Sold { reservations, again: line.again }
}

/// A connection to one of the two servers.
struct Line {
    addresses: [SocketAddr; 2],
    turn: usize,
    buyer: Option<Buyer>,
    again: usize,
}

impl Line {
    /// Switches to the other server.
    fn next(&mut self) {
        self.turn += 1;
        self.buyer = None;
    }

    /// Asks until a server has given a final answer.
    fn ask(&mut self, ask: impl Fn(&mut Buyer) -> std::io::Result<Answer>) -> Answer {
        let until = Instant::now() + DEADLINE;
        loop {
            assert!(Instant::now() < until, "no server answers");
            let answer = match &mut self.buyer {
                Some(buyer) => ask(buyer),
                none => Buyer::connect(self.addresses[self.turn % 2])
                    .and_then(|buyer| ask(none.insert(buyer))),
            };
            match answer {
                Ok(answer) if answer.status != 503 => return answer,
                Ok(_) => thread::sleep(Duration::from_millis(5)),
                Err(_) => self.next(),
            }
            self.again += 1;
        }
    }
}
