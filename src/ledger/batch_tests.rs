//! The batcher against a fake ledger: what becomes of the tickets, and who is asked about what.

use std::collections::HashMap;
use std::rc::Rc;

use super::*;
use crate::ledger::LedgerError;
use crate::sale::{Key, ReservationId, Reserve, User};
use crate::test_coroutines::{beside, run};

const DEADLINE_MS: u64 = 2_000;

/// Sells so many units of each sale, one command after the other.
#[derive(Default)]
struct FakeLedger {
    left: HashMap<String, u64>,
    batches: usize,
}

impl FakeLedger {
    fn with(sales: &[(&str, u64)]) -> Self {
        let left = sales.iter().map(|(sale, units)| ((*sale).to_owned(), *units)).collect();
        Self { left, batches: 0 }
    }

    /// Answers one batch.
    fn serve(&mut self, batcher: &Batcher, now_ms: u64) {
        self.batches += 1;
        let (batch, flight) = batcher.take_batch(now_ms);
        let answer = |group: &crate::ledger::Group| {
            let Some(left) = self.left.get_mut(group.sale.as_str()) else {
                let outcomes = vec![Outcome::UnknownSale; group.commands.len()];
                return Ok(GroupReply { outcomes, free: None, now_ms });
            };
            let outcomes = group.commands.iter().map(|command| match command {
                Command::Reserve(reserve) if *left >= u64::from(reserve.quantity) => {
                    *left -= u64::from(reserve.quantity);
                    Outcome::Granted { expires_at_ms: now_ms + 1 }
                }
                _ => Outcome::SoldOut { free: *left },
            });
            let outcomes = outcomes.collect();
            Ok(GroupReply { outcomes, free: Some(*left), now_ms })
        };
        batcher.complete(flight, batch.groups.iter().map(answer).collect());
    }
}

fn sale(name: &str) -> SaleId {
    SaleId::new(name).unwrap()
}

fn purchase(number: u128, key: Option<&str>) -> Command {
    Command::Reserve(Reserve {
        id: ReservationId(number),
        quantity: 1,
        user: key.map(|_| User::new("ann").unwrap()),
        key: key.map(|key| Key::new(key).unwrap()),
    })
}

fn batcher(waiting_max: usize) -> Batcher {
    let batcher = Batcher::new(waiting_max, DEADLINE_MS);
    batcher.set_available();
    batcher
}

fn buy(batcher: &Batcher, now_ms: u64, name: &str) -> Result<Ticket, Failure> {
    batcher.submit(now_ms, &sale(name), true, purchase(1, None), 1)
}

fn granted(answer: &Answer) -> bool {
    matches!(answer, Ok(Outcome::Granted { .. }))
}

#[test]
fn a_buyer_beside_four_thousand_of_another_sale_is_in_the_next_batch() {
    let batcher = batcher(5_000);
    let mut ledger = FakeLedger::with(&[("hot", 1_000_000), ("cold", 10)]);
    let mut waiting: Vec<Ticket> = (0..4_000).map(|_| buy(&batcher, 0, "hot").unwrap()).collect();
    for now_ms in 0..20 {
        let cold = buy(&batcher, now_ms, "cold").unwrap();
        let before = ledger.batches;
        ledger.serve(&batcher, now_ms);
        // It has its answer, so this does not suspend.
        let answer = batcher.wait(cold);
        assert_eq!(granted(&answer), now_ms < 10, "{answer:?}");
        assert_eq!(ledger.batches, before + 1);
        // Those who were answered ask again.
        let served = waiting.drain(..BATCH_MAX - 1).collect::<Vec<_>>();
        served.into_iter().for_each(|ticket| assert!(granted(&batcher.wait(ticket))));
        waiting.extend((1..BATCH_MAX).map(|_| buy(&batcher, now_ms, "hot").unwrap()));
    }
    drop_all(&batcher, waiting);
}

/// Who of a crowd has gone on with his answer, whether the one buyer of another sale has, and whether
/// the next batch may leave.
#[derive(Debug, PartialEq)]
struct Told {
    crowd: usize,
    other: bool,
    may_leave: bool,
}

#[test]
fn a_crowd_is_told_in_turns_another_sale_first_and_the_next_batch_waits_for_it() {
    let told = run(|| {
        let batcher = Rc::new(batcher(5_000));
        let mut ledger = FakeLedger::with(&[("hot", 1_000_000), ("cold", 10)]);
        let (crowd, other) = (Rc::new(Cell::new(0)), Rc::new(Cell::new(false)));
        for _ in 0..2 * BATCH_MAX {
            beside((batcher.clone(), crowd.clone()), |(batcher, crowd)| {
                let ticket = buy(&batcher, 0, "hot").unwrap();
                assert!(granted(&batcher.wait(ticket)));
                crowd.set(crowd.get() + 1);
            });
        }
        beside((batcher.clone(), other.clone()), |(batcher, other)| {
            let ticket = buy(&batcher, 0, "cold").unwrap();
            other.set(granted(&batcher.wait(ticket)));
        });
        // A link that is idle, so that it can be told to go on.
        beside(batcher.clone(), |batcher| {
            *batcher.idle_link.borrow_mut() = Some(coroutine::current());
            while batcher.has_more() {
                coroutine::park();
            }
        });
        let look = || {
            coroutine::yield_now();
            Told { crowd: crowd.get(), other: other.get(), may_leave: batcher.has_told() }
        };
        ledger.serve(&batcher, 0);
        let kicked = batcher.kick();
        let mut told = vec![look()];
        batcher.wake_more();
        told.push(look());
        (0..128).for_each(|_| batcher.wake_one());
        told.push(look());
        while batcher.wake_more() {}
        told.push(look());
        let then_kicked = batcher.kick();
        ledger.serve(&batcher, 0);
        ledger.serve(&batcher, 0);
        while batcher.wake_more() {}
        told.push(look());
        (told, kicked, then_kicked)
    });
    let step = |crowd, may_leave| Told { crowd, other: true, may_leave };
    let steps = vec![
        step(WAKES_MAX, false),
        step(2 * WAKES_MAX, false),
        step(2 * WAKES_MAX + 128, true),
        step(BATCH_MAX - 1, true),
        step(2 * BATCH_MAX, true),
    ];
    assert_eq!(told, (steps, false, true));
}

#[test]
fn first_come_first_served_within_a_sale() {
    let batcher = batcher(5_000);
    let mut ledger = FakeLedger::with(&[("hot", 700)]);
    let waiting: Vec<Ticket> = (0..2_000).map(|_| buy(&batcher, 0, "hot").unwrap()).collect();
    while batcher.has_more() {
        ledger.serve(&batcher, 1);
    }
    let answers: Vec<bool> =
        waiting.into_iter().map(|ticket| granted(&batcher.wait(ticket))).collect();
    assert!(answers[..700].iter().all(|granted| *granted));
    assert!(!answers[700..].iter().any(|granted| *granted));
}

#[test]
fn only_those_who_waited_too_long_are_told_busy() {
    let batcher = batcher(100);
    let early = buy(&batcher, 0, "a").unwrap();
    let late = buy(&batcher, 1_000, "a").unwrap();
    let other = buy(&batcher, 1_000, "b").unwrap();
    batcher.fail_overdue(DEADLINE_MS + 1);
    assert_eq!(batcher.wait(early), Err(Failure::Busy));
    let mut ledger = FakeLedger::with(&[("a", 5), ("b", 5)]);
    ledger.serve(&batcher, DEADLINE_MS + 2);
    assert!(granted(&batcher.wait(late)) && granted(&batcher.wait(other)));
}

#[test]
fn one_sale_leaves_places_for_others() {
    let batcher = batcher(90);
    let mut waiting = Vec::new();
    while let Ok(ticket) = buy(&batcher, 0, "hot") {
        waiting.push(ticket);
    }
    assert_eq!(waiting.len(), 80);
    let cold = buy(&batcher, 0, "cold").expect("a place is left");
    let mut ledger = FakeLedger::with(&[("hot", 100), ("cold", 1)]);
    ledger.serve(&batcher, 1);
    assert!(granted(&batcher.wait(cold)));
    drop_all(&batcher, waiting);
    assert_eq!(batcher.waiting(), 0);
}

#[test]
fn whoever_has_not_been_sent_hears_what_everybody_is_told_but_not_with_a_key() {
    let batcher = batcher(100);
    let plain = buy(&batcher, 0, "a").unwrap();
    let keyed = batcher.submit(0, &sale("a"), true, purchase(2, Some("k")), 1).unwrap();
    let other = buy(&batcher, 0, "b").unwrap();
    let units = batcher.answer_unsent(&sale("a"), &Outcome::SoldOut { free: 0 });
    assert_eq!(units, 1, "its allowance is given back");
    assert_eq!(batcher.wait(plain), Ok(Outcome::SoldOut { free: 0 }));
    let mut ledger = FakeLedger::with(&[("a", 0), ("b", 1)]);
    ledger.serve(&batcher, 1);
    assert_eq!(batcher.wait(keyed), Ok(Outcome::SoldOut { free: 0 }));
    assert!(granted(&batcher.wait(other)));
}

#[test]
fn a_ledger_that_goes_away_leaves_nobody_waiting() {
    let batcher = batcher(100);
    let sent = buy(&batcher, 0, "a").unwrap();
    let (_, flight) = batcher.take_batch(0);
    let unsent = buy(&batcher, 0, "a").unwrap();
    batcher.fail(flight, Failure::from(&LedgerError::Lost("gone".into())));
    batcher.set_unavailable();
    assert_eq!(batcher.wait(sent), Err(Failure::Unknown));
    assert_eq!(batcher.wait(unsent), Err(Failure::Unavailable));
    assert_eq!(buy(&batcher, 0, "a").unwrap_err(), Failure::Unavailable);
}

#[test]
fn whoever_learns_of_answers_is_told_when_they_were_asked() {
    struct Asked(Rc<Cell<u64>>);
    impl Settle for Asked {
        fn settle(&self, _: &SaleId, _: &[Entry], _: Result<&GroupReply, Failure>, asked_ms: u64) {
            self.0.set(asked_ms);
        }
        fn give_up(&self, _: &SaleId) {}
    }
    let batcher = batcher(100);
    let asked = Rc::new(Cell::new(0));
    batcher.set_settle(Box::new(Asked(asked.clone())));
    let ticket = buy(&batcher, 100, "a").unwrap();
    let (batch, flight) = batcher.take_batch(150);
    let outcomes = vec![Outcome::SoldOut { free: 0 }; batch.groups[0].commands.len()];
    let reply = GroupReply { outcomes, free: Some(0), now_ms: 0 };
    batcher.complete(flight, vec![Ok(reply)]);
    assert_eq!(asked.get(), 150);
    assert_eq!(batcher.wait(ticket), Ok(Outcome::SoldOut { free: 0 }));
}

/// Answers whoever still waits.
fn drop_all(batcher: &Batcher, waiting: Vec<Ticket>) {
    batcher.set_unavailable();
    waiting.into_iter().for_each(|ticket| _ = batcher.wait(ticket));
}
