//! Generated histories for every ledger: the ledgers must agree outcome for outcome.

use std::collections::BTreeSet;
use std::sync::Arc;

use proptest::collection::vec;
use proptest::prelude::*;
use stampede::ledger::{Group, GroupReply};
use stampede::limits::{BATCH_MAX, EXTEND_MAX_MS_DEFAULT, TIME_MS_MAX, TOTAL_MAX};
use stampede::sale::{
    Command, Creation, Details, Key, Lines, Machine, Note, Outcome, Remaining, ReservationId,
    Reserve, Rules, SaleId, SaleSpec, Split, Terms, TypeName, Types, User,
};
use stampede::trace::Trace;

/// A ledger under test. Time comes with each group and never goes back.
pub trait Ledger {
    /// Carries out one group at this time, in ms since 1970.
    fn apply(&mut self, now_ms: u64, group: &Group) -> GroupReply;
}

/// The reference: the pure machine, or no sale yet.
#[derive(Default)]
pub struct Model {
    machine: Option<Machine>,
}

impl Ledger for Model {
    fn apply(&mut self, now_ms: u64, group: &Group) -> GroupReply {
        let outcomes = group.commands.iter().map(|command| match (&mut self.machine, command) {
            (Some(machine), command) => {
                let outcome = machine.apply(now_ms, command);
                if outcome == Outcome::Removed {
                    self.machine = None;
                }
                outcome
            }
            (machine, Command::Create(spec)) => {
                let machine = machine.insert(Machine::new(spec.clone()));
                match machine.apply(now_ms, &Command::Show) {
                    Outcome::Sale(view) => Outcome::Created(view),
                    outcome => outcome,
                }
            }
            (machine, Command::CreatePart { spec, creation }) => {
                let made = machine.insert(Machine::of_making(spec.clone(), *creation));
                match made.apply(now_ms, &Command::Show) {
                    Outcome::Sale(view) => Outcome::Created(view),
                    outcome => outcome,
                }
            }
            // A command that names another creation gets no answer but that it is another one.
            (None, Command::FindClaim(_, made)) if *made != Creation::UNKNOWN => {
                Outcome::NotClaimed
            }
            (None, _) => Outcome::UnknownSale,
        });
        let outcomes = outcomes.collect();
        GroupReply { outcomes, free: self.machine.as_ref().map(Machine::free), now_ms }
    }
}

/// Time that passes, then a group.
#[derive(Debug, Clone)]
pub struct Step {
    /// Since the previous step.
    pub pause_ms: u64,
    /// One group, in order.
    pub commands: Vec<Command>,
}

/// Start of a history, in ms since 1970.
pub const BEGIN_MS: u64 = 1_700_000_000_000;
/// Hold times, opening and closing times are within this of the start, so that steps cross them.
const SPAN_MS: u64 = 3_000;
/// Ids for a history's confirm, cancel and show commands; reserve commands take theirs from here
/// too.
const IDS: u128 = 40;

/// Histories of up to this number of steps. Each reserve command has its own id.
pub fn histories(steps: usize) -> impl Strategy<Value = Vec<Step>> {
    // In most sales hardly any request has ticket types, and in the others nearly every one.
    let typed = prop_oneof![2 => Just(0.1), 1 => Just(0.9)];
    typed.prop_flat_map(move |typed| {
        let whole = Just(Split::Whole).boxed();
        histories_of(Ways { split: whole, typed }, steps)
    })
}

/// How a history's sales are stored, and how many of the sales and requests have ticket types.
#[derive(Debug, Clone)]
struct Ways {
    split: BoxedStrategy<Split>,
    typed: f64,
}

/// The same for places of a split sale.
#[allow(dead_code, reason = "not every ledger has them")]
pub fn split_histories(steps: usize) -> impl Strategy<Value = Vec<Step>> {
    let parts = prop_oneof![1 => Just(Split::Head { parts: 3 }), 3 => Just(Split::Part { of: 3 })];
    histories_of(Ways { split: parts.boxed(), typed: 0.02 }, steps)
}

fn histories_of(ways: Ways, steps: usize) -> impl Strategy<Value = Vec<Step>> {
    let start = (spec(&ways), any::<bool>());
    (start, vec(step(&ways), 1..steps)).prop_map(|((spec, create_first), mut steps)| {
        if create_first {
            steps.insert(0, Step { pause_ms: 0, commands: vec![Command::Create(spec)] });
        }
        let commands = steps.iter_mut().flat_map(|step| &mut step.commands);
        let reserves = commands.filter_map(|command| match command {
            Command::Reserve(reserve) => Some(reserve),
            _ => None,
        });
        reserves.zip(0..).for_each(|(reserve, n)| {
            reserve.id = id(n);
        });
        for command in steps.iter_mut().flat_map(|step| &mut step.commands) {
            // As the creation of a split sale does, and some that an earlier creation left.
            if let Command::Create(spec) = command
                && matches!(spec.split, Split::Part { .. })
                && spec.hold_ms % 2 == 0
            {
                let creation = Creation((spec.quantity_max % 4).into());
                let spec = SaleSpec { total: 0, ..spec.clone() };
                *command = Command::CreatePart { spec, creation };
            }
        }
        steps
    })
}

/// Some ids begin alike, as those of a batch do; others have nothing in common.
fn id(n: u128) -> ReservationId {
    let beginning = if n.is_multiple_of(2) { n } else { n % 3 };
    ReservationId(n | beginning << 100)
}

fn step(ways: &Ways) -> impl Strategy<Value = Step> + use<> {
    let pause_ms = prop_oneof![3 => Just(0), 3 => 1..50u64, 2 => 50..1_500u64];
    let reserve = reserve(ways.typed).boxed();
    let settle = settle(ways.typed).boxed();
    let run = vec(reserve.clone(), 1..24).boxed();
    let settles = vec(settle.clone(), 1..24).boxed();
    let other = other(ways).boxed();
    let mixed = vec(prop_oneof![4 => reserve, 3 => settle, 3 => other], 1..8).boxed();
    (pause_ms, prop_oneof![4 => run, 3 => settles, 4 => mixed, 1 => removal().boxed(), 1 => payback().boxed()])
        .prop_map(|(pause_ms, commands)| Step { pause_ms, commands })
}

/// Few users and few keys: they collide, also within a batch. A user may have spaces and non-ASCII
/// characters.
fn reserve(typed: f64) -> impl Strategy<Value = Command> {
    let user = prop_oneof![
        2 => Just(None),
        5 => prop::sample::select(vec!["ann", " bob b ", "李雷", "x "]).prop_map(Some)
    ];
    let key = prop_oneof![
        3 => Just(None),
        2 => prop::sample::select(vec!["k", "2 3", "键"]).prop_map(Some),
        2 => prop::sample::select(vec!["a", "b", "c", "d", "e", "f", "g", "h", "i"]).prop_map(Some)
    ];
    let quantity = prop_oneof![6 => Just(1u32), 3 => 1..4u32, 1 => 4..13u32];
    let made = prop_oneof![2 => Just(0), 1 => 1..3u64];
    // The trace of the request decides nothing.
    let trace = prop::option::weighted(0.2, "[!-~]{1,40}");
    let note = prop::option::weighted(0.1, prop::sample::select(vec!["row 7", "asked=9", "张 "]));
    let lines = prop::option::weighted(typed, lines().prop_filter("none", |l| !l.is_empty()));
    let asked = (quantity, lines);
    (user, key, asked, note, trace, prop::bool::weighted(0.1), made).prop_map(
        |(user, key, (quantity, lines), note, trace, only_looks, made)| {
            let quantity = lines.as_ref().map_or(quantity, Lines::units);
            let note = note.and_then(|note| Note::new(note).ok());
            let reserve = Reserve {
                id: ReservationId(0),
                quantity,
                user: user.and_then(|user| User::new(user).ok()),
                key: key.and_then(|key| Key::new(key).ok()),
                trace: trace.and_then(|id| Trace::from_texts(&id, "")).map(Arc::new),
                details: Details { lines, note, ..Details::default() }.boxed(),
            };
            if only_looks {
                Command::FindClaim(reserve, Creation(made))
            } else {
                Command::Reserve(reserve)
            }
        },
    )
}

/// A command about one reservation. Some commands of a run name the same one.
fn settle(typed: f64) -> impl Strategy<Value = Command> {
    let id = || (0..IDS).prop_map(id);
    let remaining = move || {
        prop_oneof![
            10 - (typed * 10.0) as u32 => (0..5u32).prop_map(Remaining::Units),
            (typed * 10.0) as u32 + 1 => lines().prop_map(Remaining::Lines),
        ]
    };
    prop_oneof![
        6 => id().prop_map(Command::Confirm),
        5 => id().prop_map(Command::Cancel),
        3 => id().prop_map(Command::Refund),
        4 => (id(), prop::option::of(hold_ms())).prop_map(|(id, ms)| Command::Extend(id, ms)),
        3 => (id(), remaining()).prop_map(|(id, remaining)| Command::CancelTo(id, remaining)),
        3 => (id(), remaining()).prop_map(|(id, remaining)| Command::RefundTo(id, remaining)),
        2 => id().prop_map(Command::ShowReservation),
    ]
}

/// Lines of up to four types, one of which no sale has.
fn lines() -> impl Strategy<Value = Lines> {
    let type_units = prop_oneof![3 => Just(0u32), 4 => 1..3u32, 1 => 3..6u32];
    let odd = prop_oneof![12 => Just(0u32), 1 => Just(1u32)];
    (type_units.clone(), type_units.clone(), type_units, odd).prop_map(
        |(adult, child, dog, odd)| {
            let lines = [("adult", adult), ("child", child), ("dog-1", dog), ("no_type", odd)];
            let named = lines.map(|(name, n)| (TypeName::new(name).expect("a name"), n));
            Lines::new(named).expect("lines")
        },
    )
}

/// Caps of the types, which sometimes exceed the sale's total.
fn types(typed: f64) -> impl Strategy<Value = Types> {
    let cap = prop_oneof![5 => 1..25u64, 1 => 25..90u64];
    let caps = (cap.clone(), cap.clone(), cap).prop_map(|(adult, child, dog)| {
        let caps = [("adult", adult), ("child", child), ("dog-1", dog)];
        Types::new(caps.map(|(name, cap)| (TypeName::new(name).expect("a name"), cap)))
            .expect("types")
    });
    prop::option::weighted(typed, caps).prop_map(Option::unwrap_or_default)
}

/// Quantities, some beyond what a sale allows.
fn hold_ms() -> impl Strategy<Value = u64> {
    prop_oneof![5 => 1..3_000u64, 1 => EXTEND_MAX_MS_DEFAULT..EXTEND_MAX_MS_DEFAULT + 4_000]
}

/// Reservations that are paid, refunded, and then asked for in vain.
fn payback() -> impl Strategy<Value = Vec<Command>> {
    (0..IDS / 4).prop_map(id).prop_map(|id| {
        vec![
            Command::Confirm(id),
            Command::Refund(id),
            Command::Cancel(id),
            Command::RefundTo(id, Remaining::Units(1)),
            Command::Extend(id, None),
        ]
    })
}

/// An operator's attempt to remove the sale. Often some units are still held.
fn removal() -> impl Strategy<Value = Vec<Command>> {
    let cancels = vec((0..IDS).prop_map(|n| Command::Cancel(id(n))), 0..IDS as usize);
    (cancels, any::<bool>()).prop_map(|(mut commands, expire)| {
        if expire {
            commands.push(Command::Expire { batch_max: BATCH_MAX as u32 });
        }
        commands.extend([Command::Close, Command::Remove]);
        commands
    })
}

fn other(ways: &Ways) -> impl Strategy<Value = Command> + use<> {
    prop_oneof![
        4 => Just(Command::Expire { batch_max: BATCH_MAX as u32 }),
        1 => prop_oneof![3 => 0..8u64, 1 => Just(TOTAL_MAX), 1 => Just(u64::MAX)]
            .prop_map(Command::AddStock),
        2 => (0..20u64, any::<bool>())
            .prop_map(|(units, at_most)| Command::TakeStock { units, at_most }),
        4 => terms().prop_map(Command::ChangeTerms),
        1 => Just(Command::Open),
        1 => Just(Command::Close),
        1 => spec(ways).prop_map(Command::Create),
        1 => (0..5u32, 0..3u64, 0..9u64).prop_map(|(to, gave, units)| Command::TransferOut { to, gave, units }),
        1 => (0..5u32, 0..40u64).prop_map(|(from, gave)| Command::TransferIn { from, gave }),
        1 => Just(Command::Show),
        1 => prop::sample::select(vec![0, 3]).prop_map(|parts| Command::Peek { parts }),
        1 => Just(Command::Remove),
    ]
}

/// Some lines of each type, and sometimes none.
fn terms() -> impl Strategy<Value = Terms> {
    let closes =
        prop_oneof![2 => Just(TIME_MS_MAX), 3 => BEGIN_MS..BEGIN_MS + 2 * SPAN_MS, 2 => 0..2u64];
    let limit = prop_oneof![Just(0), 1..6u32];
    let plain = (
        prop::option::of(closes),
        prop::option::of(1..2_000u64),
        prop::option::of(limit),
        prop::option::of(prop_oneof![1 => 1..12u32, 1 => 1..2u32]),
    );
    let some = (
        prop::option::of(prop_oneof![2 => 1..8u32, 1 => 8..14u32]),
        prop::option::of(prop_oneof![Just(EXTEND_MAX_MS_DEFAULT), 0..3_000u64]),
        prop::option::of(
            prop_oneof![3 => Just(None), 1 => Just(Some(0)), 2 => (1..40u64).prop_map(Some)],
        ),
        prop::option::of(prop_oneof![Just(0), 1..6u32]),
    );
    // The fields of a plain sale.
    let none = Just((Some(1), Some(EXTEND_MAX_MS_DEFAULT), Some(None), Some(0)));
    let rules = prop_oneof![2 => Just((None, None, None, None)), 2 => some, 1 => none];
    (plain, rules).prop_map(|(plain, rules)| {
        let (closes_at_ms, hold_ms, limit_per_user, quantity_max) = plain;
        let (quantity_min, extend_max_ms, reservations_max, reservations_per_user_max) = rules;
        let quantity_min = quantity_min.map(|min: u32| min.min(quantity_max.unwrap_or(min)));
        Terms {
            closes_at_ms,
            hold_ms,
            limit_per_user,
            quantity_max,
            quantity_min,
            extend_max_ms,
            reservations_max,
            reservations_per_user_max,
        }
    })
}

fn spec(ways: &Ways) -> impl Strategy<Value = SaleSpec> + use<> {
    let opens = prop_oneof![3 => Just(0), 2 => BEGIN_MS..BEGIN_MS + SPAN_MS];
    let closes = prop_oneof![3 => Just(TIME_MS_MAX), 2 => 1..SPAN_MS];
    let limit = prop_oneof![Just(0), 1..6u32];
    let kept = (ways.split.clone(), types(ways.typed));
    (0..60u64, opens, closes, limit, 1..2_000u64, 1..12u32, kept, rules()).prop_map(
        |(total, opens_at_ms, closes, limit_per_user, hold_ms, quantity_max, kept, rules)| {
            let (split, types) = kept;
            SaleSpec {
                types: if split == Split::Whole { types } else { Types::default() },
                plan: None,
                total,
                opens_at_ms,
                closes_at_ms: closes.max(BEGIN_MS + SPAN_MS + closes.min(SPAN_MS)),
                limit_per_user,
                hold_ms,
                quantity_max,
                split,
                // Rules as a sale's definition may have them.
                rules: Rules {
                    quantity_min: rules.quantity_min.min(quantity_max),
                    reservations_max: if split == Split::Whole {
                        rules.reservations_max
                    } else {
                        rules.reservations_max.filter(|max| *max == 0)
                    },
                    ..rules
                },
            }
        },
    )
}

/// Most sales have none.
fn rules() -> impl Strategy<Value = Rules> {
    let per_user = prop_oneof![1 => Just(0), 1 => 1..6u32];
    let some = (0..3_000u64, 1..4u32, prop::option::of(0..30u64), per_user).prop_map(
        |(extend_max_ms, quantity_min, reservations_max, reservations_per_user_max)| Rules {
            extend_max_ms,
            quantity_min,
            reservations_max,
            reservations_per_user_max,
        },
    );
    prop_oneof![2 => Just(Rules::default()), 1 => some]
}

/// The kinds of outcomes that histories met: a test asks for [all](Seen::kinds).
#[derive(Default)]
pub struct Seen(BTreeSet<String>);

impl Seen {
    /// Number of kinds of outcomes.
    pub const KINDS: usize = 42;
    /// The same for places of a split sale.
    #[allow(dead_code, reason = "not every ledger has them")]
    pub const SPLIT_KINDS: usize = 42;

    /// The names of the kinds seen.
    pub fn kinds(&self) -> &BTreeSet<String> {
        &self.0
    }

    fn note(&mut self, outcome: &Outcome) {
        let text = format!("{outcome:?}");
        let name = text.split(|c: char| !c.is_alphanumeric()).next().unwrap_or_default();
        self.0.insert(name.to_owned());
    }
}

/// A ledger's next deadline may be that of a reservation that is no longer held: earlier than the
/// model's, never later.
fn take_early_dues(got: &mut GroupReply, expected: &GroupReply) {
    for (got, expected) in got.outcomes.iter_mut().zip(&expected.outcomes) {
        if let Outcome::Released { next_due_ms: due_ms @ Some(_), .. } = got
            && let Outcome::Released { next_due_ms: expected, .. } = expected
            && expected.is_none_or(|expected| *due_ms <= Some(expected))
        {
            *due_ms = *expected;
        }
    }
}

/// Runs one history through the model and every ledger. Checks after each step that they agree and
/// that nothing is oversold or lost.
pub fn agree(
    sale: &SaleId,
    steps: &[Step],
    ledgers: &mut [(&str, &mut dyn Ledger)],
    seen: &mut Seen,
) -> Result<(), TestCaseError> {
    let mut model = Model::default();
    let mut now_ms = BEGIN_MS;
    for step in steps {
        now_ms += step.pause_ms;
        let mut commands = step.commands.clone();
        commands.push(Command::Show);
        let group = Group { sale: sale.clone(), commands };
        let expected = model.apply(now_ms, &group);
        expected.outcomes.iter().for_each(|outcome| seen.note(outcome));
        for (name, ledger) in &mut *ledgers {
            let mut got = ledger.apply(now_ms, &group);
            if let Some(Outcome::Sale(view)) = got.outcomes.last() {
                for (name, cap, units, _) in view.types() {
                    prop_assert!(units.sold() <= cap, "{name} of {view:?} oversold");
                }
                let sold = view.held + view.confirmed;
                prop_assert!(sold <= view.spec.total, "{name} oversold: {view:?}");
                prop_assert_eq!(got.free, Some(view.spec.total - sold), "{} lost units", name);
            }
            take_early_dues(&mut got, &expected);
            prop_assert_eq!(&got, &expected, "{} and the model differ about {:?}", name, group);
        }
    }
    Ok(())
}
