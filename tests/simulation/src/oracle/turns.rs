//! I9: one sale's crowd costs the other sales of its core nothing but its fair share of a batch.
//!
//! A sale of which a batch has left something behind waits behind all sales that have waited with
//! it. So no later batch takes of it and nothing of one of those.

use std::collections::{BTreeMap, BTreeSet};

use stampede::sale::SaleId;

use super::Findings;
use crate::time::Us;

/// A batch that a core has taken from its queues.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct TakenBatch {
    /// The sales of which it has changes.
    pub served: BTreeSet<SaleId>,
    /// The confirmed sales of which changes still wait.
    pub left: BTreeSet<SaleId>,
}

/// Of each sale that was overlooked: the sales that had a turn meanwhile and have waited since.
type Overlooked = BTreeMap<SaleId, BTreeSet<SaleId>>;

/// See the module's header.
#[derive(Debug, Default)]
pub struct Turns {
    cores: BTreeMap<String, Overlooked>,
}

impl Turns {
    /// A core has taken a batch. Returns whether it had to overlook a sale.
    pub fn take(&mut self, at: Us, core: &str, batch: TakenBatch, findings: &mut Findings) -> bool {
        let TakenBatch { served, left } = batch;
        let before = self.cores.remove(core).unwrap_or_default();
        let mut overlooked = Overlooked::new();
        for sale in left.difference(&served) {
            let ahead = before.get(sale);
            if let Some(twice) = ahead.and_then(|ahead| ahead.intersection(&served).next()) {
                let text = format!("{core}: {twice} has had two turns while {sale} waited for one");
                findings.add(at, "I9 fair share", text);
            }
            let more = ahead.into_iter().flatten().chain(&served);
            let behind = more.filter(|other| left.contains(*other)).cloned().collect();
            overlooked.insert(sale.clone(), behind);
        }
        let has_overlooked = !overlooked.is_empty();
        if has_overlooked {
            self.cores.insert(core.to_owned(), overlooked);
        }
        has_overlooked
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn found(batches: &[(&[&str], &[&str])]) -> usize {
        let sales = |names: &[&str]| names.iter().map(|name| SaleId::new(name).unwrap()).collect();
        let (mut turns, mut findings) = (Turns::default(), Findings::new(10));
        for (at, (served, left)) in (0..).zip(batches) {
            let batch = TakenBatch { served: sales(served), left: sales(left) };
            turns.take(at, "core", batch, &mut findings);
        }
        assert!(findings.names().iter().all(|name| *name == "I9 fair share"));
        findings.names().len()
    }

    #[test]
    fn two_turns_while_another_waits_are_found() {
        assert_eq!(found(&[(&["a"], &["a", "b"]), (&["a"], &["a", "b"])]), 1);
        // A third sale between them changes nothing.
        let batches: [(&[&str], &[&str]); 3] =
            [(&["a"], &["a", "b", "c"]), (&["c"], &["a", "b"]), (&["a"], &["b"])];
        assert_eq!(found(&batches), 1);
    }

    #[test]
    fn turns_in_order_are_fair() {
        let batches: [(&[&str], &[&str]); 4] = [
            (&["a"], &["a", "b", "c"]),
            (&["b", "c"], &["a", "b", "c"]),
            (&["a"], &["a", "b", "c"]),
            (&["b", "c"], &["a"]),
        ];
        assert_eq!(found(&batches), 0);
    }

    #[test]
    fn a_sale_that_had_nothing_left_may_come_again() {
        // Nothing of `a` was left: what it has in the second batch came later, through the share of
        // the names that were not confirmed.
        assert_eq!(found(&[(&["a"], &["b"]), (&["a"], &["b"])]), 0);
        // The other sale had its turn.
        assert_eq!(found(&[(&["a"], &["a", "b"]), (&["a", "b"], &["a", "b"])]), 0);
    }
}
