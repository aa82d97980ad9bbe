//! What a script does to a sale: one step of the model.

use std::collections::BTreeMap;

use stampede::ledger::{Group, GroupReply, LedgerError};
use stampede::sale::{Command, Creation, Machine, Outcome, SaleId};

/// One sale, or one place of a split sale, as a node keeps it.
#[derive(Clone)]
pub struct Place {
    /// The model.
    pub machine: Machine,
    /// The time of its last command, in ms since 1970. It never goes back.
    pub now_ms: u64,
    /// The latest epoch of Sentinels in which somebody has written it.
    pub epoch: u64,
    /// Units that a script has taken which has died half way.
    pub leaked: u64,
}

/// How the refusal of an earlier epoch begins.
const FENCED: &str = "FENCED ";

impl Place {
    fn new(machine: Machine) -> Self {
        Self { machine, now_ms: 0, epoch: 0, leaked: 0 }
    }
}

/// The sales of a node.
pub type Places = BTreeMap<SaleId, Place>;

/// The time of a node.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Now {
    /// In ms since 1970.
    pub ms: u64,
    /// In microseconds since 1970.
    pub us: u64,
}

/// Carries out the commands of a group, in order. `note` is told of each command, its time in ms
/// since 1970, and its outcome.
///
/// A sale that was written in a later epoch than that of the sender refuses the group, as
/// `begin.lua` does. Nothing of the group but reads was carried out then.
pub fn apply(
    places: &mut Places,
    now: Now,
    epoch: Option<u64>,
    group: &Group,
    mut note: impl FnMut(&Command, u64, &Outcome),
) -> Result<GroupReply, LedgerError> {
    let mut outcomes = Vec::with_capacity(group.commands.len());
    let mut now_ms = now.ms;
    for command in &group.commands {
        check_epoch(places, epoch, &group.sale, command)?;
        let (at_ms, outcome) = apply_one(places, now, epoch, &group.sale, command);
        note(command, at_ms, &outcome);
        outcomes.push(outcome);
        now_ms = at_ms;
    }
    let place = places.get(&group.sale);
    let free = match group.commands.last() {
        // It reads no more of a sale that is gone, or is another creation: it cannot tell.
        Some(Command::FindClaim(_, made))
            if *made != Creation::UNKNOWN
                && place.is_none_or(|place| place.machine.view().creation != *made) =>
        {
            Some(0)
        }
        _ => place.map(|place| place.machine.free()),
    };
    Ok(GroupReply { outcomes, free, now_ms })
}

/// Checks and records the epoch of a sender. A cheap command is no script, so none goes with it.
fn check_epoch(
    places: &mut Places,
    epoch: Option<u64>,
    sale: &SaleId,
    command: &Command,
) -> Result<(), LedgerError> {
    let Some((place, epoch)) = places.get_mut(sale).zip(epoch.filter(|_| !command.is_cheap()))
    else {
        return Ok(());
    };
    if epoch < place.epoch {
        let text = format!("{FENCED}{} is the epoch of {sale}, not {epoch}", place.epoch);
        return Err(LedgerError::Refused(text));
    }
    place.epoch = epoch;
    Ok(())
}

/// Whether a sale was written in a later epoch than that of the sender.
pub fn is_fenced(error: &LedgerError) -> bool {
    matches!(error, LedgerError::Refused(text) if text.starts_with(FENCED))
}

fn apply_one(
    places: &mut Places,
    now: Now,
    epoch: Option<u64>,
    sale: &SaleId,
    command: &Command,
) -> (u64, Outcome) {
    if let Some(place) = places.get_mut(sale) {
        place.now_ms = place.now_ms.max(now.ms);
        let now_ms = place.now_ms;
        let outcome = place.machine.apply(now_ms, command);
        if outcome == Outcome::Removed {
            places.remove(sale);
        }
        return (now_ms, outcome);
    }
    let machine = match command {
        Command::Create(spec) => Machine::created(spec.clone(), Creation(now.us)),
        Command::CreatePart { spec, creation } => Machine::of_making(spec.clone(), *creation),
        // A command that names a creation gets no answer but that it is another one.
        _ if is_about_a_creation(command) => return (now.ms, Outcome::NotClaimed),
        _ => return (now.ms, Outcome::UnknownSale),
    };
    let place = places.entry(sale.clone()).or_insert(Place::new(machine));
    place.now_ms = now.ms;
    place.epoch = epoch.unwrap_or(0);
    let outcome = match place.machine.apply(now.ms, &Command::Show) {
        Outcome::Sale(view) => Outcome::Created(view),
        outcome => outcome,
    };
    (now.ms, outcome)
}

fn is_about_a_creation(command: &Command) -> bool {
    matches!(command, Command::FindClaim(_, creation) if *creation != Creation::UNKNOWN)
}

#[cfg(test)]
mod tests {
    use super::*;
    use stampede::sale::{ReservationId, Reserve, SaleSpec};

    const NOW: Now = Now { ms: 1_000, us: 1_000_000 };

    fn group(commands: Vec<Command>) -> Group {
        Group { sale: SaleId::new("s").unwrap(), commands }
    }

    #[test]
    fn a_claim_query_tells_what_is_free_of_its_creation_alone() {
        let mut places = Places::new();
        let reserve = Reserve {
            id: ReservationId(1),
            quantity: 1,
            user: None,
            key: None,
            details: None,
            trace: None,
        };
        let mut free = |made, command| {
            let query = Command::FindClaim(reserve.clone(), Creation(made));
            let both = group(vec![command, query]);
            apply(&mut places, NOW, None, &both, |_, _, _| {}).unwrap().free
        };
        assert_eq!(free(NOW.us, Command::Show), Some(0));
        assert_eq!(free(NOW.us, Command::Create(SaleSpec::with_total(5))), Some(5));
        assert_eq!(free(NOW.us - 1, Command::Show), Some(0));
        assert_eq!(free(0, Command::Show), Some(5));
    }

    #[test]
    fn a_sale_is_created_sold_and_removed() {
        let mut places = Places::new();
        let mut seen = 0;
        let mut run = |commands| {
            apply(&mut places, NOW, None, &group(commands), |_, _, _| seen += 1).unwrap()
        };
        let missing = run(vec![Command::Show]);
        assert_eq!((missing.free, &missing.outcomes[..]), (None, &[Outcome::UnknownSale][..]));
        let made = run(vec![Command::Create(SaleSpec::with_total(5))]);
        assert!(matches!(&made.outcomes[..], [Outcome::Created(view)]
            if view.creation == Creation(NOW.us) && view.now_ms == NOW.ms));
        assert_eq!(made.free, Some(5));
        let gone = run(vec![Command::Close, Command::Remove, Command::Show]);
        assert_eq!(gone.outcomes[1..], [Outcome::Removed, Outcome::UnknownSale]);
        assert_eq!((gone.free, seen), (None, 5));
    }

    #[test]
    fn a_sale_of_a_later_epoch_refuses_an_earlier_one() {
        let mut places = Places::new();
        let mut run = |epoch, command| {
            let mut seen = 0;
            let group = group(vec![command]);
            let reply = apply(&mut places, NOW, epoch, &group, |_, _, _| seen += 1);
            (reply.map_err(|error| is_fenced(&error)).map(drop), seen)
        };
        assert_eq!(run(Some(2), Command::Create(SaleSpec::with_total(5))), (Ok(()), 1));
        assert_eq!(run(Some(1), Command::AddStock(1)), (Err(true), 0));
        assert_eq!(run(Some(3), Command::Show), (Ok(()), 1));
        assert_eq!(run(Some(2), Command::AddStock(1)), (Err(true), 0));
        assert_eq!(run(None, Command::AddStock(1)), (Ok(()), 1), "nobody is known to be behind");
    }
}
