//! An instance's fair share.

use super::fleet::Fleet;

#[test]
fn the_fleet_reads_only_formats_that_every_member_reads() {
    let fleet = Fleet::new(1, 50);
    assert!(fleet.reads(7), "it is alone");
    fleet.set_reads(2);
    assert!(fleet.reads(2) && !fleet.reads(3));
}

#[test]
fn the_articles_share_is_150_of_10_000_for_each_of_100() {
    let fleet = Fleet::new(1, 50);
    assert_eq!(fleet.share(10_000), 15_000);
    fleet.set_cores(100);
    assert_eq!(fleet.share(10_000), 150);
    fleet.set_cores(0);
    assert_eq!((fleet.cores(), fleet.share(u64::MAX)), (1, u64::MAX / 100));
}
