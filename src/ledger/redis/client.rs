//! A blocking connection to the Redis ledger, for threads outside of the cores: the operator's
//! commands, the sweep, the audit, the orders.
//!
//! It connects at its first use and again after a failure, so its owner only decides how long to
//! wait before the next attempt. Every error says whether a command can have had an effect. It also
//! carries any other command of Redis, alone or many in one round trip.

use std::sync::Arc;
use std::time::Duration;

use redis::Value;

use super::cluster::Nodes;
use super::codec::{Codec, runs};
use super::connection::{Answers, Connection};
use super::decode_error::{DecodeError, classify, error_text};
use super::handshake::load_scripts;
use super::handshake_error::HandshakeError;
use super::pipeline::Pipeline;
use super::primary::ends_connection;
use super::reply::{decode, may_change};
use super::shared::RedisLedger;
use super::{audit, index, replicas};
use crate::ledger::client::{Client, Repair, SaleAudit, Unlisted};
use crate::ledger::members::MemberList;
use crate::ledger::{Batch, BatchReply, GroupReply, LedgerError};
use crate::limits::{CLIENT_ANSWER_DEADLINE_MS, CLIENT_CONNECT_DEADLINE_MS};
use crate::sale::Command;
use crate::sale::{SaleId, SaleView};

/// The approximate number of members of the index that one SSCAN returns.
const SCAN_COUNT: &[u8] = b"1000";

/// A blocking connection to the Redis ledger.
///
/// For the ledger's commands it is a [`Client`]. Callers that need more of Redis (a consumer group,
/// a scan) use [`command`](Self::command) and [`pipeline`](Self::pipeline); `codec().keys()` has
/// the names of the keys.
pub struct RedisClient {
    ledger: Arc<RedisLedger>,
    name: String,
    answer_time: Duration,
    connection: Option<Connection>,
    connections: u64,
    /// With a Cluster, its nodes in place of the one connection.
    nodes: Option<Nodes>,
}

impl RedisClient {
    /// Creates a client that is not connected yet. `name` is its name in `CLIENT LIST`, printable
    /// and without spaces.
    pub fn new(ledger: Arc<RedisLedger>, name: &str) -> Self {
        let answer_time = Duration::from_millis(CLIENT_ANSWER_DEADLINE_MS);
        let nodes = ledger.cluster.as_ref().map(|it| Nodes::new(&ledger, it.clone(), name));
        let name = name.to_owned();
        Self { ledger, name, answer_time, connection: None, connections: 0, nodes }
    }

    /// The codec, and with it the names of the keys.
    pub fn codec(&self) -> &Codec {
        &self.ledger.codec
    }

    /// Sets how long an answer may take, [`CLIENT_ANSWER_DEADLINE_MS`] at first. For a command that
    /// blocks (`XREADGROUP … BLOCK`), set more than its own time-out.
    pub fn set_answer_time(&mut self, time: Duration) {
        self.answer_time = time;
    }

    /// Connects unless it is connected. All other calls connect by themselves; this one
    /// distinguishes a failure that passes from one that an operator must repair.
    pub fn connect(&mut self) -> Result<(), HandshakeError> {
        if let Some(nodes) = &mut self.nodes {
            return nodes.connect(&self.ledger);
        }
        if self.connection.as_ref().is_some_and(Connection::is_stale) {
            self.connection = None;
        }
        if self.connection.is_none() {
            let time = Duration::from_millis(CLIENT_CONNECT_DEADLINE_MS);
            let (endpoint, term) = self.ledger.place(time)?;
            let opened = Connection::open(&self.ledger, &endpoint, term, &self.name, time)?;
            self.connection = Some(opened);
            self.connections += 1;
        }
        Ok(())
    }

    /// The number of connections made so far: after a new one, earlier knowledge may no longer
    /// hold.
    pub fn connections(&self) -> u64 {
        self.connections + self.nodes.as_ref().map_or(0, |nodes| nodes.opened)
    }

    /// Runs any one command and returns its reply.
    ///
    /// # Errors
    /// An error reply of Redis is [`LedgerError::Refused`], and its text begins with the code of
    /// Redis (`NOGROUP …`), since a command of Redis has its full effect or none. A script
    /// (`EVAL…`, `FCALL…`) may have been [`LedgerError::Lost`] half way.
    pub fn command(&mut self, arguments: &[&[u8]]) -> Result<Value, LedgerError> {
        let mut one = Pipeline::new();
        match self.pipeline(one.add(arguments))?.remove(0) {
            Value::ServerError(error) => {
                let name = arguments.first().map(|name| name.to_ascii_uppercase());
                let name = name.unwrap_or_default();
                let script = name.starts_with(b"EVAL") || name.starts_with(b"FCALL");
                Err(if script {
                    classify(&error).into()
                } else {
                    LedgerError::Refused(error_text(&error))
                })
            }
            reply => Ok(reply),
        }
    }

    /// Runs commands in one round trip and returns one reply per command. An error reply of Redis
    /// takes the place of the reply, as [`Value::ServerError`]; the other commands ran all the
    /// same.
    ///
    /// # Errors
    /// [`LedgerError::Refused`]: nothing was sent. [`LedgerError::Lost`]: some or all commands may
    /// have run.
    pub fn pipeline(&mut self, commands: &Pipeline) -> Result<Vec<Value>, LedgerError> {
        if commands.is_empty() {
            return Ok(Vec::new());
        }
        if self.nodes.is_none() {
            self.connect().map_err(refused)?;
        }
        let answers = self.carry(commands, &[])?;
        answers.replies.into_iter().map(|reply| reply.map_err(LedgerError::Lost)).collect()
    }

    /// Carries out a batch, with one result per group.
    ///
    /// # Errors
    /// As [`pipeline`](Self::pipeline).
    pub fn apply_each(
        &mut self,
        batch: &Batch,
    ) -> Result<Vec<Result<GroupReply, LedgerError>>, LedgerError> {
        let mut commands = batch.groups.iter().flat_map(|group| &group.commands);
        if commands.any(Command::is_cheap) {
            let text = "only a core's link looks without scripts".to_owned();
            return Err(LedgerError::Refused(text));
        }
        self.check_removal(batch)?;
        let created = index::created(batch);
        self.register(&created)?;
        let mut replies = self.groups(batch)?;
        if replies.iter().any(|reply| matches!(reply, Err(DecodeError::NoScript))) {
            // Redis was restarted or flushed. Calls of unknown scripts had no effect; the other
            // calls of the batch may have had theirs.
            let loaded = self.load_scripts();
            for (group, reply) in batch.groups.iter().zip(&mut replies) {
                if matches!(reply, Err(DecodeError::NoScript)) {
                    let again = Batch { groups: vec![group.clone()] };
                    let done = loaded.clone().and_then(|()| self.groups(&again));
                    *reply = done.map_err(DecodeError::from).and_then(|mut it| it.swap_remove(0));
                }
            }
        }
        let term = self.connection.as_ref().and_then(|connection| connection.term.clone());
        let mut failures = replies.iter().filter_map(|reply| reply.as_ref().err());
        if failures.any(|error| ends_connection(error, term.as_ref())) {
            self.connection = None;
        }
        // The effect stands. The index can be repaired later, by the next client or link that meets
        // the sale.
        let _ = self.register(&created);
        let both = batch.groups.iter().zip(&replies);
        let made = both.filter(|(group, reply)| {
            reply.as_ref().is_ok_and(|reply| index::is_news(group, reply))
        });
        self.announce(&made.map(|(group, _)| &group.sale).collect::<Vec<_>>());
        let removed = index::removed(batch, &replies);
        let _ = self.forget(&removed);
        let _ = self.note_removed(&[removed, index::begun_anew(batch, &replies)].concat());
        Ok(replies.into_iter().map(|reply| reply.map_err(LedgerError::from)).collect())
    }

    /// One slot per node; without a Cluster any slot of the one server.
    pub(super) fn slot_of_each_node(&mut self) -> Result<Vec<u16>, LedgerError> {
        self.connect().map_err(refused)?;
        Ok(self.nodes.as_ref().map_or_else(|| vec![0], Nodes::one_slot_each))
    }

    /// The state that all connections to this Redis share.
    pub fn ledger(&self) -> &Arc<RedisLedger> {
        &self.ledger
    }

    fn groups(
        &mut self,
        batch: &Batch,
    ) -> Result<Vec<Result<GroupReply, DecodeError>>, LedgerError> {
        if self.nodes.is_none() {
            self.connect().map_err(refused)?;
        }
        // The codec of the connection that is used: a command encoded for one epoch must not be
        // sent in another.
        let codec = self.connection.as_ref().map_or(&self.ledger.codec, |it| &it.codec);
        let mut commands = Pipeline::new();
        let mut counts = Vec::with_capacity(batch.groups.len());
        for group in &batch.groups {
            let keys = codec.keys().of(&group.sale);
            let (slot, before) = (keys.slot(), commands.len());
            for run in runs(&group.commands) {
                commands.write(slot, |out| codec.encode_run(&keys, run, out));
            }
            counts.push(commands.len() - before);
        }
        let wanted = self.ledger.settings.replicas;
        let mut wait = Vec::new();
        if wanted > 0 && replicas::are_needed(&batch.groups) {
            let time_ms = u64::try_from(self.answer_time.as_millis()).unwrap_or(u64::MAX);
            replicas::wait(wanted, replicas::wait_time_ms(time_ms), &mut wait);
        }
        let Answers { replies, waited } = self.carry(&commands, &wait)?;
        let (mut replies, mut waited) = (replies.into_iter(), waited.into_iter());
        let mut met = true;
        let decoded = batch.groups.iter().zip(counts).map(|(group, count)| {
            let own: Vec<Result<Value, String>> = replies.by_ref().take(count).collect();
            let own: Result<Vec<Value>, String> = own.into_iter().collect();
            let mut reply = own.map_err(DecodeError::Lost).and_then(|own| decode(group, &own));
            for answer in waited.by_ref().take(count).flatten() {
                met &= replicas::judge(wanted, &answer, [group], std::slice::from_mut(&mut reply));
            }
            reply
        });
        let decoded = decoded.collect();
        if !met {
            // The next connection checks the replicas before it writes anything.
            self.connection = None;
        }
        Ok(decoded)
    }

    pub(super) fn load_scripts(&mut self) -> Result<(), LedgerError> {
        if let Some(nodes) = &mut self.nodes {
            nodes.load_scripts(&self.ledger, self.answer_time);
            return Ok(());
        }
        self.connect().map_err(refused)?;
        let Some(connection) = &mut self.connection else { return Ok(()) };
        connection.set_time(self.answer_time);
        load_scripts(connection.stream(), self.ledger.codec.scripts()).map_err(|error| {
            self.connection = None;
            refused(error)
        })
    }

    /// One round trip, on the existing connection only, with the command in `wait` after the
    /// commands.
    fn carry(&mut self, commands: &Pipeline, wait: &[u8]) -> Result<Answers, LedgerError> {
        if let Some(nodes) = &mut self.nodes {
            return Ok(nodes.exchange(&self.ledger, commands, wait, self.answer_time));
        }
        let Some(connection) = &mut self.connection else { return Err(not_connected()) };
        connection.exchange(commands, wait, self.answer_time).map_err(|error| {
            self.connection = None;
            LedgerError::Lost(error.to_string())
        })
    }
}

fn not_connected() -> LedgerError {
    LedgerError::Refused("there is no connection".to_owned())
}

fn refused(error: HandshakeError) -> LedgerError {
    LedgerError::Refused(error.to_string())
}

impl Client for RedisClient {
    fn apply(&mut self, batch: &Batch) -> Result<BatchReply, LedgerError> {
        let replies = self.apply_each(batch)?;
        let failures = replies.iter().filter_map(|reply| reply.as_ref().err());
        let lost = failures.clone().find(|error| matches!(error, LedgerError::Lost(_)));
        match (lost, failures.clone().count()) {
            (Some(lost), _) => Err(lost.clone()),
            (None, 0) => Ok(replies.into_iter().filter_map(Result::ok).collect()),
            (None, some) if some < replies.len() && changed(batch, &replies) => {
                let text = failures.map(LedgerError::to_string).next().unwrap_or_default();
                Err(LedgerError::Lost(format!("part of it was carried out: {text}")))
            }
            _ => replies.into_iter().collect(),
        }
    }

    fn can_split(&self) -> bool {
        true
    }

    fn sales(&mut self) -> Result<Vec<SaleId>, LedgerError> {
        let key = self.codec().keys().index();
        let mut sales = Vec::new();
        let mut cursor = "0".to_owned();
        loop {
            let mut scan = Pipeline::new();
            scan.add(&[b"SSCAN", key.as_bytes(), cursor.as_bytes(), b"COUNT", SCAN_COUNT]);
            let reply = self.pipeline(&scan)?.remove(0);
            index::judge(self.codec().keys(), &reply)?;
            let (next, members): (String, Vec<Vec<u8>>) = redis::from_redis_value(reply)
                .map_err(|error| LedgerError::Refused(error.to_string()))?;
            // An entry that is no sale id was put there by somebody else.
            let ids =
                members.iter().filter_map(|id| SaleId::from_ledger(str::from_utf8(id).ok()?).ok());
            sales.extend(ids);
            cursor = next;
            if cursor == "0" {
                break;
            }
        }
        sales.sort_unstable();
        sales.dedup();
        Ok(sales)
    }

    fn audit(
        &mut self,
        sale: &SaleId,
        repair: Option<&Repair>,
    ) -> Result<Option<SaleAudit>, LedgerError> {
        let keys = self.codec().keys().of(sale);
        audit::audit(self, &keys, sale, repair)
    }

    fn unlisted(&mut self) -> Result<Unlisted, LedgerError> {
        let listed = self.sales()?.into_iter().collect();
        let mut found = self.scan_for_sales(&listed)?;
        if !found.sales.is_empty() {
            // A sale may have been created meanwhile.
            let listed = self.sales()?;
            found.sales.retain(|sale| listed.binary_search(sale).is_err());
        }
        Ok(found)
    }

    fn list(&mut self, sales: &[SaleId]) -> Result<(), LedgerError> {
        self.register(&sales.iter().collect::<Vec<_>>())
    }

    fn remains(&mut self, sale: &SaleId) -> Result<bool, LedgerError> {
        self.any_key_of(sale)
    }

    fn removed_at(&mut self, sale: &SaleId) -> Result<Option<u64>, LedgerError> {
        self.removed_version(sale)
    }

    fn note_stock(
        &mut self,
        sale: &SaleId,
        head: &SaleView,
        units: u64,
    ) -> Result<bool, LedgerError> {
        self.set_stock(sale, head, units)
    }

    fn members(&mut self) -> Result<Option<MemberList>, LedgerError> {
        self.member_list().map(Some)
    }
}

impl audit::RedisQuery for RedisClient {
    fn query(&mut self, arguments: &[&[u8]]) -> Result<Value, LedgerError> {
        self.command(arguments)
    }
}

/// Whether one of the groups may have changed something.
fn changed(batch: &Batch, replies: &[Result<GroupReply, LedgerError>]) -> bool {
    let answered =
        batch.groups.iter().zip(replies).filter_map(|(g, r)| Some((g, r.as_ref().ok()?)));
    let mut each = answered.flat_map(|(group, reply)| group.commands.iter().zip(&reply.outcomes));
    each.any(|(command, outcome)| may_change(command, outcome))
}
