//! What a core remembers of each sale (latch, view, allowance), kept true by every answer of the
//! ledger.
//!
//! What is done at every tick depends on the sales that requests met since the last one, not on how
//! many there are. Names that clients invent are forgotten with the ledger's answer.
//!
//! Architecture invariant: knows no HTTP and no kind of ledger.

use std::cell::{Cell, OnceCell, RefCell};
use std::rc::Rc;

use super::counts::Counted;
use super::seller::Seller;
use super::slot::{PartOf, Parts, SaleSlot, SeenView};
use super::vanished;
use super::verdict::{Refused, Verdict};
use crate::ledger::batch::{Answer, Asker, Entry, Settle, Ticket};
use crate::ledger::{Failure, GroupReply};
use crate::limits::{
    LATCH_KEPT_MS, LATCHES_KEPT_MAX, TICK_INTERVAL_MS, VIEW_AGE_MS_MAX, VIEWS_PER_TICK_MAX,
};
use crate::sale::{Command, Creation, Lines, Outcome, SaleId, SaleView, Split, State};
use crate::splits;
use crate::stock::{Refusal, TypeWord, Word};

impl SaleSlot {
    /// What the latch says. If it refuses, the core goes on asking the ledger in the background.
    #[inline(always)]
    pub(super) fn word(self: &Rc<Self>, seller: &Seller) -> Word {
        let now_ms = seller.clock.now_ms();
        let word = self.latch.borrow().check(now_ms, self.view_asked_ms.get());
        self.note(seller, word, now_ms)
    }

    /// The same for a request that came at `came_ms` and has waited for a view of the sale.
    pub(super) fn word_after_view(self: &Rc<Self>, seller: &Seller, came_ms: u64) -> Word {
        let now_ms = seller.clock.now_ms();
        let word = self.latch.borrow().check_after_view(now_ms, came_ms);
        self.note(seller, word, now_ms)
    }

    /// What the ledger has said of it last: why it refuses, if it does.
    pub(super) fn last_word(self: &Rc<Self>, seller: &Seller) -> Option<Refusal> {
        let now_ms = seller.clock.now_ms();
        let word = self.latch.borrow().check_after_view(now_ms, 0);
        match self.note(seller, word, now_ms) {
            Word::Refuse(refusal) => Some(refusal),
            Word::Doubt | Word::Ask => None,
        }
    }

    /// What the core knows of the ticket types that a request names.
    pub(super) fn type_word(self: &Rc<Self>, seller: &Seller, lines: &Lines) -> TypeWord {
        let now_ms = seller.clock.now_ms();
        let word = self.types.borrow().check(lines, now_ms, self.view_asked_ms.get());
        self.note_type(seller, word, now_ms)
    }

    /// The same for a request that came at `came_ms` and has waited for a view of the sale.
    pub(super) fn type_word_after_view(
        self: &Rc<Self>,
        seller: &Seller,
        lines: &Lines,
        came_ms: u64,
    ) -> TypeWord {
        let now_ms = seller.clock.now_ms();
        let word = self.types.borrow().check_after_view(lines, now_ms, came_ms);
        self.note_type(seller, word, now_ms)
    }

    fn note_type(self: &Rc<Self>, seller: &Seller, word: TypeWord, now_ms: u64) -> TypeWord {
        if let TypeWord::Refuse(_) = word {
            self.note_refusal(seller, now_ms);
        }
        word
    }

    fn note(self: &Rc<Self>, seller: &Seller, word: Word, now_ms: u64) -> Word {
        if let Word::Refuse(_) = word {
            self.note_refusal(seller, now_ms);
        }
        word
    }

    /// Which making of the sale is on sale, in one piece, as the ledger showed it a moment ago.
    /// [`UNKNOWN`](Creation::UNKNOWN) if it did not, or gives makings no number.
    pub(super) fn making_on_sale(&self, seller: &Seller) -> Creation {
        let view = self.view.borrow();
        let is_new = |seen: &SeenView| seller.clock.now_ms() <= seen.asked_at_ms + VIEW_AGE_MS_MAX;
        match view.as_ref().filter(|seen| is_new(seen)).map(|seen| &seen.view) {
            Some(view) if view.state() == State::Open && view.spec.split == Split::Whole => {
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
    /// What is known of a sale, from when it is first asked for. A sale that turns out not to exist
    /// is forgotten again, so that what a client invents does not stay.
    pub fn sale(&self, id: &str) -> Result<Rc<SaleSlot>, Verdict> {
        let now_ms = self.clock.now_ms();
        if let Some(slot) = self.sales.find(id, now_ms) {
            return Ok(slot);
        }
        let id = SaleId::new(id).map_err(|_| Verdict::Refused(Refused::UnknownSale))?;
        if !self.batcher.is_available() {
            return Err(Verdict::Failed(Failure::Unavailable));
        }
        if !self.sales.has_room(now_ms) {
            return Err(Verdict::Failed(Failure::Busy));
        }
        let slot =
            Rc::new(SaleSlot::new(id.clone(), self.selling.allowances.of(id.as_str()), None));
        self.sales.add(&slot, now_ms);
        Ok(slot)
    }

    /// The same for a purchase, which is counted if that is all there is to it.
    #[inline(always)]
    pub fn sale_to_buy(&self, id: &str) -> Result<Rc<SaleSlot>, Verdict> {
        self.sale(id).inspect_err(|verdict| {
            self.counts.strangers.add(Counted::of(verdict));
            if let Verdict::Failed(failure) = verdict {
                self.note_failure(*failure);
            }
        })
    }

    /// Asks the ledger in the background about the sales that were refused or shown from memory
    /// since the last tick: a latch opens and a view is renewed without anybody waiting for it.
    ///
    /// A few that were refused lately are asked about also while nobody comes: a crowd that returns
    /// all at once must find what the core knows, and not go to the ledger one by one.
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
            slot.ask_view(self);
            let lately = now_ms < slot.refused_at_ms.get() + LATCH_KEPT_MS;
            let keep = kept < LATCHES_KEPT_MAX && lately && slot.is_closed();
            kept += usize::from(keep);
            slot.wanted.set(keep);
            keep
        });
        self.sales.wanted.replace(wanted);
    }

    /// Forgets a sale because another one has its name now, or it is kept otherwise. Gives the slot of
    /// that one; whoever waited for a view of the old one waits for its view.
    fn renew(&self, slot: &Rc<SaleSlot>) -> Option<Rc<SaleSlot>> {
        let waiters = slot.view_waiters.take();
        slot.view_asked_ms.set(None);
        // Whoever waits still has the old slot, and is not to be shown its view.
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

    /// Forgets a sale, with its parts: what is known of them is no longer so. What the ledger answers
    /// from now on does not find it, so who waits for its view is told.
    pub(super) fn forget(&self, slot: &Rc<SaleSlot>) {
        slot.answer_view(self, &Err(Failure::Unavailable));
        if !self.sales.remove(slot) {
            return;
        }
        self.selling.allowances.forget(slot.id.as_str(), &slot.shards);
    }
}

/// Shows a sale from memory if what is there is young enough. It is renewed in the background
/// while it is asked for, so that nobody waits.
pub fn look(seller: &Seller, slot: &Rc<SaleSlot>) -> Option<Rc<SeenView>> {
    let view = slot.view.borrow();
    let seen = view.as_ref()?;
    if seller.clock.now_ms() > seen.asked_at_ms + VIEW_AGE_MS_MAX {
        return None;
    }
    seller.sales.want(slot);
    Some(seen.clone())
}

/// Asks the ledger to show a sale; those who ask meanwhile share the question.
pub fn ask(seller: &Seller, slot: &SaleSlot, asker: Asker) -> Result<Ticket, Failure> {
    if !seller.batcher.is_available() {
        return Err(Failure::Unavailable);
    }
    let overdue_ms = seller.clock.now_ms().saturating_sub(seller.batcher.answer_deadline_ms());
    if slot.view_asked_ms.get().is_some_and(|asked_ms| asked_ms < overdue_ms) {
        return Err(Failure::Unknown);
    }
    // It is told nothing any more.
    if slot.forgotten.get() {
        return Err(Failure::Unavailable);
    }
    let ticket = seller.batcher.new_ticket(slot.id(), slot.exists(), Some(asker))?;
    slot.view_waiters.borrow_mut().push(seller.batcher.number(&ticket));
    seller.counts.questions.waiters.add(1);
    slot.ask_view(seller);
    Ok(ticket)
}

impl SaleSlot {
    fn record_ages(&self, seller: &Seller, now_ms: u64) {
        let questions = &seller.counts.questions;
        if let Some(age_ms) = self.latch.borrow().age_ms(now_ms) {
            questions.latch_age_ms.record(age_ms);
        }
        if let Some(seen) = &*self.view.borrow() {
            questions.view_age_ms.record(now_ms.saturating_sub(seen.asked_at_ms));
        }
    }

    fn ask_view(&self, seller: &Seller) {
        if self.view_asked_ms.get().is_none() {
            let now_ms = seller.clock.now_ms();
            let known = self.exists();
            let parts = self.parts.get();
            let count = parts.map_or(0, |parts| parts.slots().len() as u32);
            let show = |id| {
                let glance = Command::Glance { parts: count };
                seller.batcher.submit_unattended(now_ms, id, known, glance)
            };
            parts.inspect(|parts| parts.forget_views());
            let parts = parts.map_or(&[][..], |parts| parts.slots());
            if show(&self.id) && parts.iter().all(|part| show(&part.id)) {
                self.view_asked_ms.set(Some(now_ms));
                self.views_asked.set(self.views_asked.get() + 1);
                let questions = &seller.counts.questions;
                match self.view_waiters.borrow().is_empty() {
                    true => questions.background.add(1),
                    false => questions.awaited.add(1),
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

    /// A view of one place has come: of a sale that is not split that is all.
    fn see_place(self: &Rc<Self>, seller: &Seller, number: usize, view: &SaleView) {
        let parts = self.parts.get().map(|parts| parts.slots().len());
        let is_kept_so = parts.is_none_or(|parts| view.spec.split.places() == parts + 1);
        if number == 0 && !(is_kept_so && self.shards.is_of(view.creation.0)) {
            // Another sale has its name.
            if let Some(fresh) = seller.renew(self) {
                fresh.shards.is_of(view.creation.0);
                fresh.see_place(seller, 0, view);
            }
            return;
        }
        if view.spec.split == Split::Whole && self.parts.get().is_none() {
            return self.see(seller, view);
        }
        if let Split::Head { parts } = view.spec.split {
            self.become_split(seller, parts);
        }
        let Some(parts) = self.parts.get() else { return };
        if !parts.are_asked() {
            // Whoever waits for the view waits on, for that of all.
            self.view_asked_ms.set(None);
            self.ask_view(seller);
            return;
        }
        match parts.seen(number, view) {
            Some(Some(view)) => self.see(seller, &view),
            Some(None) => {
                self.view_asked_ms.set(None);
                self.answer_view(seller, &Err(Failure::Unavailable));
            }
            None => {}
        }
    }

    fn see(&self, seller: &Seller, view: &SaleView) {
        let now_ms = seller.clock.now_ms();
        self.renewed.set(false);
        self.shards.note_free(view.free());
        let asked_at_ms = self.view_asked_ms.take();
        self.latch.borrow_mut().shown(view, asked_at_ms.unwrap_or(now_ms));
        self.types.borrow_mut().shown(view, asked_at_ms.unwrap_or(now_ms));
        if let Some(asked_at_ms) = asked_at_ms {
            self.views_seen.set(self.views_asked.get());
            let seen = SeenView { asked_at_ms, view: view.clone(), written: OnceCell::new() };
            *self.view.borrow_mut() = Some(Rc::new(seen));
        }
        self.answer_view(seller, &Ok(Outcome::Sale(Box::new(view.clone()))));
        // The answer took longer than a tick, which found the question still open.
        let overdue = asked_at_ms.is_some_and(|ms| now_ms >= ms + TICK_INTERVAL_MS);
        if overdue && self.wanted.get() {
            self.ask_view(seller);
        }
    }

    /// Takes in what became of one command to this place. It is the sale itself, unless that is split.
    fn learn(
        self: &Rc<Self>,
        seller: &Seller,
        number: usize,
        entry: &Entry,
        outcome: &Outcome,
        reply: &GroupReply,
        asked_ms: u64,
    ) {
        let close = |refusal| {
            self.latch.borrow_mut().close(refusal, asked_ms, reply.now_ms);
            self.note_refusal(seller, seller.clock.now_ms());
        };
        match outcome {
            Outcome::Granted { .. } => {
                self.latch.borrow_mut().open();
                return;
            }
            // An answer before this one in the same reply has put another slot in its place, which asks
            // for itself. This one must not enter its parts again, where those of the other are.
            _ if self.forgotten.get() => {}
            // Units are left, and it sells.
            Outcome::NotClaimed if number == 0 && reply.free > Some(0) => {
                self.latch.borrow_mut().open();
            }
            // A part that is sold out says nothing of the others.
            Outcome::SoldOut { free: 0 } if number == 0 => close(Refusal::SoldOut),
            Outcome::NotOpen { opens_at_ms } => {
                close(Refusal::NotOpen { opens_at_ms: *opens_at_ms })
            }
            Outcome::Closed => close(Refusal::Closed),
            Outcome::TypeSoldOut { name, free: 0 } => {
                self.types.borrow_mut().close(name, asked_ms, reply.now_ms);
                self.note_refusal(seller, seller.clock.now_ms());
            }
            Outcome::Sale(view) | Outcome::Created(view) => self.see_place(seller, number, view),
            Outcome::Split { parts } => self.become_split(seller, *parts),
            Outcome::Unclear => {
                // What was asked first still waits for this. If the ledger is away, all are told.
                let (now_ms, parts) = (seller.clock.now_ms(), self.parts.get());
                let part = parts.zip(number.checked_sub(1)).map(|(all, at)| &all.slots()[at].id);
                let place = part.unwrap_or(&self.id);
                if !seller.batcher.submit_unattended(now_ms, place, true, Command::Show) {
                    self.view_asked_ms.set(None);
                    self.answer_view(seller, &Err(Failure::Unavailable));
                }
            }
            Outcome::UnknownSale if number > 0 => {
                self.view_asked_ms.set(None);
                if self.renewed.get() || self.view_waiters.borrow().is_empty() {
                    self.answer_view(seller, &Err(Failure::Unavailable));
                } else if let Some(fresh) = seller.renew(self) {
                    // The sale is gone, or another one has its name: the head says which.
                    fresh.renewed.set(true);
                    fresh.ask_view(seller);
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
    /// The ledger says that the sale is split.
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
            let waiters = RefCell::new(None);
            let part_of = PartOf { whole: Rc::downgrade(self), number: number as usize, waiters };
            let id = splits::place_id(self.id(), number as usize, parts);
            Rc::new(SaleSlot::new(id, self.shards.clone(), Some(Box::new(part_of))))
        };
        let slots: Vec<_> = (1..=parts).map(part).collect();
        seller.sales.add_parts(&slots);
        let views = RefCell::default();
        let turn = Cell::new(seller.index % slots.len());
        let parts = Parts { slots, views, turn, missing_told_ms: Cell::new(0) };
        let _ = self.parts.set(Box::new(parts));
    }
}

/// Keeps a core's knowledge true: told of every answer of the ledger.
pub struct Settler(pub &'static Seller);

impl Settle for Settler {
    fn give_back(&self, sale: &SaleId, units: u64) {
        if let Some((slot, _)) = self.0.sales.known(sale).and_then(PartOf::resolve) {
            slot.shards.give_back(self.0.index, units);
        }
    }

    fn told_to_all(&self, sale: &SaleId) -> Option<Outcome> {
        let (slot, number) = self.0.sales.known(sale).and_then(PartOf::resolve)?;
        let word = slot.latch.borrow().check(self.0.clock.now_ms(), None);
        match word {
            // A part says nothing of the others.
            _ if number > 0 => None,
            Word::Refuse(Refusal::SoldOut) => Some(Outcome::SoldOut { free: 0 }),
            Word::Refuse(Refusal::NotOpen { opens_at_ms }) => {
                Some(Outcome::NotOpen { opens_at_ms })
            }
            Word::Refuse(Refusal::Closed) => Some(Outcome::Closed),
            Word::Doubt | Word::Ask => None,
        }
    }

    fn nobody_waits(&self, sale: &SaleId, outcome: &Outcome) {
        let slot = self.0.sales.known(sale).and_then(PartOf::resolve).map(|(slot, _)| slot);
        let granted = matches!(outcome, Outcome::Granted { .. });
        self.0.record(
            slot.as_deref(),
            if granted { Counted::Granted } else { Counted::Abandoned },
            None,
        );
    }

    fn give_up(&self, sale: &SaleId) {
        if let Some((slot, _)) = self.0.sales.known(sale).and_then(PartOf::resolve) {
            slot.answer_view(self.0, &Err(Failure::Unknown));
        }
    }

    fn settle(
        &self,
        sale: &SaleId,
        entries: &[Entry],
        result: Result<&GroupReply, Failure>,
        asked_ms: u64,
    ) {
        let seller = self.0;
        let Some((slot, number)) = seller.sales.known(sale).and_then(PartOf::resolve) else {
            return;
        };
        match result {
            Ok(reply) => {
                for (entry, outcome) in entries.iter().zip(&reply.outcomes) {
                    slot.learn(seller, number, entry, outcome, reply, asked_ms);
                }
                match reply.free {
                    Some(_) if slot.forgotten.get() => {
                        // Another sale has its name, and is there.
                        if let Some((fresh, _)) = seller.sales.known(sale).and_then(PartOf::resolve)
                            && fresh.note_exists(&seller.selling.sales)
                        {
                            seller.sales.want(&fresh);
                        }
                    }
                    Some(free) => {
                        if slot.note_exists(&seller.selling.sales) {
                            // Which sale of that name it is, a view says.
                            seller.sales.want(&slot);
                        }
                        slot.shards.note_free(free);
                        if free > 0 {
                            slot.latch.borrow_mut().stock_is_back();
                        }
                    }
                    None => {
                        if slot.exists() {
                            vanished::log(&slot);
                        }
                        seller.forget(&slot);
                    }
                }
            }
            Err(failure) => {
                if failure != Failure::Unknown {
                    let units = entries.iter().map(|entry| u64::from(entry.allowance)).sum();
                    slot.shards.give_back(seller.index, units);
                }
                slot.view_asked_ms.set(None);
                slot.answer_view(seller, &Err(failure));
                if !slot.exists() {
                    seller.forget(&slot);
                }
            }
        }
    }
}
