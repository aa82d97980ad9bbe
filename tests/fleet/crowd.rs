//! Buyers with keys, each of whom asks until he knows, and their answers.

use std::collections::{BTreeMap, HashMap, HashSet};
use std::net::SocketAddr;
use std::sync::Mutex;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::thread;
use std::time::{Duration, Instant};

use crate::buyer::{Bought, Buyer};
use crate::lab::until;

/// Far more time than any sale here takes.
const PATIENCE: Duration = Duration::from_secs(120);

/// A crowd's answers about one sale.
pub struct Crowd {
    sale: String,
    servers: Vec<SocketAddr>,
    grants: Mutex<HashMap<String, Instant>>,
    count: AtomicUsize,
    /// Number of each answer other than granted and sold out.
    refusals: Mutex<BTreeMap<String, usize>>,
    longest: Mutex<Duration>,
    stop: AtomicBool,
    /// Buyers pause between two purchases, and how many do.
    halted: AtomicBool,
    waiting: AtomicUsize,
}

impl Crowd {
    /// A crowd that uses these servers in turn.
    pub fn new(sale: &str, servers: &[SocketAddr]) -> Self {
        Self {
            sale: sale.to_owned(),
            servers: servers.to_vec(),
            grants: Mutex::default(),
            count: AtomicUsize::new(0),
            refusals: Mutex::default(),
            longest: Mutex::default(),
            stop: AtomicBool::new(false),
            halted: AtomicBool::new(false),
            waiting: AtomicUsize::new(0),
        }
    }

    /// Has this number of buyers buy at a time until everything is sold (or until
    /// [`stop`](Self::stop)).
    pub fn buy<'scope>(&'scope self, scope: &'scope thread::Scope<'scope, '_>, buyers: usize) {
        for number in 0..buyers {
            scope.spawn(move || self.one_after_the_other(number));
        }
    }

    /// Ends the buyers, each after his next answer.
    pub fn stop(&self) {
        self.stop.store(true, Ordering::Relaxed);
    }

    /// Pauses every buyer between two purchases, and returns when all of them pause.
    pub fn halt(&self, buyers: usize) {
        self.halted.store(true, Ordering::SeqCst);
        until("all buyers wait", PATIENCE, || self.waiting.load(Ordering::SeqCst) == buyers);
    }

    /// Lets them continue.
    pub fn go_on(&self) {
        self.halted.store(false, Ordering::SeqCst);
    }

    fn wait_while_halted(&self) {
        if self.halted.load(Ordering::SeqCst) {
            self.waiting.fetch_add(1, Ordering::SeqCst);
            while self.halted.load(Ordering::SeqCst) {
                thread::sleep(Duration::from_millis(1));
            }
            self.waiting.fetch_sub(1, Ordering::SeqCst);
        }
    }

    /// How many have a reservation.
    pub fn granted(&self) -> usize {
        self.count.load(Ordering::Relaxed)
    }

    fn one_after_the_other(&self, number: usize) {
        let (mut turn, mut connection) = (number, None);
        for attempt in 0.. {
            self.wait_while_halted();
            let (user, key) = (format!("u{number}-{attempt}"), format!("k{number}-{attempt}"));
            let since = Instant::now();
            loop {
                assert!(since.elapsed() < PATIENCE, "a buyer still does not know");
                let buyer = match &mut connection {
                    Some(buyer) => buyer,
                    gone => {
                        turn += 1;
                        let server = self.servers[turn % self.servers.len()];
                        gone.insert(Buyer::connect(server).expect("a server"))
                    }
                };
                match buyer.reserve(&self.sale, &user, 1, &key).map(|answer| answer.bought()) {
                    Ok(Bought::Granted(id)) => {
                        self.grants.lock().expect("the list").insert(id, Instant::now());
                        self.count.fetch_add(1, Ordering::Relaxed);
                        break;
                    }
                    Ok(Bought::Refused(code)) if code == "sold_out" => return,
                    Ok(Bought::Refused(code)) => {
                        assert!(["unknown", "unavailable", "busy"].contains(&&*code), "{code}");
                        *self.refusals.lock().expect("the list").entry(code).or_default() += 1;
                        thread::sleep(Duration::from_millis(10));
                    }
                    Err(_) => connection = None,
                }
            }
            let mut longest = self.longest.lock().expect("the time");
            *longest = longest.max(since.elapsed());
            if self.stop.load(Ordering::Relaxed) {
                return;
            }
        }
    }

    /// The reservations that they have.
    pub fn told(&self) -> HashSet<String> {
        self.grants.lock().expect("the list").keys().cloned().collect()
    }

    /// The other answers, with the number of each.
    pub fn refusals(&self) -> BTreeMap<String, usize> {
        self.refusals.lock().expect("the list").clone()
    }

    /// The longest time that a buyer waited until he knew.
    pub fn longest_wait(&self) -> Duration {
        *self.longest.lock().expect("the time")
    }

    /// The longest time without a grant, between the first grant and the last.
    pub fn longest_pause(&self) -> Duration {
        let mut at: Vec<Instant> =
            self.grants.lock().expect("the list").values().copied().collect();
        at.sort_unstable();
        at.windows(2).map(|pair| pair[1] - pair[0]).max().unwrap_or_default()
    }

    /// The first grant after a point in time.
    pub fn first_after(&self, since: Instant) -> Option<Instant> {
        self.grants.lock().expect("the list").values().copied().filter(|at| *at > since).min()
    }
}
