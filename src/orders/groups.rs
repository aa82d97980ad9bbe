//! The consumer groups that read the sales' streams, for the operator: lists them with their
//! positions, and removes a group that nobody uses. Until it is removed, entries that it has not
//! read are not trimmed, and no sale with such entries can be removed.

use std::collections::BTreeMap;
use std::sync::Arc;

use redis::Value;

use super::entry::{member, number};
use crate::duration::format_duration;
use crate::ledger::LedgerError;
use crate::ledger::client::Client;
use crate::ledger::redis::{Pipeline, RedisClient, RedisLedger, text};
use crate::limits::{CONSUMER_ALIVE_MS, CONSUMER_GONE_MS};

/// Streams per round trip.
const STREAMS_PER_ROUND: usize = 256;

/// The state of one group over all streams.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct ConsumerGroup {
    /// Its name.
    pub name: String,
    /// Streams from which it has begun to read.
    pub streams: u64,
    /// Entries that it has not read. `None`: Redis has lost count for some stream.
    pub unread: Option<u64>,
    /// Entries that were delivered to a worker and not acknowledged.
    pub pending: u64,
    /// Names of its workers, including dead ones until they are removed.
    pub workers: Vec<String>,
    /// Time since the last of them was seen.
    pub heard_of_ms: Option<u64>,
}

/// Why a group can't be listed or removed.
#[derive(Debug, thiserror::Error)]
pub enum GroupsError {
    /// Redis does not answer.
    #[error("{}", reason(.0))]
    Ledger(#[from] LedgerError),
    /// Redis sends an unexpected reply, or refuses a command.
    #[error("Redis answers {command} with {told}")]
    Refused {
        /// The command.
        command: &'static str,
        /// The reply.
        told: String,
    },
    /// There is no such group.
    #[error("there is no group {0}; --groups lists them")]
    Unknown(String),
    /// The group is in use.
    #[error(
        "the group {group} is in use: it has {pending} entries to finish, and a worker of it \
         ({workers}) was active within the last {}. Stop its workers and wait that long",
        format_duration(*.within_ms)
    )]
    InUse {
        /// The group.
        group: String,
        /// Entries that were delivered to a worker.
        pending: u64,
        /// Its workers.
        workers: String,
        /// The time in which no worker must have been seen.
        within_ms: u64,
    },
}

impl ConsumerGroup {
    /// The time in which no worker of the group must have been seen before it may be removed. A
    /// worker with entries may be waiting for its database, and then sends nothing to Redis.
    fn silence_ms(&self) -> u64 {
        if self.pending > 0 { CONSUMER_GONE_MS } else { CONSUMER_ALIVE_MS }
    }
}

/// The error of Redis, or why it can't be asked.
fn reason(error: &LedgerError) -> String {
    match error {
        LedgerError::Refused(reason) => reason.clone(),
        other => other.to_string(),
    }
}

/// Every group, by name.
pub fn groups(ledger: &Arc<RedisLedger>) -> Result<Vec<ConsumerGroup>, GroupsError> {
    let mut client = RedisClient::new(ledger.clone(), "stampede-groups");
    let streams = streams(&mut client)?;
    let mut found = BTreeMap::new();
    for name in listed(&mut client)? {
        found
            .entry(name)
            .or_insert_with(|| ConsumerGroup { unread: Some(0), ..ConsumerGroup::default() });
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
                let group = found.entry(name.to_owned()).or_insert_with(|| ConsumerGroup {
                    unread: Some(0),
                    ..ConsumerGroup::default()
                });
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
    Ok(found.into_iter().map(|(name, group)| ConsumerGroup { name, ..group }).collect())
}

/// Removes a group: first from every stream, then from the list. Returns the group as it was. If it
/// fails half way, the group is still listed and can be removed again.
pub fn drop_group(ledger: &Arc<RedisLedger>, name: &str) -> Result<ConsumerGroup, GroupsError> {
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

/// The groups that read all streams, including those from which they have not begun to read.
fn listed(client: &mut RedisClient) -> Result<Vec<String>, GroupsError> {
    let key = client.codec().keys().groups();
    let mut ask = Pipeline::new();
    ask.add(&[b"SMEMBERS", key.as_bytes()]);
    let reply = client.pipeline(&ask)?.remove(0);
    check("SMEMBERS", &reply)?;
    Ok(redis::from_redis_value(reply).unwrap_or_default())
}

/// A list of maps. For a missing stream it is empty.
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
    // Nothing was sold yet, or another process was faster.
    let gone = ["no such key", "requires the key to exist", "NOGROUP"];
    if gone.iter().any(|gone| told.contains(gone)) {
        return Ok(());
    }
    Err(GroupsError::Refused { command, told })
}
