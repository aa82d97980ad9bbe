//! The oracle: it hears every command that a ledger executed and every answer that a client got,
//! and says which promise of /docs and ARCHITECTURE.md was broken.
//!
//! It knows nothing of cores, queues or networks. The simulator tells it:
//!
//! - [`executed_from`](Oracle::executed_from): a ledger executed a command, with its answer. The
//!   oracle's `book` has answered by its own `rules`, and both answers must be the same.
//! - [`asked`](Oracle::asked) and [`told`](Oracle::told): what a client asked and got.
//! - what it can't see: [`passed`](Oracle::passed) (time), [`sweeping`](Oracle::sweeping),
//!   [`copied`](Oracle::copied) (a failover), [`recovered`](Oracle::recovered) (a restart),
//!   [`lost_by_setting`](Oracle::lost_by_setting), and the counts of cores.
//!
//! | file | promise |
//! |---|---|
//! | `rules/`, `book.rs` | the outcome of each command: I1, I4, I5, I6, I7, and all other rules |
//! | `conserve.rs` | I1 never oversell, I2 conserve, P parts |
//! | `once.rs` | I4 exactly once; busy and unavailable mean that nothing happened |
//! | `deadlines.rs` | I5 never strand |
//! | `truth.rs`, `judge.rs` | I6 tell the truth; I7 pay late |
//! | `cores.rs` | A allowance, W waiters, F fence |
//! | `turns.rs` | I9: the sales of a core are served in turn |
//! | `durable.rs` | I3 durable, of the embedded ledger |
//! | `end.rs`, `linear.rs` | the end of a run |
//!
//! I8 (the waiting list) has no code yet; its rules belong into a file beside those of `rules/`.

mod kinds;
mod rules;
mod row;
mod place;
mod book;
mod conserve;
mod once;
mod deadlines;
mod truth;
mod cores;
mod turns;
mod durable;
mod end;
mod linear;
mod hear;
mod judge;
#[cfg(test)]
mod testing;

use std::collections::{BTreeMap, BTreeSet};

use stampede::sale::{Command, Machine, Outcome, SaleId};

pub use self::cores::{Allowance, QUIET_ROUNDS, Waiters};
pub use self::durable::{Committed, Counts, Returned};
pub use self::kinds::of_outcome;
pub use self::place::Place;
pub use self::turns::TakenBatch;

use self::book::Book;
use self::conserve::Families;
use self::deadlines::Deadlines;
use self::durable::Durable;
use self::end::Answers;
use self::linear::Histories;
use self::once::{Once, Open};
use self::place::Share;
use self::truth::Truth;
use self::turns::Turns;
use crate::call::{Call, CallId, Told};
use crate::replay::history::Recording;
use crate::time::{MS, Us};

/// The kind of ledger.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub enum Ledger {
    /// The embedded ledger: no parts, no numbers of creations, no reset.
    Embedded,
    /// Redis.
    #[default]
    Redis,
}

/// A copy of a ledger's data: a node of Redis. An embedded ledger is node 0.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, PartialOrd, Ord)]
pub struct Node(pub u32);

/// Where a command was executed, and for whom.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Origin {
    /// The node that executed it.
    pub node: Node,
    /// The term in which the link that sent it began, by the simulator's own account. `None`:
    /// there are no terms.
    pub term: Option<u64>,
}

/// What a run allows.
#[derive(Debug, Clone)]
pub struct Settings {
    /// The ledger.
    pub ledger: Ledger,
    /// Greatest age of an answer by which a core may refuse a purchase without a key.
    pub hearsay_ms: u64,
    /// Greatest age of a sale that is shown from memory.
    pub view_age_ms: u64,
    /// Additional age of what a search for units in the parts of a sale has seen. The documents
    /// allow none.
    pub search_age_ms: u64,
    /// Additional time for expired units to return.
    pub sweep_slack_ms: u64,
    /// Time from which on a server that is up, and reaches the ledger, returns expired units.
    pub sweep_grace_ms: u64,
    /// The longest wait of a core for an answer of the ledger. The past is kept for longer.
    pub deadline_ms: u64,
    /// `--stock N`. `None`: auto.
    pub stock: Option<u64>,
    /// Findings that are kept.
    pub findings_max: usize,
    /// Operations of a sale up to which its history is searched for a linear order.
    pub linear_operations_max: usize,
}

impl Default for Settings {
    fn default() -> Self {
        Self {
            ledger: Ledger::Redis,
            hearsay_ms: 400,
            view_age_ms: 100,
            search_age_ms: 0,
            sweep_slack_ms: 0,
            sweep_grace_ms: 1_500,
            deadline_ms: 2_000,
            stock: None,
            findings_max: 100,
            linear_operations_max: 80,
        }
    }
}

/// A broken promise.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Finding {
    /// When it was found.
    pub at: Us,
    /// The promise.
    pub invariant: &'static str,
    /// What happened.
    pub text: String,
}

/// All findings, the first ones in full.
#[derive(Debug)]
pub struct Findings {
    list: Vec<Finding>,
    max: usize,
}

impl Findings {
    /// Keeps this many.
    fn new(max: usize) -> Self {
        Self { list: Vec::new(), max }
    }

    /// Adds one.
    fn add(&mut self, at: Us, invariant: &'static str, text: String) {
        if self.list.len() < self.max {
            self.list.push(Finding { at, invariant, text });
        }
    }

    /// The names of the broken promises, in the order in which they were found.
    #[cfg(test)]
    fn names(&self) -> Vec<&'static str> {
        self.list.iter().map(|finding| finding.invariant).collect()
    }
}

/// See the module.
#[derive(Debug)]
pub struct Oracle {
    settings: Settings,
    book: Book,
    families: Families,
    truth: Truth,
    once: Once,
    deadlines: Deadlines,
    durable: Durable,
    turns: Turns,
    answers: Answers,
    histories: Histories,
    findings: Findings,
    seen: BTreeMap<&'static str, u64>,
    /// Sales about which book and ledger disagree: everything that follows would be a finding, too.
    differ: BTreeSet<SaleId>,
    /// Places of which a copy that another has replaced may answer what is lost.
    forgetful: BTreeSet<SaleId>,
    /// The numbers of the creations of each sale.
    creations: BTreeMap<SaleId, BTreeSet<u64>>,
    executed: u64,
    /// Commands that have changed something.
    changes: u64,
    /// The time of the last command.
    now: Us,
    /// The greatest age of any core's clock.
    clock_age_us: Us,
    /// What the ledger carries out, if somebody wants to replay it.
    pub recording: Option<Recording>,
}

impl Oracle {
    /// One that has heard nothing.
    pub fn new(settings: Settings) -> Self {
        Self {
            book: Book::default(),
            families: Families::default(),
            truth: Truth::default(),
            once: Once::default(),
            deadlines: Deadlines::new(&settings),
            durable: Durable::default(),
            turns: Turns::default(),
            answers: Answers::default(),
            histories: Histories::new(settings.linear_operations_max),
            findings: Findings::new(settings.findings_max),
            seen: BTreeMap::new(),
            differ: BTreeSet::new(),
            forgetful: BTreeSet::new(),
            creations: BTreeMap::new(),
            executed: 0,
            changes: 0,
            now: 0,
            clock_age_us: 0,
            recording: None,
            settings,
        }
    }

    /// The ledger's current copy of a place has executed a command.
    pub fn executed(
        &mut self,
        at: Us,
        place: &SaleId,
        ledger_now_ms: u64,
        command: &Command,
        outcome: &Outcome,
    ) {
        let origin = Origin { node: self.book.node_of(place), term: None };
        self.executed_from(at, origin, place, ledger_now_ms, command, outcome);
    }

    /// A node has executed a command. `ledger_now_ms`: the time that the ledger used, which is
    /// never before that of an earlier command of the place.
    pub fn executed_from(
        &mut self,
        at: Us,
        origin: Origin,
        place: &SaleId,
        ledger_now_ms: u64,
        command: &Command,
        outcome: &Outcome,
    ) {
        *self.seen.entry(kinds::of_outcome(outcome)).or_default() += 1;
        self.execute((at, ledger_now_ms), origin, place, command, Some(outcome));
    }

    /// The same if nobody heard the outcome, since the ledger or the connection died. Returns what
    /// the outcome was.
    pub fn executed_unheard(
        &mut self,
        at: Us,
        origin: Origin,
        place: &SaleId,
        ledger_now_ms: u64,
        command: &Command,
    ) -> Outcome {
        self.execute((at, ledger_now_ms), origin, place, command, None)
    }

    /// The embedded ledger has returned these units of a place to stock by itself.
    pub fn expired(&mut self, at: Us, place: &SaleId, ledger_now_ms: u64, units: u64) {
        let origin = Origin { node: self.book.node_of(place), term: None };
        // It says only how many units.
        let released = Outcome::Released { units, more: true, next_due_ms: Some(0) };
        let command = Command::Expire { batch_max: u32::MAX };
        self.executed_from(at, origin, place, ledger_now_ms, &command, &released);
    }

    /// A script died half way: units of a place are counted as sold, and nobody has them.
    pub fn leaked(&mut self, at: Us, node: Node, place: &SaleId, units: u64) {
        let before = Share::of(self.book.place_at(node, place));
        let is_current = self.book.leak(node, place, units);
        let after = Share::of(self.book.place_at(node, place));
        if is_current {
            self.families.note_change(place, before, after);
        }
        self.note_truth(at, node, place, true);
        self.leave_out(place, "a script died half way");
    }

    /// Commands that a node has executed on its copy of a place, for [`copied`](Self::copied).
    pub fn position(&self, node: Node, place: &SaleId) -> u64 {
        self.book.position(node, place)
    }

    /// A node takes the place of another, as the primary of all places.
    pub fn failed_over(&mut self, from: Node, to: Node) {
        self.truth.note_failover(from, to);
    }

    /// A node's copy of a place is now what another node's (or its own) was after its first `kept`
    /// commands, and it is the copy that counts: a failover, or a restart from what a Redis had
    /// kept. `may_forget`: the settings allow that answered commands are lost. The simulator says
    /// so before the copy executes anything.
    pub fn copied(
        &mut self,
        at: Us,
        place: &SaleId,
        (from, to): (Node, Node),
        kept: u64,
        may_forget: bool,
    ) {
        let before = Share::of(self.book.place(place));
        match self.book.copy(place, from, to, kept) {
            Ok(lost) => self.replace(at, place, before, (&lost, may_forget)),
            Err(error) => {
                self.findings.add(at, "oracle", format!("copy of {place}: {error:?}"));
                self.differ.insert(place.whole());
            }
        }
    }

    /// A ledger has started again, and has this of a place. Returns how many commands it has lost.
    /// Nothing that was answered may be among them.
    pub fn recovered(&mut self, at: Us, place: &SaleId, machine: Option<&Machine>) -> u64 {
        let before = Share::of(self.book.place(place));
        match self.book.rewind(place, machine) {
            Ok((undone, lost)) => {
                if undone > 0 {
                    self.replace(at, place, before, (&lost, false));
                }
                undone
            }
            Err(_) => {
                let text = format!("{place} is in no state in which it ever was");
                self.findings.add(at, "I3 durable", text);
                self.differ.insert(place.whole());
                0
            }
        }
    }

    /// The current copy of a place is gone with everything in it, by a setting that allows it.
    pub fn lost_by_setting(&mut self, at: Us, place: &SaleId) {
        let before = Share::of(self.book.place(place));
        let lost = self.book.evict(place);
        self.replace(at, place, before, (&lost, true));
    }

    /// Time has passed, and a ledger's clock shows this.
    pub fn passed(&mut self, at: Us, place: &SaleId, ledger_now_ms: u64) {
        if let Some(found) = self.book.place(place)
            && !self.differ.contains(&place.whole())
        {
            self.deadlines.look(at, place, (found, ledger_now_ms), &mut self.findings);
        }
    }

    /// From now on, at least one server that reaches the ledger is up, or none is.
    pub fn sweeping(&mut self, at: Us, works: bool) {
        self.deadlines.set_working(at, works);
    }

    /// Expired units need not return before a time, at one place or at all: a clock has jumped, a
    /// server stalls, the sale is refused.
    pub fn excuse_sweep(&mut self, place: Option<&SaleId>, until: Us) {
        self.deadlines.excuse(place, until);
    }

    /// The ledger's clock, which has shown this, is about to be set.
    pub fn clock_jumps(&mut self, at: Us, ledger_now_ms: u64) {
        self.deadlines.jump(at, ledger_now_ms, self.book.places());
    }

    /// Counters of the real machine of the current copy of a place, after a group.
    pub fn counters(&mut self, place: &SaleId, total: u64, held: u64, confirmed: u64) {
        if self.differ.contains(&place.whole()) {
            return;
        }
        let ours = Share::of(self.book.place(place));
        if (ours.total, ours.held, ours.confirmed) != (total, held, confirmed) {
            let text = format!(
                "{place} counts {held} held and {confirmed} confirmed of {total}, not {ours:?}"
            );
            self.findings.add(self.now, "I2 conserve", text);
            self.differ.insert(place.whole());
        }
    }

    /// A server's fixed allowance of one sale.
    pub fn allowance(&mut self, at: Us, whose: &str, counts: &Allowance) {
        cores::check_allowance(at, whose, counts, &mut self.findings);
    }

    /// Who waits on a core, at any time.
    pub fn waiters(&mut self, at: Us, core: &str, waiters: &Waiters) {
        cores::check_waiters(at, core, waiters, &mut self.findings);
    }

    /// A core has taken a batch from its queues.
    pub fn taken(&mut self, at: Us, core: &str, batch: TakenBatch) {
        if !batch.left.is_empty() {
            *self.seen.entry("overfull_batch").or_default() += 1;
        }
        if self.turns.take(at, core, batch, &mut self.findings) {
            *self.seen.entry("overlooked_sale").or_default() += 1;
        }
    }

    /// The same after this many rounds without requests.
    pub fn quiet(&mut self, at: Us, core: &str, rounds: u64, waiters: &Waiters) {
        cores::check_quiet(at, core, rounds, waiters, &mut self.findings);
    }

    /// A link of this term has passed an answer on. `known`: the latest term that its server knew.
    pub fn believed(&mut self, at: Us, link: &str, term: u64, known: u64) {
        cores::check_belief(at, link, term, known, &mut self.findings);
    }

    /// A client's request arrives at a core, whose clock is this old.
    pub fn asked(&mut self, at: Us, clock_age_us: Us, call: CallId, what: &Call) {
        self.clock_age_us = self.clock_age_us.max(clock_age_us);
        let generation = self.families.generation(what.sale());
        let open =
            Open { asked: at, clock_age_us, call: what.clone(), answers: Vec::new(), generation };
        if let Err(text) = self.once.ask(call, open) {
            self.findings.add(at, "W waiters", text);
        }
    }

    /// A client has its answer, or will never have one.
    pub fn told(&mut self, at: Us, call: CallId, told: &Told) {
        *self.seen.entry(kinds::of_told(told)).or_default() += 1;
        let Some(open) = self.once.close(call) else {
            let text = format!("{call} was told {told:?}, and had not asked");
            self.findings.add(at, "W waiters", text);
            return;
        };
        let sale = open.call.sale().whole();
        if self.differ.contains(&sale) {
            return;
        }
        match told {
            Told::Purchase(purchase) => self.judge_purchase(at, call, &open, purchase),
            Told::Reservation(outcome) => self.judge_reservation(at, call, &open, outcome),
            Told::View(view) => self.judge_view(at, call, &open, view.as_deref()),
            Told::Failed(_) | Told::Nothing => {}
        }
        let generation = self.families.generation(&sale);
        if open.answers.is_empty() {
            self.once.give_up(call, generation);
        }
        self.histories.note_told(at, (&open, generation), Some(told));
    }

    /// The end of the run, when everybody has had time for an answer.
    pub fn end(&mut self, at: Us) {
        for (call, open) in self.once.open() {
            let text = format!("{call} was never told: {:?}", open.call);
            self.findings.add(at, "W waiters", text);
            let generation = self.families.generation(open.call.sale());
            self.histories.note_told(at, (open, generation), None);
        }
        for id in self.book.ids() {
            if self.book.place(id).is_some_and(|place| !place.is_counted_right()) {
                self.findings.add(at, "oracle", format!("{id} is not counted right"));
            }
            if !self.differ.contains(&id.whole()) && !id.is_part() {
                self.families.check_moves(at, id, &self.book, &mut self.findings);
            }
        }
        self.answers.check(at, &self.once, &mut self.findings);
        let hearsay_us = self.settings.hearsay_ms * MS + self.clock_age_us;
        let checked = self.histories.check(at, hearsay_us, &mut self.findings);
        self.seen.insert("linear_right", checked.right);
        self.seen.insert("linear_undecided", checked.undecided);
        self.seen.insert("linear_left_out", checked.left_out);
    }

    /// What was found.
    pub fn findings(&self) -> &[Finding] {
        &self.findings.list
    }

    /// Outcomes and answers by kind.
    pub fn seen(&self) -> &BTreeMap<&'static str, u64> {
        &self.seen
    }

    /// The current copy of a place, as the book has it.
    pub fn place(&self, id: &SaleId) -> Option<&Place> {
        self.book.place(id)
    }
}

#[cfg(test)]
mod agree_tests;
#[cfg(test)]
mod oracle_tests;
