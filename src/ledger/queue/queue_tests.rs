use super::*;
use crate::sale::{Key, ReservationId, Reserve, User};

fn sale(name: &str) -> SaleId {
    SaleId::new(name).unwrap()
}

/// A purchase that its number tells from others.
fn buy(number: u128) -> Command {
    Command::Reserve(Reserve { id: ReservationId(number), quantity: 1, user: None, key: None })
}

fn entry(submitted_ms: u64) -> Entry {
    Entry { ticket: None, allowance: 1, submitted_ms }
}

fn fill(queues: &mut Queues, name: &str, numbers: std::ops::Range<u128>) {
    numbers.for_each(|number| queues.push(&sale(name), true, buy(number), entry(0)));
}

/// How many commands of each sale a batch has.
fn counts(batch: &Batch) -> Vec<(&str, usize)> {
    let mut counts: Vec<_> =
        batch.groups.iter().map(|group| (group.sale.as_str(), group.commands.len())).collect();
    counts.sort_unstable();
    counts
}

fn commands(batch: &Batch, name: &str) -> Vec<Command> {
    let group = batch.groups.iter().find(|group| group.sale.as_str() == name);
    group.map_or_else(Vec::new, |group| group.commands.clone())
}

#[test]
fn a_sale_alone_has_the_whole_batch_in_order() {
    let mut queues = Queues::default();
    fill(&mut queues, "hot", 0..BATCH_MAX as u128 + 5);
    let (first, sent) = queues.take();
    assert_eq!(commands(&first, "hot"), (0..BATCH_MAX as u128).map(buy).collect::<Vec<_>>());
    assert_eq!(sent[0].1.len(), BATCH_MAX);
    let (second, _) = queues.take();
    assert_eq!(
        commands(&second, "hot"),
        (BATCH_MAX as u128..BATCH_MAX as u128 + 5).map(buy).collect::<Vec<_>>()
    );
    assert!(queues.is_empty() && queues.lines.is_empty());
}

#[test]
fn a_hot_sale_takes_only_its_share_of_a_batch_and_others_are_in_the_next_one() {
    let mut queues = Queues::default();
    fill(&mut queues, "hot", 0..4_000);
    for round in 0..10 {
        fill(&mut queues, "cold", round..round + 1);
        // However many come for the hot sale meanwhile.
        fill(&mut queues, "hot", 0..BATCH_MAX as u128);
        let (batch, _) = queues.take();
        assert_eq!(counts(&batch), [("cold", 1), ("hot", BATCH_MAX - 1)]);
    }
}

#[test]
fn sales_that_are_equally_hot_have_equal_shares() {
    let mut queues = Queues::default();
    for name in ["a", "b", "c", "d"] {
        fill(&mut queues, name, 0..4_000);
    }
    let (batch, _) = queues.take();
    let share = BATCH_MAX / 4;
    assert_eq!(counts(&batch), [("a", share), ("b", share), ("c", share), ("d", share)]);
}

#[test]
fn with_more_sales_than_scripts_each_has_its_turn() {
    let mut queues = Queues::default();
    let sales = 3 * BATCH_SCRIPTS_MAX;
    for number in 0..sales {
        fill(&mut queues, &format!("s{number}"), 0..10);
    }
    let mut seen = HashMap::new();
    for _ in 0..3 {
        let (batch, _) = queues.take();
        assert_eq!(batch.groups.len(), BATCH_SCRIPTS_MAX);
        for group in batch.groups {
            *seen.entry(group.sale).or_insert(0) += group.commands.len();
        }
    }
    assert_eq!(seen.len(), sales, "each sale in one of the first three batches");
    let (low, high) = (seen.values().min().unwrap(), seen.values().max().unwrap());
    assert!(high - low <= 1, "{low} to {high} commands");
}

#[test]
fn a_batch_is_bounded_by_scripts_also_within_one_sale() {
    let mut queues = Queues::default();
    for number in 0..BATCH_MAX as u128 {
        let cancel = Command::Cancel(ReservationId(number));
        fill(&mut queues, "a", number..number + 1);
        queues.push(&sale("a"), true, cancel, entry(0));
    }
    let (batch, _) = queues.take();
    let scripts = batch.groups[0].commands.chunk_by(Command::joins).count();
    assert_eq!(scripts, BATCH_SCRIPTS_MAX);
}

#[test]
fn looks_do_not_stand_behind_purchases() {
    let mut queues = Queues::default();
    fill(&mut queues, "hot", 0..4_000);
    queues.push(&sale("hot"), true, Command::Show, entry(0));
    queues.push(&sale("quiet"), true, Command::Show, entry(0));
    let (batch, _) = queues.take();
    assert_eq!(counts(&batch), [("hot", BATCH_MAX - 1), ("quiet", 1)]);
    assert_eq!(commands(&batch, "hot")[0], Command::Show);
}

#[test]
fn looks_without_end_leave_purchases_their_share() {
    let mut queues = Queues::default();
    for number in 0..4_000 {
        queues.push(&sale("seen"), true, Command::ShowReservation(ReservationId(number)), entry(0));
    }
    fill(&mut queues, "sold", 0..4_000);
    let (batch, _) = queues.take();
    let counts = counts(&batch);
    assert!(counts[0].1 >= BATCH_MAX / 4 && counts[1].1 >= BATCH_MAX / 2, "{counts:?}");
}

#[test]
fn names_that_clients_invent_share_one_part_of_a_batch() {
    let mut queues = Queues::default();
    for number in 0..4_000 {
        queues.push(&sale(&format!("x{number}")), false, buy(number), entry(0));
    }
    fill(&mut queues, "real", 0..4_000);
    let (batch, _) = queues.take();
    assert!(commands(&batch, "real").len() >= BATCH_MAX / 2);
    // And they are served, too.
    assert!(batch.groups.len() > BATCH_SCRIPTS_MAX / 4);
}

#[test]
fn a_sale_that_is_confirmed_while_it_waits_keeps_its_order() {
    let mut queues = Queues::default();
    for number in 0..BATCH_MAX as u128 + 10 {
        queues.push(&sale("new"), false, buy(number), entry(0));
    }
    let (first, _) = queues.take();
    fill(&mut queues, "new", 1_000..1_010);
    let (second, _) = queues.take();
    let got = [commands(&first, "new"), commands(&second, "new")].concat();
    let all = (0..BATCH_MAX as u128 + 10).chain(1_000..1_010).map(buy).collect::<Vec<_>>();
    assert_eq!(got, all);
}

#[test]
fn a_sale_that_is_confirmed_while_it_waits_is_no_stranger_any_more() {
    let mut queues = Queues::default();
    for number in 0..2_000 {
        queues.push(&sale("new"), false, buy(number), entry(0));
        queues.push(&sale(&format!("x{number}")), false, buy(number), entry(0));
    }
    fill(&mut queues, "new", 2_000..2_001);
    // Its first turn is one among the names that nobody knows.
    queues.take();
    let (second, _) = queues.take();
    assert!(commands(&second, "new").len() >= BATCH_MAX / 2);
}

#[test]
fn only_what_is_overdue_is_taken_as_such() {
    let mut queues = Queues::default();
    for (name, submitted_ms) in [("old", 10), ("old", 20), ("new", 30), ("old", 30)] {
        queues.push(&sale(name), true, buy(u128::from(submitted_ms)), entry(submitted_ms));
    }
    let overdue = queues.take_overdue(30);
    assert_eq!(overdue.len(), 1);
    assert_eq!((overdue[0].0.as_str(), overdue[0].1.len()), ("old", 2));
    let (batch, _) = queues.take();
    assert_eq!(counts(&batch), [("new", 1), ("old", 1)]);
    assert_eq!(commands(&batch, "old"), [buy(30)]);
}

#[test]
fn purchases_without_a_key_can_be_taken_out() {
    let mut queues = Queues::default();
    let keyed = Command::Reserve(Reserve {
        id: ReservationId(7),
        quantity: 1,
        user: Some(User::new("ann").unwrap()),
        key: Some(Key::new("k").unwrap()),
    });
    fill(&mut queues, "a", 0..3);
    queues.push(&sale("a"), true, keyed.clone(), entry(0));
    fill(&mut queues, "a", 3..6);
    fill(&mut queues, "b", 0..1);
    let keyless = |command: &Command| matches!(command, Command::Reserve(r) if r.key.is_none());
    assert_eq!(queues.take_those(&sale("a"), keyless).len(), 6);
    assert_eq!(queues.len(), 2);
    let (batch, _) = queues.take();
    assert_eq!(commands(&batch, "a"), [keyed]);
    assert_eq!(commands(&batch, "b"), [buy(0)]);
}

#[test]
fn a_sale_can_not_take_the_last_places() {
    let mut queues = Queues::default();
    let places_max = 900;
    let mut held = Vec::new();
    while let Some(place) = queues.enter(&sale("hot"), true, places_max) {
        held.push(place);
    }
    assert_eq!(held.len(), places_max * WAITING_SHARE / (WAITING_SHARE + 1));
    let cold = queues.enter(&sale("cold"), true, places_max).expect("a place is left");
    queues.leave(cold);
    held.drain(..).for_each(|place| queues.leave(place));
    assert_eq!(queues.places(), 0);
    assert!(queues.lines.is_empty(), "nothing is kept of a sale that nobody waits for");
}

#[test]
fn few_places_are_all_of_use() {
    let mut queues = Queues::default();
    for _ in 0..3 {
        let _ = queues.enter(&sale("a"), true, 3).expect("one of three");
    }
    assert!(queues.enter(&sale("a"), true, 3).is_none());
    assert!(queues.enter(&sale("b"), true, 3).is_none());
    assert!(queues.enter(&sale("b"), true, 0).is_none());
}

#[test]
fn what_was_taken_out_leaves_nothing_behind() {
    let mut queues = Queues::default();
    for round in 0..100 {
        queues.push(&sale(&format!("x{round}")), round % 2 == 0, buy(round), entry(0));
        assert_eq!(queues.take_all().len(), 1);
        let (batch, sent) = queues.take();
        assert!(batch.groups.is_empty() && sent.is_empty());
    }
    assert!(queues.lines.is_empty());
    assert!(queues.slab.len() <= 2, "{} lines", queues.slab.len());
}
