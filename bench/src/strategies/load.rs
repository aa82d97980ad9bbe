//! The buyers, equal for every strategy: a rush over a fixed number of connections, later payments
//! over other connections, and, after the rush, buyers that want a returned unit.
//!
//! A buyer's number decides whether and when it pays, so every strategy meets the same buyers.

use std::cmp::Reverse;
use std::collections::BinaryHeap;
use std::sync::atomic::{AtomicBool, AtomicU32, Ordering};
use std::sync::{Barrier, Condvar, Mutex, PoisonError};
use std::thread;
use std::time::{Duration, Instant};

use crate::error::{Result, fail};

/// Connections of the late buyers, and the interval of their attempts.
const LATE_CONNECTIONS: u32 = 4;
const LATE_PAUSE: Duration = Duration::from_millis(4);
/// Time for which late buyers continue after every hold of the rush has ended.
const LATE_GRACE: Duration = Duration::from_millis(2_500);
/// Deadline for every order to be in the database.
const ORDERS_DEADLINE: Duration = Duration::from_secs(30);
const POLL: Duration = Duration::from_millis(10);

/// A strategy.
pub trait Strategy: Sync {
    /// One buyer's connection.
    fn desk(&self) -> Result<Box<dyn Desk>>;
    /// Background work: each helper is called repeatedly until the end.
    fn helpers(&self) -> Result<Vec<Helper>>;
    /// Number of paid orders in the database.
    fn confirmed(&self) -> Result<u64>;
}

/// One step of background work. It waits by itself if there is nothing to do.
pub type Helper = Box<dyn FnMut() -> Result<()> + Send>;

/// A buyer's connection to the sale.
pub trait Desk: Send {
    /// Orders a unit. `None`: sold out. Otherwise the order to pay for.
    fn order(&mut self, buyer: u32) -> Result<Option<String>>;
    /// Pays.
    fn pay(&mut self, order: &str) -> Result<Payment>;
}

/// The result of a payment.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Payment {
    /// The unit is the buyer's.
    Done,
    /// The buyer had a grant and paid, but there is no unit.
    Refunded,
}

/// The buyers.
#[derive(Debug, Clone, Copy)]
pub struct Crowd {
    /// Units for sale.
    pub stock: u32,
    /// Buyers in the rush.
    pub buyers: u32,
    /// Connections of the rush.
    pub connections: u32,
    /// Connections of the payments.
    pub pay_connections: u32,
    /// Percentage of granted buyers in the rush that never pay.
    pub unpaid_percent: u32,
    /// Hold time of a unit, if the strategy holds.
    pub hold: Duration,
}

/// The results.
#[derive(Debug, Default)]
pub struct Seen {
    /// Waits of the granted buyers of the rush, ascending.
    pub granted: Vec<Duration>,
    /// Waits of the refused buyers of the rush, ascending.
    pub refused: Vec<Duration>,
    /// Time from the start of the rush to its last grant.
    pub granting: Duration,
    /// Units paid for.
    pub paid: u32,
    /// Refunded payments.
    pub refunded: u32,
    /// Time from the last payment until the database had every order.
    pub orders_complete: Duration,
}

impl Crowd {
    fn pays(&self, buyer: u32) -> bool {
        spread(buyer) % 100 >= u64::from(self.unpaid_percent)
    }

    /// 50 to 200 ms.
    fn thinks(buyer: u32) -> Duration {
        Duration::from_millis(50 + (spread(buyer) >> 32) % 151)
    }
}

/// Bits of a number that look random, by SplitMix64.
fn spread(number: u32) -> u64 {
    let mut z = u64::from(number).wrapping_add(1).wrapping_mul(0x9e37_79b9_7f4a_7c15);
    z = (z ^ (z >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
    z = (z ^ (z >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
    z ^ (z >> 31)
}

/// Buyers that will pay, by time.
#[derive(Default)]
struct Till {
    queue: Mutex<Queue>,
    changed: Condvar,
}

#[derive(Default)]
struct Queue {
    waiting: BinaryHeap<Reverse<(Instant, String)>>,
    closed: bool,
}

impl Till {
    fn put(&self, at: Instant, order: String) {
        let mut queue = self.queue.lock().unwrap_or_else(PoisonError::into_inner);
        queue.waiting.push(Reverse((at, order)));
        self.changed.notify_one();
    }

    fn close(&self) {
        self.queue.lock().unwrap_or_else(PoisonError::into_inner).closed = true;
        self.changed.notify_all();
    }

    /// The next due payment. `None`: there are no more.
    fn next(&self) -> Option<String> {
        let mut queue = self.queue.lock().unwrap_or_else(PoisonError::into_inner);
        loop {
            let now = Instant::now();
            let wait = match queue.waiting.peek() {
                Some(Reverse((at, _))) if *at <= now => {
                    return queue.waiting.pop().map(|Reverse((_, order))| order);
                }
                Some(Reverse((at, _))) => *at - now,
                None if queue.closed => return None,
                None => Duration::from_secs(1),
            };
            let woken = self.changed.wait_timeout(queue, wait);
            queue = woken.unwrap_or_else(PoisonError::into_inner).0;
        }
    }
}

/// One answer in the rush: since its start, how long it took, and whether it was a yes.
type Answered = (Duration, Duration, bool);

struct Shared {
    crowd: Crowd,
    till: Till,
    next_buyer: AtomicU32,
    /// Units that are or will be paid for.
    wanted: AtomicU32,
    over: AtomicBool,
}

/// Runs the buyers and returns the results. A failure of any connection is an `Err`.
pub fn run(strategy: &dyn Strategy, crowd: Crowd) -> Result<Seen> {
    let shared = Shared {
        crowd,
        till: Till::default(),
        next_buyer: AtomicU32::new(0),
        wanted: AtomicU32::new(0),
        over: AtomicBool::new(false),
    };
    let desks = |count: u32| (0..count).map(|_| strategy.desk()).collect::<Result<Vec<_>>>();
    let (rush, pay, late) =
        (desks(crowd.connections)?, desks(crowd.pay_connections)?, desks(LATE_CONNECTIONS)?);
    let helpers = strategy.helpers()?;
    let shared = &shared;

    thread::scope(|scope| {
        let helpers: Vec<_> =
            helpers.into_iter().map(|h| scope.spawn(|| help(shared, h))).collect();
        let tills: Vec<_> =
            pay.into_iter().map(|d| scope.spawn(|| take_payments(shared, d))).collect();
        let seen = (|| {
            let barrier = Barrier::new(rush.len());
            let rushing = thread::scope(|inner| {
                let buyers = rush.into_iter().map(|d| inner.spawn(|| hurry(shared, d, &barrier)));
                let buyers: Vec<_> = buyers.collect();
                buyers.into_iter().map(joined).collect::<Result<Vec<_>>>()
            })?;
            let until = Instant::now() + crowd.hold + LATE_GRACE;
            thread::scope(|inner| {
                let late =
                    late.into_iter().map(|d| inner.spawn(move || look_again(shared, d, until)));
                let late: Vec<_> = late.collect();
                late.into_iter().try_for_each(joined)
            })?;
            Ok(sum_up(rushing.into_iter().flatten().collect()))
        })();
        shared.till.close();
        let payments = tills.into_iter().map(joined).collect::<Result<Vec<_>>>();
        let seen = seen.and_then(|seen| complete(strategy, seen, &payments?));
        shared.over.store(true, Ordering::Relaxed);
        helpers.into_iter().try_for_each(joined)?;
        seen
    })
}

fn joined<T>(thread: thread::ScopedJoinHandle<'_, Result<T>>) -> Result<T> {
    thread.join().unwrap_or_else(|_| fail("a connection's thread panicked"))
}

fn help(shared: &Shared, mut helper: Helper) -> Result<()> {
    while !shared.over.load(Ordering::Relaxed) {
        helper()?;
    }
    Ok(())
}

fn hurry(shared: &Shared, mut desk: Box<dyn Desk>, barrier: &Barrier) -> Result<Vec<Answered>> {
    let mut answered = Vec::new();
    barrier.wait();
    let started = Instant::now();
    loop {
        let buyer = shared.next_buyer.fetch_add(1, Ordering::Relaxed);
        if buyer >= shared.crowd.buyers {
            return Ok(answered);
        }
        let asked = Instant::now();
        let order = desk.order(buyer)?;
        let now = Instant::now();
        answered.push((now - started, now - asked, order.is_some()));
        if let Some(order) = order.filter(|_| shared.crowd.pays(buyer)) {
            shared.wanted.fetch_add(1, Ordering::Relaxed);
            shared.till.put(now + Crowd::thinks(buyer), order);
        }
    }
}

/// Late buyers, who always pay.
fn look_again(shared: &Shared, mut desk: Box<dyn Desk>, until: Instant) -> Result<()> {
    while Instant::now() < until && shared.wanted.load(Ordering::Relaxed) < shared.crowd.stock {
        let buyer = shared.next_buyer.fetch_add(1, Ordering::Relaxed);
        if let Some(order) = desk.order(buyer)? {
            shared.wanted.fetch_add(1, Ordering::Relaxed);
            shared.till.put(Instant::now() + Crowd::thinks(buyer), order);
        }
        thread::sleep(LATE_PAUSE);
    }
    Ok(())
}

fn take_payments(shared: &Shared, mut desk: Box<dyn Desk>) -> Result<(u32, u32)> {
    let (mut paid, mut refunded) = (0, 0);
    while let Some(order) = shared.till.next() {
        match desk.pay(&order)? {
            Payment::Done => paid += 1,
            Payment::Refunded => refunded += 1,
        }
    }
    Ok((paid, refunded))
}

fn sum_up(answered: Vec<Answered>) -> Seen {
    let waited = |yes: bool| {
        let mut waited: Vec<_> =
            answered.iter().filter(|(_, _, y)| *y == yes).map(|(_, waited, _)| *waited).collect();
        waited.sort();
        waited
    };
    let last_yes = answered.iter().filter(|(_, _, yes)| *yes).map(|(at, _, _)| *at).max();
    Seen {
        granted: waited(true),
        refused: waited(false),
        granting: last_yes.unwrap_or_default(),
        ..Seen::default()
    }
}

/// Waits until the database has every paid order.
fn complete(strategy: &dyn Strategy, mut seen: Seen, payments: &[(u32, u32)]) -> Result<Seen> {
    seen.paid = payments.iter().map(|(paid, _)| paid).sum();
    seen.refunded = payments.iter().map(|(_, refunded)| refunded).sum();
    let started = Instant::now();
    loop {
        let confirmed = strategy.confirmed()?;
        if confirmed == u64::from(seen.paid) {
            seen.orders_complete = started.elapsed();
            return Ok(seen);
        }
        if started.elapsed() > ORDERS_DEADLINE {
            return fail(format!(
                "buyers paid for {} units, but the database has {confirmed} paid orders",
                seen.paid
            ));
        }
        thread::sleep(POLL);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_paying_share_and_think_times_are_as_configured() {
        let crowd = Crowd {
            stock: 1,
            buyers: 10_000,
            connections: 1,
            pay_connections: 1,
            unpaid_percent: 30,
            hold: Duration::ZERO,
        };
        let paying = (0..crowd.buyers).filter(|&buyer| crowd.pays(buyer)).count();
        assert!((6_800..7_200).contains(&paying), "{paying}");
        let thinks = (0..crowd.buyers).map(|buyer| Crowd::thinks(buyer).as_millis());
        assert_eq!((thinks.clone().min(), thinks.max()), (Some(50), Some(200)));
    }

    #[test]
    fn the_till_returns_payments_in_due_order_and_ends() {
        let till = Till::default();
        let now = Instant::now();
        till.put(now + Duration::from_millis(20), "later".into());
        till.put(now, "first".into());
        till.close();
        let order: Vec<_> = std::iter::from_fn(|| till.next()).collect();
        assert_eq!(order, ["first", "later"]);
    }
}
