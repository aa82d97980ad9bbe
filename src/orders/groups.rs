//! The consumer groups that read the sales' streams, for the operator: which there are, how far they
//! are, and the end of one that nobody uses any more. Until then nothing of what it has yet to read
//! is trimmed, and no sale with such entries can be removed.

use std::collections::BTreeMap;
use std::sync::Arc;

use redis::Value;

use super::entry::{member, number};
use crate::duration::format_duration;
use crate::ledger::LedgerError;
use crate::ledger::client::Client;
use crate::ledger::redis::{Pipeline, RedisClient, RedisLedger, text};
use crate::limits::{CONSUMER_ALIVE_MS, CONSUMER_GONE_MS};

/// Streams asked about in one round trip.
const STREAMS_PER_ROUND: usize = 256;

/// How one group stands with all streams.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Group {
    /// Its name.
    pub name: String,
    /// Streams with which it has begun.
    pub streams: u64,
    /// Entries that it has yet to read. `None`: Redis has lost count of some stream.
    pub unread: Option<u64>,
    /// Entries that a worker has and has not acknowledged.
    pub pending: u64,
    /// Names of its workers, dead ones included until they are removed.
    pub workers: Vec<String>,
    /// Time since the last of them was heard of.
    pub heard_of_ms: Option<u64>,
}

/// Why a group can't be listed or ended.
#[derive(Debug, thiserror::Error)]
pub enum GroupsError {
    /// Redis does not do it.
    #[error("{}", reason(.0))]
    Ledger(#[from] LedgerError),
    /// It answers what we don't understand, or refuses a command.
    #[error("Redis answers {command} with {told}")]
    Refused {
        /// What was asked.
        command: &'static str,
        /// What it says.
        told: String,
    },
    /// There is none of this name.
    #[error("there is no group {0}; --groups lists them")]
    Unknown(String),
    /// Somebody uses it.
    #[error(
        "the group {group} is in use: it has {pending} entries to finish, and a worker of it \
         ({workers}) was heard of within the last {}. Stop its workers and wait that long",
        format_duration(*.within_ms)
    )]
    InUse {
        /// The group.
        group: String,
        /// Entries that a worker has.
        pending: u64,
        /// Its workers.
        workers: String,
        /// Time for which none of them must have been heard of.
        within_ms: u64,
    },
}

impl Group {
    /// Time for which no worker of it must have been heard of before it may be ended. One that has
    /// entries may wait for its database, and then asks Redis for nothing.
    fn silence_ms(&self) -> u64 {
        if self.pending > 0 { CONSUMER_GONE_MS } else { CONSUMER_ALIVE_MS }
    }
}

/// What Redis says, or why it can't be asked.
fn reason(error: &LedgerError) -> String {
    match error {
        LedgerError::Refused(reason) => reason.clone(),
        other => other.to_string(),
    }
}

/// Every group, by name.
pub fn groups(ledger: &Arc<RedisLedger>) -> Result<Vec<Group>, GroupsError> {
    let mut client = RedisClient::new(ledger.clone(), "stampede-groups");
    let streams = streams(&mut client)?;
    let mut found = BTreeMap::new();
    for name in listed(&mut client)? {
        found.entry(name).or_insert_with(|| Group { unread: Some(0), ..Group::default() });
    }
    for round in streams.chunks(STREAMS_PER_ROUND) {
        let mut begun = Vec::new();
        let mut ask = Pipeline::new();
        for key in round {
            ask.add(&[b"XINFO", b"GROUPS", key.as_bytes()]);
        }
        for (key, reply) in round.iter().zip(client.pipeline(&ask)?) {
            for fields in maps("XINFO GROUPS", &reply)? {
                let Some(name) = member(fields, "name").and_then(text) else { continue };
                let group = found
                    .entry(name.to_owned())
                    .or_insert_with(|| Group { unread: Some(0), ..Group::default() });
                group.streams += 1;
                group.pending += member(fields, "pending").and_then(number).unwrap_or(0);
                let unread = member(fields, "lag").and_then(number);
                group.unread = group.unread.zip(unread).map(|(sum, more)| sum + more);
                begun.push((key, name.to_owned()));
            }
        }
        let mut ask = Pipeline::new();
        for (key, name) in &begun {
            ask.add(&[b"XINFO", b"CONSUMERS", key.as_bytes(), name.as_bytes()]);
        }
        for ((_, name), reply) in begun.iter().zip(client.pipeline(&ask)?) {
            let Some(group) = found.get_mut(name) else { continue };
            for fields in maps("XINFO CONSUMERS", &reply)? {
                let Some(worker) = member(fields, "name").and_then(text) else { continue };
                if group.workers.iter().all(|known| known != worker) {
                    group.workers.push(worker.to_owned());
                }
                let idle = member(fields, "idle").and_then(number);
                group.heard_of_ms = group.heard_of_ms.into_iter().chain(idle).min();
            }
        }
    }
    Ok(found.into_iter().map(|(name, group)| Group { name, ..group }).collect())
}

/// Ends a group: it is taken off every stream, then off the list. The group as it stood. Ended half
/// way, it is still listed, and can be ended again.
pub fn drop_group(ledger: &Arc<RedisLedger>, name: &str) -> Result<Group, GroupsError> {
    let group = groups(ledger)?.into_iter().find(|group| group.name == name);
    let group = group.ok_or_else(|| GroupsError::Unknown(name.to_owned()))?;
    let within_ms = group.silence_ms();
    if group.heard_of_ms.is_some_and(|ms| ms < within_ms) {
        let (workers, pending) = (group.workers.join(", "), group.pending);
        return Err(GroupsError::InUse { group: group.name, pending, workers, within_ms });
    }
    let mut client = RedisClient::new(ledger.clone(), "stampede-groups");
    for round in streams(&mut client)?.chunks(STREAMS_PER_ROUND) {
        let mut destroy = Pipeline::new();
        for key in round {
            destroy.add(&[b"XGROUP", b"DESTROY", key.as_bytes(), name.as_bytes()]);
        }
        for reply in client.pipeline(&destroy)? {
            check("XGROUP DESTROY", &reply)?;
        }
    }
    let listed = client.codec().keys().groups();
    let mut forget = Pipeline::new();
    forget.add(&[b"SREM", listed.as_bytes(), name.as_bytes()]);
    for reply in client.pipeline(&forget)? {
        check("SREM", &reply)?;
    }
    Ok(group)
}

fn streams(client: &mut RedisClient) -> Result<Vec<String>, GroupsError> {
    let sales = client.sales()?;
    Ok(sales.iter().map(|sale| client.codec().keys().of(sale).stream()).collect())
}

/// The groups that are known to read all streams, also those with which they have not begun.
fn listed(client: &mut RedisClient) -> Result<Vec<String>, GroupsError> {
    let key = client.codec().keys().groups();
    let mut ask = Pipeline::new();
    ask.add(&[b"SMEMBERS", key.as_bytes()]);
    let reply = client.pipeline(&ask)?.remove(0);
    check("SMEMBERS", &reply)?;
    Ok(redis::from_redis_value(reply).unwrap_or_default())
}

/// A list of maps. Of a stream that is not there it is empty.
fn maps<'a>(command: &'static str, reply: &'a Value) -> Result<Vec<&'a [Value]>, GroupsError> {
    check(command, reply)?;
    let Value::Array(list) = reply else { return Ok(Vec::new()) };
    let map = |value: &'a Value| match value {
        Value::Array(fields) => Some(fields.as_slice()),
        _ => None,
    };
    Ok(list.iter().filter_map(map).collect())
}

fn check(command: &'static str, reply: &Value) -> Result<(), GroupsError> {
    let Value::ServerError(error) = reply else { return Ok(()) };
    let told = format!("{} {}", error.code(), error.details().unwrap_or_default());
    // Nothing was sold yet, or somebody was faster.
    let gone = ["no such key", "requires the key to exist", "NOGROUP"];
    if gone.iter().any(|gone| told.contains(gone)) {
        return Ok(());
    }
    Err(GroupsError::Refused { command, told })
}
