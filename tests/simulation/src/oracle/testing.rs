//! Small histories by hand, for the tests of the oracle.

use std::sync::Arc;

use stampede::sale::{
    Command, Creation, Details, Key, Lines, Machine, Outcome, Reservation, ReservationId, Reserve,
    SaleId, SaleSpec, SaleView, Status, User,
};
use stampede::trace::Trace;

use super::book::Book;
use super::place::{Header, Place};
use super::{Ledger, Node, Oracle, Origin, Settings};
use crate::call::{Call, CallId, Purchase, Told};
use crate::time::MS;

/// The time of all ledgers at the beginning, in ms since 1970.
const BEGIN_MS: u64 = 1_700_000_000_000;

/// The id of a sale.
pub fn sale(name: &str) -> SaleId {
    SaleId::new(name).expect("a name")
}

/// A purchase. Empty user or key: none.
pub fn ask(id: u128, quantity: u32, user: &str, key: &str) -> Command {
    Command::Reserve(Reserve {
        id: ReservationId(id),
        quantity,
        user: User::new(user).ok(),
        key: Key::new(key).ok(),
        details: None,
        trace: None,
    })
}

/// The same of an attempt of a client.
pub fn ask_tagged(call: u64, id: u128, quantity: u32, user: &str, key: &str) -> Command {
    let trace = Trace::from_texts(&CallId(call).tag(), "").map(Arc::new);
    match ask(id, quantity, user, key) {
        Command::Reserve(reserve) => Command::Reserve(Reserve { trace, ..reserve }),
        command => command,
    }
}

/// A purchase of ticket types, by ann.
pub fn ask_lines(id: u128, lines: &str, key: &str) -> Command {
    let lines = Lines::from_text(lines).expect("lines");
    match ask(id, lines.units(), "ann", key) {
        Command::Reserve(reserve) => {
            let details = Details { lines: Some(lines), ..Details::default() }.boxed();
            Command::Reserve(Reserve { details, ..reserve })
        }
        command => command,
    }
}

/// What a client asks of the sale `s`. Empty user or key: none.
pub fn buy(user: &str, key: &str, quantity: u32) -> Call {
    let text = |text: &str| Some(text.to_owned()).filter(|text| !text.is_empty());
    Call::Buy { sale: sale("s"), user: text(user), key: text(key), quantity }
}

/// What a client is told of a grant.
pub fn granted(id: u128, quantity: u32, user: &str, outcome: &Outcome) -> Told {
    let Outcome::Granted { expires_at_ms } = *outcome else { panic!("{outcome:?}") };
    Told::Purchase(Purchase::Granted(Reservation {
        id: ReservationId(id),
        user: User::new(user).ok(),
        quantity,
        status: Status::Held,
        expires_at_ms,
        details: None,
    }))
}

/// The real model of a sale after some commands, each with its time.
pub fn machine_of(total: u64, hold_ms: u64, history: &[(u64, Command)]) -> Machine {
    let mut machine = Machine::new(SaleSpec { hold_ms, ..SaleSpec::with_total(total) });
    for (now_ms, command) in history {
        machine.apply(*now_ms, command);
    }
    machine
}

fn run(spec: SaleSpec, history: &[(u64, Command)]) -> (Vec<Outcome>, Option<Place>) {
    let (mut book, id) = (Book::default(), sale("s"));
    let mut run = |now_ms, command: &Command| {
        book.run((Node(0), &id), (Ledger::Redis, now_ms), command, None).expected
    };
    run(0, &Command::Create(spec));
    let outcomes = history.iter().map(|(now_ms, command)| run(*now_ms, command)).collect();
    (outcomes, book.place(&id).cloned())
}

/// What the book says to some commands to a new sale, each with its time.
pub fn outcomes(spec: SaleSpec, history: &[(u64, Command)]) -> Vec<Outcome> {
    run(spec, history).0
}

/// A sale after some commands.
pub fn place_after(spec: SaleSpec, history: &[(u64, Command)]) -> Place {
    run(spec, history).1.expect("a sale")
}

/// An oracle that hears of one sale, `s`.
pub struct Stage {
    /// The oracle.
    pub oracle: Oracle,
    /// The sale.
    pub sale: SaleId,
}

impl Stage {
    /// The sale was created, with the number 5.
    pub fn begin(spec: SaleSpec) -> Self {
        Self::with(Settings::default(), spec)
    }

    /// The same with other settings.
    pub fn with(settings: Settings, spec: SaleSpec) -> Self {
        let mut stage = Self { oracle: Oracle::new(settings), sale: sale("s") };
        let place = Place::new(Header::of(&spec, Creation(5)), stage.now_ms(0));
        let created = Outcome::Created(Box::new(place.view()));
        stage.say(0, &Command::Create(spec), &created);
        stage
    }

    /// The ledger's time at a time of the run.
    pub fn now_ms(&self, at_ms: u64) -> u64 {
        BEGIN_MS + at_ms
    }

    /// The ledger executes a command, and answers what the book says. Returns the answer.
    pub fn run(&mut self, at_ms: u64, command: &Command) -> Outcome {
        let id = self.sale.clone();
        self.run_at(&id, at_ms, command)
    }

    /// The same at a place.
    pub fn run_at(&mut self, id: &SaleId, at_ms: u64, command: &Command) -> Outcome {
        let now_ms = self.now_ms(at_ms);
        self.oracle.executed_unheard(at_ms * MS, Origin::default(), id, now_ms, command)
    }

    /// The ledger executes a command, and answers this.
    pub fn say(&mut self, at_ms: u64, command: &Command, outcome: &Outcome) {
        let id = self.sale.clone();
        self.say_at(&id, at_ms, command, outcome);
    }

    /// The same at a place.
    pub fn say_at(&mut self, id: &SaleId, at_ms: u64, command: &Command, outcome: &Outcome) {
        let now_ms = self.now_ms(at_ms);
        self.oracle.executed(at_ms * MS, id, now_ms, command, outcome);
    }

    /// A client asks.
    pub fn ask(&mut self, at_ms: u64, number: u64, call: Call) {
        self.oracle.asked(at_ms * MS, 0, CallId(number), &call);
    }

    /// A client is told.
    pub fn tell(&mut self, at_ms: u64, number: u64, told: Told) {
        self.oracle.told(at_ms * MS, CallId(number), &told);
    }

    /// The sale as the book has it.
    pub fn view(&self) -> SaleView {
        self.oracle.place(&self.sale).expect("a sale").view()
    }

    /// The names of the broken promises.
    pub fn names(&self) -> Vec<&'static str> {
        self.oracle.findings.names()
    }
}
