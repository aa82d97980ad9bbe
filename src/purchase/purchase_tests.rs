//! A seller with a clock of the test's own, against the model as its ledger.

use std::rc::Rc;
use std::sync::Arc;

use super::*;
use crate::clock::Clock;
use crate::ledger::Failure;
use crate::ledger::batch::{Batcher, Ticket, WaiterId};
use crate::ledger::fake::FakeLedger;
use crate::limits::{TICK_INTERVAL_MS, VIEW_AGE_MS_MAX};
use crate::queue_limits::QueueLimits;
use crate::sale::{
    Command, Creation, Details, Key, Lines, Machine, Outcome, Reservation, SaleId, SaleSpec, Split,
    Types, User,
};
use crate::splits::place_id;
use crate::stock::StockSetting;

const DEADLINE_MS: u64 = 2_000;
const START_MS: u64 = 1_000_000;
const CORES: usize = 2;
/// The waiter of all requests.
const ASKER: WaiterId = WaiterId(0);

/// The seller of one core.
fn core(index: usize, selling: &Arc<Selling>, clock: &Rc<Clock>) -> &'static Seller {
    let batcher = Batcher::new(QueueLimits::new(None, DEADLINE_MS).into());
    let seller = Seller::new(index, selling.clone(), clock.clone(), batcher, None);
    let seller: &'static Seller = Box::leak(Box::new(seller));
    seller.batcher.set_observer(Box::new(SaleCacheUpdater(seller)));
    seller.batcher.set_available();
    seller
}

fn put(seller: &'static Seller, slot: &Rc<SaleSlot>, ask: PurchaseRequest) -> Progress {
    let (has_key, trace) = (ask.key.is_some(), ask.trace.clone());
    begin(seller, slot, (has_key, trace.as_ref()), || ask, ASKER)
}

struct Shop {
    seller: &'static Seller,
    clock: Rc<Clock>,
    ledger: FakeLedger,
}

impl Shop {
    /// With one sale.
    fn with(sale: &str, total: u64, stock: StockSetting) -> Self {
        let clock = Rc::new(Clock::default());
        clock.set(START_MS);
        let selling = Arc::new(Selling::new(CORES, stock, 50, Arc::default()));
        let seller = core(0, &selling, &clock);
        let ledger = FakeLedger::with(sale, SaleSpec::with_total(total));
        Self { seller, clock, ledger }
    }

    fn begin(&self, sale: &str, key: Option<&str>) -> Progress {
        let user = key.map(|_| User::new("ann").unwrap());
        let ask = PurchaseRequest {
            quantity: 1,
            user,
            key: key.map(|key| Key::new(key).unwrap()),
            trace: None,
            details: None,
        };
        match self.seller.sale(sale) {
            Ok(slot) => put(self.seller, &slot, ask),
            Err(verdict) => panic!("{sale}: {verdict:?}"),
        }
    }

    /// Begins a purchase that must wait for the ledger.
    fn ask(&self, sale: &str, key: Option<&str>) -> PendingPurchase {
        match self.begin(sale, key) {
            Progress::Waits(asked) => asked,
            Progress::Done(done) => panic!("decided: {:?}", done.outcome),
        }
    }

    /// Begins a purchase that must be decided without the ledger.
    fn decide(&self, sale: &str) -> PurchaseOutcome {
        match self.begin(sale, None) {
            Progress::Waits(_) => panic!("the ledger is asked"),
            Progress::Done(done) => done.outcome,
        }
    }

    /// Has the ledger answer a batch. Returns the commands of the batch.
    fn serve(&mut self) -> Vec<Command> {
        self.ledger.serve(&self.seller.batcher, self.clock.now_ms())
    }

    /// The outcome of an answered purchase.
    fn done(&self, asked: PendingPurchase) -> PurchaseOutcome {
        match asked.resume(self.seller, ASKER) {
            Progress::Done(done) => done.outcome,
            Progress::Waits(_) => panic!("it waits on"),
        }
    }

    fn wait_ms(&self, ms: u64) {
        self.clock.set(self.clock.now_ms() + ms);
    }
}

fn sold_out(verdict: &PurchaseOutcome) -> bool {
    matches!(verdict, PurchaseOutcome::Rejected(RejectReason::SoldOut { free: 0 }))
}

#[test]
fn after_sold_out_only_requests_with_keys_reach_the_ledger() {
    let mut shop = Shop::with("ticket", 2, StockSetting::Auto);
    for granted in [true, true, false] {
        let asked = shop.ask("ticket", None);
        assert_eq!(shop.serve().len(), 1);
        let verdict = shop.done(asked);
        assert_eq!(matches!(verdict, PurchaseOutcome::Granted { .. }), granted, "{verdict:?}");
        assert_eq!(sold_out(&verdict), !granted);
    }
    assert!(sold_out(&shop.decide("ticket")));
    assert!(!shop.seller.batcher.has_more(), "a refusal never leaves the core");
    let asked = shop.ask("ticket", Some("again"));
    assert!(matches!(shop.serve()[..], [Command::FindClaim(..)]), "it asks for nothing");
    assert!(sold_out(&shop.done(asked)));
}

/// A sale of one unit, which the key `k` has, and whose latch is closed.
fn sold_to_k() -> (Shop, Reservation) {
    let mut shop = Shop::with("ticket", 1, StockSetting::Auto);
    let first = shop.ask("ticket", Some("k"));
    shop.serve();
    let PurchaseOutcome::Granted(granted) = shop.done(first) else { panic!("not granted") };
    let other = shop.ask("ticket", None);
    shop.serve();
    assert!(sold_out(&shop.done(other)));
    (shop, granted)
}

#[test]
fn a_repeated_key_finds_its_reservation_despite_the_latch() {
    let (mut shop, granted) = sold_to_k();
    let again: Vec<_> = ["k", "other"].map(|key| shop.ask("ticket", Some(key))).into();
    assert!(matches!(shop.serve()[..], [Command::FindClaim(..), Command::FindClaim(..)]));
    let mut again = again.into_iter().map(|asked| asked.resume(shop.seller, ASKER));
    let Some(Progress::Waits(replayed)) = again.next() else { panic!("its status is not known") };
    let Some(Progress::Done(refused)) = again.next() else { panic!("nothing more is to be asked") };
    assert!(sold_out(&refused.outcome));
    drop(again);
    assert_eq!(shop.serve(), [Command::ShowReservation(granted.id)]);
    let PurchaseOutcome::Replayed(replayed) = shop.done(replayed) else { panic!("not replayed") };
    assert_eq!(*replayed, granted);
    assert_eq!(shop.seller.batcher.waiting(), 0);
}

#[test]
fn a_sale_replaced_while_a_key_is_looked_up_is_not_called_damaged() {
    let (mut shop, granted) = sold_to_k();
    let again = shop.ask("ticket", Some("k"));
    shop.serve();
    let Progress::Waits(again) = again.resume(shop.seller, ASKER) else { panic!("decided") };
    // Another sale gets the name between the two answers.
    shop.ledger = FakeLedger::with("ticket", SaleSpec::with_total(5));
    assert_eq!(shop.serve(), [Command::ShowReservation(granted.id)]);
    let Progress::Waits(again) = again.resume(shop.seller, ASKER) else { panic!("decided") };
    assert!(matches!(shop.serve()[..], [Command::FindClaim(..)]), "it looks again");
    let outcome = shop.done(again);
    assert!(matches!(outcome, PurchaseOutcome::Failed(Failure::Unavailable)), "{outcome:?}");
    assert_eq!(shop.seller.batcher.waiting(), 0);
}

#[test]
fn a_reused_key_is_refused_before_and_after_sold_out() {
    let mut shop = Shop::with("ticket", 1, StockSetting::Auto);
    let other = |shop: &Shop| {
        let slot = shop.seller.sale_to_buy("ticket").expect("a sale");
        let (user, key) = (User::new("ann").ok(), Key::new("k").ok());
        let ask = PurchaseRequest { quantity: 2, user, key, trace: None, details: None };
        match put(shop.seller, &slot, ask) {
            Progress::Waits(asked) => asked,
            Progress::Done(done) => panic!("{:?}", done.outcome),
        }
    };
    let first = shop.ask("ticket", Some("k"));
    shop.serve();
    assert!(matches!(shop.done(first), PurchaseOutcome::Granted(_)));
    let reused = other(&shop);
    assert!(matches!(shop.serve()[..], [Command::Reserve(_)]));
    let verdict = shop.done(reused);
    assert!(matches!(verdict, PurchaseOutcome::Rejected(RejectReason::KeyReused)), "{verdict:?}");
    let keyless = shop.ask("ticket", None);
    shop.serve();
    assert!(sold_out(&shop.done(keyless)));
    let reused = other(&shop);
    assert!(matches!(shop.serve()[..], [Command::FindClaim(..)]));
    let Progress::Waits(reused) = reused.resume(shop.seller, ASKER) else { panic!("it has one") };
    shop.serve();
    let verdict = shop.done(reused);
    assert!(matches!(verdict, PurchaseOutcome::Rejected(RejectReason::KeyReused)), "{verdict:?}");
    assert_eq!(shop.seller.batcher.waiting(), 0);
}

#[test]
fn a_claim_lookup_names_the_creation_if_recently_seen_on_sale() {
    let mut shop = Shop::with("ticket", 0, StockSetting::Auto);
    let mut machine = Machine::of_making(SaleSpec::with_total(0), Creation(5));
    machine.apply(START_MS, &Command::Show);
    shop.ledger.sales.insert("ticket".to_owned(), machine);
    let first = shop.ask("ticket", None);
    shop.serve();
    assert!(sold_out(&shop.done(first)));
    let named = |shop: &mut Shop| {
        let asked = shop.ask("ticket", Some("k"));
        let commands = shop.serve();
        let [Command::FindClaim(_, made)] = commands[..] else { panic!("{commands:?}") };
        (made, shop.done(asked))
    };
    let look = |shop: &mut Shop| {
        shop.seller.tick();
        assert!(matches!(shop.serve()[..], [Command::Peek { .. }]));
    };
    assert_eq!(named(&mut shop).0, Creation::UNKNOWN, "it has seen none yet");
    look(&mut shop);
    let (made, verdict) = named(&mut shop);
    assert!(made == Creation(5) && sold_out(&verdict), "{made:?} {verdict:?}");
    shop.wait_ms(VIEW_AGE_MS_MAX + 1);
    assert_eq!(named(&mut shop).0, Creation::UNKNOWN, "that was too long ago");
    look(&mut shop);
    let machine = shop.ledger.sales.get_mut("ticket").unwrap();
    machine.apply(START_MS, &Command::Close);
    let (made, verdict) = named(&mut shop);
    assert!(
        made == Creation(5) && matches!(verdict, PurchaseOutcome::Rejected(RejectReason::Closed))
    );
    look(&mut shop);
    assert_eq!(named(&mut shop).0, Creation::UNKNOWN, "it is over");
}

#[test]
fn a_claim_lookup_that_finds_stock_again_becomes_a_purchase() {
    let mut shop = Shop::with("ticket", 0, StockSetting::Auto);
    let first = shop.ask("ticket", None);
    shop.serve();
    assert!(sold_out(&shop.done(first)));
    let machine = shop.ledger.sales.get_mut("ticket").unwrap();
    machine.apply(START_MS, &Command::AddStock(1));
    let asked = shop.ask("ticket", Some("k"));
    assert!(matches!(shop.serve()[..], [Command::FindClaim(..)]));
    let Progress::Waits(asked) = asked.resume(shop.seller, ASKER) else { panic!("it has to buy") };
    assert!(matches!(shop.serve()[..], [Command::Reserve(_)]));
    assert!(matches!(shop.done(asked), PurchaseOutcome::Granted(_)));
    let next = shop.ask("ticket", None);
    assert!(matches!(shop.serve()[..], [Command::Reserve(_)]), "the latch is open");
    assert!(sold_out(&shop.done(next)));
}

#[test]
fn sold_out_turns_queued_purchases_with_keys_into_lookups() {
    let mut shop = Shop::with("ticket", 0, StockSetting::Fixed(3));
    let sent = shop.ask("ticket", None);
    let flight = shop.seller.batcher.take_batch(START_MS);
    let (keyed, keyless) = (shop.ask("ticket", Some("k")), shop.ask("ticket", None));
    assert_eq!(shop.seller.selling.allowance_left(), 0);
    shop.ledger.answer(&shop.seller.batcher, flight, START_MS);
    assert!(sold_out(&shop.done(sent)) && sold_out(&shop.done(keyless)));
    assert_eq!(shop.seller.selling.allowance_left(), 3);
    assert!(matches!(shop.serve()[..], [Command::FindClaim(..)]));
    assert!(sold_out(&shop.done(keyed)));
    assert_eq!(shop.seller.selling.allowance_left(), 3, "and no more");
}

#[test]
fn a_key_is_looked_up_although_the_allowance_is_exhausted() {
    let mut shop = Shop::with("ticket", 2, StockSetting::Fixed(1));
    let first = shop.ask("ticket", Some("k"));
    shop.serve();
    assert!(matches!(shop.done(first), PurchaseOutcome::Granted(_)));
    let asked = shop.ask("ticket", Some("new"));
    assert!(matches!(shop.serve()[..], [Command::FindClaim(..)]));
    let verdict = shop.done(asked);
    assert!(
        matches!(verdict, PurchaseOutcome::Rejected(RejectReason::AllowanceExhausted)),
        "{verdict:?}"
    );
    let machine = shop.ledger.sales.get_mut("ticket").unwrap();
    machine.apply(START_MS, &Command::Close);
    let asked = shop.ask("ticket", Some("new"));
    shop.serve();
    assert!(
        matches!(shop.done(asked), PurchaseOutcome::Rejected(RejectReason::Closed)),
        "the sale's own word"
    );
    let asked = shop.ask("ticket", Some("k"));
    shop.serve();
    let Progress::Waits(asked) = asked.resume(shop.seller, ASKER) else { panic!("it has one") };
    shop.serve();
    assert!(matches!(shop.done(asked), PurchaseOutcome::Replayed(_)));
}

#[test]
fn an_abandoned_purchase_that_was_sent_is_still_counted() {
    let mut shop = Shop::with("ticket", 9, StockSetting::Fixed(2));
    let sent = shop.ask("ticket", Some("k"));
    let flight = shop.seller.batcher.take_batch(START_MS);
    let unsent = shop.ask("ticket", None);
    sent.give_up(shop.seller);
    unsent.give_up(shop.seller);
    assert_eq!((shop.seller.selling.allowance_left(), shop.seller.batcher.has_more()), (1, false));
    shop.ledger.answer(&shop.seller.batcher, flight, START_MS);
    assert_eq!(shop.seller.selling.grants_total(), 1);
    assert_eq!((shop.ledger.sales["ticket"].free(), shop.seller.batcher.waiting()), (8, 0));
}

#[test]
fn requests_at_a_stale_latch_share_one_ledger_query() {
    let mut shop = Shop::with("ticket", 0, StockSetting::Auto);
    let first = shop.ask("ticket", None);
    shop.serve();
    assert!(sold_out(&shop.done(first)));
    // No tick has asked the ledger since, so the latch is stale.
    shop.wait_ms(60_000);
    let asked: Vec<_> = (0..5).map(|_| shop.ask("ticket", None)).collect();
    let commands = shop.serve();
    assert!(matches!(commands[..], [Command::Peek { .. }]), "{commands:?}");
    for asked in asked {
        assert!(sold_out(&shop.done(asked)));
    }
}

#[test]
fn a_tick_opens_the_latch_after_stock_is_added() {
    let mut shop = Shop::with("ticket", 0, StockSetting::Auto);
    let first = shop.ask("ticket", None);
    shop.serve();
    assert!(sold_out(&shop.done(first)));
    let machine = shop.ledger.sales.get_mut("ticket").unwrap();
    machine.apply(START_MS, &Command::AddStock(1));
    assert!(sold_out(&shop.decide("ticket")), "it does not know yet");
    shop.wait_ms(TICK_INTERVAL_MS);
    shop.seller.tick();
    assert!(matches!(shop.serve()[..], [Command::Peek { .. }]));
    let asked = shop.ask("ticket", None);
    shop.serve();
    assert!(matches!(shop.done(asked), PurchaseOutcome::Granted { .. }));
}

#[test]
fn an_exhausted_allowance_refuses_and_a_failure_returns_it() {
    let mut shop = Shop::with("ticket", 1, StockSetting::Fixed(1));
    let asked = shop.ask("ticket", None);
    let exhausted = shop.decide("ticket");
    assert!(
        matches!(exhausted, PurchaseOutcome::Rejected(RejectReason::AllowanceExhausted)),
        "{exhausted:?}"
    );
    assert_eq!(shop.seller.sales.wanted.borrow().len(), 1, "it may be another sale by now");
    // Nothing was sent, so the outcome is `Unavailable`.
    shop.seller.batcher.set_unavailable();
    let verdict = shop.done(asked);
    assert!(matches!(verdict, PurchaseOutcome::Failed(Failure::Unavailable)), "{verdict:?}");
    shop.seller.batcher.set_available();
    let asked = shop.ask("ticket", None);
    shop.serve();
    assert!(matches!(shop.done(asked), PurchaseOutcome::Granted { .. }));
    assert_eq!(shop.seller.selling.allowance_left(), 0);
}

#[test]
fn an_unknown_sale_name_is_forgotten_after_the_answer() {
    let mut shop = Shop::with("ticket", 1, StockSetting::Auto);
    let asked = shop.ask("nothing", None);
    shop.serve();
    let verdict = shop.done(asked);
    assert!(matches!(verdict, PurchaseOutcome::Rejected(RejectReason::UnknownSale)), "{verdict:?}");
    assert!(!shop.seller.sales.exists(&SaleId::new("nothing").unwrap()));
    // A name is also forgotten if the ledger could not answer.
    let asked = shop.ask("something", None);
    shop.seller.batcher.set_unavailable();
    assert!(matches!(shop.done(asked), PurchaseOutcome::Failed(Failure::Unavailable)));
    for forgotten in ["nothing", "something"] {
        assert!(shop.seller.sale(forgotten).is_err(), "{forgotten} has to be asked anew");
    }
}

/// Asks for a view of the sale, which the ledger still has to answer.
fn ask_for_view(shop: &Shop, sale: &str) -> Ticket {
    super::sales::fetch_view(shop.seller, &shop.seller.sale(sale).unwrap(), ASKER)
        .expect("it can be asked")
}

/// Creates a split sale in the ledger.
fn create_in_parts(shop: &mut Shop, parts: u32, units: u64, making: u64) {
    let head = SaleId::new("ticket").unwrap();
    for number in 0..=parts as usize {
        let (split, total) = match number {
            0 => (Split::Head { parts }, 0),
            _ => (Split::Part { of: parts }, units),
        };
        let spec = SaleSpec { split, ..SaleSpec::with_total(total) };
        let machine = Machine::of_making(spec, Creation(making));
        shop.ledger.sales.insert(place_id(&head, number, parts).to_string(), machine);
    }
}

#[test]
fn a_reply_that_reveals_a_recreated_split_twice_answers_all() {
    let mut shop = Shop::with("ticket", 0, StockSetting::Auto);
    let machine = Machine::of_making(SaleSpec::with_total(10), Creation(1));
    shop.ledger.sales.insert("ticket".to_owned(), machine);
    let seen = ask_for_view(&shop, "ticket");
    shop.serve();
    assert!(shop.seller.batcher.take(seen).is_ok());
    create_in_parts(&mut shop, 2, 10, 2);
    shop.seller.sales.want(&shop.seller.sale("ticket").unwrap());
    shop.seller.tick();
    assert!(matches!(shop.serve()[..], [Command::Peek { parts: 0 }]));
    let asked = shop.ask("ticket", None);
    // The first shows another sale of this name, the second says that it is split.
    assert!(matches!(shop.serve()[..], [Command::Show, Command::Reserve(_)]));
    let Progress::Waits(asked) = asked.resume(shop.seller, ASKER) else { panic!("it has to buy") };
    let seen = ask_for_view(&shop, "ticket");
    shop.serve();
    assert!(matches!(shop.done(asked), PurchaseOutcome::Granted(_)));
    let (answer, _) = shop.seller.batcher.take(seen).expect("it is answered");
    let Ok(Outcome::Sale(view)) = answer else { panic!("{answer:?}") };
    assert_eq!(view.spec.total, 20);
}

#[test]
fn a_view_of_inconsistent_parts_is_answered_unavailable() {
    let mut shop = Shop::with("ticket", 0, StockSetting::Auto);
    create_in_parts(&mut shop, 2, 10, 1);
    let spoilt = Machine::of_making(SaleSpec::with_total(10), Creation(1));
    shop.ledger.sales.insert("ticket~2of2".to_owned(), spoilt);
    for _ in 0..2 {
        let seen = ask_for_view(&shop, "ticket");
        while shop.seller.batcher.has_more() {
            shop.serve();
        }
        let answered = shop.seller.batcher.take(seen).expect("it is answered");
        assert_eq!(answered, (Err(Failure::Unavailable), None));
    }
}

#[test]
fn a_recreated_sale_does_not_inherit_the_view_count() {
    let mut shop = Shop::with("ticket", 0, StockSetting::Auto);
    create_in_parts(&mut shop, 2, 0, 1);
    let seen = ask_for_view(&shop, "ticket");
    while shop.seller.batcher.has_more() {
        shop.serve();
    }
    assert!(shop.seller.batcher.take(seen).is_ok());
    let slot = shop.seller.sale("ticket").unwrap();
    slot.views_asked.set(1_000_000);
    let mut asked = shop.ask("ticket", Some("k"));
    shop.serve();
    asked = match asked.resume(shop.seller, ASKER) {
        Progress::Waits(asked) => asked,
        Progress::Done(_) => panic!("its part is to be asked for its claim"),
    };
    shop.ledger.sales.clear();
    assert!(matches!(shop.serve()[..], [Command::FindClaim(..)]));
    create_in_parts(&mut shop, 2, 0, 2);
    for _ in 0..9 {
        asked = match asked.resume(shop.seller, ASKER) {
            Progress::Waits(asked) => asked,
            Progress::Done(done) => return assert!(sold_out(&done.outcome), "{:?}", done.outcome),
        };
        shop.serve();
    }
    panic!("it waits for a million views");
}

#[test]
fn a_forgotten_slot_sends_no_query_and_takes_no_waiter() {
    let shop = Shop::with("ticket", 1, StockSetting::Auto);
    let slot = shop.seller.sale("ticket").unwrap();
    shop.seller.sales.want(&slot);
    shop.seller.forget(&slot);
    let asked = super::sales::fetch_view(shop.seller, &slot, ASKER);
    assert_eq!(asked.err(), Some(Failure::Unavailable), "nobody would ever be told");
    shop.seller.tick();
    assert!(!shop.seller.batcher.has_more());
}

#[test]
fn a_recreated_sale_has_one_allowance_for_all_cores() {
    const ALLOWANCE: u64 = 4;
    let mut shop = Shop::with("ticket", 100, StockSetting::Fixed(ALLOWANCE));
    let cores = [shop.seller, core(1, &shop.seller.selling, &shop.clock)];
    for making in 1..=2 {
        // Each core learns of it at its own next tick, before anybody has bought.
        let machine = Machine::of_making(SaleSpec::with_total(100), Creation(making));
        shop.ledger.sales.insert("ticket".to_owned(), machine);
        shop.wait_ms(TICK_INTERVAL_MS);
        for seller in cores {
            shop.seller = seller;
            let slot = seller.sale("ticket").expect("it can be asked");
            seller.sales.want(&slot);
            seller.tick();
            assert!(matches!(shop.serve()[..], [Command::Peek { .. }]));
        }
        for buyer in 0..ALLOWANCE as usize {
            shop.seller = cores[buyer % CORES];
            let asked = shop.ask("ticket", None);
            shop.serve();
            assert!(
                matches!(shop.done(asked), PurchaseOutcome::Granted { .. }),
                "{buyer} of {making}"
            );
        }
        for seller in cores {
            shop.seller = seller;
            let exhausted = shop.decide("ticket");
            let refused =
                matches!(exhausted, PurchaseOutcome::Rejected(RejectReason::AllowanceExhausted));
            assert!(refused, "{making}: {exhausted:?}");
        }
    }
}

/// A request for one unit of a ticket type.
fn buy_type(shop: &Shop, name: &str, key: Option<&str>) -> Progress {
    let lines = Lines::from_text(&format!("{name}:1"));
    let ask = PurchaseRequest {
        quantity: 1,
        user: User::new("ann").ok(),
        key: key.and_then(|key| Key::new(key).ok()),
        trace: None,
        details: Details { lines, ..Details::default() }.boxed(),
    };
    put(shop.seller, &shop.seller.sale("ticket").expect("a sale"), ask)
}

fn must_wait(progress: Progress) -> PendingPurchase {
    match progress {
        Progress::Waits(asked) => asked,
        Progress::Done(done) => panic!("decided: {:?}", done.outcome),
    }
}

fn adult_is_sold_out(verdict: &PurchaseOutcome) -> bool {
    matches!(verdict, PurchaseOutcome::Lines(LinesReason::SoldOut { name, free: 0 }) if name.as_str() == "adult")
}

#[test]
fn only_a_sold_out_ticket_type_is_refused_from_memory() {
    let mut shop = Shop::with("ticket", 9, StockSetting::Auto);
    let types = Types::from_text("adult:1,child:8").unwrap();
    let spec = SaleSpec { types, ..SaleSpec::with_total(9) };
    shop.ledger.sales.insert("ticket".to_owned(), Machine::new(spec));
    let first = must_wait(buy_type(&shop, "adult", Some("k")));
    shop.serve();
    let PurchaseOutcome::Granted(granted) = shop.done(first) else { panic!("not granted") };
    let second = must_wait(buy_type(&shop, "adult", None));
    assert!(matches!(shop.serve()[..], [Command::Reserve(_)]));
    assert!(adult_is_sold_out(&shop.done(second)));

    let Progress::Done(known) = buy_type(&shop, "adult", None) else { panic!("it is known") };
    assert!(adult_is_sold_out(&known.outcome));
    assert!(!shop.seller.batcher.has_more(), "a refusal never leaves the core");
    let child = must_wait(buy_type(&shop, "child", None));
    shop.serve();
    assert!(matches!(shop.done(child), PurchaseOutcome::Granted { .. }));
    // A new key is refused after its claim lookup, without a purchase.
    let new = must_wait(buy_type(&shop, "adult", Some("new")));
    assert!(matches!(shop.serve()[..], [Command::FindClaim(..)]));
    assert!(adult_is_sold_out(&shop.done(new)));
    let again = must_wait(buy_type(&shop, "adult", Some("k")));
    shop.serve();
    let Progress::Waits(again) = again.resume(shop.seller, ASKER) else { panic!("it has one") };
    shop.serve();
    assert!(matches!(shop.done(again), PurchaseOutcome::Replayed(first) if first.id == granted.id));

    let machine = shop.ledger.sales.get_mut("ticket").unwrap();
    machine.apply(START_MS, &Command::Cancel(granted.id));
    shop.wait_ms(TICK_INTERVAL_MS);
    shop.seller.tick();
    // The answer to a peek says that the types need a whole view, so the core asks for one.
    assert!(matches!(shop.serve()[..], [Command::Peek { .. }]));
    assert!(matches!(shop.serve()[..], [Command::Show]));
    let back = must_wait(buy_type(&shop, "adult", None));
    shop.serve();
    assert!(matches!(shop.done(back), PurchaseOutcome::Granted { .. }));
}

#[test]
fn requests_for_a_stale_sold_out_type_share_one_query() {
    let mut shop = Shop::with("ticket", 9, StockSetting::Auto);
    let types = Types::from_text("adult:1,child:8").unwrap();
    let spec = SaleSpec { types, ..SaleSpec::with_total(9) };
    shop.ledger.sales.insert("ticket".to_owned(), Machine::new(spec));
    for _ in 0..2 {
        let asked = must_wait(buy_type(&shop, "adult", None));
        shop.serve();
        drop(shop.done(asked));
    }
    shop.wait_ms(1_000);
    let both = [(); 2].map(|()| must_wait(buy_type(&shop, "adult", None)));
    assert!(matches!(shop.serve()[..], [Command::Peek { .. }]), "one for both");
    assert!(matches!(shop.serve()[..], [Command::Show]));
    assert!(both.into_iter().all(|asked| adult_is_sold_out(&shop.done(asked))));
    assert_eq!(shop.seller.batcher.waiting(), 0);
}

fn show(shop: &Shop) -> ViewProgress {
    view(shop.seller, shop.seller.sale("ticket").unwrap(), ASKER)
}

fn must_wait_for_view(progress: ViewProgress) -> PendingView {
    match progress {
        ViewProgress::Waits(asked) => asked,
        ViewProgress::Done(_, answer) => panic!("{:?}", answer.map(|seen| seen.is_some())),
    }
}

fn shown_total(progress: ViewProgress) -> u64 {
    match progress {
        ViewProgress::Done(_, Ok(Some(seen))) => seen.view.spec.total,
        ViewProgress::Done(..) => panic!("it is not shown"),
        ViewProgress::Waits(_) => panic!("it waits on"),
    }
}

#[test]
fn no_view_is_shown_that_is_older_than_its_bound() {
    let mut shop = Shop::with("ticket", 1, StockSetting::Auto);
    let first = must_wait_for_view(show(&shop));
    let flight = shop.seller.batcher.take_batch(shop.clock.now_ms());
    shop.wait_ms(VIEW_AGE_MS_MAX);
    let second = must_wait_for_view(show(&shop));
    shop.wait_ms(1);
    let third = must_wait_for_view(show(&shop));
    assert!(!shop.seller.batcher.has_more(), "they share a query");
    shop.ledger.answer(&shop.seller.batcher, flight, START_MS);
    shop.ledger.sales.get_mut("ticket").unwrap().apply(START_MS, &Command::AddStock(1));
    for asked in [first, second] {
        assert_eq!(shown_total(asked.resume(shop.seller, ASKER)), 1);
    }
    let third = must_wait_for_view(third.resume(shop.seller, ASKER));
    assert!(matches!(shop.serve()[..], [Command::Peek { .. }]));
    assert_eq!(shown_total(third.resume(shop.seller, ASKER)), 2);
    assert_eq!(shop.seller.batcher.waiting(), 0);
}

#[test]
fn nobody_is_told_that_a_sale_does_not_exist_by_an_answer_older_than_the_bound() {
    let mut shop = Shop::with("ticket", 1, StockSetting::Auto);
    let sale = shop.ledger.sales.remove("ticket").unwrap();
    let first = must_wait_for_view(show(&shop));
    let flight = shop.seller.batcher.take_batch(shop.clock.now_ms());
    shop.wait_ms(VIEW_AGE_MS_MAX + 1);
    let second = must_wait_for_view(show(&shop));
    shop.ledger.answer(&shop.seller.batcher, flight, START_MS);
    shop.ledger.sales.insert("ticket".to_owned(), sale);
    let first = first.resume(shop.seller, ASKER);
    assert!(matches!(first, ViewProgress::Done(_, Ok(None))));
    let second = must_wait_for_view(second.resume(shop.seller, ASKER));
    shop.serve();
    assert_eq!(shown_total(second.resume(shop.seller, ASKER)), 1);
    assert_eq!(shop.seller.batcher.waiting(), 0);
}

#[test]
fn whoever_waits_for_a_view_of_a_recreated_sale_is_shown_the_new_one() {
    let mut shop = Shop::with("ticket", 1, StockSetting::Auto);
    let machine = Machine::of_making(SaleSpec::with_total(1), Creation(1));
    shop.ledger.sales.insert("ticket".to_owned(), machine);
    let asked = must_wait_for_view(show(&shop));
    shop.serve();
    assert_eq!(shown_total(asked.resume(shop.seller, ASKER)), 1);
    shop.wait_ms(VIEW_AGE_MS_MAX + 1);
    let machine = Machine::of_making(SaleSpec::with_total(7), Creation(2));
    shop.ledger.sales.insert("ticket".to_owned(), machine);
    let asked = must_wait_for_view(show(&shop));
    shop.serve();
    assert_eq!(shown_total(asked.resume(shop.seller, ASKER)), 7);
}

#[test]
fn a_search_answers_nobody_who_came_long_after_it_began() {
    fn buy(shop: &Shop, quantity: u32) -> PendingPurchase {
        let user = User::new("ann").ok();
        let ask = PurchaseRequest { quantity, user, key: None, trace: None, details: None };
        must_wait(put(shop.seller, &shop.seller.sale("ticket").unwrap(), ask))
    }
    fn must_go_on(shop: &Shop, asked: PendingPurchase) -> PendingPurchase {
        must_wait(asked.resume(shop.seller, ASKER))
    }
    crate::test_coroutines::run(|| {
        let mut shop = Shop::with("ticket", 1, StockSetting::Auto);
        shop.seller.flows.set_spawn(Box::new(|flow| {
            crate::test_coroutines::beside(flow, |flow| flow());
            true
        }));
        create_in_parts(&mut shop, 2, 1, 1);
        let first = buy(&shop, 3);
        shop.serve();
        // The head says that it is split, and then the part that it has too few.
        let first = must_go_on(&shop, first);
        shop.serve();
        let first = must_go_on(&shop, first);
        let searching = shop.seller.batcher.take_batch(shop.clock.now_ms());
        assert_eq!(searching.groups().len(), 3);
        shop.wait_ms(VIEW_AGE_MS_MAX + 1);
        let second = buy(&shop, 3);
        shop.serve();
        let second = must_go_on(&shop, second);
        assert!(!shop.seller.batcher.has_more(), "it waits for the search under way");
        shop.ledger.answer(&shop.seller.batcher, searching, START_MS);
        may::coroutine::yield_now();
        let few = |outcome: &PurchaseOutcome| {
            matches!(outcome, PurchaseOutcome::Rejected(RejectReason::SoldOut { free: 2 }))
        };
        assert!(few(&shop.done(first)));
        // Another search, whose result is true for it.
        let second = must_go_on(&shop, second);
        shop.serve();
        may::coroutine::yield_now();
        assert!(few(&shop.done(second)));

        // A search that finds nothing refuses from memory only as long as it is recent.
        create_in_parts(&mut shop, 2, 0, 1);
        let third = buy(&shop, 1);
        shop.serve();
        let third = must_go_on(&shop, third);
        let searching = shop.seller.batcher.take_batch(shop.clock.now_ms());
        shop.wait_ms(VIEW_AGE_MS_MAX + 1);
        shop.ledger.answer(&shop.seller.batcher, searching, START_MS);
        may::coroutine::yield_now();
        assert!(sold_out(&shop.done(third)));
        buy(&shop, 1).give_up(shop.seller);
    });
}
