//! The index of sales: a set in Redis with the ids of all sales, so that the sweep, the audit and
//! the operator find them without looking at every key.
//!
//! A sale is in the index before its first unit is held, else nobody would return what an instance
//! held that dies: who creates a sale adds it before *and* after, a core's link adds a sale that
//! was made by hand when it first meets it. Who removes one from the index adds it again if the
//! sale is there after all. So, in whatever order two of them come, a sale that exists is in the
//! index in the end. A member without a sale does no harm.
//!
//! Beside it a stream names the sales that were just made, so that the sweeps of all servers look at
//! them: a sale that was removed and made again under its name is in the index as before, but what
//! they know of it no longer holds. It is a hint: who can't read or write it goes without.

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

/// The field of an announcement with the ids of the sales, a space between two.
const MADE_FIELD: &str = "made";

/// The sales of which a link knows that they are in the index. After a while it adds them again, with
/// a batch that goes out anyway: somebody may have flushed the database and made the sale anew.
#[derive(Default)]
pub(super) struct Registered(HashMap<SaleId, Known>);

/// What a link knows of a sale in the index.
struct Known {
    /// When the link saw to it that it is there.
    seen_ms: u64,
    /// How long its last reservation is held. `None`: the link has seen none yet.
    hold_ms: Option<u64>,
    /// Its names, once it has been sold from.
    names: OnceCell<Rc<Names>>,
}

impl Registered {
    /// Whether a sale is known to be in the index.
    pub(super) fn contains(&self, sale: &SaleId) -> bool {
        self.0.contains_key(sale)
    }

    /// Notes that sales are in the index.
    pub(super) fn note(&mut self, sales: &[&SaleId], now_ms: u64) {
        if self.0.len() + sales.len() > SALES_MAX {
            self.0.clear();
        }
        for &sale in sales {
            let known = Known { seen_ms: now_ms, hold_ms: None, names: OnceCell::new() };
            self.0.entry(sale.clone()).or_insert(known).seen_ms = now_ms;
        }
    }

    /// The names of a sale, kept if it is known to be in the index.
    pub(super) fn names(&self, sale: &SaleId, keys: &KeyTemplates) -> Rc<Names> {
        let write = || Rc::new(Names::new(&keys.of(sale)));
        self.0.get(sale).map_or_else(write, |known| known.names.get_or_init(write).clone())
    }

    /// Whether a reservation in this reply is held for another time than the one before: it is another
    /// sale of that name, or it was changed by hand.
    pub(super) fn holds_otherwise(&mut self, sale: &SaleId, reply: &GroupReply) -> bool {
        let granted = reply.outcomes.iter().find_map(|outcome| match outcome {
            Outcome::Granted { expires_at_ms } => Some(*expires_at_ms),
            _ => None,
        });
        let (Some(expires_at_ms), Some(known)) = (granted, self.0.get_mut(sale)) else {
            return false;
        };
        let hold_ms = Some(expires_at_ms.saturating_sub(reply.now_ms));
        hold_ms != std::mem::replace(&mut known.hold_ms, hold_ms)
    }

    /// Those of these sales that are to be added again, which they are taken to be.
    pub(super) fn aged<'a>(&mut self, groups: &[&'a Group], now_ms: u64) -> Vec<&'a SaleId> {
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
    pub(super) fn forget(&mut self, sale: &SaleId) {
        self.0.remove(sale);
    }
}

/// Whether commands define a sale, which need not be there before.
pub(super) fn creates(group: &Group) -> bool {
    let may = |command: &Command| {
        matches!(command, Command::Create(_) | Command::CreatePart { .. } | Command::Reset { .. })
    };
    group.commands.iter().any(may)
}

/// Whether commands may hold units, or make a sale that does: not before it is in the index.
pub(super) fn holds(group: &Group) -> bool {
    creates(group) || group.commands.iter().any(|command| matches!(command, Command::Reserve(_)))
}

/// The sales that a batch creates.
pub(super) fn created(batch: &Batch) -> Vec<&SaleId> {
    batch.groups.iter().filter(|group| creates(group)).map(|group| &group.sale).collect()
}

/// Whether a sale was just made, has begun anew, or holds what is reserved for another time than before,
/// as far as its commands say: sweeps that have not seen it yet would look at it too late.
pub(super) fn is_news(group: &Group, reply: &GroupReply) -> bool {
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

/// The sales that a batch has begun anew: what they were before is gone.
pub(super) fn begun_anew<'a, E>(
    batch: &'a Batch,
    replies: &[Result<GroupReply, E>],
) -> Vec<&'a SaleId> {
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
pub(super) fn removed<'a, E>(
    batch: &'a Batch,
    replies: &[Result<GroupReply, E>],
) -> Vec<&'a SaleId> {
    let gone = |reply: &Result<GroupReply, E>| {
        reply.as_ref().is_ok_and(|reply| reply.outcomes.contains(&Outcome::Removed))
    };
    let both = batch.groups.iter().zip(replies).filter(|(_, reply)| gone(reply));
    both.map(|(group, _)| &group.sale).collect()
}

/// Writes one command that adds sales (at least one). Its reply is to be judged.
pub(super) fn add(keys: &KeyTemplates, sales: &[&SaleId], out: &mut Vec<u8>) {
    members(b"SADD", keys, sales, out);
}

/// Writes a command that tells all sweeps of sales (at least one) that [are news](is_news). Nothing
/// depends on its reply.
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

/// Writes the command that reads what was announced after an entry: see [`announced`].
pub(super) fn read_announced(keys: &KeyTemplates, after: EntryId, out: &mut Vec<u8>) {
    command(out, 6);
    let after = format!("({after}");
    for text in ["XRANGE", &keys.made(), &after, "+", "COUNT"] {
        bulk(out, text.as_bytes());
    }
    bulk_number(out, MADE_ENTRIES_MAX);
}

/// Sales that were announced, and the last entry of the stream that did so.
pub type Announced = (Vec<SaleId>, EntryId);

/// What was announced. `None`: nothing was, or it can't be read.
pub(super) fn announced(reply: Value) -> Option<Announced> {
    let entries: Vec<(String, Vec<String>)> = redis::from_redis_value(reply).ok()?;
    let last = EntryId::parse(&entries.last()?.0)?;
    let names =
        entries.iter().filter_map(|(_, fields)| fields.get(1)).flat_map(|all| all.split(' '));
    Some((names.filter_map(|name| SaleId::from_ledger(name).ok()).collect(), last))
}

/// Writes one command that removes sales (at least one). Its reply is to be judged.
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

/// Writes a command that asks whether a sale is there: see [`found`].
pub(super) fn exists(keys: &KeyTemplates, sale: &SaleId, out: &mut Vec<u8>) {
    command(out, 2);
    bulk(out, b"EXISTS");
    bulk(out, keys.of(sale).counters().as_bytes());
}

/// The sales of which [`exists`] has found that they are there.
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

/// What an error reply to a question proves, whatever it is: nothing was done.
fn refused(error: &ServerError) -> DecodeError {
    DecodeError::Refused(error_text(error))
}

/// Writes a command that asks for the ledger's time: see [`time_ms`].
pub(super) fn time(out: &mut Vec<u8>) {
    command(out, 1);
    bulk(out, b"TIME");
}

/// The time in ms since 1970 that Redis gives as seconds and microseconds.
pub(super) fn time_ms(reply: Option<Value>) -> Result<u64, DecodeError> {
    let malformed = || DecodeError::Refused("TIME has no time".to_owned());
    let (seconds, micros): (u64, u64) = match reply {
        Some(Value::ServerError(error)) => return Err(refused(&error)),
        Some(reply) => redis::from_redis_value(reply).map_err(|_| malformed())?,
        None => return Err(malformed()),
    };
    seconds.checked_mul(1000).and_then(|ms| ms.checked_add(micros / 1000)).ok_or_else(malformed)
}

/// Whether a command about the index was carried out. An error says what to do about it.
pub(super) fn judge(keys: &KeyTemplates, reply: &Value) -> Result<(), DecodeError> {
    let Value::ServerError(error) = reply else { return Ok(()) };
    let text = error_text(error);
    let index = keys.index();
    // Commands for a set are carried out or not: there is no third.
    Err(DecodeError::Refused(match error.code() {
        "WRONGTYPE" => {
            format!("the index of sales, {index}, is no set: delete or rename it ({text})")
        }
        "NOPERM" => format!(
            "this user may not keep the index of sales: it needs SADD, SREM, SCARD and SSCAN on \
             {index}, and EXISTS on the counters of the sales ({text})"
        ),
        // With their code first: others know them by it.
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
    fn a_sale_is_added_again_after_a_while_and_once() {
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
    fn a_reservation_that_is_held_for_another_time_is_noticed_once() {
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
    fn an_announcement_is_read_as_it_was_written() {
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
    fn what_is_known_is_bounded() {
        let mut registered = Registered::default();
        for n in 0..SALES_MAX + 1 {
            registered.note(&[&sale(&format!("s{n}"))], 0);
        }
        assert!(registered.0.len() <= SALES_MAX);
    }

    #[test]
    fn the_time_is_read_as_redis_gives_it() {
        let text = |text: &str| Value::BulkString(text.as_bytes().to_vec());
        let time = Value::Array(vec![text("1700000000"), text("123999")]);
        assert_eq!(time_ms(Some(time)), Ok(1_700_000_000_123));
        for bad in [Some(text("now")), Some(Value::Array(vec![text("1")])), None] {
            assert!(time_ms(bad).is_err());
        }
    }
}
