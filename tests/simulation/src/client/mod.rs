//! A client: it has one wish at a time, asks any core of any server, and asks again, with the same
//! key and perhaps elsewhere, if it does not know what became of it.

mod probe;
mod workload;

use stampede::sale::{Reservation, ReservationId, SaleId};

use crate::call::{Call, Purchase, Told};
use crate::chance::Chance;
use crate::names::CoreId;
use crate::plan::Plan;
use crate::server::Server;
use crate::time::{MS, SECOND, Us};

pub use self::probe::Probe;

/// One purchase with a key in so many is sent twice at once.
const DOUBLED_ONE_IN: u64 = 16;
/// Attempts for a wish while there are faults.
const TRIES_MAX: u32 = 12;
/// Shortest and longest time that a client waits for an answer.
const PATIENCE_MIN: Us = SECOND;
/// See [`PATIENCE_MIN`].
const PATIENCE_MAX: Us = 8 * SECOND;
/// One client in so many has little patience.
const IMPATIENT_ONE_IN: u64 = 12;
/// Reservations that a client remembers.
const REMEMBERED_MAX: usize = 16;
/// Shortest and longest time before an attempt is repeated.
const RETRY_MIN: Us = MS;
/// See [`RETRY_MIN`].
const RETRY_MAX: Us = 300 * MS;

/// What a client wants, and how often it has tried before.
#[derive(Debug, Clone)]
pub struct Wish {
    /// What.
    pub what: Call,
    /// The attempts that it does not know the outcome of.
    pub tries: u32,
}

/// See the module's header.
pub struct Client {
    /// Attempts under way.
    pub under_way: usize,
    chance: Chance,
    user: String,
    keys: u64,
    patience: Us,
    reservations: Vec<(SaleId, ReservationId)>,
    /// What it must ask again.
    again: Vec<Wish>,
}

impl Client {
    /// The client of this number.
    pub fn new(seed: u64, number: usize) -> Self {
        let mut chance = Chance::of(seed, &format!("client {number}"));
        let is_impatient = chance.one_in(IMPATIENT_ONE_IN);
        let patience = match is_impatient {
            true => chance.spread(MS, PATIENCE_MIN),
            false => chance.between(PATIENCE_MIN, PATIENCE_MAX),
        };
        // A few users have several clients.
        let user = format!("u{}", if chance.one_in(4) { number / 4 } else { number + 1_000 });
        let (reservations, again) = (Vec::new(), Vec::new());
        Self { under_way: 0, chance, user, keys: 0, patience, reservations, again }
    }

    /// How long it waits for an answer.
    pub fn patience(&self, is_quiet: bool) -> Us {
        if is_quiet { PATIENCE_MAX } else { self.patience }
    }

    /// Whether there is nothing that it must ask again.
    pub fn knows_all(&self) -> bool {
        self.under_way == 0 && self.again.is_empty()
    }

    /// What it asks now. In the quiet end, it only asks what it must ask again.
    pub fn next_wishes(&mut self, plan: &Plan, is_quiet: bool) -> Vec<Wish> {
        if !self.again.is_empty() {
            return std::mem::take(&mut self.again);
        }
        if is_quiet {
            return Vec::new();
        }
        let Self { chance, user, keys, reservations, .. } = self;
        let wish = Wish { what: workload::draw(chance, plan, user, keys, reservations), tries: 0 };
        let has_key = matches!(wish.what, Call::Buy { key: Some(_), .. });
        if has_key && chance.one_in(DOUBLED_ONE_IN) {
            return vec![wish.clone(), wish];
        }
        vec![wish]
    }

    /// The core that it asks. The server may be down.
    pub fn pick_core(&mut self, servers: &[Server], cores: usize) -> CoreId {
        let server = self.chance.pick(servers);
        let core = self.chance.below(cores as u64) as usize;
        CoreId { server: server.number, start: server.start, core }
    }

    /// It is told something, or the connection has ended. Returns when it goes on, if nothing else
    /// is under way.
    pub fn hear(
        &mut self,
        wish: Wish,
        told: &Told,
        place: Option<&SaleId>,
        plan: &Plan,
        is_quiet: bool,
    ) -> Option<Us> {
        self.under_way -= 1;
        if let Told::Purchase(Purchase::Granted(Reservation { id, .. })) = told {
            self.remember(place.unwrap_or(wish.what.sale()).clone(), *id);
        }
        if let Told::Purchase(Purchase::Replayed(reservation)) = told {
            self.remember(place.unwrap_or(wish.what.sale()).clone(), reservation.id);
        }
        let asks_again = must_ask_again(&wish.what, told) && (is_quiet || wish.tries < TRIES_MAX);
        if asks_again {
            self.again.push(Wish { tries: wish.tries + 1, ..wish });
        }
        let (low, high) = if asks_again { (RETRY_MIN, RETRY_MAX) } else { plan.think };
        (self.under_way == 0).then(|| self.chance.spread(low, high))
    }

    fn remember(&mut self, place: SaleId, id: ReservationId) {
        if self.reservations.len() == REMEMBERED_MAX {
            self.reservations.remove(0);
        }
        self.reservations.push((place, id));
    }
}

/// Whether a client must ask again to know what became of its wish. Whoever buys without a key
/// cannot.
fn must_ask_again(what: &Call, told: &Told) -> bool {
    let has_failed =
        matches!(told, Told::Purchase(Purchase::Failed(_)) | Told::Failed(_) | Told::Nothing);
    let is_repeatable = match what {
        Call::Buy { key, .. } => key.is_some(),
        Call::Confirm { .. } | Call::Cancel { .. } => true,
        Call::Show { .. } | Call::View { .. } => false,
    };
    has_failed && is_repeatable
}

#[cfg(test)]
mod tests {
    use stampede::ledger::Failure;

    use super::*;

    fn buy(key: Option<&str>) -> Call {
        let sale = SaleId::new("s").unwrap();
        Call::Buy { sale, user: None, key: key.map(str::to_owned), quantity: 1 }
    }

    #[test]
    fn only_a_repeatable_wish_is_repeated() {
        let unknown = Told::Purchase(Purchase::Failed(Failure::Unknown));
        assert!(must_ask_again(&buy(Some("k")), &unknown));
        assert!(must_ask_again(&buy(Some("k")), &Told::Nothing));
        assert!(!must_ask_again(&buy(None), &unknown));
        assert!(!must_ask_again(&buy(Some("k")), &Told::View(None)));
    }

    #[test]
    fn a_client_goes_on_when_nothing_is_under_way() {
        let plan = Plan::draw(1);
        let mut client = Client::new(1, 0);
        client.under_way = 2;
        let wish = || Wish { what: buy(Some("k")), tries: 0 };
        assert!(client.hear(wish(), &Told::Nothing, None, &plan, false).is_none());
        assert!(client.hear(wish(), &Told::Nothing, None, &plan, false).is_some());
        assert!(!client.knows_all());
        let again = client.next_wishes(&plan, true);
        assert_eq!(again.iter().map(|wish| wish.tries).collect::<Vec<_>>(), [1, 1]);
        assert!(client.knows_all() && client.next_wishes(&plan, true).is_empty());
    }
}
