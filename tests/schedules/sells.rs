//! What cores share for selling: the shards of an allowance, the allowances of the instance, and
//! the sales that the ledger refuses.

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

use shuttle::rand::{Rng, thread_rng};

use crate::ledger::refused::RefusedSales;
use crate::sale::SaleId;
use crate::stock::allowances::Allowances;
use crate::stock::fleet::Fleet;
use crate::stock::shard::{Shards, StockSetting};
use crate::{explore, on_each_core};

const CORES: usize = 3;
const UNITS: u64 = 7;

fn shards() -> Arc<Shards> {
    let fleet = Arc::new(Fleet::new(CORES, 50));
    Arc::new(Shards::new(StockSetting::Fixed(UNITS), CORES, fleet))
}

/// Counts units that are taken and not given back, outside of what `shuttle` sees.
#[derive(Default)]
struct Taken(AtomicU64);

impl Taken {
    fn add(&self, units: u64) {
        let taken = self.0.fetch_add(units, Ordering::SeqCst) + units;
        assert!(taken <= UNITS, "{taken} of {UNITS} are taken");
    }

    fn remove(&self, units: u64) {
        self.0.fetch_sub(units, Ordering::SeqCst);
    }

    fn get(&self) -> u64 {
        self.0.load(Ordering::SeqCst)
    }
}

#[test]
fn cores_share_the_allowance_exactly() {
    explore(|| {
        let (shards, taken) = (shards(), Arc::new(Taken::default()));
        let (theirs, all) = (shards.clone(), taken.clone());
        on_each_core(CORES, move |core| {
            for _ in 0..4 {
                let units = thread_rng().gen_range(1..=4);
                if theirs.take(core, units) {
                    all.add(units);
                    if thread_rng().gen_bool(0.5) {
                        all.remove(units);
                        theirs.give_back(core, units);
                    }
                }
            }
        });
        assert_eq!(shards.left() + taken.get(), UNITS);
        // Any core can have what is left, though it may be with others.
        let core = thread_rng().gen_range(0..CORES);
        let rest = (0..=UNITS).filter(|_| shards.take(core, 1)).count() as u64;
        assert_eq!(rest + taken.get(), UNITS);
        assert_eq!(shards.left(), 0);
    });
}

#[test]
fn all_cores_agree_on_the_first_creation_of_a_sale() {
    explore(|| {
        let shards = shards();
        let theirs = shards.clone();
        let agreed = on_each_core(CORES, move |core| theirs.is_of(core as u64));
        assert_eq!(agreed.iter().filter(|agreed| **agreed).count(), 1, "{agreed:?}");
    });
}

/// A sale is created again under its name, and each core learns that at its own time. From then on
/// no core asks with what was left of the old allowance, and together they have the new one once.
#[test]
fn a_recreated_sale_has_one_allowance() {
    explore(|| {
        let fleet = Arc::new(Fleet::new(CORES, 50));
        let allowances = Arc::new(Allowances::new(StockSetting::Fixed(UNITS), CORES, fleet));
        let old: Vec<_> = (0..CORES).map(|_| allowances.of("ticket")).collect();
        assert!(old[0].is_of(1) && (0..UNITS).all(|_| old[0].take(0, 1)));
        let (theirs, taken) = (allowances.clone(), Arc::new(Taken::default()));
        let old = Arc::new(std::sync::Mutex::new(old.into_iter().map(Some).collect::<Vec<_>>()));
        on_each_core(CORES, move |core| {
            let old = old.lock().unwrap()[core].take().expect("each core has it once");
            if !old.is_of(2) {
                theirs.forget("ticket", &old);
                theirs.renew("ticket", &old);
            }
            drop(old);
            let new = theirs.of("ticket");
            assert!(new.is_of(2));
            for _ in 0..UNITS {
                if new.take(core, 1) {
                    taken.add(1);
                }
            }
            // The sale is removed, and comes back as it was.
            theirs.forget("ticket", &new);
            drop(new);
            if theirs.of("ticket").take(core, 1) {
                taken.add(1);
            }
        });
        assert_eq!(allowances.left(), 0);
    });
}

/// A core forgets a sale without requests. Another core's share of its allowance, used or not, is
/// not created a second time.
#[test]
fn a_core_that_forgets_a_sale_leaves_its_allowance_to_the_others() {
    explore(|| {
        let fleet = Arc::new(Fleet::new(CORES, 50));
        let allowances = Arc::new(Allowances::new(StockSetting::Fixed(UNITS), CORES, fleet));
        let taken = Arc::new(Taken::default());
        on_each_core(CORES, move |core| {
            for _ in 0..3 {
                let shards = allowances.of("ticket");
                if thread_rng().gen_bool(0.5) && shards.take(core, UNITS / 2) {
                    taken.add(UNITS / 2);
                }
                allowances.forget("ticket", &shards);
            }
        });
    });
}

#[test]
fn a_sale_is_refused_while_any_core_refuses_it() {
    explore(|| {
        let refused = Arc::new(RefusedSales::default());
        let theirs = refused.clone();
        let sale = |core: usize| SaleId::new(["a", "b", "c"][core]).unwrap();
        on_each_core(CORES, move |core| {
            for _ in 0..2 {
                theirs.note(&sale(core), "counts");
                assert!(theirs.contains(&sale(core)));
                theirs.clear(&sale(core));
                assert!(!theirs.contains(&sale(core)));
            }
            if core == 0 {
                theirs.note(&sale(core), "counts");
            }
        });
        assert_eq!(refused.list(9), (vec![("a".to_owned(), "counts".to_owned())], 1));
    });
}
