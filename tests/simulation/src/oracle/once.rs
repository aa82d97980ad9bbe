//! I4, exactly once: which command belongs to which attempt of a client, and what each attempt, key
//! and id got.
//!
//! A purchase carries the tag of its attempt, so every command of it is known. Commands about a
//! reservation carry none; an answer to them must be that of a command that ran meanwhile.

use std::collections::{BTreeMap, BTreeSet, VecDeque};
use std::rc::Rc;

use stampede::sale::{Command, Outcome, ReservationId, Reserve, SaleId, Status};

use super::Findings;
use super::place::Place;
use super::row::{Request, Row, call_of};
use super::truth::Window;
use crate::call::{Call, CallId};
use crate::time::Us;

/// An attempt that waits for its answer.
#[derive(Debug)]
pub struct Open {
    /// When it was asked.
    pub asked: Us,
    /// How old the clock of its core was then.
    pub clock_age_us: Us,
    /// What was asked.
    pub call: Call,
    /// What its commands were answered, and where.
    pub answers: Vec<(SaleId, Outcome)>,
    /// How often its sale had begun anew.
    pub generation: u64,
}

impl Open {
    /// Whether one of its commands got this answer from the whole sale.
    pub fn got(&self, outcome: &Outcome) -> bool {
        self.answers.iter().any(|(place, got)| !place.is_part() && got == outcome)
    }

    /// The same, from the sale or from one of its parts.
    pub fn got_anywhere(&self, outcome: &Outcome) -> bool {
        self.answers.iter().any(|(_, got)| got == outcome)
    }

    /// The reservation that its key was found to have.
    pub fn claimed(&self) -> Option<ReservationId> {
        self.answers.iter().find_map(|(_, got)| match got {
            Outcome::Claimed(id) => Some(*id),
            Outcome::Replayed(row) => Some(row.id),
            _ => None,
        })
    }
}

/// A command about one reservation, without its details.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Deed {
    /// It was shown.
    Show,
    /// It was paid.
    Confirm,
    /// It was cancelled.
    Cancel,
    /// Something that clients do not ask for.
    Other,
}

impl Deed {
    fn of(command: &Command) -> Self {
        match command {
            Command::ShowReservation(_) => Self::Show,
            Command::Confirm(_) => Self::Confirm,
            Command::Cancel(_) => Self::Cancel,
            _ => Self::Other,
        }
    }
}

/// What becomes of a copy of a place.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Fate {
    /// The one that counts.
    Current,
    /// One that another has replaced. The settings allow that what it answers is lost.
    Forgotten,
    /// The same, but nothing that it answers may be believed.
    Abandoned,
}

/// What is known of a reservation.
#[derive(Debug)]
pub struct Known {
    /// Its sale or part.
    pub place: SaleId,
    /// How often the sale had begun anew when it was made.
    pub generation: u64,
    /// What was asked.
    pub request: Rc<Request>,
    /// The end of its hold time at first.
    pub first_expires_at_ms: u64,
    /// Its status at last.
    pub status: Status,
    /// Its units at last.
    pub quantity: u32,
    /// A setting of the ledger allowed to lose it, or to forget what happened to it.
    pub is_excused: bool,
    /// The ledger does not have it any more, and nobody removed its sale.
    pub is_lost: bool,
    /// The latest answers to commands about it.
    answers: VecDeque<(Us, Deed, Outcome)>,
}

/// The owner of a key: sale, its generation, user, key.
type Owner = (SaleId, u64, String, String);

/// Everything that happens once.
#[derive(Debug, Default)]
pub struct Once {
    open: BTreeMap<CallId, Open>,
    /// Attempts of which nothing may ever happen: they were told so.
    void: BTreeMap<CallId, &'static str>,
    granted: BTreeMap<CallId, ReservationId>,
    reservations: BTreeMap<ReservationId, Known>,
    owners: BTreeMap<Owner, ReservationId>,
    /// Reservations about which clients have asked for more than to see them.
    touched: BTreeSet<ReservationId>,
    /// Attempts that were told before the ledger had answered any of their commands, and how often
    /// their sale had begun anew by then.
    given_up: BTreeMap<CallId, u64>,
}

impl Once {
    /// A client asks.
    pub fn ask(&mut self, id: CallId, open: Open) -> Result<(), String> {
        if let Call::Confirm { id, .. } | Call::Cancel { id, .. } = &open.call {
            self.touched.insert(*id);
        }
        match self.open.insert(id, open) {
            None => Ok(()),
            Some(_) => Err(format!("{id} was asked twice")),
        }
    }

    /// A client has its answer, or none ever.
    pub fn close(&mut self, id: CallId) -> Option<Open> {
        self.open.remove(&id)
    }

    /// A client has its answer, in this generation of the sale, and the ledger has answered nothing.
    pub fn give_up(&mut self, id: CallId, generation: u64) {
        self.given_up.insert(id, generation);
    }

    /// Whether a client had its answer in an earlier generation of the sale than this one.
    pub fn was_given_up_before(&self, id: CallId, generation: u64) -> bool {
        self.given_up.get(&id).is_some_and(|then| *then != generation)
    }

    /// Attempts without an answer.
    pub fn open(&self) -> impl Iterator<Item = (&CallId, &Open)> {
        self.open.iter()
    }

    /// When the oldest attempt that waits was asked.
    pub fn oldest(&self) -> Option<Us> {
        self.open.values().next().map(|open| open.asked)
    }

    /// The attempt was told that nothing happened: then nothing may ever happen.
    pub fn set_void(&mut self, id: CallId, told: &'static str) -> Result<(), String> {
        self.void.insert(id, told);
        match self.granted.get(&id) {
            Some(row) => Err(format!("{id} was told {told}, and {row} was granted to it")),
            None => Ok(()),
        }
    }

    /// What an attempt was granted.
    pub fn granted_to(&self, id: CallId) -> Option<ReservationId> {
        self.granted.get(&id).copied()
    }

    /// What is known of a reservation.
    pub fn known(&self, id: ReservationId) -> Option<&Known> {
        self.reservations.get(&id)
    }

    /// Whether a client has ever asked to confirm or cancel it.
    pub fn is_touched(&self, id: ReservationId) -> bool {
        self.touched.contains(&id)
    }

    /// A purchase or a claim query was executed at a place.
    pub fn note_purchase(
        &mut self,
        at: Us,
        (place, generation): (&SaleId, u64),
        (command, outcome): (&Command, &Outcome),
        findings: &mut Findings,
    ) {
        let (Command::Reserve(reserve) | Command::FindClaim(reserve, _)) = command else { return };
        let call = call_of(reserve);
        if let Some(open) = call.and_then(|call| self.open.get_mut(&call)) {
            if let Err(text) = is_asked(&open.call, reserve, place) {
                findings.add(at, "I4 exactly once", text);
            }
            open.answers.push((place.clone(), outcome.clone()));
        }
        let Outcome::Granted { .. } = outcome else { return };
        let id = reserve.id;
        if let Some(known) = self.reservations.get(&id) {
            let text = format!("the id {id} was granted at {place} and at {}", known.place);
            findings.add(at, "I4 exactly once", text);
        }
        let Some(call) = call else { return };
        if let Some(told) = self.void.get(&call) {
            let text = format!("{id} was granted to {call}, which was told {told}");
            findings.add(at, "I6 truth", text);
        }
        if let Some(other) = self.granted.insert(call, id) {
            let is_excused = self.known(other).is_some_and(|known| known.is_excused);
            if !is_excused {
                let text = format!("{call} of generation {generation} got {other} and {id}");
                findings.add(at, "I4 exactly once", text);
            }
        }
    }

    /// A row was made or changed on a copy of its place.
    pub fn note_row(&mut self, (place, generation): (&SaleId, u64), row: &Row, fate: Fate) {
        let known = self.reservations.entry(row.id()).or_insert_with(|| Known {
            place: place.clone(),
            generation,
            request: row.request.clone(),
            first_expires_at_ms: row.expires_at_ms,
            status: row.status,
            quantity: row.quantity,
            is_excused: false,
            is_lost: fate == Fate::Abandoned,
            answers: VecDeque::new(),
        });
        match fate {
            Fate::Current => (known.status, known.quantity) = (row.status, row.quantity),
            Fate::Forgotten => known.is_excused = true,
            Fate::Abandoned => {}
        }
    }

    /// A copy of its sale that another has replaced was asked about it, and answers what it was.
    pub fn excuse(&mut self, id: ReservationId) {
        if let Some(known) = self.reservations.get_mut(&id) {
            known.is_excused = true;
        }
    }

    /// A command about a reservation was executed.
    pub fn note_deed(&mut self, at: Us, command: &Command, outcome: &Outcome, keep_from: Us) {
        let Some(known) = command.reservation().and_then(|id| self.reservations.get_mut(&id))
        else {
            return;
        };
        while known.answers.front().is_some_and(|(answered, ..)| *answered < keep_from) {
            known.answers.pop_front();
        }
        known.answers.push_back((at, Deed::of(command), outcome.clone()));
    }

    /// Whether such a command was answered like this in the window.
    pub fn was_answered(
        &self,
        id: ReservationId,
        window: Window,
        deed: Deed,
        outcome: &Outcome,
    ) -> bool {
        let answers = self.reservations.get(&id).into_iter().flat_map(|known| &known.answers);
        answers
            .filter(|(at, ..)| (window.from..=window.to).contains(at))
            .any(|(_, found, got)| *found == deed && got == outcome)
    }

    /// These were lost from their place, or what happened to them was. If a setting of the ledger
    /// allows it, what was told of them no longer counts.
    pub fn lose(&mut self, ids: &BTreeSet<ReservationId>, place: Option<&Place>, is_excused: bool) {
        for id in ids {
            let Some(known) = self.reservations.get_mut(id) else { continue };
            known.is_excused |= is_excused;
            match place.and_then(|place| place.rows().get(id)) {
                Some(row) => (known.status, known.quantity) = (row.status, row.quantity),
                None => known.is_lost = true,
            }
        }
        if is_excused {
            self.owners.retain(|_, id| !ids.contains(id));
        }
    }

    /// A client was told that its key has a reservation: the one that the key had before.
    pub fn tell_owner(&mut self, id: ReservationId) -> Result<(), String> {
        let Some(known) = self.reservations.get(&id) else { return Ok(()) };
        let request = &known.request;
        if request.key.is_empty() || known.is_excused {
            return Ok(());
        }
        let (user, key) = (request.user.clone(), request.key.clone());
        let owner = (known.place.whole(), known.generation, user, key);
        match self.owners.get(&owner) {
            Some(before) if *before != id => {
                let (sale, _, user, key) = owner;
                Err(format!("user {user:?} with key {key:?} of {sale} was told {before} and {id}"))
            }
            Some(_) => Ok(()),
            None => {
                self.owners.insert(owner, id);
                Ok(())
            }
        }
    }
}

/// Whether a command is what the client asked.
fn is_asked(call: &Call, reserve: &Reserve, place: &SaleId) -> Result<(), String> {
    let Call::Buy { sale, user, key, quantity } = call else {
        return Err(format!("{reserve:?} came of {call:?}"));
    };
    let text = |text: &Option<String>| text.clone().unwrap_or_default();
    let is_same = reserve.user_text() == text(user)
        && reserve.key_text() == text(key)
        && reserve.quantity == *quantity
        && place.whole_str() == sale.as_str();
    if is_same { Ok(()) } else { Err(format!("{reserve:?} at {place} came of {call:?}")) }
}

#[cfg(test)]
mod tests {
    use crate::call::{Call, CallId, Purchase, Told};
    use crate::oracle::testing::{Stage, ask_tagged, buy, sale};
    use stampede::ledger::Failure;
    use stampede::sale::{Outcome, ReservationId, SaleSpec};

    fn stage() -> Stage {
        Stage::begin(SaleSpec::with_total(5))
    }

    #[test]
    fn an_id_that_is_used_twice_is_found() {
        let mut stage = stage();
        stage.ask(0, 1, buy("ann", "a", 1));
        stage.ask(0, 2, buy("bob", "b", 1));
        stage.run(1, &ask_tagged(1, 7, 1, "ann", "a"));
        let granted = Outcome::Granted { expires_at_ms: stage.now_ms(2) + 300_000 };
        stage.say(2, &ask_tagged(2, 7, 1, "bob", "b"), &granted);
        assert_eq!(stage.names(), ["I4 exactly once"]);
    }

    #[test]
    fn an_attempt_that_is_granted_twice_is_found() {
        let mut stage = stage();
        stage.ask(0, 1, buy("ann", "", 1));
        stage.run(1, &ask_tagged(1, 7, 1, "ann", ""));
        stage.run(2, &ask_tagged(1, 8, 1, "ann", ""));
        assert_eq!(stage.names(), ["I4 exactly once"]);
    }

    #[test]
    fn a_grant_after_the_answer_that_nothing_happened_is_found() {
        for failure in [Failure::Busy, Failure::Unavailable] {
            let mut stage = stage();
            stage.ask(0, 1, buy("ann", "", 1));
            stage.tell(1, 1, Told::Purchase(Purchase::Failed(failure)));
            assert_eq!(stage.names(), [""; 0]);
            stage.run(2, &ask_tagged(1, 7, 1, "ann", ""));
            assert_eq!(stage.names(), ["I6 truth"]);
        }
        let mut stage = stage();
        stage.ask(0, 1, buy("ann", "", 1));
        stage.tell(1, 1, Told::Purchase(Purchase::Failed(Failure::Unknown)));
        stage.run(2, &ask_tagged(1, 7, 1, "ann", ""));
        assert_eq!(stage.names(), [""; 0], "it may have happened");
    }

    #[test]
    fn an_answer_that_nothing_happened_after_the_grant_is_found() {
        let mut stage = stage();
        stage.ask(0, 1, buy("ann", "", 1));
        stage.run(1, &ask_tagged(1, 7, 1, "ann", ""));
        stage.tell(2, 1, Told::Purchase(Purchase::Failed(Failure::Unavailable)));
        assert_eq!(stage.names(), ["I6 truth"]);
    }

    #[test]
    fn another_command_than_the_client_asked_is_found() {
        for command in [
            ask_tagged(1, 7, 2, "ann", "k"),
            ask_tagged(1, 7, 1, "bob", "k"),
            ask_tagged(1, 7, 1, "ann", ""),
        ] {
            let mut stage = stage();
            stage.ask(0, 1, buy("ann", "k", 1));
            stage.run(1, &command);
            assert_eq!(stage.names(), ["I4 exactly once"]);
        }
        let mut stage = stage();
        stage.ask(0, 1, Call::View { sale: sale("s") });
        stage.run(1, &ask_tagged(1, 7, 1, "ann", "k"));
        assert_eq!(stage.names(), ["I4 exactly once"]);
    }

    #[test]
    fn an_attempt_is_asked_and_told_once() {
        let mut stage = stage();
        stage.ask(0, 1, buy("ann", "", 1));
        stage.ask(1, 1, buy("ann", "", 1));
        stage.tell(2, 1, Told::Nothing);
        stage.tell(3, 1, Told::Nothing);
        assert_eq!(stage.names(), ["W waiters"; 2]);
    }

    #[test]
    fn a_key_with_two_reservations_is_found() {
        let mut stage = stage();
        stage.run(1, &ask_tagged(1, 7, 1, "ann", "k"));
        stage.run(1, &ask_tagged(2, 8, 1, "ann", "l"));
        let once = &mut stage.oracle.once;
        assert_eq!(once.tell_owner(ReservationId(7)), Ok(()));
        assert_eq!(once.tell_owner(ReservationId(8)), Ok(()), "another key");
        // As if the ledger had lost the claim of the first.
        let key = (sale("s"), 1, "ann".to_owned(), "l".to_owned());
        once.owners.insert(key, ReservationId(9));
        assert!(once.tell_owner(ReservationId(8)).is_err());
        once.lose(&[ReservationId(9)].into(), None, true);
        assert_eq!(once.tell_owner(ReservationId(8)), Ok(()), "a setting allowed it");
        assert_eq!(once.granted_to(CallId(2)), Some(ReservationId(8)));
    }
}
