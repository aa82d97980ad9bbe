//! A buyer whose connection breaks: his requests, his answers, and what he cannot know.

use std::net::{Shutdown, SocketAddr};
use std::sync::{Mutex, PoisonError};
use std::thread;
use std::time::{Duration, Instant};

use rustix::net::sockopt::set_socket_linger;

use crate::buyer::{Answer, Bought, Buyer, request_text, reserve_text};
use crate::chance::Chance;
use crate::history::{Call, NEVER, Operation, Said, Status};

/// Keys that a user uses at the same time.
const KEYS_AT_ONCE: usize = 3;
/// Steps after which a user goes on to the next key.
const STEPS_PER_KEY: usize = 5;

/// A client remembers one in this number of reservations.
const RECENT: usize = 5;

/// A sale under test.
pub struct Round {
    /// The sale.
    pub sale: String,
    /// The servers' public ports.
    pub servers: Vec<SocketAddr>,
    /// Their control ports.
    pub controls: Vec<SocketAddr>,
    /// Zero of the clock.
    pub since: Instant,
    /// Per user: the reservations in answers.
    pub known: Vec<Mutex<Vec<String>>>,
}

impl Round {
    /// Nanoseconds since the round began.
    pub fn now(&self) -> u64 {
        self.since.elapsed().as_nanos() as u64
    }

    fn known(&self, user: usize) -> Vec<String> {
        self.known[user].lock().unwrap_or_else(PoisonError::into_inner).clone()
    }

    fn note(&self, user: usize, id: &str) {
        let mut known = self.known[user].lock().unwrap_or_else(PoisonError::into_inner);
        if !known.iter().any(|other| other == id) {
            known.push(id.to_owned());
        }
    }
}

/// How a request ends.
#[derive(Debug, Clone, Copy)]
enum Ending {
    /// After its answer.
    Answered,
    /// The same, but the client announces first that nothing more comes.
    HalfClosed,
    /// Before all of it is sent.
    CutWithin,
    /// After this time, with nothing read.
    CutAfter(Duration),
}

/// What is known of a request.
enum Heard {
    Said(Said),
    /// It did nothing.
    Nothing,
    /// It may have done its work.
    Unknown,
}

/// One of the clients. Some share a user, and so keys and reservations.
pub struct Client<'a> {
    round: &'a Round,
    chance: Chance,
    user: usize,
    number: usize,
    lines: Vec<Option<Buyer>>,
    purchases: usize,
    /// This client's requests and answers.
    pub history: Vec<Operation>,
}

impl<'a> Client<'a> {
    /// A client for this user.
    pub fn new(round: &'a Round, chance: Chance, user: usize, number: usize) -> Self {
        let lines = round.servers.iter().map(|_| None).collect();
        Self { round, chance, user, number, lines, purchases: 0, history: Vec::new() }
    }

    /// Makes this number of steps.
    pub fn run(&mut self, steps: usize) {
        for step in 0..steps {
            let known = self.round.known(self.user);
            // Mostly one of the last, which is not finished yet.
            let back = self.chance.below(RECENT).min(known.len().max(1) - 1);
            let about = known.iter().rev().nth(back).cloned();
            let call = match (self.chance.below(20), about) {
                (0..4, Some(id)) => Call::Cancel(id),
                (4..6, Some(id)) => Call::Confirm(id),
                (6, Some(id)) => Call::Show(id),
                (17..20, Some(id)) => Call::Refund(id),
                (7..9, _) => {
                    self.purchases += 1;
                    // So that the owner of the reservation is known.
                    let user = format!("{}-{}-{}", self.round.sale, self.number, self.purchases);
                    Call::Buy { user, key: None }
                }
                _ => {
                    let key = step / STEPS_PER_KEY + self.chance.below(KEYS_AT_ONCE);
                    self.buy(key)
                }
            };
            let ending = match self.chance.below(10) {
                0 => Ending::CutWithin,
                1 | 2 => Ending::CutAfter(Duration::from_micros(self.chance.below(3_000) as u64)),
                3 => Ending::CutAfter(Duration::ZERO),
                4 => Ending::HalfClosed,
                _ => Ending::Answered,
            };
            let ending = match (&call, ending) {
                // Nobody could find out whether such a purchase happened: each would double what
                // the checker has to try.
                (Call::Buy { key: None, .. }, Ending::CutAfter(_)) => Ending::HalfClosed,
                _ => ending,
            };
            self.ask(call, ending);
            if self.chance.below(4) == 0 {
                thread::sleep(Duration::from_micros(self.chance.below(20_000) as u64));
            }
        }
    }

    /// Asks for everything once more, with no connection cut.
    pub fn find_out(&mut self, steps: usize) {
        for key in 0..steps.div_ceil(STEPS_PER_KEY) - 1 + KEYS_AT_ONCE {
            let call = self.buy(key);
            self.ask(call, Ending::Answered);
        }
        for id in self.round.known(self.user) {
            self.ask(Call::Show(id), Ending::Answered);
        }
    }

    fn buy(&self, key: usize) -> Call {
        let user = format!("{}-user{}", self.round.sale, self.user);
        Call::Buy { user, key: Some(format!("key{key}")) }
    }

    fn ask(&mut self, call: Call, ending: Ending) {
        let (round, at) = (self.round, self.chance.below(self.lines.len()));
        let text = self.text(&call);
        let kept = if matches!(call, Call::Refund(_)) { None } else { self.lines[at].take() };
        let port = match call {
            Call::Refund(_) => round.controls[at],
            _ => round.servers[at],
        };
        let mut line = kept.unwrap_or_else(|| Buyer::connect(port).expect("connect to the server"));
        let began = round.now();
        let heard = match ending {
            Ending::CutWithin => {
                line.send(&text[..1 + self.chance.below(text.len() - 1)]).expect("send");
                self.cut(line);
                Heard::Nothing
            }
            Ending::CutAfter(time) => {
                line.send(&text).expect("send");
                if !time.is_zero() {
                    thread::sleep(time);
                }
                self.cut(line);
                Heard::Unknown
            }
            Ending::HalfClosed => {
                line.send(&text).expect("send");
                line.socket().shutdown(Shutdown::Write).expect("half-close");
                heard(&call, &line.answer().expect("an answer to a half-closed connection"))
            }
            Ending::Answered => {
                let answer = line.ask(&text).expect("an answer");
                if port == round.servers[at] {
                    self.lines[at] = Some(line);
                }
                heard(&call, &answer)
            }
        };
        let (ended, said) = match heard {
            Heard::Nothing => return,
            Heard::Unknown => (NEVER, None),
            Heard::Said(said) => (round.now(), Some(said)),
        };
        if let (Call::Buy { key: Some(_), .. }, Some(Said::Reservation { id, .. })) = (&call, &said)
        {
            round.note(self.user, id);
        }
        self.history.push(Operation { began, ended, call, said });
    }

    /// Ends a connection: by a reset, or in order.
    fn cut(&mut self, line: Buyer) {
        if self.chance.below(2) == 0 {
            set_socket_linger(line.socket(), Some(Duration::ZERO)).expect("no lingering");
        }
    }

    fn text(&mut self, call: &Call) -> String {
        match call {
            // The article's way, where there is one, and ours.
            Call::Buy { user, key } if self.round.sale == "ticket" && self.chance.below(2) == 0 => {
                let mut headers = vec![("X-User-Id", user.as_str())];
                headers.extend(key.as_deref().map(|key| ("Idempotency-Key", key)));
                request_text("GET", "/buy/ticket", &headers, "")
            }
            Call::Buy { user, key } => {
                reserve_text(&self.round.sale, user, 1, key.as_deref().unwrap_or(""))
            }
            Call::Cancel(id) => {
                request_text("POST", &format!("/v1/reservations/{id}/cancel"), &[], "")
            }
            Call::Confirm(id) => {
                request_text("POST", &format!("/v1/reservations/{id}/confirm"), &[], "")
            }
            Call::Refund(id) => {
                request_text("POST", &format!("/v1/reservations/{id}/refund"), &[], "")
            }
            Call::Show(id) => request_text("GET", &format!("/v1/reservations/{id}"), &[], ""),
            Call::AddStock(_) | Call::TakeStock(_) | Call::Look => unreachable!("an operator's"),
        }
    }
}

/// The meaning of an answer.
fn heard(call: &Call, answer: &Answer) -> Heard {
    let json = answer.json();
    let bought = if json["code"].is_number() { answer.bought_ticket() } else { answer.bought() };
    let said = match bought {
        Bought::Granted(id) if json["code"].is_number() => {
            Said::Reservation { id, is_new: None, status: None }
        }
        Bought::Granted(id) => {
            if let Call::Buy { user, .. } = call {
                assert_eq!(json["user"], **user, "somebody else's: {json}");
            }
            let status = Status::from_name(json["status"].as_str().expect("a status"));
            let is_new = matches!(call, Call::Buy { .. }).then_some(answer.status == 201);
            Said::Reservation { id, is_new, status }
        }
        Bought::Refused(code) => match (&*code, json["data"]["reservation"].as_str()) {
            ("already_cancelled" | "already_refunded", Some(id)) => {
                let is_back = code == "already_refunded";
                let status = Some(if is_back { Status::Refunded } else { Status::Cancelled });
                Said::Reservation { id: id.to_owned(), is_new: Some(false), status }
            }
            ("sold_out", _) => Said::SoldOut,
            ("limit_reached", _) => Said::LimitReached,
            ("already_cancelled", _) => Said::AlreadyCancelled,
            ("already_confirmed", _) => Said::AlreadyConfirmed,
            ("already_refunded", _) => Said::AlreadyRefunded,
            ("not_confirmed", _) => Said::NotConfirmed,
            ("busy" | "unavailable", _) => return Heard::Nothing,
            ("unknown", _) => return Heard::Unknown,
            _ => panic!("{call:?}: {json}"),
        },
    };
    Heard::Said(said)
}
