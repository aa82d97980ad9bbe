//! A seller with a clock of the test's own, against the model as its ledger.

use std::rc::Rc;
use std::sync::Arc;

use super::*;
use crate::clock::Clock;
use crate::ledger::Failure;
use crate::ledger::batch::{Asker, Batcher, Ticket};
use crate::ledger::fake::FakeLedger;
use crate::limits::{TICK_INTERVAL_MS, VIEW_AGE_MS_MAX};
use crate::patience::Patience;
use crate::sale::{
    Command, Creation, Details, Key, Lines, Machine, Outcome, SaleId, SaleSpec, Split, Types, User,
};
use crate::splits::place_id;
use crate::stock::StockSetting;

const DEADLINE_MS: u64 = 2_000;
const START_MS: u64 = 1_000_000;
const CORES: usize = 2;
/// Whoever asks.
const ASKER: Asker = Asker(0);

/// The seller of one core.
fn core(index: usize, selling: &Arc<Selling>, clock: &Rc<Clock>) -> &'static Seller {
    let batcher = Batcher::new(Patience::new(None, DEADLINE_MS).into());
    let seller = Seller::new(index, selling.clone(), clock.clone(), batcher, None);
    let seller: &'static Seller = Box::leak(Box::new(seller));
    seller.batcher.set_settle(Box::new(Settler(seller)));
    seller.batcher.set_available();
    seller
}

fn put(seller: &'static Seller, slot: &Rc<SaleSlot>, ask: Ask) -> Progress {
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
        let ask = Ask {
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

    /// One that goes to the ledger.
    fn ask(&self, sale: &str, key: Option<&str>) -> Asked {
        match self.begin(sale, key) {
            Progress::Waits(asked) => asked,
            Progress::Done(done) => panic!("decided: {:?}", done.verdict),
        }
    }

    /// One that doesn't.
    fn decide(&self, sale: &str) -> Verdict {
        match self.begin(sale, None) {
            Progress::Waits(_) => panic!("the ledger is asked"),
            Progress::Done(done) => done.verdict,
        }
    }

    /// The ledger answers a batch. What it was asked.
    fn serve(&mut self) -> Vec<Command> {
        self.ledger.serve(&self.seller.batcher, self.clock.now_ms())
    }

    /// What became of a purchase that was answered.
    fn told(&self, asked: Asked) -> Verdict {
        match asked.go_on(self.seller, ASKER) {
            Progress::Done(done) => done.verdict,
            Progress::Waits(_) => panic!("it waits on"),
        }
    }

    fn wait_ms(&self, ms: u64) {
        self.clock.set(self.clock.now_ms() + ms);
    }
}

fn sold_out(verdict: &Verdict) -> bool {
    matches!(verdict, Verdict::Refused(Refused::SoldOut { free: 0 }))
}

#[test]
fn the_ledger_is_asked_until_it_says_sold_out_and_then_only_about_keys() {
    let mut shop = Shop::with("ticket", 2, StockSetting::Auto);
    for granted in [true, true, false] {
        let asked = shop.ask("ticket", None);
        assert_eq!(shop.serve().len(), 1);
        let verdict = shop.told(asked);
        assert_eq!(matches!(verdict, Verdict::Granted { .. }), granted, "{verdict:?}");
        assert_eq!(sold_out(&verdict), !granted);
    }
    assert!(sold_out(&shop.decide("ticket")));
    assert!(!shop.seller.batcher.has_more(), "a refusal never leaves the core");
    let asked = shop.ask("ticket", Some("again"));
    assert!(matches!(shop.serve()[..], [Command::FindClaim(..)]), "it asks for nothing");
    assert!(sold_out(&shop.told(asked)));
}

#[test]
fn who_has_a_reservation_hears_of_it_whatever_the_latch_says() {
    let mut shop = Shop::with("ticket", 1, StockSetting::Auto);
    let first = shop.ask("ticket", Some("k"));
    shop.serve();
    let Verdict::Granted(granted) = shop.told(first) else { panic!("not granted") };
    let other = shop.ask("ticket", None);
    shop.serve();
    assert!(sold_out(&shop.told(other)));
    let again: Vec<_> = ["k", "other"].map(|key| shop.ask("ticket", Some(key))).into();
    assert!(matches!(shop.serve()[..], [Command::FindClaim(..), Command::FindClaim(..)]));
    let mut again = again.into_iter().map(|asked| asked.go_on(shop.seller, ASKER));
    let Some(Progress::Waits(replayed)) = again.next() else { panic!("its status is not known") };
    let Some(Progress::Done(refused)) = again.next() else { panic!("nothing more is to be asked") };
    assert!(sold_out(&refused.verdict));
    drop(again);
    assert_eq!(shop.serve(), [Command::ShowReservation(granted.id)]);
    let Verdict::Replayed(replayed) = shop.told(replayed) else { panic!("not replayed") };
    assert_eq!(*replayed, granted);
    assert_eq!(shop.seller.batcher.waiting(), 0);
}

#[test]
fn a_key_of_another_request_is_refused_whatever_the_latch_says() {
    let mut shop = Shop::with("ticket", 1, StockSetting::Auto);
    let other = |shop: &Shop| {
        let slot = shop.seller.sale_to_buy("ticket").expect("a sale");
        let (user, key) = (User::new("ann").ok(), Key::new("k").ok());
        let ask = Ask { quantity: 2, user, key, trace: None, details: None };
        match put(shop.seller, &slot, ask) {
            Progress::Waits(asked) => asked,
            Progress::Done(done) => panic!("{:?}", done.verdict),
        }
    };
    let first = shop.ask("ticket", Some("k"));
    shop.serve();
    assert!(matches!(shop.told(first), Verdict::Granted(_)));
    let reused = other(&shop);
    assert!(matches!(shop.serve()[..], [Command::Reserve(_)]));
    let verdict = shop.told(reused);
    assert!(matches!(verdict, Verdict::Refused(Refused::KeyReused)), "{verdict:?}");
    let keyless = shop.ask("ticket", None);
    shop.serve();
    assert!(sold_out(&shop.told(keyless)));
    let reused = other(&shop);
    assert!(matches!(shop.serve()[..], [Command::FindClaim(..)]));
    let Progress::Waits(reused) = reused.go_on(shop.seller, ASKER) else { panic!("it has one") };
    shop.serve();
    let verdict = shop.told(reused);
    assert!(matches!(verdict, Verdict::Refused(Refused::KeyReused)), "{verdict:?}");
    assert_eq!(shop.seller.batcher.waiting(), 0);
}

#[test]
fn who_looks_for_a_claim_names_the_making_if_that_was_seen_on_sale_a_moment_ago() {
    let mut shop = Shop::with("ticket", 0, StockSetting::Auto);
    let mut machine = Machine::of_making(SaleSpec::with_total(0), Creation(5));
    machine.apply(START_MS, &Command::Show);
    shop.ledger.sales.insert("ticket".to_owned(), machine);
    let first = shop.ask("ticket", None);
    shop.serve();
    assert!(sold_out(&shop.told(first)));
    let named = |shop: &mut Shop| {
        let asked = shop.ask("ticket", Some("k"));
        let commands = shop.serve();
        let [Command::FindClaim(_, made)] = commands[..] else { panic!("{commands:?}") };
        (made, shop.told(asked))
    };
    let look = |shop: &mut Shop| {
        shop.seller.tick();
        assert!(matches!(shop.serve()[..], [Command::Glance { .. }]));
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
    assert!(made == Creation(5) && matches!(verdict, Verdict::Refused(Refused::Closed)));
    look(&mut shop);
    assert_eq!(named(&mut shop).0, Creation::UNKNOWN, "it is over");
}

#[test]
fn who_looks_for_a_claim_as_stock_comes_back_buys() {
    let mut shop = Shop::with("ticket", 0, StockSetting::Auto);
    let first = shop.ask("ticket", None);
    shop.serve();
    assert!(sold_out(&shop.told(first)));
    let machine = shop.ledger.sales.get_mut("ticket").unwrap();
    machine.apply(START_MS, &Command::AddStock(1));
    let asked = shop.ask("ticket", Some("k"));
    assert!(matches!(shop.serve()[..], [Command::FindClaim(..)]));
    let Progress::Waits(asked) = asked.go_on(shop.seller, ASKER) else { panic!("it has to buy") };
    assert!(matches!(shop.serve()[..], [Command::Reserve(_)]));
    assert!(matches!(shop.told(asked), Verdict::Granted(_)));
    let next = shop.ask("ticket", None);
    assert!(matches!(shop.serve()[..], [Command::Reserve(_)]), "the latch is open");
    assert!(sold_out(&shop.told(next)));
}

#[test]
fn the_end_of_a_sale_makes_looks_of_purchases_with_keys_and_answers_the_others() {
    let mut shop = Shop::with("ticket", 0, StockSetting::Fixed(3));
    let sent = shop.ask("ticket", None);
    let flight = shop.seller.batcher.take_batch(START_MS);
    let (keyed, keyless) = (shop.ask("ticket", Some("k")), shop.ask("ticket", None));
    assert_eq!(shop.seller.selling.allowance_left(), 0);
    shop.ledger.answer(&shop.seller.batcher, flight, START_MS);
    assert!(sold_out(&shop.told(sent)) && sold_out(&shop.told(keyless)));
    assert_eq!(shop.seller.selling.allowance_left(), 3);
    assert!(matches!(shop.serve()[..], [Command::FindClaim(..)]));
    assert!(sold_out(&shop.told(keyed)));
    assert_eq!(shop.seller.selling.allowance_left(), 3, "and no more");
}

#[test]
fn a_key_is_looked_for_though_the_allowance_is_used_up() {
    let mut shop = Shop::with("ticket", 2, StockSetting::Fixed(1));
    let first = shop.ask("ticket", Some("k"));
    shop.serve();
    assert!(matches!(shop.told(first), Verdict::Granted(_)));
    let asked = shop.ask("ticket", Some("new"));
    assert!(matches!(shop.serve()[..], [Command::FindClaim(..)]));
    let verdict = shop.told(asked);
    assert!(matches!(verdict, Verdict::Refused(Refused::AllowanceExhausted)), "{verdict:?}");
    let machine = shop.ledger.sales.get_mut("ticket").unwrap();
    machine.apply(START_MS, &Command::Close);
    let asked = shop.ask("ticket", Some("new"));
    shop.serve();
    assert!(matches!(shop.told(asked), Verdict::Refused(Refused::Closed)), "the sale's own word");
    let asked = shop.ask("ticket", Some("k"));
    shop.serve();
    let Progress::Waits(asked) = asked.go_on(shop.seller, ASKER) else { panic!("it has one") };
    shop.serve();
    assert!(matches!(shop.told(asked), Verdict::Replayed(_)));
}

#[test]
fn what_became_of_a_purchase_is_counted_though_nobody_hears_of_it() {
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
fn all_who_come_to_an_old_latch_wait_for_one_question() {
    let mut shop = Shop::with("ticket", 0, StockSetting::Auto);
    let first = shop.ask("ticket", None);
    shop.serve();
    assert!(sold_out(&shop.told(first)));
    // Nobody has ticked, so nobody has asked since.
    shop.wait_ms(60_000);
    let asked: Vec<_> = (0..5).map(|_| shop.ask("ticket", None)).collect();
    let commands = shop.serve();
    assert!(matches!(commands[..], [Command::Glance { .. }]), "{commands:?}");
    for asked in asked {
        assert!(sold_out(&shop.told(asked)));
    }
}

#[test]
fn a_latch_opens_with_what_a_tick_asks() {
    let mut shop = Shop::with("ticket", 0, StockSetting::Auto);
    let first = shop.ask("ticket", None);
    shop.serve();
    assert!(sold_out(&shop.told(first)));
    let machine = shop.ledger.sales.get_mut("ticket").unwrap();
    machine.apply(START_MS, &Command::AddStock(1));
    assert!(sold_out(&shop.decide("ticket")), "it does not know yet");
    shop.wait_ms(TICK_INTERVAL_MS);
    shop.seller.tick();
    assert!(matches!(shop.serve()[..], [Command::Glance { .. }]));
    let asked = shop.ask("ticket", None);
    shop.serve();
    assert!(matches!(shop.told(asked), Verdict::Granted { .. }));
}

#[test]
fn an_allowance_that_is_used_up_refuses_and_comes_back_with_what_is_not_granted() {
    let mut shop = Shop::with("ticket", 1, StockSetting::Fixed(1));
    let asked = shop.ask("ticket", None);
    let exhausted = shop.decide("ticket");
    assert!(matches!(exhausted, Verdict::Refused(Refused::AllowanceExhausted)), "{exhausted:?}");
    assert_eq!(shop.seller.sales.wanted.borrow().len(), 1, "it may be another sale by now");
    // Nothing was sent, so it is nobody's fault but the ledger's.
    shop.seller.batcher.set_unavailable();
    let verdict = shop.told(asked);
    assert!(matches!(verdict, Verdict::Failed(Failure::Unavailable)), "{verdict:?}");
    shop.seller.batcher.set_available();
    let asked = shop.ask("ticket", None);
    shop.serve();
    assert!(matches!(shop.told(asked), Verdict::Granted { .. }));
    assert_eq!(shop.seller.selling.allowance_left(), 0);
}

#[test]
fn a_name_that_a_client_invents_is_forgotten_with_the_ledgers_answer() {
    let mut shop = Shop::with("ticket", 1, StockSetting::Auto);
    let asked = shop.ask("nothing", None);
    shop.serve();
    let verdict = shop.told(asked);
    assert!(matches!(verdict, Verdict::Refused(Refused::UnknownSale)), "{verdict:?}");
    assert!(!shop.seller.sales.exists(&SaleId::new("nothing").unwrap()));
    // Nor does one stay of which the ledger could say nothing.
    let asked = shop.ask("something", None);
    shop.seller.batcher.set_unavailable();
    assert!(matches!(shop.told(asked), Verdict::Failed(Failure::Unavailable)));
    for forgotten in ["nothing", "something"] {
        assert!(shop.seller.sale(forgotten).is_err(), "{forgotten} has to be asked anew");
    }
}

/// A view of the sale, which the ledger has still to give.
fn look_at(shop: &Shop, sale: &str) -> Ticket {
    super::ask(shop.seller, &shop.seller.sale(sale).unwrap(), ASKER).expect("it can be asked")
}

/// What the ledger has of a sale in parts.
fn make_in_parts(shop: &mut Shop, parts: u32, units: u64, making: u64) {
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
fn one_reply_that_tells_twice_of_a_sale_made_again_in_parts_leaves_nobody_waiting() {
    let mut shop = Shop::with("ticket", 0, StockSetting::Auto);
    let machine = Machine::of_making(SaleSpec::with_total(10), Creation(1));
    shop.ledger.sales.insert("ticket".to_owned(), machine);
    let seen = look_at(&shop, "ticket");
    shop.serve();
    assert!(shop.seller.batcher.take(seen).is_ok());
    make_in_parts(&mut shop, 2, 10, 2);
    shop.seller.sales.want(&shop.seller.sale("ticket").unwrap());
    shop.seller.tick();
    assert!(matches!(shop.serve()[..], [Command::Glance { parts: 0 }]));
    let asked = shop.ask("ticket", None);
    // The first shows another sale of this name, the second says that it is split.
    assert!(matches!(shop.serve()[..], [Command::Show, Command::Reserve(_)]));
    let Progress::Waits(asked) = asked.go_on(shop.seller, ASKER) else { panic!("it has to buy") };
    let seen = look_at(&shop, "ticket");
    shop.serve();
    assert!(matches!(shop.told(asked), Verdict::Granted(_)));
    let (answer, _) = shop.seller.batcher.take(seen).expect("it is answered");
    let Ok(Outcome::Sale(view)) = answer else { panic!("{answer:?}") };
    assert_eq!(view.spec.total, 20);
}

#[test]
fn a_look_at_parts_that_are_no_split_sale_together_is_answered() {
    let mut shop = Shop::with("ticket", 0, StockSetting::Auto);
    make_in_parts(&mut shop, 2, 10, 1);
    let spoilt = Machine::of_making(SaleSpec::with_total(10), Creation(1));
    shop.ledger.sales.insert("ticket~2of2".to_owned(), spoilt);
    for _ in 0..2 {
        let seen = look_at(&shop, "ticket");
        while shop.seller.batcher.has_more() {
            shop.serve();
        }
        let answered = shop.seller.batcher.take(seen).expect("it is answered");
        assert_eq!(answered, (Err(Failure::Unavailable), None));
    }
}

#[test]
fn how_often_a_sale_was_asked_about_says_nothing_of_the_one_that_has_its_name_now() {
    let mut shop = Shop::with("ticket", 0, StockSetting::Auto);
    make_in_parts(&mut shop, 2, 0, 1);
    let seen = look_at(&shop, "ticket");
    while shop.seller.batcher.has_more() {
        shop.serve();
    }
    assert!(shop.seller.batcher.take(seen).is_ok());
    let slot = shop.seller.sale("ticket").unwrap();
    slot.views_asked.set(1_000_000);
    let mut asked = shop.ask("ticket", Some("k"));
    shop.serve();
    asked = match asked.go_on(shop.seller, ASKER) {
        Progress::Waits(asked) => asked,
        Progress::Done(_) => panic!("its part is to be asked for its claim"),
    };
    shop.ledger.sales.clear();
    assert!(matches!(shop.serve()[..], [Command::FindClaim(..)]));
    make_in_parts(&mut shop, 2, 0, 2);
    for _ in 0..9 {
        asked = match asked.go_on(shop.seller, ASKER) {
            Progress::Waits(asked) => asked,
            Progress::Done(done) => return assert!(sold_out(&done.verdict), "{:?}", done.verdict),
        };
        shop.serve();
    }
    panic!("it waits for a million views");
}

#[test]
fn a_slot_that_is_forgotten_asks_nothing_and_nobody_waits_for_it() {
    let shop = Shop::with("ticket", 1, StockSetting::Auto);
    let slot = shop.seller.sale("ticket").unwrap();
    shop.seller.sales.want(&slot);
    shop.seller.forget(&slot);
    let asked = super::ask(shop.seller, &slot, ASKER);
    assert_eq!(asked.err(), Some(Failure::Unavailable), "nobody would ever be told");
    shop.seller.tick();
    assert!(!shop.seller.batcher.has_more());
}

#[test]
fn a_sale_that_is_made_anew_has_one_allowance_for_all_cores() {
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
            assert!(matches!(shop.serve()[..], [Command::Glance { .. }]));
        }
        for buyer in 0..ALLOWANCE as usize {
            shop.seller = cores[buyer % CORES];
            let asked = shop.ask("ticket", None);
            shop.serve();
            assert!(matches!(shop.told(asked), Verdict::Granted { .. }), "{buyer} of {making}");
        }
        for seller in cores {
            shop.seller = seller;
            let exhausted = shop.decide("ticket");
            let refused = matches!(exhausted, Verdict::Refused(Refused::AllowanceExhausted));
            assert!(refused, "{making}: {exhausted:?}");
        }
    }
}

/// A request for one unit of a ticket type.
fn of_type(shop: &Shop, name: &str, key: Option<&str>) -> Progress {
    let lines = Lines::from_text(&format!("{name}:1"));
    let ask = Ask {
        quantity: 1,
        user: User::new("ann").ok(),
        key: key.and_then(|key| Key::new(key).ok()),
        trace: None,
        details: Details { lines, ..Details::default() }.boxed(),
    };
    put(shop.seller, &shop.seller.sale("ticket").expect("a sale"), ask)
}

fn waits(progress: Progress) -> Asked {
    match progress {
        Progress::Waits(asked) => asked,
        Progress::Done(done) => panic!("decided: {:?}", done.verdict),
    }
}

fn adults_are_gone(verdict: &Verdict) -> bool {
    matches!(verdict, Verdict::Lines(LinesRefused::SoldOut { name, free: 0 }) if name.as_str() == "adult")
}

#[test]
fn a_ticket_type_that_is_gone_is_refused_from_memory_and_the_others_are_not() {
    let mut shop = Shop::with("ticket", 9, StockSetting::Auto);
    let types = Types::from_text("adult:1,child:8").unwrap();
    let spec = SaleSpec { types, ..SaleSpec::with_total(9) };
    shop.ledger.sales.insert("ticket".to_owned(), Machine::new(spec));
    let first = waits(of_type(&shop, "adult", Some("k")));
    shop.serve();
    let Verdict::Granted(granted) = shop.told(first) else { panic!("not granted") };
    let second = waits(of_type(&shop, "adult", None));
    assert!(matches!(shop.serve()[..], [Command::Reserve(_)]));
    assert!(adults_are_gone(&shop.told(second)));

    let Progress::Done(known) = of_type(&shop, "adult", None) else { panic!("it is known") };
    assert!(adults_are_gone(&known.verdict));
    assert!(!shop.seller.batcher.has_more(), "a refusal never leaves the core");
    let child = waits(of_type(&shop, "child", None));
    shop.serve();
    assert!(matches!(shop.told(child), Verdict::Granted { .. }));
    // A key that has nothing is told so once that is known, and asks for nothing.
    let new = waits(of_type(&shop, "adult", Some("new")));
    assert!(matches!(shop.serve()[..], [Command::FindClaim(..)]));
    assert!(adults_are_gone(&shop.told(new)));
    let again = waits(of_type(&shop, "adult", Some("k")));
    shop.serve();
    let Progress::Waits(again) = again.go_on(shop.seller, ASKER) else { panic!("it has one") };
    shop.serve();
    assert!(matches!(shop.told(again), Verdict::Replayed(first) if first.id == granted.id));

    let machine = shop.ledger.sales.get_mut("ticket").unwrap();
    machine.apply(START_MS, &Command::Cancel(granted.id));
    shop.wait_ms(TICK_INTERVAL_MS);
    shop.seller.tick();
    // A core that glances is told that it takes more to tell, and asks for that.
    assert!(matches!(shop.serve()[..], [Command::Glance { .. }]));
    assert!(matches!(shop.serve()[..], [Command::Show]));
    let back = waits(of_type(&shop, "adult", None));
    shop.serve();
    assert!(matches!(shop.told(back), Verdict::Granted { .. }));
}

#[test]
fn who_asks_for_a_type_that_was_gone_a_while_ago_waits_for_one_question() {
    let mut shop = Shop::with("ticket", 9, StockSetting::Auto);
    let types = Types::from_text("adult:1,child:8").unwrap();
    let spec = SaleSpec { types, ..SaleSpec::with_total(9) };
    shop.ledger.sales.insert("ticket".to_owned(), Machine::new(spec));
    for _ in 0..2 {
        let asked = waits(of_type(&shop, "adult", None));
        shop.serve();
        drop(shop.told(asked));
    }
    shop.wait_ms(1_000);
    let both = [(); 2].map(|()| waits(of_type(&shop, "adult", None)));
    assert!(matches!(shop.serve()[..], [Command::Glance { .. }]), "one for both");
    assert!(matches!(shop.serve()[..], [Command::Show]));
    assert!(both.into_iter().all(|asked| adults_are_gone(&shop.told(asked))));
    assert_eq!(shop.seller.batcher.waiting(), 0);
}
