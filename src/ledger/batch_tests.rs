//! The batcher against a fake ledger: the answers to tickets, and the commands that are sent.

use std::collections::HashMap;
use std::rc::Rc;

use super::*;
use crate::ledger::{Group, LedgerError};
use crate::queue_limits::QueueLimits;
use crate::sale::{Key, ReservationId, Reserve, User};

const DEADLINE_MS: u64 = 2_000;

/// Sells a number of units of each sale, one command after the other.
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
        let flight = batcher.take_batch(now_ms);
        let answer = |group: &Group| {
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
        let results = flight.groups().iter().map(answer).collect();
        batcher.complete(flight, results);
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
        trace: None,
        details: None,
    })
}

fn batcher(waiting_max: usize) -> Batcher {
    let batcher = Batcher::new(QueueLimits::new(Some(waiting_max), DEADLINE_MS).into());
    batcher.set_available();
    batcher
}

fn buy(batcher: &Batcher, now_ms: u64, name: &str) -> Result<Ticket, Failure> {
    batcher.submit(now_ms, &sale(name), true, purchase(1, None), 1, None)
}

/// The woken waiters, in order, and whether each was woken before all others.
#[derive(Clone, Default)]
struct Heard(Rc<RefCell<Vec<(u64, bool)>>>);

impl Waker for Heard {
    fn wake(&self, asker: WaiterId, first: bool) {
        self.0.borrow_mut().push((asker.0, first));
    }

    fn pending(&self) -> usize {
        self.0.borrow().len()
    }
}

/// What the observer has learnt: when the last batch was taken, the returned units of allowance,
/// and the sales that are sold out.
#[derive(Clone, Default)]
struct Learnt {
    asked_ms: Rc<Cell<u64>>,
    units: Rc<Cell<u64>>,
    sold_out: Rc<RefCell<Vec<SaleId>>>,
}

impl OutcomeObserver for Learnt {
    fn on_group(
        &self,
        sale: &SaleId,
        _: &[SentCommand],
        result: Result<&GroupReply, Failure>,
        asked_ms: u64,
    ) {
        self.asked_ms.set(asked_ms);
        if result.is_ok_and(|reply| reply.free == Some(0)) {
            self.sold_out.borrow_mut().push(sale.clone());
        }
    }

    fn known_rejection(&self, sale: &SaleId) -> Option<Outcome> {
        self.sold_out.borrow().contains(sale).then_some(Outcome::SoldOut { free: 0 })
    }

    fn give_back(&self, _: &SaleId, units: u64) {
        self.units.set(self.units.get() + units);
    }

    fn on_abandoned(&self, _: &SaleId, _: &Outcome) {}

    fn on_overdue(&self, _: &SaleId) {}
}

fn granted(answer: &Answer) -> bool {
    matches!(answer, Ok(Outcome::Granted { .. }))
}

#[test]
fn a_buyer_is_in_the_next_batch_despite_a_crowd_at_another_sale() {
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

#[test]
fn a_small_sale_is_woken_first_and_the_next_batch_waits() {
    let (batcher, heard) = (batcher(5_000), Heard::default());
    batcher.set_waker(Box::new(heard.clone()));
    let mut ledger = FakeLedger::with(&[("hot", 1_000_000), ("cold", 10)]);
    let ask = |name: &str, asker| {
        let asker = Some(WaiterId(asker));
        batcher.submit(0, &sale(name), true, purchase(1, None), 1, asker).unwrap()
    };
    let crowd: Vec<_> = (0..2 * BATCH_MAX as u64).map(|asker| ask("hot", asker)).collect();
    let few: Vec<_> = (9_000..9_003).map(|asker| ask("cold", asker)).collect();
    ledger.serve(&batcher, 0);
    let told = heard.0.take();
    assert_eq!(told[..3], [(9_000, true), (9_001, true), (9_002, true)]);
    let rest: Vec<_> = (0..BATCH_MAX as u64 - 3).map(|asker| (asker, false)).collect();
    assert_eq!(told[3..], rest);
    heard.0.borrow_mut().extend(&told[..WOKEN_MAX + 1]);
    assert!(!batcher.has_resumed_most());
    heard.0.borrow_mut().pop();
    assert!(batcher.has_resumed_most());
    while batcher.has_more() {
        ledger.serve(&batcher, 0);
    }
    crowd.into_iter().chain(few).for_each(|ticket| assert!(granted(&batcher.wait(ticket))));
    assert_eq!(batcher.waiting(), 0);
}

#[test]
fn an_answer_returns_the_command_with_an_id_of_its_batch() {
    let batcher = batcher(100);
    let mut ledger = FakeLedger::with(&[("a", 10)]);
    let ids: Vec<u128> = (0..4)
        .map(|n| {
            let key = format!("k{n}");
            let command = purchase(0, Some(&key));
            let ticket = batcher.submit(0, &sale("a"), true, command, 1, None).unwrap();
            if n % 2 == 1 {
                ledger.serve(&batcher, 0);
            }
            ticket
        })
        .map(|ticket| match batcher.take(ticket) {
            Ok((Ok(_), Some(Command::Reserve(reserve)))) => reserve.id.0,
            _ => 0,
        })
        .collect();
    assert_eq!(ids[0], 0, "not answered yet");
    assert!(ids[1] != 0 && ids[3] != 0 && ids[1] >> 78 != ids[3] >> 78, "{ids:?}");
}

#[test]
fn abandoned_commands_are_removed_from_a_flight() {
    let (batcher, learnt) = (batcher(100), Learnt::default());
    batcher.set_observer(Box::new(learnt.clone()));
    let mut tickets: Vec<_> = (0..3).map(|_| buy(&batcher, 0, "a").unwrap()).collect();
    let mut flight = batcher.take_batch(0);
    let stays = flight.groups()[0].commands[1].clone();
    for at in [2, 0] {
        assert_eq!(batcher.give_up(tickets.remove(at)), None, "it was taken");
    }
    batcher.drop_given_up(&mut flight);
    assert_eq!((learnt.units.get(), &flight.groups()[0].commands[..]), (2, &[stays][..]));
    let reply = GroupReply { outcomes: vec![Outcome::Closed], free: Some(0), now_ms: 0 };
    batcher.complete(flight, vec![Ok(reply)]);
    assert_eq!(batcher.wait(tickets.remove(0)), Ok(Outcome::Closed));
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
fn only_overdue_requests_get_busy() {
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
fn a_step_for_requests_that_wait_needs_none_of_their_places() {
    let batcher = batcher(1);
    let waiting = buy(&batcher, 0, "a").expect("a place");
    assert!(matches!(buy(&batcher, 0, "b"), Err(Failure::Busy)));
    let steps = ["a", "b"].map(|name| batcher.submit_step(0, &sale(name), Command::Show));
    FakeLedger::with(&[("a", 1), ("b", 1)]).serve(&batcher, 1);
    for step in steps {
        assert!(batcher.wait(step.expect("no place is needed")).is_ok());
    }
    assert!(granted(&batcher.wait(waiting)));
    assert_eq!(batcher.waiting(), 0);
}

#[test]
fn unsent_purchases_without_a_key_get_the_known_rejection() {
    let (batcher, learnt, heard) = (batcher(100), Learnt::default(), Heard::default());
    batcher.set_observer(Box::new(learnt.clone()));
    batcher.set_waker(Box::new(heard.clone()));
    let ask = |name: &str, key, asker| {
        let asker = Some(WaiterId(asker));
        batcher.submit(0, &sale(name), true, purchase(2, key), 1, asker).unwrap()
    };
    let last = ask("a", None, 1);
    let flight = batcher.take_batch(0);
    let plain = ask("a", None, 2);
    let keyed = ask("a", Some("k"), 3);
    let other = ask("b", None, 4);
    let outcomes = vec![Outcome::Granted { expires_at_ms: 1 }];
    batcher.complete(flight, vec![Ok(GroupReply { outcomes, free: Some(0), now_ms: 0 })]);
    // The buyer of the last unit is woken before the refused one.
    assert_eq!(heard.0.take(), [(1, false), (2, false)]);
    assert_eq!(learnt.units.get(), 2, "what was allowed to both is given back");
    assert!(granted(&batcher.wait(last)));
    assert_eq!(batcher.wait(plain), Ok(Outcome::SoldOut { free: 0 }));
    let mut ledger = FakeLedger::with(&[("a", 0), ("b", 1)]);
    ledger.serve(&batcher, 1);
    let (answer, command) = batcher.take(keyed).expect("it is answered");
    assert_eq!(answer, Ok(Outcome::SoldOut { free: 0 }));
    assert!(matches!(command, Some(Command::FindClaim(..))), "{command:?}");
    assert!(granted(&batcher.wait(other)));
}

#[test]
fn an_unavailable_ledger_fails_all_waiting_requests() {
    let batcher = batcher(100);
    let sent = buy(&batcher, 0, "a").unwrap();
    let flight = batcher.take_batch(0);
    let unsent = buy(&batcher, 0, "a").unwrap();
    batcher.fail(flight, Failure::from(&LedgerError::Lost("gone".into())));
    batcher.set_unavailable();
    assert_eq!(batcher.wait(sent), Err(Failure::Unknown));
    assert_eq!(batcher.wait(unsent), Err(Failure::Unavailable));
    assert_eq!(buy(&batcher, 0, "a").unwrap_err(), Failure::Unavailable);
}

#[test]
fn the_observer_gets_the_time_at_which_a_batch_was_taken() {
    let (batcher, learnt) = (batcher(100), Learnt::default());
    batcher.set_observer(Box::new(learnt.clone()));
    let ticket = buy(&batcher, 100, "a").unwrap();
    let flight = batcher.take_batch(150);
    let outcomes = vec![Outcome::SoldOut { free: 0 }; flight.groups()[0].commands.len()];
    let reply = GroupReply { outcomes, free: Some(0), now_ms: 0 };
    batcher.complete(flight, vec![Ok(reply)]);
    assert_eq!(learnt.asked_ms.get(), 150);
    assert_eq!(batcher.wait(ticket), Ok(Outcome::SoldOut { free: 0 }));
}

/// Answers all tickets that still wait.
fn drop_all(batcher: &Batcher, waiting: Vec<Ticket>) {
    batcher.set_unavailable();
    waiting.into_iter().for_each(|ticket| _ = batcher.wait(ticket));
}
