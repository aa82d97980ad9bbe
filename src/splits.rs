//! Steps across several places of a split sale: viewing all of them, creating them, transferring
//! units between them.
//!
//! A core runs them in a coroutine, an operator's command and the sweep on a blocking client: both
//! implement [`LedgerAccess`]. Every step may safely be abandoned, repeated or done by two
//! processes at the same time; `sale/split.rs` defines the steps.
//!
//! Architecture invariant: knows no HTTP, no core and no kind of ledger.

use crate::ledger::client::Client;
use crate::ledger::{Batch, Group, LedgerError};
use crate::limits::SPLIT_ROUNDS_MAX;
use crate::sale::{
    Command, InTransit, Outcome, Places, ReservationId, SaleId, SaleSpec, SaleView, Split, Transfer,
};

/// Access to a ledger that waits for the answers.
pub trait LedgerAccess {
    /// Why there is no answer.
    type Error;

    /// Carries out commands. Returns the outcomes of each group, in order.
    fn apply_groups(&mut self, groups: Vec<Group>) -> Result<Vec<Vec<Outcome>>, Self::Error>;
}

impl LedgerAccess for &mut dyn Client {
    type Error = LedgerError;

    fn apply_groups(&mut self, groups: Vec<Group>) -> Result<Vec<Vec<Outcome>>, LedgerError> {
        let replies = self.apply(&Batch { groups })?;
        Ok(replies.into_iter().map(|reply| reply.outcomes).collect())
    }
}

/// The result of creating a sale's parts.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum PartsCreation {
    /// All parts exist.
    Whole(Box<Places>),
    /// Parts that had units are gone: nothing was created.
    Missing(Vec<usize>),
    /// Parts exist that an earlier sale of this name has left, with units or reservations in them,
    /// or whose definition differs from the head's.
    Foreign(Vec<usize>),
    /// There is no such split sale.
    Gone,
}

/// The result of a search for units.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Search {
    /// The part has enough once it has carried out these commands, in one step with the purchase.
    Ready(Vec<Command>),
    /// All places together have fewer, and nothing is in transit.
    TooFew {
        /// How many.
        free: u64,
        /// The sale as it was viewed.
        view: Box<SaleView>,
    },
    /// The existing parts have fewer, and another is missing: the answer is not known.
    Missing(Vec<usize>),
    /// There is no such split sale any more.
    Gone,
    /// Units were in transit in every round.
    Contended,
}

/// The id of a place.
pub fn place_id(head: &SaleId, number: usize, parts: u32) -> SaleId {
    let part = u32::try_from(number).ok().and_then(|number| head.part(number, parts));
    part.unwrap_or_else(|| head.clone())
}

/// Views every place. `None`: there is no such sale, or it is not split into this many parts.
pub fn view_places<A: LedgerAccess>(
    ledger: &mut A,
    head: &SaleId,
    parts: u32,
) -> Result<Option<Places>, A::Error> {
    let show =
        |number| Group { sale: place_id(head, number, parts), commands: vec![Command::Show] };
    let outcomes = ledger.apply_groups((0..=parts as usize).map(show).collect())?;
    let mut views = outcomes.into_iter().map(|mut outcomes| match outcomes.pop() {
        Some(Outcome::Sale(view)) => Some(*view),
        _ => None,
    });
    let Some(Some(head)) = views.next() else { return Ok(None) };
    Ok(Places::new(head, views.collect()))
}

/// Completes transfers that were begun. Asks the senders again: only that answer is as durable as
/// the ledger's setting promises, and units that the sender may lose must not be received.
pub fn finish_transfers<A: LedgerAccess>(
    ledger: &mut A,
    head: &SaleId,
    parts: u32,
    transfers: &[InTransit],
) -> Result<(), A::Error> {
    let nothing = |one: &InTransit| (one.to, Transfer { from: one.from, sent: one.sent, units: 0 });
    let transfers: Vec<_> = transfers.iter().map(nothing).collect();
    let takes = transfer_out(ledger, head, parts, &transfers)?;
    ledger.apply_groups(groups(head, parts, takes)).map(drop)
}

/// Repeats transfers that their senders have lost, as far as their units are free: units in `moves`
/// were received but, by the sender's count, never sent, so they exist twice (after a failover to a
/// replica that lacked the write). Has no effect if the sender was only viewed too early: its count
/// is then a different one.
pub fn resend_lost<A: LedgerAccess>(
    ledger: &mut A,
    head: &SaleId,
    parts: u32,
    transfers: &[InTransit],
) -> Result<(), A::Error> {
    let again =
        |one: &InTransit| (one.to, Transfer { from: one.from, sent: one.sent, units: one.units });
    let transfers: Vec<_> = transfers.iter().map(again).collect();
    // Their receivers have the units.
    transfer_out(ledger, head, parts, &transfers).map(drop)
}

/// Creates the parts that are missing, and sends each its share. Call it for every head that is to
/// be created, also an existing one: an earlier call may not have come to its end.
pub fn create_parts<A: LedgerAccess>(
    ledger: &mut A,
    head: &SaleId,
    parts: u32,
) -> Result<PartsCreation, A::Error> {
    let Some(mut places) = view_places(ledger, head, parts)? else {
        return Ok(PartsCreation::Gone);
    };
    let (missing, foreign) = (places.missing(), places.foreign());
    let was_given = |number: &usize| places.ever_received(*number);
    if missing.iter().any(was_given) {
        return Ok(PartsCreation::Missing(missing));
    }
    if foreign.iter().any(was_given) {
        return Ok(PartsCreation::Foreign(foreign));
    }
    if !(missing.is_empty() && foreign.is_empty()) {
        let split = Split::Part { of: parts };
        let spec = SaleSpec { total: 0, split, ..places.head().spec.clone() };
        let creation = places.head().creation;
        let create = |number| (number, Command::CreatePart { spec: spec.clone(), creation });
        ledger.apply_groups(groups(head, parts, missing.into_iter().chain(foreign).map(create)))?;
        match view_places(ledger, head, parts)? {
            Some(again) => places = again,
            None => return Ok(PartsCreation::Gone),
        }
        let foreign = places.foreign();
        if !foreign.is_empty() {
            return Ok(PartsCreation::Foreign(foreign));
        }
    }
    let shares = places.first_transfers();
    if shares.is_empty() {
        return Ok(PartsCreation::Whole(Box::new(places)));
    }
    let takes = transfer_out(ledger, head, parts, &shares)?;
    ledger.apply_groups(groups(head, parts, takes))?;
    Ok(view_places(ledger, head, parts)?
        .map_or(PartsCreation::Gone, |places| PartsCreation::Whole(Box::new(places))))
}

/// Transfers the units that the part `to` lacks to have `units` free. If all together have too few,
/// completes what is in transit between them, and views them again.
pub fn search<A: LedgerAccess>(
    ledger: &mut A,
    head: &SaleId,
    parts: u32,
    to: usize,
    units: u64,
) -> Result<Search, A::Error> {
    for _ in 0..SPLIT_ROUNDS_MAX {
        let Some(places) = view_places(ledger, head, parts)? else { return Ok(Search::Gone) };
        if places.get(to).is_none() {
            return Ok(Search::Missing(places.missing()));
        }
        let mut twice = places.received_but_not_sent(&places);
        twice.retain(|one| places.get(one.from).is_some_and(|giver| giver.free() > 0));
        if !twice.is_empty() {
            resend_lost(ledger, head, parts, &twice)?;
            continue;
        }
        let Some(transfers) = places.transfers_to(to, units) else {
            // Other processes may be at work, or dead: units in transit are not lost.
            let (in_transit, missing) = (places.in_transit(), places.missing());
            if !in_transit.is_empty() {
                finish_transfers(ledger, head, parts, &in_transit)?;
                continue;
            }
            return Ok(match missing.is_empty() {
                true => Search::TooFew { free: places.free(), view: Box::new(places.view()) },
                false => Search::Missing(missing),
            });
        };
        let transfers: Vec<_> = transfers.into_iter().map(|transfer| (to, transfer)).collect();
        let takes = transfer_out(ledger, head, parts, &transfers)?;
        return Ok(Search::Ready(takes.into_iter().map(|(_, take)| take).collect()));
    }
    Ok(Search::Contended)
}

/// Confirms an expired reservation of a part that has too few units, if all places together have
/// enough. `None`: the answer is not known now.
pub fn confirm_late<A: LedgerAccess>(
    ledger: &mut A,
    part: &SaleId,
    id: ReservationId,
) -> Result<Option<Outcome>, A::Error> {
    let Some((number, parts)) = part.part_number() else { return Ok(Some(Outcome::Expired)) };
    let one = |ledger: &mut A, mut commands: Vec<Command>, last: Command| {
        commands.push(last);
        let group = Group { sale: part.clone(), commands };
        Ok(ledger.apply_groups(vec![group])?.pop().and_then(|mut outcomes| outcomes.pop()))
    };
    for _ in 0..SPLIT_ROUNDS_MAX {
        let shown = one(ledger, Vec::new(), Command::ShowReservation(id))?;
        let Some(Outcome::Reservation(reservation)) = shown else { return Ok(shown) };
        let units = u64::from(reservation.quantity);
        let found = search(ledger, &part.whole(), parts, number as usize, units)?;
        let takes = match found {
            Search::Ready(takes) => takes,
            Search::TooFew { .. } => return Ok(Some(Outcome::Expired)),
            Search::Missing(_) | Search::Gone | Search::Contended => return Ok(None),
        };
        let confirmed = one(ledger, takes, Command::Confirm(id))?;
        if confirmed != Some(Outcome::Expired) {
            return Ok(confirmed);
        }
    }
    Ok(None)
}

/// Takes free units out of the sale: the head takes them, after other places have sent what it
/// lacks, in one step with receiving that. `at_most`: if all together have fewer, takes those.
/// `None`: the answer is not known now, and nothing was taken.
pub fn take_stock<A: LedgerAccess>(
    ledger: &mut A,
    head: &SaleId,
    parts: u32,
    units: u64,
    at_most: bool,
) -> Result<Option<Outcome>, A::Error> {
    let mut units = units;
    for _ in 0..SPLIT_ROUNDS_MAX {
        let mut commands = match search(ledger, head, parts, 0, units)? {
            Search::Ready(takes) => takes,
            Search::TooFew { free, .. } if at_most => {
                units = free;
                continue;
            }
            Search::TooFew { free, .. } => return Ok(Some(Outcome::TooFewFree { free })),
            Search::Gone => return Ok(Some(Outcome::UnknownSale)),
            Search::Missing(_) | Search::Contended => return Ok(None),
        };
        commands.push(Command::TakeStock { units, at_most: false });
        let group = Group { sale: head.clone(), commands };
        let taken = ledger.apply_groups(vec![group])?.pop().and_then(|mut outcomes| outcomes.pop());
        // Another process was quicker.
        if !matches!(taken, Some(Outcome::TooFewFree { .. })) {
            return Ok(taken);
        }
    }
    Ok(None)
}

/// Sends units from their places. Returns the receiving commands, with the numbers of their places.
fn transfer_out<A: LedgerAccess>(
    ledger: &mut A,
    head: &SaleId,
    parts: u32,
    transfers: &[(usize, Transfer)],
) -> Result<Vec<(usize, Command)>, A::Error> {
    let command = |(to, transfer): &(usize, Transfer)| {
        let give =
            Command::TransferOut { to: *to as u32, gave: transfer.sent, units: transfer.units };
        (transfer.from, give)
    };
    let groups = groups(head, parts, transfers.iter().map(command));
    let mut takes = Vec::new();
    for (group, outcomes) in groups.iter().zip(ledger.apply_groups(groups.clone())?) {
        let from = group.sale.part_number().map_or(0, |(number, _)| number as usize);
        for (command, outcome) in group.commands.iter().zip(outcomes) {
            if let (Command::TransferOut { to, .. }, Outcome::Sent { gave }) = (command, outcome) {
                takes.push((*to as usize, transfer_in(from, gave)));
            }
        }
    }
    Ok(takes)
}

fn transfer_in(from: usize, gave: u64) -> Command {
    Command::TransferIn { from: from as u32, gave }
}

/// Groups commands by place.
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
