//! The buyer of the end: it takes all units that are left of every open sale, one by one, each at
//! some core of some server. The last unit can be sold by any core.

use std::collections::VecDeque;

use stampede::purchase::RejectReason;
use stampede::sale::SaleId;

use super::Wish;
use crate::call::{Call, Purchase, Told};

/// A sale of which units are bought.
struct Left {
    sale: SaleId,
    units: u64,
    bought: u64,
}

/// See the module's header.
pub struct Probe {
    sales: VecDeque<Left>,
    purchases: u64,
}

impl Probe {
    /// A buyer of what is left of these sales, in which nobody else buys any more and no unit comes
    /// back.
    pub fn new(sales: impl IntoIterator<Item = (SaleId, u64)>) -> Self {
        let left = sales.into_iter().map(|(sale, units)| Left { sale, units, bought: 0 });
        Self { sales: left.collect(), purchases: 0 }
    }

    /// The next purchase. `None`: it has all.
    pub fn next_wish(&mut self) -> Option<Wish> {
        let Left { sale, .. } = self.sales.front()?;
        self.purchases += 1;
        // Another user each time, so that no limit is reached.
        let user = Some(format!("probe {}", self.purchases));
        let what = Call::Buy { sale: sale.clone(), user, key: None, quantity: 1 };
        Some(Wish { what, tries: 0 })
    }

    /// Its purchase is answered. Returns what is wrong, if something is.
    pub fn hear(&mut self, told: &Told) -> Option<String> {
        let left = self.sales.front_mut()?;
        match told {
            Told::Purchase(Purchase::Granted(_)) => {
                left.bought += 1;
                (left.bought > left.units).then(|| left.wrong("more could be bought"))
            }
            Told::Purchase(Purchase::Rejected(RejectReason::SoldOut { free: 0 })) => {
                let wrong =
                    (left.bought < left.units).then(|| left.wrong("sold out before the last unit"));
                self.sales.pop_front();
                wrong
            }
            told => {
                let wrong = left.wrong(&format!("a buyer is told {told:?}"));
                self.sales.pop_front();
                Some(wrong)
            }
        }
    }
}

impl Left {
    fn wrong(&self, what: &str) -> String {
        let Self { sale, units, bought } = self;
        format!("at the end, {units} units of {sale} are left and {bought} were bought: {what}")
    }
}

#[cfg(test)]
mod tests {
    use stampede::ledger::Failure;
    use stampede::sale::{Reservation, ReservationId, Status};

    use super::*;

    #[test]
    fn exactly_what_is_left_can_be_bought() {
        let sale = SaleId::new("s").unwrap();
        let reservation = Reservation {
            id: ReservationId(1),
            user: None,
            quantity: 1,
            status: Status::Held,
            expires_at_ms: 1,
            details: None,
        };
        let granted = Told::Purchase(Purchase::Granted(reservation));
        let sold_out = Told::Purchase(Purchase::Rejected(RejectReason::SoldOut { free: 0 }));
        let failed = Told::Purchase(Purchase::Failed(Failure::Busy));
        for (told, is_wrong) in [
            (vec![&granted, &granted, &sold_out], false),
            (vec![&granted, &sold_out], true),
            (vec![&granted, &granted, &granted], true),
            (vec![&failed], true),
        ] {
            let mut probe = Probe::new([(sale.clone(), 2)]);
            let wrong = told.into_iter().filter_map(|told| {
                assert!(probe.next_wish().is_some());
                probe.hear(told)
            });
            assert_eq!(wrong.count() > 0, is_wrong);
        }
    }
}
