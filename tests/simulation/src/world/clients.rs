//! The clients' part of a world: attempts, and what becomes of them.

use std::hash::Hash;

use stampede::sale::SaleId;

use super::{Caller, NOTICE_MAX, NOTICE_MIN, Phase, World};
use crate::call::{CallId, Told};
use crate::client::Wish;
use crate::names::{CoreId, Route};
use crate::net::{Path, Sent, Way};
use crate::schedule::{Event, Request};
use crate::time::Us;

impl World {
    /// The number of the client that takes what is left.
    pub(super) fn last_buyer(&self) -> usize {
        self.clients.len()
    }

    pub(super) fn think(&mut self, number: usize) {
        if number == self.last_buyer() {
            return self.probe_next();
        }
        let is_quiet = self.phase != Phase::Busy;
        let client = &mut self.clients[number];
        let wishes = client.next_wishes(&self.plan, is_quiet);
        client.under_way += wishes.len();
        let patience = client.patience(is_quiet);
        for wish in wishes {
            let core = self.clients[number].pick_core(&self.servers, self.plan.cores);
            self.ask(number, core, patience, wish);
        }
    }

    pub(super) fn ask(&mut self, client: usize, core: CoreId, patience: Us, wish: Wish) {
        let now = self.now();
        self.calls += 1;
        let call = CallId(self.calls);
        let what = wish.what.clone();
        self.trace.note(now, || format!("client {client} asks {core}, {call}: {what:?}"));
        let route = Route::Call(call);
        self.net.open(route, Path::Client(client));
        let sent = self.net.send(now, route, Way::There);
        if let Some(at) = sent.arrives {
            self.schedule.at(at, Event::Request(Box::new(Request { core, call, what })));
        }
        self.schedule_ends(sent, Event::Disconnected(call), Some(Event::Reset(core, call)));
        self.schedule.after(patience, Event::GiveUp(call));
        self.callers.insert(call, Caller { client, core, wish });
    }

    /// Schedules what each end of a connection hears of its end, if it has ended.
    pub(super) fn schedule_ends(&mut self, sent: Sent, opener: Event, other: Option<Event>) {
        if let Some(at) = sent.opener_hears {
            self.schedule.at(at, opener);
        }
        if let Some((at, other)) = sent.other_hears.zip(other) {
            self.schedule.at(at, other);
        }
    }

    pub(super) fn request(&mut self, request: Request) {
        let Request { core: id, call, what } = request;
        match self.core(id) {
            Some(core) => {
                core.receive(call, what);
                self.want_round(id);
            }
            // The connection is refused.
            None => {
                let after = self.delays.spread(NOTICE_MIN, NOTICE_MAX);
                self.schedule.after(after, Event::Disconnected(call));
            }
        }
    }

    pub(super) fn give_up(&mut self, call: CallId) {
        let Some(Caller { core, .. }) = self.callers.get(&call) else { return };
        let (core, now) = (*core, self.now());
        if let Some(at) = self.net.send(now, Route::Call(call), Way::There).arrives {
            self.schedule.at(at, Event::Reset(core, call));
        }
        self.hear(call, &Told::Nothing, None);
    }

    /// A client hears of an attempt for the first and only time.
    pub(super) fn hear(&mut self, call: CallId, told: &Told, place: Option<&SaleId>) {
        let Some(Caller { client: number, wish, .. }) = self.callers.remove(&call) else { return };
        let now = self.now();
        self.net.close(Route::Call(call));
        self.trace.note(now, || format!("client {number} hears of {call}: {told:?}"));
        std::mem::discriminant(told).hash(&mut self.digest);
        if number == self.last_buyer() {
            return self.probe_hears(told);
        }
        let is_quiet = self.phase != Phase::Busy;
        let client = &mut self.clients[number];
        if let Some(after) = client.hear(wish, told, place, &self.plan, is_quiet) {
            self.schedule.after(after, Event::Think(number));
        }
    }
}
