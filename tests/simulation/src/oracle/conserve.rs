//! I1, I2 and P: no place sells more than it has, no unit appears or disappears, and units move
//! between the places of a sale once.

use std::collections::{BTreeMap, BTreeSet};

use stampede::sale::{Command, Creation, Outcome, SaleId, Split};

use super::Findings;
use super::book::Book;
use super::place::{Place, Share};
use super::rules;
use crate::time::Us;

/// The counts of a whole sale.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Sums {
    /// Units that it would have if none were in transit.
    pub owned: u64,
    /// Units held.
    pub held: u64,
    /// Units confirmed.
    pub confirmed: u64,
    /// Units left, those in transit included.
    pub free: u64,
    /// Units that ever became free at some place.
    pub risen: u64,
}

/// One sale with all its places.
#[derive(Debug, Default)]
struct Family {
    /// Rises when the sale begins anew.
    generation: u64,
    /// Units by what operators did.
    expected: i128,
    /// Units by the counts of its places: had, sent and not received, given to nobody.
    counted: i128,
    held: u64,
    confirmed: u64,
    /// Free units of all places.
    free: i128,
    /// Units sent, less units received.
    in_transit: i128,
    risen: u64,
    /// Parts and the creations in which they began.
    begun: BTreeSet<(u32, Creation)>,
    /// A place was lost or forgot something: what was received may never have been sent.
    forgot: bool,
}

/// All sales.
#[derive(Debug, Default)]
pub struct Families(BTreeMap<SaleId, Family>);

/// The number of a place: 0 for a whole sale or a head.
fn number_of(id: &SaleId) -> u32 {
    id.part_number().map_or(0, |(number, _)| number)
}

fn counted(share: Share) -> i128 {
    i128::from(share.total) + i128::from(share.sent) + i128::from(share.leaked)
        - i128::from(share.received)
}

impl Families {
    fn of(&mut self, id: &SaleId) -> &mut Family {
        self.0.entry(id.whole()).or_default()
    }

    /// How often the sale of this name began anew.
    pub fn generation(&self, id: &SaleId) -> u64 {
        self.0.get(&id.whole()).map_or(0, |family| family.generation)
    }

    /// The counts of a whole sale.
    pub fn sums(&self, id: &SaleId) -> Sums {
        let Some(family) = self.0.get(&id.whole()) else { return Sums::default() };
        let left = |units: i128| u64::try_from(units).unwrap_or(0);
        Sums {
            owned: left(family.counted),
            held: family.held,
            confirmed: family.confirmed,
            free: left(family.free + family.in_transit),
            risen: family.risen,
        }
    }

    /// The current copy of a place has executed a command: its counts before and after. The ledger
    /// said `outcome`.
    pub fn note(
        &mut self,
        at: Us,
        id: &SaleId,
        (before, after): (Share, Share),
        (command, outcome): (&Command, &Outcome),
        findings: &mut Findings,
    ) {
        let family = self.of(id);
        family.move_to(before, after);
        let number = number_of(id);
        family.expected += expected_change(before, command, outcome);
        let begins = matches!(outcome, Outcome::Created(_) | Outcome::Removed)
            || matches!((command, outcome), (Command::Reset { .. }, Outcome::Sale(_)));
        if begins && number == 0 {
            family.generation += 1;
            family.forgot = false;
        }
        if let Outcome::Removed = outcome {
            family.begun.retain(|(part, _)| *part != number);
        }
        if let (Command::CreatePart { creation, .. }, Outcome::Created(_)) = (command, outcome)
            && !family.begun.insert((number, *creation))
        {
            let text = format!("{id} began twice in the creation {}", creation.0);
            findings.add(at, "P parts", text);
        }
        if family.counted != family.expected {
            let text = format!(
                "{id}: the places of the sale have {} units after {command:?}, not {}",
                family.counted, family.expected
            );
            findings.add(at, "I2 conserve", text);
            // One finding per unit that is gone is enough.
            family.expected = family.counted;
        }
    }

    /// I1, at one place.
    pub fn check_place(at: Us, id: &SaleId, place: Option<&Place>, findings: &mut Findings) {
        let Some(place) = place else { return };
        let (total, sold) = (place.header.spec.total, place.held() + place.confirmed());
        if sold > total {
            findings.add(at, "I1 never oversell", format!("{id} has sold {sold} of {total} units"));
        }
        if let Some(over) = rules::oversold(place) {
            findings.add(at, "I1 never oversell", format!("{id} has sold {over}"));
        }
    }

    /// P and I2, after units have moved: no place received more than another has sent, and the
    /// units of all places together are those of the sale.
    pub fn check_moves(&self, at: Us, id: &SaleId, book: &Book, findings: &mut Findings) {
        let Some(family) = self.0.get(&id.whole()).filter(|family| !family.forgot) else { return };
        let Some(head) = book.place(&id.whole()) else { return };
        let Split::Head { parts } = head.header.spec.split else { return };
        let ids = (1..=parts).filter_map(|number| id.part(number, parts));
        let places: Option<Vec<_>> = ids.map(|id| book.place(&id)).collect();
        // A part is missing, or another creation's, while the sale begins or ends.
        let Some(mut places) = places else { return };
        if places.iter().any(|part| part.header.creation != head.header.creation) {
            return;
        }
        places.insert(0, head);
        let mut in_transit = 0;
        for (from, sender) in places.iter().enumerate() {
            for (to, receiver) in places.iter().enumerate() {
                let sent = sender.header.transfers.sent.get(to).copied().unwrap_or(0);
                let received = receiver.header.transfers.received.get(from).copied().unwrap_or(0);
                if received > sent {
                    let text = format!(
                        "{}: place {to} has received {received} units from place {from}, \
                         which has sent {sent}",
                        id.whole()
                    );
                    findings.add(at, "P parts", text);
                }
                in_transit += sent.saturating_sub(received);
            }
        }
        let sum = |of: fn(&Place) -> u64| places.iter().map(|place| of(place)).sum::<u64>();
        let all = sum(Place::free)
            + sum(Place::held)
            + sum(Place::confirmed)
            + sum(|place| place.header.leaked)
            + in_transit;
        if i128::from(all) != family.expected {
            let text = format!(
                "{}: {all} units are free, sold, in transit or with nobody, of {}",
                id.whole(),
                family.expected
            );
            findings.add(at, "I2 conserve", text);
        }
    }

    /// P: who names a user or a key buys at his own part.
    pub fn check_home(at: Us, id: &SaleId, command: &Command, findings: &mut Findings) {
        let (Command::Reserve(reserve) | Command::FindClaim(reserve, _)) = command else { return };
        let Some((number, parts)) = id.part_number() else { return };
        if let Some(home) = rules::home(reserve, parts)
            && home != number
        {
            let text = format!(
                "{id} was asked by {:?} with key {:?}, who belongs to part {home}",
                reserve.user_text(),
                reserve.key_text()
            );
            findings.add(at, "P parts", text);
        }
    }

    /// The counts of a place changed without a command.
    pub fn note_change(&mut self, id: &SaleId, before: Share, after: Share) {
        self.of(id).move_to(before, after);
    }

    /// A place is another one than the executed commands made it: it was lost, or a copy with fewer
    /// commands took its place. Its units are counted anew.
    pub fn replaced(&mut self, id: &SaleId, before: Share, after: Share, may_forget: bool) {
        let family = self.of(id);
        family.move_to(before, after);
        family.expected = family.counted;
        family.forgot |= may_forget;
        if before.exists && !after.exists {
            let number = number_of(id);
            family.begun.retain(|(part, _)| *part != number);
            family.generation += u64::from(number == 0);
        }
    }
}

impl Family {
    fn move_to(&mut self, before: Share, after: Share) {
        let free = |share: Share| i128::from(share.free);
        let in_transit = |share: Share| i128::from(share.sent) - i128::from(share.received);
        self.counted += counted(after) - counted(before);
        self.free += free(after) - free(before);
        self.in_transit += in_transit(after) - in_transit(before);
        self.held = self.held + after.held - before.held;
        self.confirmed = self.confirmed + after.confirmed - before.confirmed;
        self.risen += after.free.saturating_sub(before.free);
    }
}

/// The units that a command adds to its sale, by what the ledger said of it.
fn expected_change(before: Share, command: &Command, outcome: &Outcome) -> i128 {
    match (command, outcome) {
        (Command::Create(spec) | Command::CreatePart { spec, .. }, Outcome::Created(_)) => {
            i128::from(spec.total) - counted(before)
        }
        (Command::AddStock(units), Outcome::Sale(_)) => i128::from(*units),
        (Command::TakeStock { .. }, Outcome::StockTaken { units, .. }) => -i128::from(*units),
        (Command::Reset { total, .. }, Outcome::Sale(_)) => {
            i128::from(total.unwrap_or(before.total)) - counted(before)
        }
        (_, Outcome::Removed) => -counted(before),
        _ => 0,
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::oracle::testing::{Stage, ask, sale};
    use stampede::sale::SaleSpec;

    fn share(total: u64, sold: u64) -> Share {
        Share { exists: true, total, confirmed: sold, free: total - sold, ..Share::default() }
    }

    #[test]
    fn added_and_taken_units_are_expected_and_no_others() {
        let (mut families, mut findings) = (Families::default(), Findings::new(9));
        let created = Outcome::Created(Box::new(Stage::begin(SaleSpec::with_total(5)).view()));
        let create = Command::Create(SaleSpec::with_total(5));
        let none = Share::default();
        families.note(1, &sale("s"), (none, share(5, 0)), (&create, &created), &mut findings);
        let bought = (&ask(1, 1, "", ""), &Outcome::Granted { expires_at_ms: 1 });
        families.note(2, &sale("s"), (share(5, 0), share(5, 1)), bought, &mut findings);
        assert_eq!(findings.names(), [""; 0]);
        assert_eq!((families.sums(&sale("s")).free, families.generation(&sale("s"))), (4, 1));
        // A unit that was given back twice.
        let cancel = Command::Cancel(stampede::sale::ReservationId(1));
        let back = (&cancel, &Outcome::AlreadyCancelled);
        families.note(3, &sale("s"), (share(5, 1), share(6, 0)), back, &mut findings);
        assert_eq!(findings.names(), ["I2 conserve"]);
    }

    /// A sale of nine units in two parts, four of which went to the first.
    fn split() -> Stage {
        let head = SaleSpec { split: Split::Head { parts: 2 }, ..SaleSpec::with_total(9) };
        let mut stage = Stage::begin(head);
        let spec = SaleSpec { split: Split::Part { of: 2 }, ..SaleSpec::with_total(0) };
        for number in [1, 2] {
            let create = Command::CreatePart { spec: spec.clone(), creation: Creation(5) };
            stage.run_at(&sale("s").part(number, 2).unwrap(), 0, &create);
        }
        stage.run(1, &Command::TransferOut { to: 1, gave: 0, units: 4 });
        stage
    }

    #[test]
    fn units_in_transit_are_neither_lost_nor_free_twice() {
        let mut stage = split();
        let first = sale("s").part(1, 2).unwrap();
        assert_eq!(stage.oracle.families.sums(&first).free, 9);
        stage.run_at(&first, 2, &Command::TransferIn { from: 0, gave: 4 });
        stage.run_at(&first, 3, &Command::TransferIn { from: 0, gave: 4 });
        stage.run_at(&first, 4, &ask(1, 2, "", ""));
        assert_eq!(stage.names(), [""; 0]);
        assert_eq!(stage.oracle.families.sums(&first).free, 7);
    }

    #[test]
    fn units_that_nobody_sent_are_found() {
        let mut stage = split();
        let second = sale("s").part(2, 2).unwrap();
        stage.run_at(&second, 2, &Command::TransferIn { from: 0, gave: 3 });
        assert!(stage.names().contains(&"P parts"), "{:?}", stage.names());
        // Unless the sender may have forgotten that it did.
        let mut stage = split();
        stage.oracle.lost_by_setting(2, &sale("s").part(1, 2).unwrap());
        stage.run_at(&second, 2, &Command::TransferIn { from: 0, gave: 3 });
        assert_eq!(stage.names(), [""; 0]);
    }

    #[test]
    fn a_part_that_begins_twice_in_one_creation_is_found() {
        let mut stage = split();
        let first = sale("s").part(1, 2).unwrap();
        stage.run_at(&first, 2, &Command::TransferIn { from: 0, gave: 4 });
        let spec = SaleSpec { split: Split::Part { of: 2 }, ..SaleSpec::with_total(0) };
        let command = Command::CreatePart { spec, creation: Creation(5) };
        let view = Box::new(stage.oracle.book.place(&first).unwrap().view());
        stage.say_at(&first, 3, &command, &Outcome::Created(view));
        assert_eq!(stage.names(), ["P parts"; 2], "by the rules, and by its creations");
    }

    #[test]
    fn a_buyer_at_the_wrong_part_is_found() {
        let mut stage = split();
        let Command::Reserve(reserve) = ask(1, 1, "ann", "k") else { unreachable!() };
        let home = rules::home(&reserve, 2).unwrap();
        stage.run_at(&sale("s").part(home, 2).unwrap(), 2, &ask(1, 1, "ann", "k"));
        assert_eq!(stage.names(), [""; 0]);
        stage.run_at(&sale("s").part(3 - home, 2).unwrap(), 2, &ask(2, 1, "ann", "k"));
        assert_eq!(stage.names(), ["P parts"]);
    }

    #[test]
    fn a_place_that_sold_more_than_it_has_is_found() {
        let mut stage = Stage::begin(SaleSpec::with_total(2));
        stage.run(1, &ask(1, 2, "", ""));
        let mut place = stage.oracle.book.place(&stage.sale).unwrap().clone();
        let mut findings = Findings::new(9);
        Families::check_place(2, &stage.sale, Some(&place), &mut findings);
        assert_eq!(findings.names(), [""; 0]);
        place.header.spec.total = 1;
        Families::check_place(2, &stage.sale, Some(&place), &mut findings);
        assert_eq!(findings.names(), ["I1 never oversell"]);
    }
}
