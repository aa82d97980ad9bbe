//! What a client wants next.

use stampede::sale::{ReservationId, SaleId};

use crate::call::Call;
use crate::chance::Chance;
use crate::plan::Plan;

/// One purchase in so many names a sale that nobody has created.
const INVENTED_ONE_IN: u64 = 100;
/// One call about a reservation in so many is about one that does not exist.
const UNKNOWN_ONE_IN: u64 = 30;

/// Draws what a client wants. `reservations` are its own.
pub fn draw(
    chance: &mut Chance,
    plan: &Plan,
    user: &str,
    keys: &mut u64,
    reservations: &[(SaleId, ReservationId)],
) -> Call {
    match chance.below(16) {
        0..=2 if !reservations.is_empty() => {
            let (sale, id) = chance.pick(reservations).clone();
            settle(chance, sale, id)
        }
        3 => Call::View { sale: draw_sale(chance, plan) },
        4 if chance.one_in(UNKNOWN_ONE_IN) => {
            let id = ReservationId(u128::from(chance.next()));
            let sale = draw_sale(chance, plan);
            settle(chance, sale, id)
        }
        _ => draw_purchase(chance, plan, user, keys),
    }
}

fn draw_sale(chance: &mut Chance, plan: &Plan) -> SaleId {
    if chance.one_in(INVENTED_ONE_IN) {
        return SaleId::new(&format!("invented{}", chance.below(20))).expect("a name");
    }
    plan.pick_sale(chance).sale.clone()
}

fn settle(chance: &mut Chance, sale: SaleId, id: ReservationId) -> Call {
    match chance.below(8) {
        0..=3 => Call::Confirm { sale, id },
        4..=6 => Call::Cancel { sale, id },
        _ => Call::Show { sale, id },
    }
}

fn draw_purchase(chance: &mut Chance, plan: &Plan, user: &str, keys: &mut u64) -> Call {
    let sale = draw_sale(chance, plan);
    let is_anonymous = chance.one_in(6);
    let has_key = chance.below(3) < 2;
    let key = has_key.then(|| {
        // Some keys are used again, perhaps for another request.
        if *keys == 0 || !chance.one_in(16) {
            *keys += 1;
        }
        // Clients of the same user, and anonymous ones, meet each other's keys.
        format!("{user} {keys}")
    });
    let quantity = match chance.below(8) {
        0 => chance.between(2, 4) as u32,
        _ => 1,
    };
    Call::Buy { sale, user: (!is_anonymous).then(|| user.to_owned()), key, quantity }
}
