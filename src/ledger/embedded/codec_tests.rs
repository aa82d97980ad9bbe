use super::*;
use crate::limits::{TIME_MS_MAX, TOTAL_MAX, TYPES_MAX};
use crate::sale::seats::{Asked, Journey, Plan, Ride};
use crate::sale::{Note, Rules, Terms, TypeName, Types};
use proptest::prelude::*;

fn command() -> impl Strategy<Value = Command> {
    let id = any::<u128>().prop_map(ReservationId);
    let user = proptest::option::of("[a-z张]{1,40}".prop_map(|t| User::new(&t).unwrap()));
    let key = proptest::option::of("[a-z0-9]{1,255}".prop_map(|t| Key::new(&t).unwrap()));
    let parent = "00-[1-9a-f]{32}-[1-9a-f]{16}-0[01]";
    let trace = proptest::option::of(("[!-~]{0,128}", proptest::option::of(parent)));
    let note = proptest::option::of("[ -~张]{1,50}".prop_map(|t| Note::new(&t).unwrap()));
    let more = (note, proptest::option::of(lines()), ride());
    let reserve = (id.clone(), 1..=QUANTITY_MAX, user, key, trace, more).prop_map(
        |(id, quantity, user, key, trace, (note, lines, ride))| {
            let quantity = lines.as_ref().map_or(quantity, Lines::units);
            let details = Details { note, lines, ride, ..Details::default() }.boxed();
            let trace = trace.and_then(|(id, parent)| {
                Trace::from_texts(&id, &parent.unwrap_or_default()).map(Arc::new)
            });
            Command::Reserve(Reserve { id, quantity, user, key, trace, details })
        },
    );
    prop_oneof![
        reserve,
        id.clone().prop_map(Command::Confirm),
        id.clone().prop_map(Command::ConfirmElsewhere),
        id.clone().prop_map(Command::Cancel),
        id.clone().prop_map(Command::Refund),
        (id.clone(), proptest::option::of(1..=HOLD_MS_MAX))
            .prop_map(|(id, hold_ms)| Command::Extend(id, hold_ms)),
        (id.clone(), remaining()).prop_map(|(id, n)| Command::CancelTo(id, n)),
        (id, remaining()).prop_map(|(id, n)| Command::RefundTo(id, n)),
        any::<u64>().prop_map(Command::AddStock),
        (any::<u64>(), any::<bool>())
            .prop_map(|(units, at_most)| Command::TakeStock { units, at_most }),
        terms().prop_map(Command::ChangeTerms),
        Just(Command::Open),
        Just(Command::Close),
        Just(Command::Remove),
        (created(), types()).prop_map(|((total, rules), types)| {
            Command::Create(SaleSpec { rules, types, ..SaleSpec::with_total(total) })
        }),
        (0..TOTAL_MAX).prop_map(|total| Command::Create(SaleSpec::with_total(total))),
        (created(), 1..99u8).prop_map(|((_, rules), coach)| {
            let text = format!("1;北京南,Jinan;5;{coach}:second:1-17:ABC DF;99:first:98-99:A C");
            let spec = SaleSpec::with_plan(Plan::from_text(&text).unwrap());
            Command::Create(SaleSpec { rules, ..spec })
        }),
    ]
}

fn ride() -> impl Strategy<Value = Option<Box<Ride>>> {
    let asked = ["", "together+window", "named 01-01A,99-99Z"];
    let ride =
        (any::<bool>(), prop::sample::select(asked.to_vec())).prop_map(|(travels, asked)| {
            let journey = travels.then(|| Journey::from_text("北京南,Jinan").unwrap());
            Box::new(Ride { journey, asked: Asked::from_text(asked).unwrap(), seats: None })
        });
    proptest::option::of(ride)
}

fn created() -> impl Strategy<Value = (u64, Rules)> {
    let reservations_max = proptest::option::of(0..=TOTAL_MAX);
    (0..TOTAL_MAX, 0..=HOLD_MS_MAX, 1..=10u32, reservations_max, any::<u32>()).prop_map(
        |(total, extend_max_ms, quantity_min, reservations_max, reservations_per_user_max)| {
            let rules =
                Rules { extend_max_ms, quantity_min, reservations_max, reservations_per_user_max };
            (total, rules)
        },
    )
}

fn type_name() -> impl Strategy<Value = TypeName> {
    "[a-z0-9_-]{1,32}".prop_map(|text| TypeName::new(&text).unwrap())
}

fn lines() -> impl Strategy<Value = Lines> {
    proptest::collection::btree_map("[a-z0-9_-]{1,32}", 1..1_000u32, 1..=TYPES_MAX).prop_map(
        |lines| {
            Lines::new(lines.iter().map(|(name, n)| (TypeName::new(name).unwrap(), *n))).unwrap()
        },
    )
}

fn types() -> impl Strategy<Value = Types> {
    proptest::collection::vec((type_name(), 1..=TOTAL_MAX), 0..=TYPES_MAX)
        .prop_map(|types| Types::new(types).unwrap_or_default())
}

fn remaining() -> impl Strategy<Value = Remaining> {
    let seats = Just(Remaining::Seats(Seats::from_text("07-12B,07-12A").unwrap()));
    prop_oneof![any::<u32>().prop_map(Remaining::Units), lines().prop_map(Remaining::Lines), seats]
}

fn terms() -> impl Strategy<Value = Terms> {
    let closes_at_ms = proptest::option::of(0..=TIME_MS_MAX);
    let hold_ms = proptest::option::of(1..=HOLD_MS_MAX);
    let limit_per_user = proptest::option::of(any::<u32>());
    let quantity_max = proptest::option::of(1..=QUANTITY_MAX);
    let plain = (closes_at_ms, hold_ms, limit_per_user, quantity_max);
    let quantity_min = proptest::option::of(1..=QUANTITY_MAX);
    let extend_max_ms = proptest::option::of(0..=HOLD_MS_MAX);
    let reservations_max = proptest::option::of(proptest::option::of(0..=TOTAL_MAX));
    let rules = (quantity_min, extend_max_ms, reservations_max, proptest::option::of(any::<u32>()));
    (plain, rules).prop_map(|(plain, rules)| {
        let (closes_at_ms, hold_ms, limit_per_user, quantity_max) = plain;
        let (quantity_min, extend_max_ms, reservations_max, reservations_per_user_max) = rules;
        Terms {
            closes_at_ms,
            hold_ms,
            limit_per_user,
            quantity_max: quantity_max.max(quantity_min.and(quantity_max).and(quantity_min)),
            quantity_min,
            extend_max_ms,
            reservations_max,
            reservations_per_user_max,
        }
    })
}

proptest! {
    #[test]
    fn commands_round_trip(commands in proptest::collection::vec(command(), 0..20)) {
        let mut bytes = Vec::new();
        for command in &commands {
            let before = bytes.len();
            put_command(&mut bytes, command);
            prop_assert!(bytes.len() - before + 2 + SALE_ID_BYTES_MAX <= bytes_max(command));
        }
        let mut reader = Reader::new(&bytes);
        for command in commands {
            prop_assert_eq!(reader.entry(), Ok(JournalEntry::Command(command)));
        }
        prop_assert!(reader.is_empty());
    }

    #[test]
    fn decoding_any_bytes_never_panics(bytes in proptest::collection::vec(any::<u8>(), 0..200)) {
        let mut reader = Reader::new(&bytes);
        while !reader.is_empty() && reader.entry().is_ok() {}
        let mut reader = Reader::new(&bytes);
        while !reader.is_empty() && reader.row().is_ok() {}
        let _ = Reader::new(&bytes).spec();
    }
}

#[test]
fn lines_of_another_quantity_are_malformed() {
    for (quantity, is_right) in [(3, true), (2, false)] {
        let id = ReservationId(1);
        let lines = Lines::from_text("adult:2,child:1");
        let details = Details { lines, ..Details::default() }.boxed();
        let reserve = Reserve { id, quantity, user: None, key: None, trace: None, details };
        let mut bytes = Vec::new();
        put_command(&mut bytes, &Command::Reserve(reserve));
        assert_eq!(Reader::new(&bytes).entry().is_ok(), is_right);
    }
}

#[test]
fn rows_round_trip() {
    let cases = [
        ("", 0, 0, false),
        ("annkey", 3, 3, false),
        ("ann", 3, 0, false),
        ("key", 0, 3, false),
        ("annkeyasked=3\tnote=x", 3, 3, false),
        ("first=9", 0, 0, true),
    ];
    for (owner, user_bytes, key_bytes, is_extended) in cases {
        for status in Status::ALL {
            let id = ReservationId(u128::MAX / 7);
            let owner = owner.into();
            let row = Row {
                id,
                owner,
                user_bytes,
                key_bytes,
                is_extended,
                status,
                quantity: 3,
                expires_at_ms: 9,
                version: 7,
                changed_at_ms: 8,
            };
            let mut bytes = Vec::new();
            put_row(&mut bytes, &row);
            assert!(bytes.len() as u64 >= ROW_BYTES_MIN);
            assert_eq!(Reader::new(&bytes).row(), Ok(row));
            for end in 0..bytes.len() {
                assert!(Reader::new(&bytes[..end]).row().is_err());
            }
        }
    }
}
