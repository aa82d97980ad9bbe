//! A sale as its stream and its keys describe it, read piece by piece while it goes on.
//!
//! A line that was read from the reservations is at least as new as the part of the stream that was
//! read by then, and every later change is in the stream. So in whatever order the pieces are read,
//! once the stream is read up to an entry, the model is the sale right after it. Sums are updated
//! along the way.
//!
//! Architecture invariant: no I/O, no clock.

use std::collections::{HashMap, HashSet};

use crate::ledger::client::EXAMPLES_MAX;
use crate::ledger::redis::entry_id::EntryId;
use crate::ledger::redis::line::{Line, end_of_line, made_for, split_owner};
use crate::sale::{
    Change, Details, ID_PREFIX_TEXT_BYTES, Key, Lines, Reservation, ReservationId, SaleId,
    SaleSpec, Status, TypeName, TypeUnits, Types, User,
};

/// A user as text for people.
pub(super) fn shown(owner: &str) -> String {
    match split_owner(owner) {
        (user, None) => user.to_owned(),
        (user, Some(key)) => format!("{user} {key:?}"),
    }
}

/// Faults: their number, and some of them in words.
#[derive(Debug, Clone, Default)]
pub(super) struct Problems {
    pub(super) count: u64,
    pub(super) examples: Vec<String>,
}

impl Problems {
    pub(super) fn add(&mut self, example: impl FnOnce() -> String) {
        self.count += 1;
        if self.examples.len() < EXAMPLES_MAX {
            self.examples.push(example());
        }
    }

    pub(super) fn of<T>(list: &[T], show: impl Fn(&T) -> String) -> Self {
        let examples = list.iter().take(EXAMPLES_MAX).map(show).collect();
        Self { count: list.len() as u64, examples }
    }

    pub(super) fn and(mut self, other: Self) -> Self {
        self.count += other.count;
        let room = EXAMPLES_MAX - self.examples.len();
        self.examples.extend(other.examples.into_iter().take(room));
        self
    }
}

/// One reservation.
pub(super) struct Item {
    owner: Box<str>,
    /// Its details, as text.
    details: Box<str>,
    expires_at_ms: u64,
    /// The version of its last change in the stream. 0: there is none.
    version: u64,
    at_ms: u64,
    quantity: u32,
    status: Status,
    stored: bool,
    /// The last state in the stream is not the stored one.
    differs: bool,
    /// That state, as a line without its newline, if it differs and there is one.
    streamed_line: Option<Box<str>>,
    claim_seen: bool,
}

impl Item {
    fn new(line: &Line<'_>) -> Self {
        Self {
            owner: line.owner.into(),
            details: line.details.into(),
            expires_at_ms: line.expires_at_ms,
            version: 0,
            at_ms: 0,
            quantity: line.quantity,
            status: line.status,
            stored: false,
            differs: false,
            streamed_line: None,
            claim_seen: false,
        }
    }

    fn is(&self, line: &Line<'_>) -> bool {
        (self.status, self.quantity, self.expires_at_ms, &*self.owner, &*self.details)
            == (line.status, line.quantity, line.expires_at_ms, line.owner, line.details)
    }

    fn set(&mut self, line: &Line<'_>) {
        (self.status, self.quantity) = (line.status, line.quantity);
        self.expires_at_ms = line.expires_at_ms;
        if *self.owner != *line.owner {
            self.owner = line.owner.into();
        }
        if *self.details != *line.details {
            self.details = line.details.into();
        }
    }

    fn user(&self) -> &str {
        split_owner(&self.owner).0
    }

    fn lines(&self) -> Option<Lines> {
        // Most reservations have no details, and then this costs nothing.
        if self.details.is_empty() { None } else { Details::from_text(&self.details)?.lines }
    }

    /// The claim of a reservation that was made with a key.
    pub(super) fn claim(&self) -> Option<&str> {
        self.owner.contains('\t').then_some(&*self.owner)
    }

    /// The member of the deadlines that it must have while it is held.
    pub(super) fn deadline(&self, id: ReservationId) -> Option<String> {
        let held = self.stored && self.status == Status::Held;
        held.then(|| deadline_member(id, self.expires_at_ms))
    }

    /// Whether changes that the stream has lost can lead from the last state in the stream to the
    /// stored one. If the stream has lost none: whether a change can have ended before its entry
    /// was added, and left more with the buyer than the stream says.
    fn can_have_become(&self, told: &Line<'_>, lost_some: bool) -> bool {
        let hold = (self.quantity, self.expires_at_ms, &*self.details);
        let same_hold = hold == (told.quantity, told.expires_at_ms, told.details);
        let (changed, is_whole) = (!same_hold, self.quantity == told.quantity);
        if *self.owner != *told.owner || changed && !told.can_be_changed_to(hold) {
            return false;
        }
        match (told.status, self.status) {
            // It was extended.
            (Status::Held, Status::Held) => lost_some || is_whole,
            (Status::Confirmed, Status::Confirmed) => lost_some,
            (Status::Held | Status::Expired, Status::Confirmed) => lost_some || same_hold,
            (Status::Held, Status::Cancelled | Status::Expired) => lost_some,
            (Status::Held | Status::Expired | Status::Confirmed, Status::Refunded) => lost_some,
            _ => false,
        }
    }

    /// Its line in the reservations, without the newline.
    pub(super) fn line(&self, id: ReservationId) -> String {
        let (user, key) = split_owner(&self.owner);
        let end = end_of_line(user, key.unwrap_or_default(), &self.details).concat();
        let (status, quantity, expires_at_ms) =
            (self.status.as_str(), self.quantity, self.expires_at_ms);
        format!("{id} {status} {quantity} {expires_at_ms}{end}")
    }
}

/// The name of the field of the reservations that has this one.
pub(super) fn field_name(id: ReservationId) -> String {
    String::from_utf8_lossy(&id.to_text()[..ID_PREFIX_TEXT_BYTES]).into_owned()
}

fn deadline_member(id: ReservationId, expires_at_ms: u64) -> String {
    format!("{}:{expires_at_ms}", field_name(id))
}

/// The sums of the stored reservations.
#[derive(Default)]
struct Sums {
    limited: bool,
    counted: bool,
    held: u64,
    confirmed: u64,
    /// The units of each user, if the sale has a limit, and the number of reservations made for
    /// each, if that is bounded, under the names that the ledger uses.
    by_user: HashMap<Box<str>, u64>,
    /// The units of each ticket type that a reservation names.
    by_type: HashMap<TypeName, TypeUnits>,
}

impl Sums {
    fn count(&mut self, item: &Item, count: impl Fn(&mut u64, u64)) {
        let units = u64::from(item.quantity);
        match item.status {
            Status::Held => count(&mut self.held, units),
            Status::Confirmed => count(&mut self.confirmed, units),
            Status::Cancelled | Status::Expired | Status::Refunded => {}
        }
        if self.limited && item.status.has_units() && !item.user().is_empty() {
            count_of(&mut self.by_user, item.user(), units, &count);
        }
        if self.counted && !item.user().is_empty() {
            count_of(&mut self.by_user, &made_for(item.user()), 1, &count);
        }
        let lines = if item.status.has_units() { item.lines() } else { None };
        for (name, quantity) in lines.iter().flat_map(Lines::iter) {
            let of_type = self.by_type.entry(name.clone()).or_default();
            let side = match item.status {
                Status::Held => &mut of_type.held,
                _ => &mut of_type.confirmed,
            };
            count(side, u64::from(quantity));
        }
    }
}

fn count_of(
    sums: &mut HashMap<Box<str>, u64>,
    name: &str,
    number: u64,
    count: &impl Fn(&mut u64, u64),
) {
    match sums.get_mut(name) {
        Some(sum) => count(sum, number),
        None => _ = sums.insert(name.into(), number),
    }
}

/// The model of a sale.
pub(super) struct Model {
    items: HashMap<ReservationId, Item>,
    /// Entries after this one were added during the audit.
    since: u64,
    /// The first entry that was read.
    first: Option<u64>,
    sums: Sums,
    /// Lines that can't be read.
    pub(super) unreadable: Problems,
}

impl Model {
    pub(super) fn new(since: u64, spec: &SaleSpec) -> Self {
        let limited = spec.limit_per_user > 0;
        let counted = spec.rules.reservations_per_user_max > 0;
        Self {
            items: HashMap::new(),
            since,
            first: None,
            sums: Sums { limited, counted, ..Sums::default() },
            unreadable: Problems::default(),
        }
    }

    /// Adds an entry of the stream.
    pub(super) fn streamed(&mut self, version: u64, at_ms: u64, lines: &str) {
        self.first.get_or_insert(version);
        for text in lines.lines() {
            let Some(line) = Line::parse(text) else {
                let entry = EntryId::of_version(version);
                self.unreadable.add(|| format!("in the entry {entry} of the stream: {text:?}"));
                continue;
            };
            let live = version > self.since;
            self.change(&line, |item| {
                item.set(&line);
                (item.version, item.at_ms) = (version, at_ms);
                (item.differs, item.streamed_line) = (false, None);
                item.stored |= live;
            });
        }
    }

    /// Adds a field of the reservations.
    pub(super) fn stored(&mut self, name: &str, lines: &str) {
        if !lines.ends_with('\n') {
            self.unreadable.add(|| format!("the field {name} ends within a line"));
        }
        let mut ids = Vec::new();
        for text in lines.lines() {
            match Line::parse(text).filter(|line| field_name(line.id) == name) {
                None => self.unreadable.add(|| format!("in the field {name}: {text:?}")),
                Some(line) => {
                    ids.push(line.id);
                    self.change(&line, |item| {
                        if !item.differs && !item.is(&line) {
                            item.differs = true;
                            item.streamed_line =
                                (item.version > 0).then(|| item.line(line.id).into());
                        }
                        item.set(&line);
                        item.stored = true;
                    });
                }
            }
        }
        ids.sort_unstable();
        for pair in ids.windows(2).filter(|pair| pair[0] == pair[1]) {
            self.unreadable.add(|| format!("twice in the field {name}: {}", pair[0]));
        }
    }

    /// Changes an item, or creates it, and updates the sums.
    fn change(&mut self, line: &Line<'_>, change: impl FnOnce(&mut Item)) {
        let item = self.items.entry(line.id).or_insert_with(|| Item::new(line));
        if item.stored {
            self.sums.count(item, |sum, units| *sum -= units);
        }
        change(item);
        if item.stored {
            self.sums.count(item, |sum, units| *sum += units);
        }
    }

    /// Notes a claim. Returns whether a known reservation was made with it.
    pub(super) fn claimed(&mut self, claim: &str, id: &str) -> bool {
        let item =
            ReservationId::from_text(id.as_bytes()).ok().and_then(|id| self.items.get_mut(&id));
        let Some(item) = item.filter(|item| item.claim() == Some(claim)) else { return false };
        item.claim_seen = true;
        item.stored
    }

    /// Every stored reservation, with its id.
    pub(super) fn stored_items(&self) -> impl Iterator<Item = (ReservationId, &Item)> {
        self.items.iter().filter(|(_, item)| item.stored).map(|(id, item)| (*id, item))
    }

    /// Reservations with a key whose claim was not read.
    pub(super) fn unclaimed(&self) -> impl Iterator<Item = (ReservationId, &str)> {
        let unclaimed = self.stored_items().filter(|(_, item)| !item.claim_seen);
        unclaimed.filter_map(|(id, item)| Some((id, item.claim()?)))
    }

    /// Those of these claims with which no reservation was made.
    pub(super) fn without_reservation(&self, claims: &[(String, String)]) -> HashSet<String> {
        let mut left: HashSet<String> = claims.iter().map(|(claim, _)| claim.clone()).collect();
        if !left.is_empty() {
            let claims = self.stored_items().filter_map(|(_, item)| item.claim());
            claims.for_each(|claim| _ = left.remove(claim));
        }
        left
    }

    /// Reservations in the stream that are not stored.
    pub(super) fn missing(&self) -> Vec<ReservationId> {
        let missing = self.items.iter().filter(|(_, item)| !item.stored).map(|(id, _)| *id);
        sorted(missing.collect())
    }

    /// Reservations whose last state in the stream is another one or, if `silent` counts, missing.
    /// Excludes those with a wrong stored state: see [`edited`](Self::edited).
    pub(super) fn not_streamed(&self, silent: bool, lost_some: bool) -> Vec<ReservationId> {
        let untold = |item: &Item| match &item.streamed_line {
            Some(told) => !is_edited(item, told, lost_some),
            None => item.differs || silent && item.version == 0,
        };
        let items = self.stored_items().filter(|(_, item)| untold(item));
        sorted(items.map(|(id, _)| id).collect())
    }

    /// Reservations whose stored state no change can have produced, with the last state in the
    /// stream: somebody else has written it.
    pub(super) fn edited(&self, lost_some: bool) -> Vec<(ReservationId, String)> {
        let edited = self.stored_items().filter_map(|(id, item)| {
            let told =
                item.streamed_line.as_ref().filter(|told| is_edited(item, told, lost_some))?;
            Some((id, told.to_string()))
        });
        let mut edited: Vec<_> = edited.collect();
        edited.sort_unstable();
        edited
    }

    /// One reservation.
    pub(super) fn get(&self, id: ReservationId) -> Option<&Item> {
        self.items.get(&id)
    }

    /// Units held.
    pub(super) fn held(&self) -> u64 {
        self.sums.held
    }

    /// Units held or confirmed.
    pub(super) fn sold(&self) -> u64 {
        self.sums.held + self.sums.confirmed
    }

    /// The units of each of these ticket types.
    pub(super) fn type_units(&self, types: &Types) -> Vec<TypeUnits> {
        let of = |name| self.sums.by_type.get(name).copied().unwrap_or_default();
        types.iter().map(|(name, _)| of(name)).collect()
    }

    /// Ticket types with units that are none of these.
    pub(super) fn other_types(&self, types: &Types) -> impl Iterator<Item = &TypeName> {
        let sold = self.sums.by_type.iter().filter(|(_, units)| units.sold() > 0);
        sold.map(|(name, _)| name).filter(|name| types.position(name).is_none())
    }

    /// The count under a name: units of a user, or the number of reservations made for him.
    pub(super) fn count_of(&self, name: &str) -> u64 {
        self.sums.by_user.get(name).copied().unwrap_or(0)
    }

    /// All current and former counts of users.
    pub(super) fn users(&self) -> impl Iterator<Item = (&str, u64)> {
        self.sums.by_user.iter().map(|(name, &number)| (&**name, number))
    }

    /// The version from which on the stream has all changes. `last` is the version of the last
    /// entry.
    pub(super) fn streamed_from(&self, last: u64) -> u64 {
        self.first.unwrap_or(last + 1)
    }

    /// Every stored reservation, in the order of ids. `last` is the version of the last entry. A
    /// reservation whose entries are gone from the stream was changed before the first entry that
    /// is still there.
    pub(super) fn changes(self, sale: &SaleId, hold_ms: u64, last: u64) -> Vec<Change> {
        let before = self.first.map_or(last, |first| first.saturating_sub(1));
        let told_until_ms = EntryId::of_version(before).ms;
        let stored = self.items.into_iter().filter(|(_, item)| item.stored);
        let mut changes: Vec<Change> = stored
            .map(|(id, item)| Change {
                sale: sale.clone(),
                key: split_owner(&item.owner).1.and_then(|key| Key::new(key).ok()),
                at_ms: match item.version {
                    // Its hold time may have been longer than the current one.
                    0 => item.expires_at_ms.saturating_sub(hold_ms).min(told_until_ms),
                    _ => item.at_ms,
                },
                version: if item.version == 0 { before } else { item.version },
                reservation: Reservation {
                    id,
                    user: User::new(item.user()).ok(),
                    quantity: item.quantity,
                    status: item.status,
                    expires_at_ms: item.expires_at_ms,
                    details: Details::from_text(&item.details).and_then(Details::boxed),
                },
                trace: None,
            })
            .collect();
        changes.sort_unstable_by_key(|change| change.reservation.id);
        changes
    }
}

fn is_edited(item: &Item, told: &str, lost_some: bool) -> bool {
    Line::parse(told).is_some_and(|told| !item.can_have_become(&told, lost_some))
}

fn sorted(mut ids: Vec<ReservationId>) -> Vec<ReservationId> {
    ids.sort_unstable();
    ids
}

#[cfg(test)]
mod tests {
    use super::*;

    fn text(n: u128, rest: &str) -> String {
        format!("{} {rest}\n", ReservationId(n))
    }

    #[test]
    fn valid_lines_are_parsed_and_malformed_ones_rejected() {
        for owner in ["", "ann", "ann\tkey", "\tkey", "ann lee\ta key", "张三"] {
            let space = if owner.is_empty() { "" } else { " " };
            let line = format!("{} held 2 1700000000000{space}{owner}", ReservationId(7));
            let got = Line::parse(&line).unwrap();
            assert_eq!((got.owner, got.quantity, got.status), (owner, 2, Status::Held));
            assert_eq!(Item::new(&got).line(got.id), line);
        }
        for bad in
            ["held 1", "held 0 5", "held 1 5 ", "hold 1 5", "held +1 5", "held 1 5 a\tb\tc", ""]
        {
            assert_eq!(Line::parse(&format!("{} {bad}", ReservationId(7))), None, "{bad:?}");
        }
        assert_eq!(Line::parse("7 held 1 5"), None);
    }

    fn spec(limit_per_user: u32) -> SaleSpec {
        let mut spec = SaleSpec { limit_per_user, ..SaleSpec::with_total(9) };
        spec.rules.reservations_per_user_max = limit_per_user;
        spec
    }

    #[test]
    fn sums_follow_every_change() {
        let mut model = Model::new(10, &spec(1));
        let name = field_name(ReservationId(1));
        model.streamed(5, 1, &text(1, "held 2 9 ann"));
        assert_eq!((model.held(), model.missing().len()), (0, 1), "the stream alone is no stock");
        model.stored(&name, &[text(1, "held 2 9 ann"), text(2, "confirmed 1 9 ann\tk")].concat());
        assert_eq!((model.held(), model.sold(), model.count_of("ann")), (2, 3, 3));
        assert_eq!(model.not_streamed(true, false), [ReservationId(2)]);
        // Read a second time, newer than the stream, which then follows.
        model
            .stored(&name, &[text(1, "expired 2 9 ann"), text(2, "confirmed 1 9 ann\tk")].concat());
        assert_eq!(model.not_streamed(false, true), [ReservationId(1)]);
        model.streamed(11, 2, &text(1, "expired 2 9 ann"));
        model.streamed(12, 3, &text(3, "held 4 9"));
        assert_eq!((model.held(), model.sold(), model.count_of("ann")), (4, 5, 1));
        assert_eq!(model.count_of("\tann"), 2, "also of what expired");
        assert!(model.not_streamed(false, false).is_empty() && model.missing().is_empty());
        assert!(!model.claimed("ann\tk", &ReservationId(1).to_string()));
        assert!(model.claimed("ann\tk", &ReservationId(2).to_string()));
        assert_eq!(model.unclaimed().count(), 0);
        let changes = model.changes(&SaleId::new("s").unwrap(), 4, 12);
        let versions: Vec<_> = changes.iter().map(|change| change.version).collect();
        assert_eq!(versions, [11, 4, 12], "an older change than any in the stream");
    }

    #[test]
    fn a_line_no_command_could_produce_counts_as_edited() {
        let edited = |told: &str, stored: &str, lost_some| {
            let mut model = Model::new(10, &spec(0));
            model.streamed(5, 1, &text(1, told));
            model.stored(&field_name(ReservationId(1)), &text(1, stored));
            let edited = model.edited(lost_some);
            assert_ne!(edited.is_empty(), model.not_streamed(false, lost_some).is_empty());
            edited.first().map(|(_, line)| line.clone())
        };
        let line = |rest: &str| Some(text(1, rest).trim_end().to_owned());
        // A script that ended before it wrote to the stream, or lost entries.
        for told in ["held 1 9 ann", "expired 1 9 ann"] {
            assert_eq!(edited(told, "confirmed 1 9 ann", false), None);
            assert_eq!(edited(told, "confirmed 2 9 ann", true), line(told));
        }
        for less in ["cancelled 1 9 ann", "expired 1 9 ann"] {
            assert_eq!(edited("held 1 9 ann", less, true), None);
            assert_eq!(edited("held 1 9 ann", less, false), line("held 1 9 ann"));
        }
        for (told, stored) in [
            ("confirmed 1 9 ann", "held 1 9 ann"),
            ("cancelled 1 9", "held 1 9"),
            ("held 1 9", "held 3 9"),
            ("held 1 9 ann", "held 1 9 eve"),
            ("held 1 9", "held 1 99"),
        ] {
            assert_eq!(edited(told, stored, true), line(told), "{stored}");
        }
    }

    #[test]
    fn unreadable_lines_are_counted() {
        let mut model = Model::new(0, &spec(0));
        let name = field_name(ReservationId(1));
        let twice = [text(1, "held 1 9"), text(1, "held 1 9"), text(2, "hold 1 9")].concat();
        model.stored(&name, &twice);
        model.stored(&name, twice.trim_end());
        assert_eq!(model.unreadable.count, 5, "{:?}", model.unreadable.examples);
        model.unreadable = Problems::default();
        model.stored("0000000001", &text(3, "held 1 9"));
        model.streamed(1, 1, "x\n");
        assert_eq!(model.unreadable.count, 2, "{:?}", model.unreadable.examples);
    }
}
