//! What a ledger did: by the rules, and for everybody who keeps an account of it.

use std::collections::BTreeSet;

use stampede::sale::{Command, Outcome, ReservationId, SaleId, Split};

use super::book::Ran;
use super::conserve::Families;
use super::once::Fate;
use super::place::Share;
use super::row::call_of;
use super::{Node, Oracle, Origin, Settings, kinds};
use crate::time::{MS, SECOND, Us};

/// Commands after which the rows of a sale are counted again.
const RECOUNT_EVERY: u64 = 1_000;

impl Oracle {
    /// A node has executed a command. Returns its outcome.
    pub(super) fn execute(
        &mut self,
        (at, now_ms): (Us, u64),
        origin: Origin,
        id: &SaleId,
        command: &Command,
        told: Option<&Outcome>,
    ) -> Outcome {
        self.now = at;
        if self.differ.contains(&id.whole()) {
            return told.cloned().unwrap_or(Outcome::UnknownSale);
        }
        let setting = (self.settings.ledger, now_ms);
        let ran = self.book.run((origin.node, id), setting, command, told);
        self.changes += u64::from(ran.is_changed);
        let outcome = told.unwrap_or(&ran.expected);
        if *outcome != ran.expected {
            let name = kinds::of_difference(command, &ran.expected, outcome);
            let text = format!(
                "{id} at {now_ms} ms: {command:?} was answered {outcome:?}, not {:?}",
                ran.expected
            );
            self.findings.add(at, name, text);
            self.differ.insert(id.whole());
        }
        self.check_fence(at, origin, id, command);
        let place = self.book.place_at(origin.node, id);
        Families::check_place(at, id, place, &mut self.findings);
        Families::check_home(at, id, command, &mut self.findings);
        if ran.is_current {
            self.note_counts(at, id, &ran, (command, outcome));
        }
        self.note_once(at, id, &ran, (command, outcome));
        self.note_truth(at, origin.node, id, ran.is_redefined);
        if ran.is_current {
            self.passed(at, id, now_ms);
        }
        self.executed += 1;
        if self.executed.is_multiple_of(RECOUNT_EVERY)
            && self.book.place(id).is_some_and(|place| !place.is_counted_right())
        {
            self.findings.add(at, "oracle", format!("{id} is not counted right"));
        }
        outcome.clone()
    }

    /// F: scripts of an earlier term than that of the sale are refused. Plain reads are not.
    fn check_fence(&mut self, at: Us, origin: Origin, id: &SaleId, command: &Command) {
        let is_script = !matches!(command, Command::Peek { .. } | Command::FindClaim(..));
        if let Some(term) = origin.term.filter(|_| is_script)
            && let Some(written) = self.book.raise_term(origin.node, id, term)
        {
            let text = format!("{id} of term {written} executed {command:?} of term {term}");
            self.findings.add(at, "F fence", text);
        }
    }

    /// The counts of the sale, and what begins anew.
    fn note_counts(
        &mut self,
        at: Us,
        id: &SaleId,
        ran: &Ran,
        (command, outcome): (&Command, &Outcome),
    ) {
        let counts = (ran.before, ran.after);
        self.families.note(at, id, counts, (command, outcome), &mut self.findings);
        if matches!(
            command,
            Command::TransferOut { .. }
                | Command::TransferIn { .. }
                | Command::AddStock(_)
                | Command::TakeStock { .. }
        ) {
            self.families.check_moves(at, id, &self.book, &mut self.findings);
        }
        if ran.is_another {
            self.deadlines.begin_anew(id);
        }
        let Some(place) = self.book.place(id).filter(|_| ran.is_another && !id.is_part()) else {
            return;
        };
        let (creation, spec) = (place.header.creation.0, &place.header.spec);
        if creation > 0 && !self.creations.entry(id.clone()).or_default().insert(creation) {
            let text = format!("{id} began twice with the number {creation}");
            self.findings.add(at, "I4 exactly once", text);
        }
        let generation = self.families.generation(id);
        self.histories.begin(id, generation, spec, place.now_ms);
    }

    /// What happened to calls, keys and reservations.
    fn note_once(
        &mut self,
        at: Us,
        id: &SaleId,
        ran: &Ran,
        (command, outcome): (&Command, &Outcome),
    ) {
        let owner = (id, self.families.generation(id));
        self.once.note_purchase(at, owner, (command, outcome), &mut self.findings);
        let fate = match (ran.is_current, self.forgetful.contains(id)) {
            (true, _) => Fate::Current,
            (false, true) => Fate::Forgotten,
            (false, false) => Fate::Abandoned,
        };
        for row in &ran.rows {
            self.once.note_row(owner, row, fate);
        }
        if let Some(asked) = command.reservation().filter(|_| fate == Fate::Forgotten) {
            self.once.excuse(asked);
        }
        let keep_from = self.keep_from(at);
        self.once.note_deed(at, command, outcome, keep_from);
        let is_asked = match command {
            // Its batch may have been so late that the sale has begun anew.
            Command::Reserve(reserve) => {
                call_of(reserve).is_some_and(|call| !self.once.was_given_up_before(call, owner.1))
            }
            command => command.reservation().is_some_and(|row| self.once.is_touched(row)),
        };
        self.histories.note_command(at, owner, (command, outcome), is_asked);
        if !ran.is_current {
            self.leave_out(id, "two copies went on");
        }
    }

    /// What is true from now on.
    pub(super) fn note_truth(&mut self, at: Us, node: Node, id: &SaleId, is_redefined: bool) {
        let times = (at, self.keep_from(at));
        let (place, current) = (self.book.place_at(node, id), self.book.node_of(id));
        let now_ms = place.map_or(0, |place| place.now_ms);
        self.truth.note(times, (node, current, id), place, (now_ms, is_redefined));
        if node != current {
            self.truth.note_break(at, id);
            return;
        }
        let is_split = place.is_some_and(|place| place.header.spec.split != Split::Whole);
        let whole = id.whole();
        if is_split || self.truth.is_split(&whole) {
            let head = self.book.place(&whole);
            let sums = self.families.sums(&whole);
            self.truth.note_sums(times, &whole, (head, now_ms), sums);
        }
    }

    /// A place is another one than the executed commands made it.
    pub(super) fn replace(
        &mut self,
        at: Us,
        id: &SaleId,
        before: Share,
        (lost, may_forget): (&BTreeSet<ReservationId>, bool),
    ) {
        if may_forget {
            self.forgetful.insert(id.clone());
        } else {
            self.forgetful.remove(id);
        }
        let place = self.book.place(id);
        self.once.lose(lost, place, may_forget);
        self.families.replaced(id, before, Share::of(place), may_forget);
        self.deadlines.begin_anew(id);
        self.leave_out(id, "the ledger lost something");
        self.truth.note_break(at, id);
        self.note_truth(at, self.book.node_of(id), id, true);
    }

    pub(super) fn leave_out(&mut self, id: &SaleId, why: &'static str) {
        let generation = self.families.generation(id);
        self.histories.leave_out(id, generation, why);
    }

    /// What happened before this may be forgotten.
    fn keep_from(&self, at: Us) -> Us {
        let Settings { hearsay_ms, search_age_ms, deadline_ms, .. } = self.settings;
        let ages = (hearsay_ms + search_age_ms + deadline_ms) * MS + self.clock_age_us + SECOND;
        self.once.oldest().unwrap_or(at).min(at).saturating_sub(ages)
    }
}
