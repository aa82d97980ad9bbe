//! The cache of a core: latch, view and allowance of each sale, updated by every answer of the
//! ledger.
//!
//! The work per tick depends on the number of sales that requests used since the last tick, not on
//! the number of sales. A name that a client invented is dropped when the ledger answers that it
//! does not exist.
//!
//! Architecture invariant: knows no HTTP and no kind of ledger.

use std::cell::{Cell, OnceCell, RefCell};
use std::rc::Rc;

use super::counts::Counted;
use super::outcome::{PurchaseOutcome, RejectReason};
use super::seller::Seller;
use super::slot::{CachedView, PartOf, Parts, SaleSlot};
use crate::ledger::batch::{Answer, SentCommand, Ticket, WaiterId};
use crate::ledger::{Failure, GroupReply};
use crate::limits::{LATCH_KEPT_MS, LATCHES_KEPT_MAX, TICK_INTERVAL_MS, VIEWS_PER_TICK_MAX};
use crate::planted::{self, Bug};
use crate::sale::{Command, Creation, Lines, Outcome, SaleId, SaleState, SaleView, Split};
use crate::splits;
use crate::stock::{LatchDecision, LatchReason, TypeDecision};

impl SaleSlot {
    /// Decides by the latch. If the latch refuses, the core keeps querying the sale in the
    /// background.
    #[inline(always)]
    pub(super) fn decide(self: &Rc<Self>, seller: &Seller) -> LatchDecision {
        let now_ms = seller.clock.now_ms();
        let decision = self.latch.borrow().check(now_ms, self.view_asked_ms.get());
        self.note(seller, decision, now_ms)
    }

    /// The same for a request that arrived at `came_ms` and has waited for a view of the sale.
    pub(super) fn decide_after_view(
        self: &Rc<Self>,
        seller: &Seller,
        came_ms: u64,
    ) -> LatchDecision {
        let now_ms = seller.clock.now_ms();
        let decision = self.latch.borrow().check_after_view(now_ms, came_ms);
        self.note(seller, decision, now_ms)
    }

    /// Why the ledger's last answer refuses, if it does, however old that answer is.
    pub(super) fn last_reason(self: &Rc<Self>, seller: &Seller) -> Option<LatchReason> {
        let now_ms = seller.clock.now_ms();
        let decision = self.latch.borrow().check_after_view(now_ms, 0);
        match self.note(seller, decision, now_ms) {
            LatchDecision::Refuse(reason) => Some(reason),
            LatchDecision::Stale | LatchDecision::AskLedger => None,
        }
    }

    /// Decides by the latches of the ticket types that a request names.
    pub(super) fn decide_types(self: &Rc<Self>, seller: &Seller, lines: &Lines) -> TypeDecision {
        let now_ms = seller.clock.now_ms();
        let decision = self.types.borrow().check(lines, now_ms, self.view_asked_ms.get());
        self.note_type(seller, decision, now_ms)
    }

    /// The same for a request that arrived at `came_ms` and has waited for a view of the sale.
    pub(super) fn decide_types_after_view(
        self: &Rc<Self>,
        seller: &Seller,
        lines: &Lines,
        came_ms: u64,
    ) -> TypeDecision {
        let now_ms = seller.clock.now_ms();
        let decision = self.types.borrow().check_after_view(lines, now_ms, came_ms);
        self.note_type(seller, decision, now_ms)
    }

    fn note_type(
        self: &Rc<Self>,
        seller: &Seller,
        decision: TypeDecision,
        now_ms: u64,
    ) -> TypeDecision {
        if let TypeDecision::Refuse(_) = decision {
            self.note_refusal(seller, now_ms);
        }
        decision
    }

    fn note(
        self: &Rc<Self>,
        seller: &Seller,
        decision: LatchDecision,
        now_ms: u64,
    ) -> LatchDecision {
        if let LatchDecision::Refuse(_) = decision {
            self.note_refusal(seller, now_ms);
        }
        decision
    }

    /// Which creation of the sale is open and unsplit, by a recent view.
    /// [`UNKNOWN`](Creation::UNKNOWN) if there is no such view, or if the sale's creations are not
    /// numbered.
    pub(super) fn creation_on_sale(&self, seller: &Seller) -> Creation {
        let view = self.view.borrow();
        let now_ms = seller.clock.now_ms();
        match view.as_ref().filter(|seen| seen.is_recent(now_ms)).map(|seen| &seen.view) {
            Some(view) if view.state() == SaleState::Open && view.spec.split == Split::Whole => {
                view.creation
            }
            _ => Creation::UNKNOWN,
        }
    }

    pub(super) fn note_refusal(self: &Rc<Self>, seller: &Seller, now_ms: u64) {
        self.refused_at_ms.set(now_ms);
        seller.sales.want(self);
    }
}

impl Seller {
    /// Returns the slot of a sale, a new one at the first request. A sale that turns out not to
    /// exist is forgotten again, so invented names do not stay.
    pub fn sale(&self, id: &str) -> Result<Rc<SaleSlot>, PurchaseOutcome> {
        let now_ms = self.clock.now_ms();
        if let Some(slot) = self.sales.find(id, now_ms) {
            return Ok(slot);
        }
        let id = SaleId::new(id).map_err(|_| PurchaseOutcome::from(RejectReason::UnknownSale))?;
        if !self.batcher.is_available() {
            return Err(PurchaseOutcome::Failed(Failure::Unavailable));
        }
        if !self.sales.has_room(now_ms) {
            return Err(PurchaseOutcome::Failed(Failure::Busy));
        }
        let slot =
            Rc::new(SaleSlot::new(id.clone(), self.selling.allowances.of(id.as_str()), None));
        self.sales.add(&slot, now_ms);
        Ok(slot)
    }

    /// The same for a purchase. Records the purchase if it ends here.
    #[inline(always)]
    pub fn sale_to_buy(&self, id: &str) -> Result<Rc<SaleSlot>, PurchaseOutcome> {
        self.sale(id).inspect_err(|outcome| {
            self.counts.unknown_sales.add(Counted::of(outcome));
            if let PurchaseOutcome::Failed(failure) = outcome {
                self.note_failure(*failure);
            }
        })
    }

    /// Queries the ledger in the background about the sales that were refused or shown from memory
    /// since the last tick. So latches open and views are renewed without a waiting request.
    ///
    /// A few sales that refused recently are queried even if there are no requests: a crowd that
    /// returns all at once then meets a fresh latch and does not go to the ledger one by one.
    pub(super) fn refresh_sales(&self) {
        let now_ms = self.clock.now_ms();
        let mut wanted = self.sales.wanted.take();
        let (mut asked, mut kept) = (0, 0);
        wanted.retain(|slot| {
            if slot.forgotten.get() {
                return false;
            }
            if asked == VIEWS_PER_TICK_MAX {
                return true;
            }
            asked += 1;
            slot.record_ages(self, now_ms);
            slot.request_view(self);
            let lately = now_ms < slot.refused_at_ms.get() + LATCH_KEPT_MS;
            let keep = kept < LATCHES_KEPT_MAX && lately && slot.is_closed();
            kept += usize::from(keep);
            slot.wanted.set(keep);
            keep
        });
        self.sales.wanted.replace(wanted);
    }

    /// Replaces the slot of a sale, because another sale has its name now or because it is split
    /// differently. Returns the new slot. Requests that waited for a view of the old slot wait for
    /// a view of the new one.
    fn renew(&self, slot: &Rc<SaleSlot>) -> Option<Rc<SaleSlot>> {
        let waiters = slot.view_waiters.take();
        slot.view_asked_ms.set(None);
        // A waiting request still has the old slot, and must not be shown its view.
        slot.view.take();
        self.forget(slot);
        self.selling.allowances.renew(slot.id.as_str(), &slot.shards);
        match self.sale(slot.id.as_str()) {
            Ok(fresh) => {
                fresh.view_waiters.borrow_mut().extend(waiters);
                Some(fresh)
            }
            Err(_) => {
                *slot.view_waiters.borrow_mut() = waiters;
                slot.answer_view(self, &Err(Failure::Unavailable));
                None
            }
        }
    }

    /// Forgets a sale with its parts: the cached state is no longer true. Later answers of the
    /// ledger do not find the slot, so the requests that wait for its view are answered now.
    pub(super) fn forget(&self, slot: &Rc<SaleSlot>) {
        slot.answer_view(self, &Err(Failure::Unavailable));
        if !self.sales.remove(slot) {
            return;
        }
        self.selling.allowances.forget(slot.id.as_str(), &slot.shards);
    }
}

/// Returns the cached view of a sale if it is recent enough. The core renews it in the background
/// while requests use it, so no request waits.
pub(super) fn cached_view(seller: &Seller, slot: &Rc<SaleSlot>) -> Option<Rc<CachedView>> {
    let view = slot.view.borrow();
    let seen = view.as_ref().filter(|seen| seen.is_recent(seller.clock.now_ms()))?;
    seller.sales.want(slot);
    Some(seen.clone())
}

/// Queries the view of a sale. Requests that arrive meanwhile share the query.
pub(super) fn fetch_view(
    seller: &Seller,
    slot: &SaleSlot,
    waiter: WaiterId,
) -> Result<Ticket, Failure> {
    if !seller.batcher.is_available() {
        return Err(Failure::Unavailable);
    }
    let overdue_ms = seller.clock.now_ms().saturating_sub(seller.batcher.answer_deadline_ms());
    if slot.view_asked_ms.get().is_some_and(|asked_ms| asked_ms < overdue_ms) {
        return Err(Failure::Unknown);
    }
    // A forgotten slot gets no answers.
    if slot.forgotten.get() {
        return Err(Failure::Unavailable);
    }
    let ticket = seller.batcher.new_ticket(slot.id(), slot.exists(), Some(waiter))?;
    slot.view_waiters.borrow_mut().push(seller.batcher.number(&ticket));
    seller.counts.queries.waiters.add(1);
    slot.request_view(seller);
    Ok(ticket)
}

impl SaleSlot {
    fn record_ages(&self, seller: &Seller, now_ms: u64) {
        let queries = &seller.counts.queries;
        if let Some(age_ms) = self.latch.borrow().age_ms(now_ms) {
            queries.latch_age_ms.record(age_ms);
        }
        if let Some(seen) = &*self.view.borrow() {
            queries.view_age_ms.record(now_ms.saturating_sub(seen.asked_at_ms));
        }
    }

    fn request_view(&self, seller: &Seller) {
        if self.view_asked_ms.get().is_none() {
            let now_ms = seller.clock.now_ms();
            let known = self.exists();
            let parts = self.parts.get();
            let count = parts.map_or(0, |parts| parts.slots().len() as u32);
            let show = |id| {
                let glance = Command::Peek { parts: count };
                seller.batcher.submit_unattended(now_ms, id, known, glance)
            };
            parts.inspect(|parts| parts.forget_views());
            let parts = parts.map_or(&[][..], |parts| parts.slots());
            if show(&self.id) && parts.iter().all(|part| show(&part.id)) {
                self.view_asked_ms.set(Some(now_ms));
                self.views_asked.set(self.views_asked.get() + 1);
                let queries = &seller.counts.queries;
                match self.view_waiters.borrow().is_empty() {
                    true => queries.background.add(1),
                    false => queries.awaited.add(1),
                }
            } else {
                self.answer_view(seller, &Err(Failure::Unavailable));
            }
        }
    }

    pub(super) fn answer_view(&self, seller: &Seller, answer: &Answer) {
        for ticket in self.view_waiters.take() {
            seller.batcher.deliver(ticket, answer.clone());
        }
    }

    /// Handles the view of the sale (number 0) or of one part. Without parts, the view is complete.
    /// It was true no earlier than `asked_ms`.
    fn on_part_view(
        self: &Rc<Self>,
        seller: &Seller,
        number: usize,
        view: &SaleView,
        asked_ms: u64,
    ) {
        let parts = self.parts.get().map(|parts| parts.slots().len());
        let is_kept_so = parts.is_none_or(|parts| view.spec.split.places() == parts + 1);
        if number == 0 && !(is_kept_so && self.shards.is_of(view.creation.0)) {
            // Another sale has this name now.
            if let Some(fresh) = seller.renew(self) {
                fresh.shards.is_of(view.creation.0);
                // Requests of the old slot wait for this view.
                fresh.view_asked_ms.set(Some(asked_ms));
                fresh.on_part_view(seller, 0, view, asked_ms);
            }
            return;
        }
        if view.spec.split == Split::Whole && self.parts.get().is_none() {
            return self.on_view(seller, view, asked_ms);
        }
        if let Split::Head { parts } = view.spec.split {
            self.become_split(seller, parts);
        }
        let Some(parts) = self.parts.get() else { return };
        if !parts.are_asked() {
            // The waiting requests keep waiting, for the view of all parts.
            self.view_asked_ms.set(None);
            self.request_view(seller);
            return;
        }
        // The query under way gets a later view of this place.
        if self.view_asked_ms.get().is_some_and(|queried_ms| asked_ms < queried_ms) {
            return;
        }
        match parts.on_view(number, view, asked_ms) {
            Some(Some((view, asked_ms))) => self.on_view(seller, &view, asked_ms),
            Some(None) => {
                self.view_asked_ms.set(None);
                self.answer_view(seller, &Err(Failure::Unavailable));
            }
            None => {}
        }
    }

    /// Handles a view of the whole sale that was true no earlier than `asked_ms`.
    fn on_view(&self, seller: &Seller, view: &SaleView, asked_ms: u64) {
        self.replaced_broken.set(false);
        self.shards.note_free(view.free());
        self.latch.borrow_mut().on_view(view, asked_ms);
        self.types.borrow_mut().on_view(view, asked_ms);
        let is_newer = |seen: &Rc<CachedView>| seen.asked_at_ms <= asked_ms;
        if self.view.borrow().as_ref().is_none_or(is_newer) {
            let seen =
                CachedView { asked_at_ms: asked_ms, view: view.clone(), encoded: OnceCell::new() };
            *self.view.borrow_mut() = Some(Rc::new(seen));
        }
        // A view that was sent before the query under way does not answer it.
        let Some(queried_ms) = self.view_asked_ms.get().filter(|ms| *ms <= asked_ms) else {
            return;
        };
        self.view_asked_ms.set(None);
        self.views_seen.set(self.views_asked.get());
        self.answer_view(seller, &Ok(Outcome::Sale(Box::new(view.clone()))));
        // The answer took longer than a tick, and that tick found the query still open.
        let overdue = seller.clock.now_ms() >= queried_ms + TICK_INTERVAL_MS;
        if overdue && self.wanted.get() {
            self.request_view(seller);
        }
    }

    /// Handles the outcome of one command. `number` is 0 for the sale itself, otherwise the number
    /// of the part.
    pub(super) fn on_outcome(
        self: &Rc<Self>,
        seller: &Seller,
        number: usize,
        entry: &SentCommand,
        outcome: &Outcome,
        reply: &GroupReply,
        asked_ms: u64,
    ) {
        let is_dated_now = planted::is(Bug::LateAnswerDatedNow);
        let asked_ms = if is_dated_now { seller.clock.now_ms() } else { asked_ms };
        let close = |reason| {
            self.latch.borrow_mut().close(reason, asked_ms, reply.now_ms);
            self.note_refusal(seller, seller.clock.now_ms());
        };
        match outcome {
            Outcome::Granted { .. } | Outcome::Seated(_) => {
                self.latch.borrow_mut().open();
                return;
            }
            // An earlier answer in the same reply has replaced this slot. The new slot sends its
            // own queries. This one must not enter its parts again, over those of the new one.
            _ if self.forgotten.get() => {}
            // Units are left, and the sale is open.
            Outcome::NotClaimed if number == 0 && reply.free > Some(0) => {
                self.latch.borrow_mut().open();
            }
            // A part that is sold out says nothing about the other parts.
            Outcome::SoldOut { free: 0 } if number == 0 => close(LatchReason::SoldOut),
            Outcome::NotOpen { opens_at_ms } => {
                close(LatchReason::NotOpen { opens_at_ms: *opens_at_ms })
            }
            Outcome::Closed => close(LatchReason::Closed),
            Outcome::TypeSoldOut { name, free: 0 } => {
                self.types.borrow_mut().close(name, asked_ms, reply.now_ms);
                self.note_refusal(seller, seller.clock.now_ms());
            }
            Outcome::Sale(view) | Outcome::Created(view) => {
                self.on_part_view(seller, number, view, asked_ms);
            }
            Outcome::Split { parts } => self.become_split(seller, *parts),
            Outcome::Unclear => {
                // The first query is still unanswered and waits for this one. If the ledger is
                // away, all waiting requests are answered.
                let (now_ms, parts) = (seller.clock.now_ms(), self.parts.get());
                let part = parts.zip(number.checked_sub(1)).map(|(all, at)| &all.slots()[at].id);
                let target = part.unwrap_or(&self.id);
                if !seller.batcher.submit_unattended(now_ms, target, true, Command::Show) {
                    self.view_asked_ms.set(None);
                    self.answer_view(seller, &Err(Failure::Unavailable));
                }
            }
            Outcome::UnknownSale if number > 0 => {
                self.view_asked_ms.set(None);
                if self.replaced_broken.get() || self.view_waiters.borrow().is_empty() {
                    self.answer_view(seller, &Err(Failure::Unavailable));
                } else if let Some(fresh) = seller.renew(self) {
                    // The sale is gone, or another one has its name: a view of the head shows
                    // which.
                    fresh.replaced_broken.set(true);
                    fresh.request_view(seller);
                }
            }
            Outcome::UnknownSale => {
                self.view_asked_ms.set(None);
                self.answer_view(seller, &Ok(Outcome::UnknownSale));
            }
            _ => {}
        }
        self.shards.give_back(seller.index, u64::from(entry.allowance));
    }
}

impl SaleSlot {
    /// Handles the answer that the sale is split.
    fn become_split(self: &Rc<Self>, seller: &Seller, parts: u32) {
        debug_assert!(!self.forgotten.get(), "its parts would take the places of another's");
        if let Some(known) = self.parts.get() {
            if known.slots.len() != parts as usize {
                // Another sale of the same name.
                seller.forget(self);
            }
            return;
        }
        let part = |number: u32| {
            let part_of = PartOf {
                whole: Rc::downgrade(self),
                number: number as usize,
                waiters: RefCell::new(None),
                searched_ms: Cell::new(0),
            };
            let id = splits::place_id(self.id(), number as usize, parts);
            Rc::new(SaleSlot::new(id, self.shards.clone(), Some(Box::new(part_of))))
        };
        let slots: Vec<_> = (1..=parts).map(part).collect();
        seller.sales.add_parts(&slots);
        let views = RefCell::default();
        let turn = Cell::new(seller.index % slots.len());
        let parts = Parts { slots, views, turn, missing_logged_ms: Cell::new(0) };
        let _ = self.parts.set(Box::new(parts));
    }
}
