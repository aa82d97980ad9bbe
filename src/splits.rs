//! What is done to several places of a split sale: looking at all of them, making them, moving units
//! from one to another.
//!
//! A core does it in a coroutine, an operator's command and the sweep with a blocking client: both are
//! an [`Ask`]. Every step is safe to be left, repeated or done by two at the same time; what a step
//! means is `sale/split.rs`' to say.
//!
//! Architecture invariant: knows no HTTP, no core and no kind of ledger.

use crate::ledger::client::Client;
use crate::ledger::{Batch, Group, LedgerError};
use crate::limits::SPLIT_ROUNDS_MAX;
use crate::sale::{
    Command, Gift, Outcome, Places, ReservationId, SaleId, SaleSpec, SaleView, Split, UnderWay,
};

/// A way to a ledger that waits for the answers.
pub trait Ask {
    /// Why there is none.
    type Error;

    /// Has commands carried out; the outcomes of each group, in order.
    fn ask(&mut self, groups: Vec<Group>) -> Result<Vec<Vec<Outcome>>, Self::Error>;
}

impl Ask for &mut dyn Client {
    type Error = LedgerError;

    fn ask(&mut self, groups: Vec<Group>) -> Result<Vec<Vec<Outcome>>, LedgerError> {
        let replies = self.apply(&Batch { groups })?;
        Ok(replies.into_iter().map(|reply| reply.outcomes).collect())
    }
}

/// What came of making a sale's parts.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Made {
    /// They are there.
    Whole(Box<Places>),
    /// Parts that had units are gone: nothing was made.
    Missing(Vec<usize>),
    /// Parts are there that an earlier sale of this name has left, with units or reservations in them,
    /// or that are defined otherwise than the head.
    Foreign(Vec<usize>),
    /// There is no such split sale.
    Gone,
}

/// What came of looking for units.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Search {
    /// The part has enough, once it has carried out these: in one go with what is to be bought.
    Ready(Vec<Command>),
    /// All places together have fewer, and nothing is under way.
    TooFew {
        /// How many.
        free: u64,
        /// The sale as it was seen.
        view: Box<SaleView>,
    },
    /// The parts that are there have fewer, and another is missing: nobody can know.
    Missing(Vec<usize>),
    /// There is no such split sale any more.
    Gone,
    /// Units were under way all the time.
    Restless,
}

/// The id of a place.
pub fn place_id(head: &SaleId, number: usize, parts: u32) -> SaleId {
    let part = u32::try_from(number).ok().and_then(|number| head.part(number, parts));
    part.unwrap_or_else(|| head.clone())
}

/// Looks at every place. `None`: there is no such sale, or it is not split into this many parts.
pub fn look<A: Ask>(ask: &mut A, head: &SaleId, parts: u32) -> Result<Option<Places>, A::Error> {
    let show =
        |number| Group { sale: place_id(head, number, parts), commands: vec![Command::Show] };
    let outcomes = ask.ask((0..=parts as usize).map(show).collect())?;
    let mut views = outcomes.into_iter().map(|mut outcomes| match outcomes.pop() {
        Some(Outcome::Sale(view)) => Some(*view),
        _ => None,
    });
    let Some(Some(head)) = views.next() else { return Ok(None) };
    Ok(Places::new(head, views.collect()))
}

/// Finishes moves that somebody began. The givers are asked for what they gave once more: only such an
/// answer is as durable as the ledger's setting promises, and what may be forgotten must not be taken.
pub fn finish<A: Ask>(
    ask: &mut A,
    head: &SaleId,
    parts: u32,
    moves: &[UnderWay],
) -> Result<(), A::Error> {
    let nothing = |one: &UnderWay| (one.to, Gift { from: one.from, gave: one.gave, units: 0 });
    let gifts: Vec<_> = moves.iter().map(nothing).collect();
    let takes = give(ask, head, parts, &gifts)?;
    ask.ask(groups(head, parts, takes)).map(drop)
}

/// Has givers give again what they have forgotten, as far as it is free: units that were taken from
/// them in `moves` and that they never gave are there twice (a failover to a replica that had not heard
/// of it). Nothing comes of it where they were only seen too early: their count is another then.
pub fn take_back<A: Ask>(
    ask: &mut A,
    head: &SaleId,
    parts: u32,
    moves: &[UnderWay],
) -> Result<(), A::Error> {
    let again =
        |one: &UnderWay| (one.to, Gift { from: one.from, gave: one.gave, units: one.units });
    let gifts: Vec<_> = moves.iter().map(again).collect();
    // Their takers have it.
    give(ask, head, parts, &gifts).map(drop)
}

/// Makes the parts that are missing, and gives each its share. To be called for every head that is to
/// be created, also one that is there: whoever began may not have come to the end.
pub fn make<A: Ask>(ask: &mut A, head: &SaleId, parts: u32) -> Result<Made, A::Error> {
    let Some(mut places) = look(ask, head, parts)? else { return Ok(Made::Gone) };
    let (missing, foreign) = (places.missing(), places.foreign());
    let was_given = |number: &usize| places.was_given(*number);
    if missing.iter().any(was_given) {
        return Ok(Made::Missing(missing));
    }
    if foreign.iter().any(was_given) {
        return Ok(Made::Foreign(foreign));
    }
    if !(missing.is_empty() && foreign.is_empty()) {
        let split = Split::Part { of: parts };
        let spec = SaleSpec { total: 0, split, ..places.head().spec.clone() };
        let creation = places.head().creation;
        let create = |number| (number, Command::CreatePart { spec: spec.clone(), creation });
        ask.ask(groups(head, parts, missing.into_iter().chain(foreign).map(create)))?;
        match look(ask, head, parts)? {
            Some(again) => places = again,
            None => return Ok(Made::Gone),
        }
        let foreign = places.foreign();
        if !foreign.is_empty() {
            return Ok(Made::Foreign(foreign));
        }
    }
    let shares = places.shares();
    if shares.is_empty() {
        return Ok(Made::Whole(Box::new(places)));
    }
    let takes = give(ask, head, parts, &shares)?;
    ask.ask(groups(head, parts, takes))?;
    Ok(look(ask, head, parts)?.map_or(Made::Gone, |places| Made::Whole(Box::new(places))))
}

/// Has other places give what the part `to` lacks to have `units` free. If all together have too few,
/// finishes what is under way between them, and looks again.
pub fn search<A: Ask>(
    ask: &mut A,
    head: &SaleId,
    parts: u32,
    to: usize,
    units: u64,
) -> Result<Search, A::Error> {
    for _ in 0..SPLIT_ROUNDS_MAX {
        let Some(places) = look(ask, head, parts)? else { return Ok(Search::Gone) };
        if places.get(to).is_none() {
            return Ok(Search::Missing(places.missing()));
        }
        let mut twice = places.from_nowhere(&places);
        twice.retain(|one| places.get(one.from).is_some_and(|giver| giver.free() > 0));
        if !twice.is_empty() {
            take_back(ask, head, parts, &twice)?;
            continue;
        }
        let Some(gifts) = places.gifts(to, units) else {
            // Others may be at work, or dead: what is on its way is not gone.
            let (under_way, missing) = (places.under_way(), places.missing());
            if !under_way.is_empty() {
                finish(ask, head, parts, &under_way)?;
                continue;
            }
            return Ok(match missing.is_empty() {
                true => Search::TooFew { free: places.free(), view: Box::new(places.view()) },
                false => Search::Missing(missing),
            });
        };
        let gifts: Vec<_> = gifts.into_iter().map(|gift| (to, gift)).collect();
        let takes = give(ask, head, parts, &gifts)?;
        return Ok(Search::Ready(takes.into_iter().map(|(_, take)| take).collect()));
    }
    Ok(Search::Restless)
}

/// Confirms a reservation of a part that has expired and whose units the part no longer has, if all
/// places together have enough. `None`: that can't be known now.
pub fn confirm_late<A: Ask>(
    ask: &mut A,
    part: &SaleId,
    id: ReservationId,
) -> Result<Option<Outcome>, A::Error> {
    let Some((number, parts)) = part.part_number() else { return Ok(Some(Outcome::Expired)) };
    let one = |ask: &mut A, mut commands: Vec<Command>, last: Command| {
        commands.push(last);
        let group = Group { sale: part.clone(), commands };
        Ok(ask.ask(vec![group])?.pop().and_then(|mut outcomes| outcomes.pop()))
    };
    for _ in 0..SPLIT_ROUNDS_MAX {
        let shown = one(ask, Vec::new(), Command::ShowReservation(id))?;
        let Some(Outcome::Reservation(reservation)) = shown else { return Ok(shown) };
        let units = u64::from(reservation.quantity);
        let found = search(ask, &part.whole(), parts, number as usize, units)?;
        let takes = match found {
            Search::Ready(takes) => takes,
            Search::TooFew { .. } => return Ok(Some(Outcome::Expired)),
            Search::Missing(_) | Search::Gone | Search::Restless => return Ok(None),
        };
        let confirmed = one(ask, takes, Command::Confirm(id))?;
        if confirmed != Some(Outcome::Expired) {
            return Ok(confirmed);
        }
    }
    Ok(None)
}

/// Takes free units out of the sale: the head does, once other places have given it what it lacks, in one
/// go with taking that. `at_most`: if all together have fewer, as many as they have. `None`: that can't
/// be known now, and nothing was taken out.
pub fn take_stock<A: Ask>(
    ask: &mut A,
    head: &SaleId,
    parts: u32,
    units: u64,
    at_most: bool,
) -> Result<Option<Outcome>, A::Error> {
    let mut units = units;
    for _ in 0..SPLIT_ROUNDS_MAX {
        let mut commands = match search(ask, head, parts, 0, units)? {
            Search::Ready(takes) => takes,
            Search::TooFew { free, .. } if at_most => {
                units = free;
                continue;
            }
            Search::TooFew { free, .. } => return Ok(Some(Outcome::TooFewFree { free })),
            Search::Gone => return Ok(Some(Outcome::UnknownSale)),
            Search::Missing(_) | Search::Restless => return Ok(None),
        };
        commands.push(Command::TakeStock { units, at_most: false });
        let group = Group { sale: head.clone(), commands };
        let taken = ask.ask(vec![group])?.pop().and_then(|mut outcomes| outcomes.pop());
        // Somebody was quicker.
        if !matches!(taken, Some(Outcome::TooFewFree { .. })) {
            return Ok(taken);
        }
    }
    Ok(None)
}

/// Has places give. What the others are to take then, with their numbers.
fn give<A: Ask>(
    ask: &mut A,
    head: &SaleId,
    parts: u32,
    gifts: &[(usize, Gift)],
) -> Result<Vec<(usize, Command)>, A::Error> {
    let command = |(to, gift): &(usize, Gift)| {
        let give = Command::Give { to: *to as u32, gave: gift.gave, units: gift.units };
        (gift.from, give)
    };
    let groups = groups(head, parts, gifts.iter().map(command));
    let mut takes = Vec::new();
    for (group, outcomes) in groups.iter().zip(ask.ask(groups.clone())?) {
        let from = group.sale.part_number().map_or(0, |(number, _)| number as usize);
        for (command, outcome) in group.commands.iter().zip(outcomes) {
            if let (Command::Give { to, .. }, Outcome::Gave { gave }) = (command, outcome) {
                takes.push((*to as usize, take(from, gave)));
            }
        }
    }
    Ok(takes)
}

fn take(from: usize, gave: u64) -> Command {
    Command::Take { from: from as u32, gave }
}

/// Commands as one group a place.
fn groups(
    head: &SaleId,
    parts: u32,
    commands: impl IntoIterator<Item = (usize, Command)>,
) -> Vec<Group> {
    let mut groups: Vec<Group> = Vec::new();
    for (number, command) in commands {
        let sale = place_id(head, number, parts);
        match groups.iter_mut().find(|group| group.sale == sale) {
            Some(group) => group.commands.push(command),
            None => groups.push(Group { sale, commands: vec![command] }),
        }
    }
    groups
}

#[cfg(test)]
#[path = "splits_tests.rs"]
mod tests;
