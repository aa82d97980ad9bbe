//! The allowance of a sale: how much each core may take of it.

use std::sync::Arc;

use super::fleet::Fleet;
use super::shard::{Shards, StockSetting};

fn shards(setting: StockSetting, cores: usize) -> Shards {
    Shards::new(setting, cores, Arc::new(Fleet::new(cores, 50)))
}

#[test]
fn a_fixed_allowance_is_exact_from_any_core() {
    for cores in [1, 2, 3, 7] {
        let shards = shards(StockSetting::Fixed(150), cores);
        let taken = (0..1000).filter(|n| shards.take(n % cores, 1)).count();
        assert_eq!((taken, shards.left()), (150, 0));
        let shards = self::shards(StockSetting::Fixed(150), cores);
        assert_eq!((0..1000).filter(|_| shards.take(cores - 1, 1)).count(), 150);
    }
}

#[test]
fn a_request_for_several_units_is_gathered_from_all_shards() {
    let shards = shards(StockSetting::Fixed(10), 4);
    assert!(shards.take(1, 10));
    assert!(!shards.take(1, 1));
    shards.give_back(3, 10);
    assert!(!shards.take(0, 11));
    assert_eq!(shards.left(), 10);
    assert!(shards.take(0, 10));
}

#[test]
fn an_auto_allowance_never_refuses() {
    let fleet = Arc::new(Fleet::new(2, 50));
    let shards = Shards::new(StockSetting::Auto, 2, fleet.clone());
    shards.note_free(0);
    assert!((0..5000).all(|n| shards.take(n % 2, 3)));
    fleet.set_cores(u64::MAX);
    assert!((0..5000).all(|n| shards.take(n % 2, 3)));
}

#[test]
fn an_auto_allowance_is_refilled_with_its_share() {
    let fleet = Arc::new(Fleet::new(2, 50));
    let shards = Shards::new(StockSetting::Auto, 2, fleet.clone());
    shards.note_free(100);
    assert!(shards.take(0, 1));
    assert_eq!(shards.left(), 74);
    // Five members of two cores each.
    fleet.set_cores(10);
    assert!((0..74).all(|_| shards.take(0, 1)));
    assert!(shards.take(0, 1));
    assert_eq!(shards.left(), 14);
}

#[test]
fn concurrent_cores_never_take_too_much() {
    let shards = shards(StockSetting::Fixed(100_000), 4);
    let taken: usize = std::thread::scope(|scope| {
        let threads: Vec<_> = (0..4)
            .map(|core| {
                let shards = &shards;
                scope.spawn(move || (0..100_000).filter(|_| shards.take(core, 1)).count())
            })
            .collect();
        threads.into_iter().map(|thread| thread.join().unwrap()).sum()
    });
    assert_eq!(taken as u64 + shards.left(), 100_000);
    // A core gives up after one look at its siblings, so some may be left over in a race.
    assert!((0..100_000).filter(|_| shards.take(0, 1)).count() as u64 + taken as u64 == 100_000);
}
