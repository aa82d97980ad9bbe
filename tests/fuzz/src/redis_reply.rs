//! Replies of Redis: as bytes, compared with the `redis` crate, and as outcomes of commands.
//!
//! A Redis that is wrong may cost its own sales, but must not end a server: any reply is an outcome
//! or an error.

use redis::Value;
use stampede::ledger::redis::{decode, decode_all, fuzzing};
use stampede::ledger::{Group, GroupReply};
use stampede::sale::{
    Command, Creation, Key, Outcome, Remaining, ReservationId, Reserve, SaleId, SaleSpec, Split,
    Terms, User,
};

use crate::bounds::bounded;
use crate::choices::Choices;

/// A value takes some 50 bytes, and a nested list reserves room for what may follow in it, once per
/// level.
const MEMORY_PER_BYTE: usize = 512;
/// A connection's buffer, which doubles.
const MEMORY_MIN: usize = 128 * 1024;
const GROUPS_MAX: usize = 4;
const COMMANDS_MAX: usize = 6;

/// Some groups of commands, and the replies to them.
pub fn reply(input: &[u8]) {
    let mut choices = Choices::new(input);
    let piece_bytes = 1 + usize::from(choices.byte());
    let count = 1 + choices.below(GROUPS_MAX);
    let groups: Vec<Group> = (0..count).map(|_| group(&mut choices)).collect();
    let bytes = choices.rest();
    let replies = read(bytes, piece_bytes);
    let groups: Vec<&Group> = groups.iter().collect();
    let bytes_max = MEMORY_MIN + MEMORY_PER_BYTE * bytes.len();
    let decoded = bounded(bytes_max, || decode_all(&groups, &replies));
    assert_eq!(decoded.len(), groups.len());
    for (group, result) in groups.iter().zip(decoded) {
        if let Ok(reply) = result {
            check(group, &reply);
        }
        if let Ok(reply) = bounded(bytes_max, || decode(group, &replies)) {
            check(group, &reply);
        }
    }
}

fn check(group: &Group, reply: &GroupReply) {
    assert_eq!(reply.outcomes.len(), group.commands.len(), "an outcome for each command");
    for outcome in &reply.outcomes {
        if let Outcome::Sale(view) | Outcome::Created(view) | Outcome::StockTaken { view, .. } =
            outcome
        {
            // What it counts to must be a number.
            let _ = (view.free(), view.owned(), view.types().count(), view.state());
        }
    }
}

/// The replies, as a core's connection reads them. The `redis` crate reads the same.
fn read(bytes: &[u8], piece_bytes: usize) -> Vec<Value> {
    let bytes_max = MEMORY_MIN + MEMORY_PER_BYTE * bytes.len();
    let replies = bounded(bytes_max, || fuzzing::replies(bytes, piece_bytes));
    assert_eq!(replies, fuzzing::replies(bytes, usize::MAX), "in pieces of {piece_bytes}");
    let (mut parser, mut rest) = (redis::Parser::new(), bytes);
    for (number, ours) in replies.iter().enumerate() {
        // It rejects simple strings that are not UTF-8.
        let Ok(theirs) = parser.parse_value(&mut rest) else { break };
        assert_eq!(*ours, theirs, "reply {number}");
    }
    replies
}

fn group(choices: &mut Choices<'_>) -> Group {
    let sale = if choices.byte() & 1 == 0 { "ticket" } else { "ticket~2of4" };
    let sale = SaleId::from_ledger(sale).expect("a sale");
    let commands = (0..1 + choices.below(COMMANDS_MAX)).map(|_| command(choices)).collect();
    Group { sale, commands }
}

fn reserve(choices: &mut Choices<'_>) -> Reserve {
    let names = choices.byte();
    Reserve {
        id: ReservationId(u128::from(choices.byte())),
        quantity: 1 + u32::from(names >> 6),
        user: (names & 1 == 1).then(|| User::new("ann").expect("a user")),
        key: (names & 2 == 2).then(|| Key::new("k").expect("a key")),
        details: None,
        trace: None,
    }
}

fn command(choices: &mut Choices<'_>) -> Command {
    let id = ReservationId(7);
    let spec = SaleSpec::with_total(10);
    match choices.byte() % 20 {
        0..=3 => Command::Reserve(reserve(choices)),
        4 => Command::FindClaim(reserve(choices), Creation(u64::from(choices.byte()))),
        5 => Command::Confirm(id),
        6 => Command::CancelTo(id, Remaining::Units(1)),
        7 => Command::Extend(id, None),
        8 => Command::ShowReservation(id),
        9 => Command::Expire { batch_max: 10 },
        10 => Command::AddStock(1),
        11 => Command::TakeStock { units: 1, at_most: true },
        12 => Command::ChangeTerms(Terms::default()),
        13 => Command::Remove,
        14 => Command::Create(spec),
        15 => Command::CreatePart {
            spec: SaleSpec { split: Split::Part { of: 4 }, ..spec },
            creation: Creation(1),
        },
        16 => Command::Reset { total: None, force: false },
        17 => Command::Peek { parts: u32::from(choices.byte() % 5) },
        18 => Command::TransferOut { to: 1, gave: 0, units: 1 },
        _ => Command::Show,
    }
}

#[test]
fn replies_are_read_and_decoded() {
    let bytes = b"*5\r\n:4\r\n:5\r\n:7\r\n:99\r\n$1\r\nG\r\n";
    let replies = read(bytes, 3);
    let group = group(&mut Choices::new(&[]));
    check(&group, &decode(&group, &replies).expect("a reply"));
}
