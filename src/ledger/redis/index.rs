//! The index of sales: a set in Redis with the ids of all sales, so that the sweep, the audit and
//! the operator find them without scanning all keys.
//!
//! A sale must be in the index before its first unit is held; otherwise no sweep would return the
//! units of an instance that dies. A client that creates a sale adds it before *and* after. A
//! core's link adds a sale that was created by hand when it first meets it. A client that removes a
//! sale from the index adds it again if the sale exists after all. So in whatever order two of them
//! act, a sale that exists ends up in the index. An entry without a sale does no harm.
//!
//! Beside it a stream names the sales that were just created, so that the sweeps of all servers
//! probe them: a sale that was removed and created again under its name is in the index as before,
//! but the sweeps' knowledge of it is outdated. The stream is a hint: a server that can't read or
//! write it does without.

use std::cell::OnceCell;
use std::rc::Rc;

use hashbrown::HashMap;
use redis::{ServerError, Value};

use super::decode_error::{DecodeError, error_text};
use super::entry_id::EntryId;
use super::keys::KeyTemplates;
use super::resp::{bulk, bulk_number, command};
use super::sell::Names;
use crate::ledger::{Batch, Group, GroupReply};
use crate::limits::{INDEX_AGE_MS_MAX, MADE_ENTRIES_MAX, SALES_MAX};
use crate::sale::{Command, Outcome, SaleId};

/// The field of an announcement with the ids of the sales, separated by spaces.
const MADE_FIELD: &str = "made";

/// The sales that a link knows to be in the index. After a while the link adds them again, with a
/// batch that goes out anyway: somebody may have flushed the database and created the sale anew.
#[derive(Default)]
pub struct Registered(HashMap<SaleId, Known>);

/// What a link knows of a sale in the index.
struct Known {
    /// When the link last added it.
    seen_ms: u64,
    /// The hold time of its last reservation. `None`: the link has seen none yet.
    hold_ms: Option<u64>,
    /// Its names, once it was sold from.
    names: OnceCell<Rc<Names>>,
}

impl Registered {
    /// Whether a sale is known to be in the index.
    pub fn contains(&self, sale: &SaleId) -> bool {
        self.0.contains_key(sale)
    }

    /// Notes that sales are in the index.
    pub fn note(&mut self, sales: &[&SaleId], now_ms: u64) {
        if self.0.len() + sales.len() > SALES_MAX {
            self.0.clear();
        }
        for &sale in sales {
            let known = Known { seen_ms: now_ms, hold_ms: None, names: OnceCell::new() };
            self.0.entry(sale.clone()).or_insert(known).seen_ms = now_ms;
        }
    }

    /// The names of a sale, cached if it is known to be in the index.
    pub(super) fn names(&self, sale: &SaleId, keys: &KeyTemplates) -> Rc<Names> {
        let write = || Rc::new(Names::new(&keys.of(sale)));
        self.0.get(sale).map_or_else(write, |known| known.names.get_or_init(write).clone())
    }

    /// Whether a reservation in this reply has another hold time than the one before: then it is
    /// another sale of that name, or the sale was changed by hand.
    pub fn holds_otherwise(&mut self, sale: &SaleId, reply: &GroupReply) -> bool {
        let granted = reply.outcomes.iter().find_map(|outcome| match outcome {
            Outcome::Granted { expires_at_ms } => Some(*expires_at_ms),
            Outcome::Seated(reservation) => Some(reservation.expires_at_ms),
            _ => None,
        });
        let (Some(expires_at_ms), Some(known)) = (granted, self.0.get_mut(sale)) else {
            return false;
        };
        let hold_ms = Some(expires_at_ms.saturating_sub(reply.now_ms));
        hold_ms != std::mem::replace(&mut known.hold_ms, hold_ms)
    }

    /// Those of these sales that are due to be added again. They count as added from now on.
    pub fn aged<'a>(&mut self, groups: &[&'a Group], now_ms: u64) -> Vec<&'a SaleId> {
        let mut aged = Vec::new();
        for group in groups {
            if let Some(known) = self.0.get_mut(&group.sale)
                && now_ms > known.seen_ms + INDEX_AGE_MS_MAX
            {
                known.seen_ms = now_ms;
                aged.push(&group.sale);
            }
        }
        aged
    }

    /// Notes that a sale is gone.
    pub fn forget(&mut self, sale: &SaleId) {
        self.0.remove(sale);
    }
}

/// Whether commands define a sale, which need not exist before.
pub fn creates(group: &Group) -> bool {
    let may = |command: &Command| {
        matches!(command, Command::Create(_) | Command::CreatePart { .. } | Command::Reset { .. })
    };
    group.commands.iter().any(may)
}

/// Whether commands may hold units, or create a sale that does: the sale must be in the index
/// first.
pub fn holds(group: &Group) -> bool {
    creates(group) || group.commands.iter().any(|command| matches!(command, Command::Reserve(_)))
}

/// The sales that a batch creates.
pub fn created(batch: &Batch) -> Vec<&SaleId> {
    batch.groups.iter().filter(|group| creates(group)).map(|group| &group.sale).collect()
}

/// Whether a sale was just created or begun anew, or its reservations have another hold time than
/// before: a sweep that has not seen it yet would probe it too late.
pub fn is_news(group: &Group, reply: &GroupReply) -> bool {
    group.commands.iter().zip(&reply.outcomes).any(|(command, outcome)| match outcome {
        Outcome::Created(_) => true,
        Outcome::Sale(_) => match command {
            Command::Reset { .. } => true,
            Command::ChangeTerms(terms) => terms.hold_ms.is_some(),
            _ => false,
        },
        _ => false,
    })
}

/// The sales that a batch has begun anew: their earlier state is gone.
pub fn begun_anew<'a, E>(batch: &'a Batch, replies: &[Result<GroupReply, E>]) -> Vec<&'a SaleId> {
    let is_anew = |(command, outcome): (&Command, &Outcome)| {
        matches!((command, outcome), (Command::Reset { .. }, Outcome::Sale(_)))
    };
    let groups = batch.groups.iter().zip(replies);
    let anew = groups.filter(|(group, reply)| {
        let outcomes = reply.as_ref().map_or(&[][..], |reply| &reply.outcomes);
        group.commands.iter().zip(outcomes).any(is_anew)
    });
    anew.map(|(group, _)| &group.sale).collect()
}

/// The sales that a batch has removed.
pub fn removed<'a, E>(batch: &'a Batch, replies: &[Result<GroupReply, E>]) -> Vec<&'a SaleId> {
    let gone = |reply: &Result<GroupReply, E>| {
        reply.as_ref().is_ok_and(|reply| reply.outcomes.contains(&Outcome::Removed))
    };
    let both = batch.groups.iter().zip(replies).filter(|(_, reply)| gone(reply));
    both.map(|(group, _)| &group.sale).collect()
}

/// Encodes one command that adds sales (at least one). Pass its reply to [`judge`].
pub(super) fn add(keys: &KeyTemplates, sales: &[&SaleId], out: &mut Vec<u8>) {
    members(b"SADD", keys, sales, out);
}

/// Encodes a command that announces sales (at least one) that [are news](is_news) to all sweeps.
/// Nothing depends on its reply.
pub(super) fn announce(keys: &KeyTemplates, sales: &[&SaleId], out: &mut Vec<u8>) {
    let names: Vec<&str> = sales.iter().map(|sale| sale.as_str()).collect();
    command(out, 8);
    for text in ["XADD", &keys.made(), "MAXLEN", "~"] {
        bulk(out, text.as_bytes());
    }
    bulk_number(out, MADE_ENTRIES_MAX);
    for text in ["*", MADE_FIELD, &names.join(" ")] {
        bulk(out, text.as_bytes());
    }
}

/// Encodes the command that reads the announcements after an entry: see [`announced`].
pub(super) fn read_announced(keys: &KeyTemplates, after: EntryId, out: &mut Vec<u8>) {
    command(out, 6);
    let after = format!("({after}");
    for text in ["XRANGE", &keys.made(), &after, "+", "COUNT"] {
        bulk(out, text.as_bytes());
    }
    bulk_number(out, MADE_ENTRIES_MAX);
}

/// Announced sales, and the last entry of the stream that announced them.
pub type Announced = (Vec<SaleId>, EntryId);

/// Reads the announcements. `None`: there are none, or they can't be read.
pub(super) fn announced(reply: Value) -> Option<Announced> {
    let entries: Vec<(String, Vec<String>)> = redis::from_redis_value(reply).ok()?;
    let last = EntryId::parse(&entries.last()?.0)?;
    let names =
        entries.iter().filter_map(|(_, fields)| fields.get(1)).flat_map(|all| all.split(' '));
    Some((names.filter_map(|name| SaleId::from_ledger(name).ok()).collect(), last))
}

/// Encodes one command that removes sales (at least one). Pass its reply to [`judge`].
pub(super) fn remove(keys: &KeyTemplates, sales: &[&SaleId], out: &mut Vec<u8>) {
    members(b"SREM", keys, sales, out);
}

fn members(name: &[u8], keys: &KeyTemplates, sales: &[&SaleId], out: &mut Vec<u8>) {
    debug_assert!(!sales.is_empty(), "a command about no sale");
    command(out, 2 + sales.len());
    bulk(out, name);
    bulk(out, keys.index().as_bytes());
    sales.iter().for_each(|sale| bulk(out, sale.as_str().as_bytes()));
}

/// Encodes a command that asks whether a sale exists: see [`found`].
pub(super) fn exists(keys: &KeyTemplates, sale: &SaleId, out: &mut Vec<u8>) {
    command(out, 2);
    bulk(out, b"EXISTS");
    bulk(out, keys.of(sale).counters().as_bytes());
}

/// The sales for which [`exists`] found that they exist.
pub(super) fn found<'a>(
    sales: &[&'a SaleId],
    replies: &[Value],
) -> Result<Vec<&'a SaleId>, DecodeError> {
    let mut found = Vec::new();
    for (sale, reply) in sales.iter().zip(replies) {
        match reply {
            Value::Int(0) => {}
            Value::ServerError(error) => return Err(refused(error)),
            _ => found.push(*sale),
        }
    }
    Ok(found)
}

/// Translates an error reply to a question: nothing was done in any case.
fn refused(error: &ServerError) -> DecodeError {
    DecodeError::Refused(error_text(error))
}

/// Encodes a command that asks for the ledger's time: see [`time_ms`].
pub(super) fn time(out: &mut Vec<u8>) {
    command(out, 1);
    bulk(out, b"TIME");
}

/// The time in ms since 1970, from the seconds and microseconds that Redis returns.
pub(super) fn time_ms(reply: Option<Value>) -> Result<u64, DecodeError> {
    let malformed = || DecodeError::Refused("TIME has no time".to_owned());
    let (seconds, micros): (u64, u64) = match reply {
        Some(Value::ServerError(error)) => return Err(refused(&error)),
        Some(reply) => redis::from_redis_value(reply).map_err(|_| malformed())?,
        None => return Err(malformed()),
    };
    seconds.checked_mul(1000).and_then(|ms| ms.checked_add(micros / 1000)).ok_or_else(malformed)
}

/// Checks that a command about the index was carried out. The error says how to repair it.
pub(super) fn judge(keys: &KeyTemplates, reply: &Value) -> Result<(), DecodeError> {
    let Value::ServerError(error) = reply else { return Ok(()) };
    let text = error_text(error);
    let index = keys.index();
    // A command on a set has its full effect or none.
    Err(DecodeError::Refused(match error.code() {
        "WRONGTYPE" => {
            format!("the index of sales, {index}, is no set: delete or rename it ({text})")
        }
        "NOPERM" => format!(
            "this user may not keep the index of sales: it needs SADD, SREM, SCARD and SSCAN on \
             {index}, and EXISTS on the counters of the sales ({text})"
        ),
        // With the code first, by which others recognise it.
        _ => text,
    }))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn sale(id: &str) -> SaleId {
        SaleId::new(id).unwrap()
    }

    #[test]
    fn an_aged_sale_is_added_to_the_index_again_once() {
        let mut registered = Registered::default();
        registered.note(&[&sale("a"), &sale("b")], 5);
        let group = |id| Group { sale: sale(id), commands: vec![Command::Show] };
        let (a, c) = (group("a"), group("c"));
        let later_ms = 5 + INDEX_AGE_MS_MAX + 1;
        assert!(registered.aged(&[&a, &c], later_ms - 1).is_empty());
        assert_eq!(registered.aged(&[&a, &c], later_ms), [&sale("a")]);
        assert!(registered.aged(&[&a, &c], later_ms).is_empty());
        registered.forget(&sale("a"));
        assert!(!registered.contains(&sale("a")) && registered.contains(&sale("b")));
    }

    #[test]
    fn a_changed_hold_time_is_noticed_once() {
        let mut registered = Registered::default();
        let granted = |expires_at_ms| {
            let outcomes = vec![Outcome::Closed, Outcome::Granted { expires_at_ms }];
            GroupReply { outcomes, free: Some(1), now_ms: 10 }
        };
        assert!(!registered.holds_otherwise(&sale("a"), &granted(15)), "it is not known");
        registered.note(&[&sale("a")], 0);
        let mut asks =
            |expires_at_ms| registered.holds_otherwise(&sale("a"), &granted(expires_at_ms));
        assert_eq!([15, 15, 12, 12, 15].map(&mut asks), [true, false, true, false, true]);
        registered.note(&[&sale("a")], 1);
        assert!(!registered.holds_otherwise(&sale("a"), &granted(15)), "seen in the index again");
    }

    #[test]
    fn announced_sales_are_parsed_from_the_stream() {
        let text = |text: &str| Value::BulkString(text.as_bytes().to_vec());
        let entry = |id: &str, names: &str| {
            Value::Array(vec![text(id), Value::Array(vec![text(MADE_FIELD), text(names)])])
        };
        let reply = Value::Array(vec![entry("5-0", "a b~1of2"), entry("6-1", "c \u{1} d")]);
        let (sales, last) = announced(reply).unwrap();
        assert_eq!(sales, ["a", "b~1of2", "c", "d"].map(|id| SaleId::from_ledger(id).unwrap()));
        assert_eq!(last, EntryId { ms: 6, sequence: 1 });
        assert_eq!(announced(Value::Array(vec![])), None);
        assert_eq!(announced(Value::Int(1)), None);
    }

    #[test]
    fn the_registered_sales_are_bounded() {
        let mut registered = Registered::default();
        for n in 0..SALES_MAX + 1 {
            registered.note(&[&sale(&format!("s{n}"))], 0);
        }
        assert!(registered.0.len() <= SALES_MAX);
    }

    #[test]
    fn the_redis_time_reply_is_parsed() {
        let text = |text: &str| Value::BulkString(text.as_bytes().to_vec());
        let time = Value::Array(vec![text("1700000000"), text("123999")]);
        assert_eq!(time_ms(Some(time)), Ok(1_700_000_000_123));
        for bad in [Some(text("now")), Some(Value::Array(vec![text("1")])), None] {
            assert!(time_ms(bad).is_err());
        }
    }
}
