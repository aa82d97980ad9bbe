//! Whoever is no core and has a connection to a node: the sweep of a server, and operators. Each is
//! a coroutine with a blocking client, as `ledger/redis/client.rs` has it.
//!
//! What it keeps of that: it connects at its first use and again after a failure, and replaces a
//! connection that has ended while it was idle; a sale that it creates is in the index before and
//! after, and is announced to the sweeps; a sale that it removes leaves the index, unless it exists
//! after all.

use std::cell::{Cell, RefCell};
use std::collections::BTreeSet;
use std::rc::Rc;
use std::sync::Arc;

use stampede::background::BackgroundStats;
use stampede::control;
use stampede::ledger::client::{Client as LedgerClient, Repair, SaleAudit};
use stampede::ledger::redis::simulation::{created, is_news, removed};
use stampede::ledger::redis::{Codec, EntryId, KeyTemplates};
use stampede::ledger::{Batch, BatchReply, Group, GroupReply, LedgerError};
use stampede::limits::{CLIENT_ANSWER_DEADLINE_MS, CLIENT_CONNECT_DEADLINE_MS};
use stampede::sale::SaleId;
use stampede::sweep::{News, SweepLedger, Sweeper};

use super::wire::{Incoming, Wire, owned};
use crate::redis::{Ask, Pipeline, PipelineReply, Reply, is_fenced};
use crate::task::{Ctx, Ended, Task, Turns};

/// The sales that the cores of a server ask its sweep to look at.
#[derive(Default)]
pub struct Notified(RefCell<BTreeSet<SaleId>>);

impl Notified {
    /// Asks for this one.
    pub fn note(&self, sale: &SaleId) {
        self.0.borrow_mut().insert(sale.detached());
    }
}

/// What a client and the world share.
#[derive(Default)]
struct Shared {
    wire: Wire,
    /// Its clock.
    now_ms: Cell<u64>,
}

/// A client, as the world has it.
pub struct Client {
    task: Task,
    shared: Rc<Shared>,
}

impl Client {
    /// Starts the sweep of a server. It never ends by itself.
    pub fn sweep(turns: &Turns, now_ms: u64, notified: Rc<Notified>) -> Self {
        Self::start(turns, (now_ms, 1), notified, |calls| {
            let (ctx, shared) = (calls.ctx, calls.shared);
            let now_ms = || shared.now_ms.get();
            let mut sweeper = Sweeper::new(calls, now_ms, Arc::<BackgroundStats>::default());
            loop {
                let until_ms = now_ms() + sweeper.step();
                let waited = shared.wire.wait_until(ctx, now_ms, until_ms, || None::<()>);
                if waited.is_err() {
                    return;
                }
            }
        })
    }

    /// Starts an operator, whose first connection has this number, and who gives these commands
    /// until one has no answer.
    pub fn operator(turns: &Turns, now_ms: u64, session: u32, group: Group) -> Self {
        Self::start(turns, (now_ms, session), Rc::default(), move |mut calls| {
            let Group { sale, commands } = group;
            let mut commands = commands.into_iter();
            let _ = commands.try_for_each(|command| {
                control::apply_to_sale(&mut calls, &sale, command).map(drop)
            });
            calls.shared.wire.close();
        })
    }

    fn start(
        turns: &Turns,
        (now_ms, session): (u64, u32),
        notified: Rc<Notified>,
        body: impl FnOnce(Calls<'_>) + 'static,
    ) -> Self {
        let shared = Rc::<Shared>::default();
        shared.now_ms.set(now_ms);
        let theirs = shared.clone();
        let task = Task::spawn(turns, move |ctx| {
            body(Calls {
                ctx,
                shared: &theirs,
                notified,
                codec: Codec::new(KeyTemplates::default()),
                next_session: session,
                is_open: false,
                connections: 0,
            });
        });
        Self { task, shared }
    }

    /// What it and the world share.
    pub fn wire(&self) -> &Wire {
        &self.shared.wire
    }

    /// Lets it run, when the driver settles. Its clock shows this.
    pub fn wake(&self, now_ms: u64) {
        self.shared.now_ms.set(now_ms);
        self.task.wake();
    }

    /// Tells it to end, when the driver settles.
    pub fn end(&self) {
        self.task.end();
    }

    /// Whether it has ended.
    pub fn has_ended(&self) -> bool {
        self.task.has_ended()
    }
}

/// A client, as it has itself.
struct Calls<'a> {
    ctx: &'a Ctx,
    shared: &'a Shared,
    /// Where a sweep hears of its server's cores.
    notified: Rc<Notified>,
    /// Stamps the epoch of the connection.
    codec: Codec,
    next_session: u32,
    is_open: bool,
    connections: u64,
}

// SAFETY: the ledger's clients may be sent to another thread. This one is used by the coroutine
// that has made it, which stays on its thread.
unsafe impl Send for Calls<'_> {}

impl Calls<'_> {
    fn receive(&self, time_ms: u64) -> Option<Reply> {
        let now_ms = || self.shared.now_ms.get();
        match self.shared.wire.receive(self.ctx, now_ms, now_ms() + time_ms) {
            Ok(Some(Incoming::Reply(reply))) => Some(reply),
            Ok(Some(Incoming::End) | None) | Err(Ended) => None,
        }
    }

    fn close(&mut self) {
        self.is_open = false;
        self.shared.wire.close();
    }

    /// Connects unless it is connected.
    fn connect(&mut self) -> Result<(), LedgerError> {
        if self.is_open && self.shared.wire.is_ready() {
            // Nothing is outstanding: it has ended.
            self.close();
        }
        if self.is_open {
            return Ok(());
        }
        if self.ctx.must_end() {
            return Err(refused("the process has ended"));
        }
        self.shared.wire.open(self.next_session);
        self.next_session += 1;
        let Some(Reply::Welcome) = self.receive(CLIENT_CONNECT_DEADLINE_MS) else {
            self.close();
            return Err(refused("no connection"));
        };
        self.codec = self.codec.in_epoch(self.shared.wire.term());
        self.is_open = true;
        self.connections += 1;
        Ok(())
    }

    /// One round trip.
    fn exchange(&mut self, pipeline: Pipeline) -> Result<PipelineReply, LedgerError> {
        self.connect()?;
        let epoch = self.codec.epoch();
        self.shared.wire.send(Ask::Pipeline(Pipeline { epoch, ..pipeline }));
        match self.receive(CLIENT_ANSWER_DEADLINE_MS) {
            Some(Reply::Pipeline(reply)) if !reply.is_cut => Ok(reply),
            _ => {
                self.close();
                Err(LedgerError::Lost("the connection ended".to_owned()))
            }
        }
    }
}

fn refused(text: &str) -> LedgerError {
    LedgerError::Refused(text.to_owned())
}

impl LedgerClient for Calls<'_> {
    fn apply(&mut self, batch: &Batch) -> Result<BatchReply, LedgerError> {
        let replies = self.apply_each(batch)?;
        let failure = replies.iter().find_map(|reply| reply.as_ref().err());
        match failure {
            // A part of it may have been carried out.
            Some(error) if batch.groups.len() > 1 => Err(LedgerError::Lost(error.to_string())),
            _ => replies.into_iter().collect(),
        }
    }

    fn can_split(&self) -> bool {
        true
    }

    fn sales(&mut self) -> Result<Vec<SaleId>, LedgerError> {
        Ok(self.exchange(Pipeline { list: true, ..Pipeline::default() })?.sales)
    }

    fn audit(&mut self, _: &SaleId, _: Option<&Repair>) -> Result<Option<SaleAudit>, LedgerError> {
        unreachable!("nobody here audits a sale")
    }
}

impl SweepLedger for Calls<'_> {
    fn connections(&self) -> u64 {
        self.connections
    }

    fn take_notified(&mut self) -> Option<Vec<SaleId>> {
        Some(self.notified.0.take().into_iter().collect())
    }

    fn news(&mut self, after: EntryId) -> Result<(u64, Option<News>), LedgerError> {
        let reply = self.exchange(Pipeline { news: Some(after), ..Pipeline::default() })?;
        reply.news.ok_or_else(|| refused("no news"))
    }

    fn apply_each(
        &mut self,
        batch: &Batch,
    ) -> Result<Vec<Result<GroupReply, LedgerError>>, LedgerError> {
        let created = created(batch);
        self.register(&created)?;
        let groups = batch
            .groups
            .iter()
            .map(|group| Group { sale: group.sale.detached(), commands: group.commands.clone() });
        let asked = Pipeline { groups: groups.collect(), ..Pipeline::default() };
        let replies = self.exchange(asked)?.groups;
        if replies.iter().any(|reply| reply.as_ref().is_err_and(is_fenced)) {
            self.close();
        }
        let _ = self.register(&created);
        let both = batch.groups.iter().zip(&replies);
        let made: Vec<&SaleId> = both
            .filter(|(group, reply)| reply.as_ref().is_ok_and(|reply| is_news(group, reply)))
            .map(|(group, _)| &group.sale)
            .collect();
        if !made.is_empty() {
            let _ = self.exchange(Pipeline { announce: owned(&made), ..Pipeline::default() });
        }
        let _ = self.forget(&removed(batch, &replies));
        Ok(replies)
    }

    fn note_reply(&mut self, _: &SaleId, _: Result<&GroupReply, &str>) -> bool {
        false
    }

    fn clear_refused(&mut self, _: &SaleId) {}

    fn forget(&mut self, sales: &[&SaleId]) -> Result<(), LedgerError> {
        if sales.is_empty() {
            return Ok(());
        }
        self.exchange(Pipeline { remove: owned(sales), ..Pipeline::default() })?;
        let asked = Pipeline { exists: owned(sales), ..Pipeline::default() };
        let found = self.exchange(asked)?.found;
        let there = sales.iter().zip(found).filter(|(_, found)| *found).map(|(sale, _)| *sale);
        self.register(&there.collect::<Vec<_>>())
    }

    fn register(&mut self, sales: &[&SaleId]) -> Result<(), LedgerError> {
        if sales.is_empty() {
            return Ok(());
        }
        self.exchange(Pipeline { add: owned(sales), ..Pipeline::default() }).map(drop)
    }
}
