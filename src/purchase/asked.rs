//! A purchase that waits, and how it goes on with each answer.
//!
//! Most wait for one answer: their own outcome. One with an idempotency key that comes to a closed
//! latch looks for its claim, along with all others that do so: the answer also says whether the sale
//! still refuses. One without a key that comes to a latch too old to be believed waits for the view
//! that all wait for. In a split sale, what the parts tell together and what a part knows of a key
//! are two answers, and the second is asked for after the first has come: so at the time of the
//! first, the key had no reservation.

use std::rc::Rc;
use std::sync::Arc;
use std::time::Instant;

use super::counts::Counted;
use super::parts;
use super::put::{Put, put_at};
use super::sales;
use super::seller::Seller;
use super::slot::SaleSlot;
use super::verdict::{Ask, LinesRefused, Refused, Verdict};
use crate::ledger::Failure;
use crate::ledger::batch::{Answer, Asker, Ticket};
use crate::limits::PURCHASE_STEPS_MAX;
use crate::sale::{Command, Creation, Outcome, ReservationId};
use crate::stock::{Refusal, TypeWord, Word};
use crate::trace::Trace;

/// A purchase after the local step, or after an answer.
pub enum Progress {
    /// It needs nothing more.
    Done(Done),
    /// It waits for the ledger.
    Waits(Asked),
}

/// What a purchase has come to.
pub struct Done {
    /// What.
    pub verdict: Verdict,
    /// Where: at the sale that was asked, or at the part of it.
    pub place: Rc<SaleSlot>,
}

/// A purchase that waits for the ledger. It must go on when it is told to, or be given up.
#[must_use]
pub struct Asked {
    ticket: Ticket,
    waits_for: WaitsFor,
    /// The sale, as whoever asks named it.
    slot: Rc<SaleSlot>,
    came: Came,
    /// How the client's request is found again.
    trace: Option<Arc<Trace>>,
}

/// When a purchase came, and how far it is.
#[derive(Clone, Copy)]
struct Came {
    /// On the core's clock.
    ms: u64,
    /// By the system's.
    at: Instant,
    /// Views of the sale that had been asked for by then: none of these tells what it is told.
    views: u64,
    /// Answers since.
    steps: u32,
}

/// What it waits for.
enum WaitsFor {
    /// The outcome of its request at this place: the sale, or a part of it.
    Outcome(Rc<SaleSlot>),
    /// Whether it has its reservation already, at this place. If not: what it is told then, if that is
    /// known, whatever else the place says.
    Claim(Rc<SaleSlot>, Option<Box<Verdict>>),
    /// The reservation that its key has, at this place; and what it asks for.
    Reservation(Rc<SaleSlot>, Box<Ask>),
    /// The ledger's view of the sale.
    View(Box<Ask>),
    /// Units for this part.
    Units(Box<Ask>, Rc<SaleSlot>),
}

/// What it waits for next; or what it has come to, and where.
type Next = Result<(Ticket, WaitsFor), Done>;

/// The local step of a purchase: latch, allowance, queue. What is asked is made only where the core does
/// not know the answer by itself: to that it matters whether there is a key, and it says how the request
/// is found again.
#[inline(always)] // Most of what a sold-out sale is asked ends here.
pub fn begin(
    seller: &'static Seller,
    slot: &Rc<SaleSlot>,
    (has_key, trace): (bool, Option<&Arc<Trace>>),
    ask: impl FnOnce() -> Ask,
    asker: Asker,
) -> Progress {
    match slot.word(seller) {
        Word::Refuse(refusal) if !has_key => {
            seller.record_known(slot, &refusal, trace.map(|trace| &**trace));
            let verdict = Verdict::Refused(refusal.into());
            Progress::Done(Done { verdict, place: slot.clone() })
        }
        word => begin_to_ask(seller, slot.clone(), ask(), word, asker),
    }
}

/// What a purchase without an idempotency key comes to, if the core knows by itself that the sale is sold
/// out. It notes nothing of a sale that it does not know.
pub fn known_sold_out(seller: &Seller, sale: &str, trace: Option<&Arc<Trace>>) -> Option<Done> {
    let place = seller.sales.find(sale, seller.clock.now_ms())?;
    match place.word(seller) {
        Word::Refuse(refusal @ Refusal::SoldOut) => {
            seller.record_known(&place, &refusal, trace.map(|trace| &**trace));
            Some(Done { verdict: Verdict::Refused(refusal.into()), place })
        }
        Word::Refuse(_) | Word::Doubt | Word::Ask => None,
    }
}

fn begin_to_ask(
    seller: &'static Seller,
    slot: Rc<SaleSlot>,
    ask: Ask,
    word: Word,
    asker: Asker,
) -> Progress {
    let (ms, at) = (seller.clock.now_ms(), Instant::now());
    let came = Came { ms, at, views: slot.views_asked.get(), steps: 0 };
    let trace = ask.trace.clone();
    let mut walk = Walk { seller, slot, came, trace, asker };
    let next = match word {
        Word::Ask => walk.put_unless_known(ask),
        // A repeated key must find its reservation whatever the core knows of the sale.
        Word::Refuse(_) | Word::Doubt if ask.key.is_some() => walk.look_for_claim(ask),
        Word::Refuse(_) | Word::Doubt => walk.wait_for_view(Box::new(ask)),
    };
    walk.end(next)
}

impl Asked {
    /// Goes on, when it was told that its answer is there. `asker` is told again if it waits on.
    pub fn go_on(self, seller: &'static Seller, asker: Asker) -> Progress {
        let Self { ticket, waits_for, slot, mut came, trace } = self;
        let (answer, command) = match seller.batcher.take(ticket) {
            Ok(answered) => answered,
            Err(ticket) => return Progress::Waits(Self { ticket, waits_for, slot, came, trace }),
        };
        came.steps += 1;
        let mut walk = Walk { seller, slot, came, trace, asker };
        let next = match (waits_for, command) {
            // It may have been made a look for its claim while it waited.
            (WaitsFor::Outcome(place), Some(Command::FindClaim(reserve, _))) => {
                walk.after_claim(place, answer, None, reserve.into())
            }
            (WaitsFor::Claim(place, refused), Some(Command::FindClaim(reserve, _))) => {
                walk.after_claim(place, answer, refused, reserve.into())
            }
            (WaitsFor::Outcome(place), Some(Command::Reserve(reserve))) => {
                let id = reserve.id;
                walk.after_outcome(place, answer, id, reserve.into())
            }
            (WaitsFor::Outcome(place) | WaitsFor::Claim(place, _), _) => {
                Err(Done { verdict: Verdict::without_request(answer), place })
            }
            (WaitsFor::Reservation(place, ask), _) => {
                let verdict = Verdict::of_reservation(answer, ask.quantity, ask.lines());
                Err(Done { verdict, place })
            }
            (WaitsFor::View(ask), _) => walk.after_view(ask, answer),
            (WaitsFor::Units(ask, part), _) => walk.after_units(*ask, part, answer),
        };
        walk.end(next)
    }

    /// Nobody waits for it any more. What was not sent is never done, and its allowance is given back;
    /// what was sent is settled when it is answered.
    pub fn give_up(self, seller: &Seller) {
        let unsent = seller.batcher.give_up(self.ticket);
        self.slot.shards.give_back(seller.index, u64::from(unsent.unwrap_or(0)));
        // Else it is recorded when it is answered.
        if unsent.is_some() || !matches!(self.waits_for, WaitsFor::Outcome(_)) {
            seller.record(Some(&self.slot), Counted::Abandoned, self.trace.as_deref());
        }
    }
}

/// A purchase on its way.
struct Walk {
    seller: &'static Seller,
    slot: Rc<SaleSlot>,
    came: Came,
    trace: Option<Arc<Trace>>,
    asker: Asker,
}

impl Walk {
    fn end(self, next: Next) -> Progress {
        let Self { seller, slot, came, trace, .. } = self;
        let Done { mut verdict, place } = match next {
            Ok((ticket, waits_for)) => {
                if came.steps > 0 {
                    seller.batcher.kick();
                }
                return Progress::Waits(Asked { ticket, waits_for, slot, came, trace });
            }
            Err(done) => done,
        };
        if matches!(verdict, Verdict::Failed(Failure::Unavailable))
            && seller.selling.refused_sales.contains(place.id())
        {
            verdict = Verdict::Refused(Refused::Damaged);
        }
        seller.record(Some(&slot), Counted::of(&verdict), trace.as_deref());
        seller.counts.purchases_us.record(came.at.elapsed().as_micros() as u64);
        Progress::Done(Done { verdict, place })
    }

    fn done(&self, verdict: Verdict) -> Next {
        Err(Done { verdict, place: self.slot.clone() })
    }

    fn refused(&self, refused: impl Into<Refused>) -> Next {
        self.done(Verdict::Refused(refused.into()))
    }

    fn failed(&self, failure: Failure) -> Next {
        self.done(Verdict::Failed(failure))
    }

    /// Puts the request to the ledger, at the place of the sale where it belongs.
    fn put(&mut self, ask: Ask) -> Next {
        let place = self.slot.home(&ask).clone();
        self.put_at(place, ask)
    }

    /// The same, unless the core knows that a ticket type which it names is sold out.
    fn put_unless_known(&mut self, ask: Ask) -> Next {
        match ask.lines().map(|lines| self.slot.type_word(self.seller, lines)) {
            None => self.put(ask),
            Some(word) => self.go_by(word, Box::new(ask)),
        }
    }

    fn go_by(&mut self, word: TypeWord, ask: Box<Ask>) -> Next {
        match word {
            TypeWord::Refuse(name) => {
                let refused = Verdict::Lines(LinesRefused::SoldOut { name, free: 0 });
                match ask.key {
                    None => self.done(refused),
                    // A repeated key must find its reservation.
                    Some(_) => self.find_claim_at(self.slot.clone(), *ask, Some(refused)),
                }
            }
            TypeWord::Doubt if ask.key.is_none() => self.wait_for_view(ask),
            TypeWord::Doubt | TypeWord::Ask => self.put(*ask),
        }
    }

    fn put_at(&mut self, place: Rc<SaleSlot>, ask: Ask) -> Next {
        match put_at(self.seller, &self.slot, &place, ask, self.asker) {
            Ok(Put::Asked(ticket)) => Ok((ticket, WaitsFor::Outcome(place))),
            Ok(Put::Exhausted(ask)) => {
                self.find_claim_at(place, ask, Some(Verdict::Refused(Refused::AllowanceExhausted)))
            }
            Err(verdict) => self.done(verdict),
        }
    }

    /// Asks whether the request has its reservation already. That a split sale refuses, its parts must
    /// have said before.
    fn look_for_claim(&mut self, ask: Ask) -> Next {
        if self.slot.parts.get().is_some() {
            return self.wait_for_view(Box::new(ask));
        }
        self.find_claim_at(self.slot.clone(), ask, None)
    }

    fn find_claim_at(&mut self, place: Rc<SaleSlot>, ask: Ask, refused: Option<Verdict>) -> Next {
        // Who is refused in any case must not be told so by a sale that is not the one that was meant.
        let made = match refused {
            None => place.making_on_sale(self.seller),
            Some(_) => Creation::UNKNOWN,
        };
        let command = Command::FindClaim(ask.into(), made);
        self.seller.counts.questions.claims.add(1);
        match self.submit(&place, command) {
            Ok(ticket) => Ok((ticket, WaitsFor::Claim(place, refused.map(Box::new)))),
            Err(failure) => self.failed(failure),
        }
    }

    fn submit(&self, place: &SaleSlot, command: Command) -> Result<Ticket, Failure> {
        let (seller, known) = (self.seller, self.slot.exists());
        let now_ms = seller.clock.now_ms();
        seller.batcher.submit(now_ms, place.id(), known, command, 0, Some(self.asker))
    }

    /// One question for all who come while the core does not know whether the sale still refuses: a
    /// ledger that is slow must not be given every rejection to decide as well.
    fn wait_for_view(&mut self, ask: Box<Ask>) -> Next {
        if self.came.steps >= PURCHASE_STEPS_MAX {
            return self.failed(Failure::Unavailable);
        }
        if let Err(verdict) = self.look_up_sale() {
            return self.done(verdict);
        }
        match sales::ask(self.seller, &self.slot, self.asker) {
            Ok(ticket) => Ok((ticket, WaitsFor::View(ask))),
            Err(failure) => self.failed(not_sent(failure)),
        }
    }

    fn after_outcome(
        &mut self,
        place: Rc<SaleSlot>,
        answer: Answer,
        id: ReservationId,
        ask: Ask,
    ) -> Next {
        match answer {
            Ok(outcome) if parts::leads_elsewhere(&outcome) => {
                self.ask_elsewhere(place, outcome, id, ask)
            }
            answer => Err(Done { verdict: Verdict::of(answer, id, ask), place }),
        }
    }

    /// The request was refused in a way that is not the last word if the sale is split: it is asked
    /// again where it is to be asked, and has units fetched there if they are lacking.
    fn ask_elsewhere(
        &mut self,
        place: Rc<SaleSlot>,
        outcome: Outcome,
        id: ReservationId,
        ask: Ask,
    ) -> Next {
        let is_part = place.part_of.is_some();
        if let Outcome::SoldOut { .. } = outcome
            && is_part
        {
            if self.is_late() {
                return self.failed(Failure::Busy);
            }
            return self.need_units(place, ask);
        }
        if !is_part && matches!(outcome, Outcome::UnknownSale | Outcome::SoldOut { .. }) {
            return Err(Done { verdict: Verdict::of(Ok(outcome), id, ask), place });
        }
        if self.is_late() {
            return self.failed(Failure::Unavailable);
        }
        // Its parts are known now, or it is another sale of the same name.
        self.put_anew(ask)
    }

    fn put_anew(&mut self, ask: Ask) -> Next {
        match self.look_up_sale() {
            Ok(()) => self.put(ask),
            Err(verdict) => self.done(verdict),
        }
    }

    /// Another sale may have the name by now, or this one may be kept otherwise: the answers of the
    /// ledger go to the slot of that one. It was met after this request came, so every view of it was
    /// asked for since.
    fn look_up_sale(&mut self) -> Result<(), Verdict> {
        if self.slot.forgotten.get() {
            self.slot = self.seller.sale(self.slot.id().as_str())?;
            self.came.views = 0;
        }
        Ok(())
    }

    /// Its part has too few units, and none under its key.
    fn need_units(&mut self, part: Rc<SaleSlot>, ask: Ask) -> Next {
        if self.slot.forgotten.get() {
            return self.put_anew(ask);
        }
        if let Word::Refuse(refusal @ Refusal::SoldOut) = self.slot.word(self.seller)
            && (ask.key.is_none() || self.has_seen_a_view())
        {
            return match ask.key {
                None => self.refused(refusal),
                // It may have got its reservation by another way since.
                Some(_) => self.find_claim_at(part, ask, Some(Verdict::Refused(refusal.into()))),
            };
        }
        match parts::fetch(self.seller, &self.slot, &part, ask.quantity, self.asker) {
            Ok(ticket) => Ok((ticket, WaitsFor::Units(Box::new(ask), part))),
            Err(failure) => self.failed(failure),
        }
    }

    fn after_units(&mut self, ask: Ask, part: Rc<SaleSlot>, answer: Answer) -> Next {
        match answer {
            // Somebody else's search may have begun before this request came.
            Ok(Outcome::SoldOut { free: 0 }) if ask.key.is_some() => {
                self.wait_for_view(Box::new(ask))
            }
            Ok(Outcome::SoldOut { free }) if free < u64::from(ask.quantity) => {
                self.refused(Refused::SoldOut { free })
            }
            Ok(_) if self.slot.forgotten.get() => self.put_anew(ask),
            Ok(_) => self.put_at(part, ask),
            // The request itself was answered before: it took nothing.
            Err(Failure::Busy) => self.failed(Failure::Busy),
            Err(failure) => self.failed(not_sent(failure)),
        }
    }

    /// A look for its claim was answered. `refused`: see [`WaitsFor::Claim`].
    fn after_claim(
        &mut self,
        place: Rc<SaleSlot>,
        answer: Answer,
        refused: Option<Box<Verdict>>,
        ask: Ask,
    ) -> Next {
        let outcome = match answer {
            Ok(outcome) => outcome,
            // Nothing was to be done, whatever became of the question.
            Err(failure) => {
                return Err(Done { verdict: Verdict::Failed(not_sent(failure)), place });
            }
        };
        let is_part = place.part_of.is_some();
        match (outcome, refused) {
            (Outcome::Claimed(id), _) => match self.submit(&place, Command::ShowReservation(id)) {
                Ok(ticket) => Ok((ticket, WaitsFor::Reservation(place, Box::new(ask)))),
                Err(failure) => self.failed(failure),
            },
            (Outcome::UnknownSale, _) if !is_part => self.refused(Refused::UnknownSale),
            (Outcome::Closed, _) => self.refused(Refused::Closed),
            (Outcome::NotOpen { opens_at_ms }, _) => self.refused(Refused::NotOpen { opens_at_ms }),
            (Outcome::SoldOut { free }, _) if !is_part => self.refused(Refused::SoldOut { free }),
            (Outcome::SoldOut { .. } | Outcome::NotClaimed, Some(refused)) => self.done(*refused),
            _ if self.is_late() => self.failed(Failure::Unavailable),
            (Outcome::SoldOut { .. } | Outcome::NotClaimed, None) => self.put(ask),
            // Its parts are known now, or it is another sale of the same name.
            _ => match self.look_up_sale() {
                Ok(()) => self.look_for_claim(ask),
                Err(verdict) => self.done(verdict),
            },
        }
    }

    /// The ledger's view of the sale has come: the request is put to the ledger if that does not refuse
    /// it.
    fn after_view(&mut self, ask: Box<Ask>, answer: Answer) -> Next {
        match answer {
            Ok(Outcome::UnknownSale) => return self.refused(Refused::UnknownSale),
            Ok(_) => {}
            Err(failure) => return self.failed(not_sent(failure)),
        }
        if let Err(verdict) = self.look_up_sale() {
            return self.done(verdict);
        }
        if ask.key.is_none() {
            return match self.slot.word_after_view(self.seller, self.came.ms) {
                Word::Refuse(refusal) => self.refused(refusal),
                Word::Ask => {
                    let word = ask.lines().map_or(TypeWord::Ask, |lines| {
                        self.slot.type_word_after_view(self.seller, lines, self.came.ms)
                    });
                    self.go_by(word, ask)
                }
                // The question was asked before this request came, and its answer is too old.
                Word::Doubt => self.wait_for_view(ask),
            };
        }
        if !self.has_seen_a_view() {
            return self.wait_for_view(ask);
        }
        match self.slot.last_word(self.seller) {
            Some(refusal) => {
                let home = self.slot.home(&ask).clone();
                self.find_claim_at(home, *ask, Some(Verdict::Refused(refusal.into())))
            }
            None => self.put(*ask),
        }
    }

    /// Whether a view has come that was asked for after this request came.
    fn has_seen_a_view(&self) -> bool {
        self.slot.views_seen.get() > self.came.views
    }

    /// Whether it has gone on for too long: others were quicker every time, or a part is not there.
    fn is_late(&self) -> bool {
        let seller = self.seller;
        self.came.steps >= PURCHASE_STEPS_MAX
            || seller.clock.now_ms() >= self.came.ms + seller.batcher.answer_deadline_ms()
    }
}

/// What a failed question means for a purchase that waited for its answer and was not sent.
fn not_sent(failure: Failure) -> Failure {
    match failure {
        Failure::Busy => Failure::Busy,
        Failure::Unavailable | Failure::Unknown => Failure::Unavailable,
    }
}
