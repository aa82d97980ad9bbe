//! One core's link to Redis: a socket of its own, and one coroutine that sends a batch, reads its
//! replies and hands them back, suspended in the core's reactor while it waits.
//!
//! The code reads as if it blocked. A connection that fails, or does not answer in time, is dropped
//! and opened again with a growing pause. Meanwhile purchases are rejected at once as
//! `unavailable`.

use std::io::{self, Write};
use std::sync::Arc;
use std::time::Duration;

use hashbrown::HashSet;
use redis::Value;

use super::codec::Codec;
use super::decode_error::DecodeError;
use super::handshake::{handshake, load_scripts};
use super::handshake_error::HandshakeError;
use super::index::{self, Registered};
use super::primary::{Term, ends_connection};
use super::reading::Reader;
use super::reply::decode_call;
use super::sell;
use super::settings::Endpoint;
use super::shared::RedisLedger;
use super::socket::Socket;
use super::transport::Transport;
use super::{cluster, replicas};
use crate::ledger::link::{LinkState, Site};
use crate::ledger::{Failure, Group, GroupReply, LedgerError};
use crate::limits::{
    IDLE_CLOSE_MS_MIN, RECONNECT_BACKOFF_MS_MAX, RECONNECT_BACKOFF_MS_MIN, REFUSAL_LOG_INTERVAL_MS,
};
use crate::sale::{Outcome, SaleId};

/// Runs a core's link.
pub fn run(site: &'static Site, ledger: &Arc<RedisLedger>) {
    let core = site.core;
    if let Some(cluster) = &ledger.cluster {
        return cluster::run(site, ledger, cluster);
    }
    let mut backoff_ms = RECONNECT_BACKOFF_MS_MIN;
    let pause = core.reactor.new_notify();
    if let Some(primary) = &ledger.primary {
        let (engine, index) = (core.engine.clone(), core.index);
        primary.on_change(Box::new(move || {
            // Whatever the link waits for, it then checks its connection.
            engine.mailboxes[index].send(Box::new(|core| core.reactor.notify_all()));
        }));
    }
    loop {
        match Link::open(site, ledger) {
            Ok(mut link) => {
                backoff_ms = RECONNECT_BACKOFF_MS_MIN;
                site.batcher.set_available();
                site.report(LinkState::Up);
                let until_ms = core.clock.now_ms() + IDLE_CLOSE_MS_MIN;
                let error = link.serve();
                if link.was_idle && core.clock.now_ms() >= until_ms {
                    // Redis closes idle connections, if it is configured so. Nothing was lost.
                    tracing::debug!(core = core.index, %error, "an idle connection to Redis ended");
                    continue;
                }
                site.batcher.set_unavailable();
                site.report(LinkState::Away { reason: error.to_string(), fatal: false });
            }
            Err(error) => {
                site.batcher.set_unavailable();
                let fatal = error.is_fatal();
                site.report(LinkState::Away { reason: error.to_string(), fatal });
            }
        }
        let until_ms = core.clock.now_ms() + backoff_ms;
        let _ = pause.wait(|| core.clock.now_ms(), until_ms);
        backoff_ms = (backoff_ms * 2).min(RECONNECT_BACKOFF_MS_MAX);
    }
}

/// A connection that carries batches.
struct Link<'a> {
    site: &'static Site,
    ledger: &'a RedisLedger,
    /// The ledger's codec, with the epoch of this connection.
    codec: Codec,
    term: Option<Term>,
    stream: Transport<Socket>,
    reader: Reader,
    out: Vec<u8>,
    /// When a refusal was last logged.
    refusal_logged_ms: Option<u64>,
    /// Why the connection failed, once it has. Nothing is sent then.
    broken: Option<io::Error>,
    /// Whether it ended while nothing was outstanding.
    was_idle: bool,
    registered: Registered,
}

impl<'a> Link<'a> {
    fn open(site: &'static Site, ledger: &'a RedisLedger) -> Result<Self, HandshakeError> {
        let core = site.core;
        let deadline_ms = core.clock.now_ms() + site.batcher.answer_deadline_ms();
        let settings = &ledger.settings;
        // The link is notified of every change, so it does not wait here.
        let (Endpoint { host, port }, term) = ledger.place(Duration::ZERO)?;
        let socket = Socket::connect(core, &host, port, deadline_ms, term.as_ref())?;
        let mut stream = Transport::open(socket, &host, ledger.tls.as_ref())?;
        let name = format!("stampede-core-{}", core.index);
        let shaken = handshake(&mut stream, settings, &name, ledger.codec.scripts());
        term.as_ref().map_or(Ok(()), |term| term.may_begin(shaken.as_ref().err()))?;
        ledger.warn(shaken?);
        let (reader, out) = (Reader::default(), Vec::with_capacity(64 << 10));
        Ok(Self {
            site,
            ledger,
            codec: ledger.codec.in_epoch(term.as_ref().map(Term::epoch)),
            term,
            stream,
            reader,
            out,
            refusal_logged_ms: None,
            broken: None,
            was_idle: false,
            registered: Registered::default(),
        })
    }

    /// Carries batches until something fails, and returns the error.
    fn serve(&mut self) -> io::Error {
        loop {
            let source = self.stream.socket().source.clone();
            let interrupted = || {
                // Nothing is outstanding: an event can only be the end of the connection.
                source.wake_me();
                source.is_ready()
            };
            let now_ms = || self.site.core.clock.now_ms();
            let Some(flight) = self.site.batcher.next_batch(now_ms, interrupted) else {
                match self.stream.socket().probe() {
                    Ok(()) => continue,
                    Err(error) => {
                        self.was_idle = self.stream.socket().check_term().is_ok();
                        return error;
                    }
                }
            };
            if let Err(error) = self.stream.socket().check_term() {
                self.site.batcher.fail(flight, Failure::Unavailable);
                return error;
            }
            let deadline_ms =
                self.site.core.clock.now_ms() + self.site.batcher.answer_deadline_ms();
            self.stream.socket().deadline_ms.set(deadline_ms);
            let results = self.carry(flight.groups());
            self.site.batcher.complete(flight, results);
            self.site.core.reactor.wake_leader();
            if let Some(error) = self.broken.take() {
                return error;
            }
        }
    }

    /// Sends a batch and reads its replies. If the connection breaks, groups that were not sent are
    /// `unavailable`; groups without a reply are `unknown`.
    fn carry(&mut self, groups: &[Group]) -> Vec<Result<GroupReply, Failure>> {
        let groups: Vec<&Group> = groups.iter().collect();
        let replies = if groups.iter().all(|group| self.registered.contains(&group.sale)) {
            self.round_trip(&groups, Extra::default()).0
        } else {
            self.check_index(&groups)
        };
        let mut others = Vec::new();
        for (group, reply) in groups.iter().zip(&replies) {
            let noted = self.ledger.note_group(group, reply);
            others.extend(reply.as_ref().err().filter(|_| !noted));
        }
        if let Some(error) = others.first() {
            // The next attempt to connect reports a broken connection.
            if self.broken.is_none() {
                self.log_refusal(error);
            }
            if others.iter().any(|error| ends_connection(error, self.term.as_ref())) {
                let ended = || io::Error::other("Redis is the primary no longer");
                self.broken.get_or_insert_with(ended);
            }
        }
        let failure = |error: DecodeError| Failure::from(&LedgerError::from(error));
        replies.into_iter().map(|reply| reply.map_err(failure)).collect()
    }

    /// The same for a batch with sales that this link has not seen in the index: a sale must be in
    /// the index before a unit of it is held. The question whether such a sale exists is sent along
    /// with the groups that can be sent at once, so an invented name costs no round trip of its
    /// own.
    fn check_index(&mut self, groups: &[&Group]) -> Vec<Reply> {
        let ledger = self.ledger;
        let keys = ledger.codec.keys();
        let is_known: Vec<bool> =
            groups.iter().map(|group| self.registered.contains(&group.sale)).collect();
        let those = |wanted: bool| {
            let all = groups.iter().zip(&is_known).filter(move |(_, known)| **known == wanted);
            all.map(|(group, _)| *group)
        };
        let known: Vec<&Group> = those(true).collect();
        let created: Vec<&SaleId> =
            those(false).filter(|group| index::creates(group)).map(|group| &group.sale).collect();
        let asked: Vec<&SaleId> =
            those(false).filter(|group| !index::creates(group)).map(|group| &group.sale).collect();

        let mut questions = Extra::default();
        asked.iter().for_each(|sale| questions.add(|out| index::exists(keys, sale, out)));
        questions.add(index::time);
        let (known_replies, mut answers) = self.round_trip(&known, questions);
        let answers = index::time_ms(answers.pop())
            .and_then(|now_ms| Ok((now_ms, index::found(&asked, &answers)?)));
        let mut known_replies = known_replies.into_iter();
        let (now_ms, mut there) = match answers {
            Ok(answers) => answers,
            Err(error) => {
                let refused = || Err(error.clone());
                let mut reply = |known: &bool| known.then(|| known_replies.next()).flatten();
                return is_known.iter().map(|k| reply(k).unwrap_or_else(refused)).collect();
            }
        };
        there.extend(&created);
        let refusal = self.register(&there);
        let there: HashSet<&SaleId> = there.into_iter().collect();

        let may_go = |group: &Group| {
            there.contains(&group.sale) && (refusal.is_none() || !index::holds(group))
        };
        let fresh: Vec<&Group> = those(false).filter(|group| may_go(group)).collect();
        let mut again = Extra::default();
        if !created.is_empty() && refusal.is_none() {
            again.add(|out| index::add(keys, &created, out));
        }
        let (fresh_replies, _) = self.round_trip(&fresh, again);
        let made = fresh.iter().zip(&fresh_replies).filter(|(group, reply)| {
            reply.as_ref().is_ok_and(|reply| index::is_news(group, reply))
        });
        let made: Vec<&SaleId> = made.map(|(group, _)| &group.sale).collect();
        if !made.is_empty() {
            let mut announcement = Extra::default();
            announcement.add(|out| index::announce(keys, &made, out));
            self.round_trip(&[], announcement);
        }
        let mut fresh_replies = fresh_replies.into_iter();
        let replies = groups.iter().zip(&is_known).map(|(group, &known)| {
            let reply = match &refusal {
                _ if known => known_replies.next(),
                _ if may_go(group) => fresh_replies.next(),
                Some(error) if there.contains(&group.sale) => Some(Err(error.clone())),
                _ => {
                    let outcomes = vec![Outcome::UnknownSale; group.commands.len()];
                    Some(Ok(GroupReply { outcomes, free: None, now_ms }))
                }
            };
            reply.expect("a reply for every group that was sent")
        });
        replies.collect()
    }

    /// Adds sales to the index. Returns the reason if that is refused.
    fn register(&mut self, sales: &[&SaleId]) -> Option<DecodeError> {
        if sales.is_empty() {
            return None;
        }
        let keys = self.ledger.codec.keys();
        let mut add = Extra::default();
        add.add(|out| index::add(keys, sales, out));
        let (_, answers) = self.round_trip(&[], add);
        let refused = || answers.iter().find_map(|answer| index::judge(keys, answer).err());
        let refusal = self.unsent().or_else(refused);
        if refusal.is_none() {
            self.registered.note(sales, self.site.core.clock.now_ms());
        }
        refusal
    }

    /// Sends groups and further commands and reads their replies. If the further commands get no
    /// answer, the connection is broken.
    fn round_trip(&mut self, groups: &[&Group], mut extra: Extra) -> (Vec<Reply>, Vec<Value>) {
        if let Some(error) = self.unsent() {
            return (vec![Err(error); groups.len()], Vec::new());
        }
        let keys = self.ledger.codec.keys();
        let aged = self.registered.aged(groups, self.site.core.clock.now_ms());
        if !aged.is_empty() {
            extra.add(|out| index::add(keys, &aged, out));
        }
        let (mut replies, mut answers) = self.exchange(groups, &extra);
        if !aged.is_empty()
            && let Some(answer) = answers.pop()
            && let Err(error) = index::judge(keys, &answer)
        {
            self.log_refusal(&error);
        }
        if replies.iter().any(|reply| matches!(reply, Err(DecodeError::NoScript))) {
            // Redis was restarted or flushed. Calls of unknown scripts had no effect.
            if let Err(error) = load_scripts(&mut self.stream, self.ledger.codec.scripts()) {
                self.mark_unknown(io::Error::other(error));
            }
            for (group, reply) in groups.iter().zip(&mut replies) {
                if self.broken.is_none() && matches!(reply, Err(DecodeError::NoScript)) {
                    *reply = self.exchange(&[group], &Extra::default()).0.swap_remove(0);
                }
            }
        }
        for (group, reply) in groups.iter().zip(&replies) {
            let Ok(reply) = reply else { continue };
            if reply.free.is_none() {
                self.registered.forget(&group.sale);
            } else if self.registered.holds_otherwise(&group.sale, reply) {
                self.ledger.notify_sweep(&group.sale);
            }
        }
        (replies, answers)
    }

    /// Ends the connection. Commands without a reply are lost.
    fn mark_unknown(&mut self, error: io::Error) -> DecodeError {
        let lost = DecodeError::Lost(error.to_string());
        self.broken = Some(error);
        lost
    }

    /// The error of everything that would be sent now, if the connection is broken.
    fn unsent(&self) -> Option<DecodeError> {
        self.broken.as_ref().map(|error| DecodeError::Refused(error.to_string()))
    }

    /// Logged once in a while: every purchase is refused until an operator repairs the cause.
    fn log_refusal(&mut self, error: &DecodeError) {
        let now_ms = self.site.core.clock.now_ms();
        if self.refusal_logged_ms.is_none_or(|last| now_ms >= last + REFUSAL_LOG_INTERVAL_MS) {
            self.refusal_logged_ms = Some(now_ms);
            tracing::warn!(core = self.site.core.index, %error, "Redis refused a batch");
        }
    }

    /// Sends groups and further commands, and reads their replies. If that fails half way, the
    /// connection is broken: groups whose replies were read keep them, the others are lost, and the
    /// further commands have no answers.
    fn exchange(&mut self, groups: &[&Group], extra: &Extra) -> (Vec<Reply>, Vec<Value>) {
        let mut replies = Vec::with_capacity(groups.len());
        match self.exchange_into(groups, extra, &mut replies) {
            Ok(answers) => (replies, answers),
            Err(error) => {
                let lost = self.mark_unknown(error);
                replies.resize(groups.len(), Err(lost));
                (replies, Vec::new())
            }
        }
    }

    fn exchange_into(
        &mut self,
        groups: &[&Group],
        extra: &Extra,
        replies: &mut Vec<Reply>,
    ) -> io::Result<Vec<Value>> {
        self.out.clear();
        let names = |sale: &SaleId| self.registered.names(sale, self.codec.keys());
        let counts: Vec<usize> = sell::calls(groups)
            .map(|call| self.codec.encode_call(call, names, &mut self.out))
            .collect();
        let wanted = self.ledger.settings.replicas;
        let waits = wanted > 0 && replicas::are_needed(groups.iter().copied());
        if waits {
            // Of the remaining time: this need not be the batch's first round trip.
            let deadline_ms = self.stream.socket().deadline_ms.get();
            let left_ms = deadline_ms.saturating_sub(self.site.core.clock.now_ms());
            let time_ms = replicas::wait_time_ms(left_ms);
            replicas::wait(wanted, time_ms, &mut self.out);
        }
        self.out.extend_from_slice(&extra.bytes);
        if self.out.is_empty() {
            return Ok(Vec::new());
        }
        self.stream.write_all(&self.out)?;
        self.stream.flush()?;
        // No reply can be here yet, so a read would be wasted.
        self.stream.socket().wait()?;
        let mut read = Vec::with_capacity(groups.len());
        for (call, count) in sell::calls(groups).zip(counts) {
            match self.values(count) {
                Ok(values) => decode_call(call, &mut &values[..], &mut read),
                // Without replicas a reply is final; with them it is not.
                Err(error) => {
                    if !waits {
                        replies.append(&mut read);
                    }
                    return Err(error);
                }
            }
        }
        if waits {
            let answer = self.values(1)?.swap_remove(0);
            if !replicas::judge(wanted, &answer, groups.iter().copied(), &mut read) {
                // The next connection checks the replicas before it writes anything.
                self.broken = Some(io::Error::other("too few replicas have what is written"));
            }
        }
        replies.append(&mut read);
        self.values(extra.count)
    }

    fn values(&mut self, count: usize) -> io::Result<Vec<Value>> {
        (0..count).map(|_| self.reader.read(&mut self.stream)).collect()
    }
}

type Reply = Result<GroupReply, DecodeError>;

/// Commands that go out after the groups of a batch.
#[derive(Default)]
struct Extra {
    bytes: Vec<u8>,
    count: usize,
}

impl Extra {
    /// Adds one command.
    fn add(&mut self, write: impl FnOnce(&mut Vec<u8>)) {
        write(&mut self.bytes);
        self.count += 1;
    }
}
