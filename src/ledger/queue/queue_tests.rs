use super::*;
use crate::ledger::Batch;
use crate::limits::{BATCH_MAX, BATCH_PEEKS_MAX, BATCH_SCRIPTS_MAX};
use crate::sale::{Creation, Key, ReservationId, Reserve, User};

fn sale(name: &str) -> SaleId {
    SaleId::new(name).unwrap()
}

/// A purchase that is identified by its number.
fn buy(number: u128) -> Command {
    Command::Reserve(Reserve {
        id: ReservationId(number),
        quantity: 1,
        user: None,
        key: None,
        trace: None,
        details: None,
    })
}

/// Queues a command that has a waiter and an allowance of 1.
fn push(queues: &mut Queues<u32>, name: &str, is_known: bool, command: Command, ms: u64) -> Ticket {
    let ticket = queues.enter(&sale(name), is_known, None, Some(7)).expect("there is no bound");
    queues.push(&ticket, command, 1, ms);
    ticket
}

fn fill(queues: &mut Queues<u32>, name: &str, numbers: std::ops::Range<u128>) {
    numbers.for_each(|number| _ = push(queues, name, true, buy(number), 0));
}

/// Gives all commands of a batch the same answer, and takes each answer.
fn answer(queues: &mut Queues<u32>, sent: Vec<Sent>) {
    for entry in sent.into_iter().flat_map(|(_, entries)| entries) {
        let number = entry.ticket.expect("somebody waits");
        assert_eq!(queues.answer(number, Ok(Outcome::Closed), None), Ok(Some(7)));
        assert_eq!(queues.take_answer(Ticket(number)), Ok((Ok(Outcome::Closed), None)));
    }
}

/// Whether no queue is in use.
fn is_drained(queues: &Queues<u32>) -> bool {
    queues.places() == 0 && queues.waiting.is_empty() && queues.queue_ids.len() == queues.idle
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
fn a_single_sale_fills_the_whole_batch_in_order() {
    let mut queues = Queues::<u32>::default();
    fill(&mut queues, "hot", 0..BATCH_MAX as u128 + 5);
    let (first, sent) = queues.take();
    assert_eq!(commands(&first, "hot"), (0..BATCH_MAX as u128).map(buy).collect::<Vec<_>>());
    assert_eq!(sent[0].1.len(), BATCH_MAX);
    let (second, _) = queues.take();
    assert_eq!(
        commands(&second, "hot"),
        (BATCH_MAX as u128..BATCH_MAX as u128 + 5).map(buy).collect::<Vec<_>>()
    );
    assert!(queues.is_empty() && queues.idle == 0, "its requests still have their places");
}

#[test]
fn a_hot_sale_leaves_room_for_others_in_the_next_batch() {
    let mut queues = Queues::<u32>::default();
    fill(&mut queues, "hot", 0..4_000);
    for round in 0..10 {
        fill(&mut queues, "cold", round..round + 1);
        // Meanwhile a whole batch of purchases arrives for the hot sale.
        fill(&mut queues, "hot", 0..BATCH_MAX as u128);
        let (batch, _) = queues.take();
        assert_eq!(counts(&batch), [("cold", 1), ("hot", BATCH_MAX - 1)]);
    }
}

#[test]
fn equally_hot_sales_get_equal_shares() {
    let mut queues = Queues::<u32>::default();
    for name in ["a", "b", "c", "d"] {
        fill(&mut queues, name, 0..4_000);
    }
    let (batch, _) = queues.take();
    let share = BATCH_MAX / 4;
    assert_eq!(counts(&batch), [("a", share), ("b", share), ("c", share), ("d", share)]);
}

#[test]
fn peeks_are_bounded_per_batch_and_each_runs_once() {
    let mut queues = Queues::<u32>::default();
    let sales = 3 * BATCH_PEEKS_MAX;
    let glance = Command::Peek { parts: 0 };
    for number in 0..sales {
        queues.push_unattended(&sale(&format!("s{number}")), number % 3 > 0, glance.clone(), 0);
    }
    let mut seen = HashMap::new();
    for _ in 0..3 {
        fill(&mut queues, "hot", 0..4_000);
        let (batch, _) = queues.take();
        let glances = batch.groups.iter().filter(|group| group.commands == [glance.clone()]);
        glances.for_each(|group| *seen.entry(group.sale.clone()).or_insert(0) += 1);
        assert_eq!(commands(&batch, "hot").len(), BATCH_MAX - BATCH_PEEKS_MAX);
    }
    assert!(seen.len() == sales && seen.values().all(|&count| count == 1), "{seen:?}");
}

#[test]
fn a_ledger_without_scripts_takes_one_sale_per_command() {
    let mut queues = Queues::<u32>::default();
    queues.set_bounds(BatchBounds::EMBEDDED);
    for number in 0..BATCH_MAX + 5 {
        fill(&mut queues, &format!("s{number}"), 0..1);
    }
    assert_eq!(queues.take().0.groups.len(), BATCH_MAX);
    assert_eq!(queues.take().0.groups.len(), 5);
}

#[test]
fn more_sales_than_scripts_are_served_in_turn() {
    let mut queues = Queues::<u32>::default();
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
fn the_script_bound_also_holds_within_one_sale() {
    let mut queues = Queues::<u32>::default();
    for number in 0..BATCH_MAX as u128 {
        let cancel = Command::Cancel(ReservationId(number));
        fill(&mut queues, "a", number..number + 1);
        _ = push(&mut queues, "a", true, cancel, 0);
    }
    let (batch, _) = queues.take();
    let scripts = batch.groups[0].commands.chunk_by(Command::joins).count();
    assert_eq!(scripts, BATCH_SCRIPTS_MAX);
}

#[test]
fn reads_do_not_wait_behind_purchases() {
    let mut queues = Queues::<u32>::default();
    fill(&mut queues, "hot", 0..4_000);
    _ = push(&mut queues, "hot", true, Command::Show, 0);
    _ = push(&mut queues, "quiet", true, Command::Show, 0);
    let (batch, _) = queues.take();
    assert_eq!(counts(&batch), [("hot", BATCH_MAX - 1), ("quiet", 1)]);
    assert_eq!(commands(&batch, "hot")[0], Command::Show);
}

#[test]
fn endless_reads_leave_purchases_their_share() {
    let mut queues = Queues::<u32>::default();
    for number in 0..4_000 {
        _ = push(&mut queues, "seen", true, Command::ShowReservation(ReservationId(number)), 0);
    }
    fill(&mut queues, "sold", 0..4_000);
    let (batch, _) = queues.take();
    let counts = counts(&batch);
    assert!(counts[0].1 >= BATCH_MAX / 4 && counts[1].1 >= BATCH_MAX / 2, "{counts:?}");
}

#[test]
fn unknown_sale_names_share_one_part_of_a_batch() {
    let mut queues = Queues::<u32>::default();
    for number in 0..4_000 {
        _ = push(&mut queues, &format!("x{number}"), false, buy(number), 0);
    }
    fill(&mut queues, "real", 0..4_000);
    let (batch, _) = queues.take();
    assert!(commands(&batch, "real").len() >= BATCH_MAX / 2);
    // The unknown names are served, too.
    assert!(batch.groups.len() > BATCH_SCRIPTS_MAX / 4);
}

#[test]
fn a_sale_that_becomes_known_while_queued_keeps_its_order() {
    let mut queues = Queues::<u32>::default();
    for number in 0..BATCH_MAX as u128 + 10 {
        _ = push(&mut queues, "new", false, buy(number), 0);
    }
    let (first, _) = queues.take();
    fill(&mut queues, "new", 1_000..1_010);
    let (second, _) = queues.take();
    let got = [commands(&first, "new"), commands(&second, "new")].concat();
    let all = (0..BATCH_MAX as u128 + 10).chain(1_000..1_010).map(buy).collect::<Vec<_>>();
    assert_eq!(got, all);
}

#[test]
fn a_sale_that_becomes_known_while_queued_gets_a_full_share() {
    let mut queues = Queues::<u32>::default();
    for number in 0..2_000 {
        _ = push(&mut queues, "new", false, buy(number), 0);
        _ = push(&mut queues, &format!("x{number}"), false, buy(number), 0);
    }
    fill(&mut queues, "new", 2_000..2_001);
    // Its first turn is that of an unknown name.
    queues.take();
    let (second, _) = queues.take();
    assert!(commands(&second, "new").len() >= BATCH_MAX / 2);
}

#[test]
fn only_overdue_commands_are_taken_as_overdue() {
    let mut queues = Queues::<u32>::default();
    for (name, submitted_ms) in [("old", 10), ("old", 20), ("new", 30), ("old", 30)] {
        _ = push(&mut queues, name, true, buy(u128::from(submitted_ms)), submitted_ms);
    }
    let overdue = queues.take_overdue(30);
    assert_eq!(overdue.len(), 1);
    assert_eq!((overdue[0].0.as_str(), overdue[0].1.len()), ("old", 2));
    let (batch, _) = queues.take();
    assert_eq!(counts(&batch), [("new", 1), ("old", 1)]);
    assert_eq!(commands(&batch, "old"), [buy(30)]);
}

/// A purchase with a key.
fn keyed(key: &str) -> Reserve {
    Reserve {
        id: ReservationId(7),
        quantity: 1,
        user: Some(User::new("ann").unwrap()),
        key: Some(Key::new(key).unwrap()),
        trace: None,
        details: None,
    }
}

#[test]
fn taking_purchases_turns_those_with_keys_into_lookups() {
    let mut queues = Queues::<u32>::default();
    fill(&mut queues, "a", 0..3);
    _ = push(&mut queues, "a", true, Command::Reserve(keyed("k")), 0);
    _ = push(&mut queues, "a", true, Command::Confirm(ReservationId(1)), 0);
    fill(&mut queues, "a", 3..6);
    fill(&mut queues, "b", 0..1);
    let (out, units) = queues.take_purchases(&sale("a"));
    assert_eq!((out.len(), units, queues.len()), (6, 1, 3));
    let again = queues.take_purchases(&sale("a"));
    assert_eq!((again.0.len(), again.1), (0, 0));
    let (batch, sent) = queues.take();
    let looks =
        [Command::FindClaim(keyed("k"), Creation::UNKNOWN), Command::Confirm(ReservationId(1))];
    assert_eq!(commands(&batch, "a"), looks);
    assert_eq!(commands(&batch, "b"), [buy(0)]);
    let entries: Vec<u32> = sent[0].1.iter().map(|entry| entry.allowance).collect();
    assert_eq!(entries, [0, 1]);
    answer(&mut queues, vec![(sale("a"), out)]);
    answer(&mut queues, sent);
    assert_eq!(queues.places(), 0);
    assert!(is_drained(&queues));
}

#[test]
fn a_claim_lookup_does_not_overtake_a_purchase() {
    let mut queues = Queues::<u32>::default();
    fill(&mut queues, "a", 0..2 * BATCH_MAX as u128);
    _ = push(&mut queues, "a", true, Command::FindClaim(keyed("k"), Creation::UNKNOWN), 0);
    let mut batches = std::iter::from_fn(|| Some(commands(&queues.take().0, "a")));
    let is_look = |command: &Command| matches!(command, Command::FindClaim(..));
    assert!(batches.by_ref().take(2).flatten().all(|command| !is_look(&command)));
    assert!(batches.next().is_some_and(|commands| is_look(&commands[0])));
}

#[test]
fn giving_up_keeps_the_order_of_the_others() {
    let mut queues = Queues::<u32>::default();
    let mut tickets: Vec<Ticket> =
        (0..10).map(|number| push(&mut queues, "a", true, buy(number), 0)).collect();
    // From the ends and from the middle, and all of another sale.
    for at in [9, 5, 4, 0] {
        assert_eq!(queues.give_up(tickets.remove(at)), Some(1));
    }
    let other = push(&mut queues, "b", true, buy(0), 0);
    assert_eq!(queues.give_up(other), Some(1));
    fill(&mut queues, "a", 10..12);
    assert_eq!((queues.len(), queues.places()), (8, 8));
    let (batch, sent) = queues.take();
    assert_eq!(commands(&batch, "a"), [1, 2, 3, 6, 7, 8, 10, 11].map(buy));
    assert_eq!(batch.groups.len(), 1);
    // The answer to a sent command reaches nobody: its place belongs to another waiter by then.
    let gone = tickets.remove(0);
    let number = gone.number();
    assert_eq!(queues.give_up(gone), None);
    let successor = push(&mut queues, "a", true, buy(20), 0);
    assert_eq!(successor.number().index, number.index);
    let unheard = queues.answer(number, Ok(Outcome::Closed), Some(buy(1)));
    assert_eq!(unheard, Err((Ok(Outcome::Closed), Some(buy(1)))));
    assert_eq!(queues.give_up(successor), Some(1));
    answer(&mut queues, vec![(sale("a"), sent[0].1[1..].to_vec())]);
    queues.take();
    assert!(is_drained(&queues));
}

#[test]
fn a_sale_cannot_take_the_last_places() {
    let mut queues = Queues::<u32>::default();
    let places_max = Some(900);
    let mut held = Vec::new();
    while let Some(place) = queues.enter(&sale("hot"), true, places_max, None) {
        held.push(place);
    }
    assert_eq!(held.len(), 900 * WAITING_SHARE / (WAITING_SHARE + 1));
    let cold = queues.enter(&sale("cold"), true, places_max, None).expect("a place is left");
    assert_eq!(queues.give_up(cold), None);
    held.drain(..).for_each(|place| _ = queues.give_up(place));
    assert!(is_drained(&queues));
}

#[test]
fn a_small_number_of_places_can_be_used_fully() {
    let mut queues = Queues::<u32>::default();
    let mut enter = |name, most| queues.enter(&sale(name), true, Some(most), None);
    for _ in 0..3 {
        let _ = enter("a", 3).expect("one of three");
    }
    assert!(enter("a", 3).is_none() && enter("b", 3).is_none() && enter("b", 0).is_none());
}

#[test]
fn taken_commands_leave_no_queues_behind() {
    let mut queues = Queues::<u32>::default();
    for round in 0..100u64 {
        let name = format!("x{round}");
        queues.push_unattended(&sale(&name), round % 2 == 0, Command::Show, round);
        let ticket = push(&mut queues, &name, round % 2 == 0, buy(round.into()), 0);
        let out = queues.take_all();
        assert_eq!(out.iter().map(|(_, entries)| entries.len()).sum::<usize>(), 2);
        assert_eq!(queues.answer(ticket.number(), Err(Failure::Unavailable), None), Ok(Some(7)));
        assert!(queues.take_answer(ticket).is_ok());
        let (batch, sent) = queues.take();
        assert!(batch.groups.is_empty() && sent.is_empty());
    }
    assert!(is_drained(&queues));
}

#[test]
fn idle_queues_are_bounded_and_exclude_unknown_names() {
    let mut queues = Queues::<u32>::default();
    let mut come_and_go = |name: &str, is_known| {
        let place = queues.enter(&sale(name), is_known, None, None).expect("there is no bound");
        assert_eq!(queues.give_up(place), None);
        assert!(is_drained(&queues) && queues.idle <= IDLE_QUEUES_MAX);
        queues.queue_ids.len()
    };
    assert_eq!(come_and_go("new", false), 0);
    assert_eq!((come_and_go("a", true), come_and_go("a", true)), (1, 1));
    assert_eq!(come_and_go("a", false), 0, "it was removed meanwhile");
    let most =
        (0..3 * IDLE_QUEUES_MAX).map(|number| come_and_go(&format!("s{number}"), true)).max();
    assert_eq!(most, Some(IDLE_QUEUES_MAX));
    assert!(queues.queues.len() <= IDLE_QUEUES_MAX + 1, "{} lines", queues.queues.len());
}
