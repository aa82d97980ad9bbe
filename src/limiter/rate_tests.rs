use std::sync::atomic::AtomicU32;
use std::thread;

use super::*;

fn limiter(per_s: u64, burst: u64) -> Limiter {
    let limiter = Limiter::with_slots(1 << 12);
    limiter.set(Some(Rate::new(per_s, burst).unwrap()));
    limiter
}

/// How many of these purchases are allowed at this time.
fn allowed(limiter: &Limiter, key: u64, now_ms: u64, tries: usize) -> usize {
    (0..tries).filter(|_| limiter.take(key, now_ms).is_ok()).count()
}

#[test]
fn a_burst_and_then_a_rate_are_allowed() {
    let limiter = limiter(4, 10);
    for start_ms in [0, 1_000_000, u64::MAX / 1000] {
        let key = start_ms;
        assert_eq!(allowed(&limiter, key, start_ms, 50), 10);
        assert_eq!(limiter.take(key, start_ms + 249), Err(Limited { retry_after_s: 1 }));
        assert_eq!(allowed(&limiter, key, start_ms + 250, 50), 1);
        assert_eq!(allowed(&limiter, key, start_ms + 1250, 50), 4);
        // Refused attempts do not delay later ones.
        assert_eq!(allowed(&limiter, key, start_ms + 1500, 50), 1);
        assert_eq!(allowed(&limiter, key, start_ms + 60_000, 50), 10);
    }
}

#[test]
fn a_retry_after_the_stated_time_is_allowed() {
    let limiter = limiter(1, 5);
    for now_ms in (0..200_000).step_by(1700) {
        while let Ok(forgot) = limiter.take(1u64, now_ms) {
            assert!(!forgot);
        }
        let Limited { retry_after_s } = limiter.take(1u64, now_ms).unwrap_err();
        assert_eq!(retry_after_s, 1);
        assert!(limiter.take(1u64, now_ms + 1000 * u64::from(retry_after_s)).is_ok());
    }
}

#[test]
fn rates_are_exact_over_time() {
    for per_s in [1, 3, 7, 300, 1_000, RATE_PER_S_MAX] {
        let limiter = limiter(per_s, per_s);
        let count: usize = (0..60_000).map(|ms| allowed(&limiter, 9, ms, 64)).sum();
        let want = per_s as usize * 61;
        assert!(count.abs_diff(want) <= want / 1000 + 1, "{per_s}: {count} for {want}");
    }
}

#[test]
fn keys_are_limited_independently() {
    let limiter = limiter(1, 2);
    assert_eq!(allowed(&limiter, 1, 0, 5), 2);
    for key in 2..100 {
        assert_eq!(allowed(&limiter, key, 0, 5), 2, "{key}");
    }
}

#[test]
fn a_clock_that_is_behind_refills_nothing() {
    let limiter = limiter(1, 10);
    assert_eq!(allowed(&limiter, 1, 5_000, 50), 10);
    assert_eq!(allowed(&limiter, 1, 4_500, 50), 0);
    assert_eq!(allowed(&limiter, 1, 6_000, 50), 1);
}

#[test]
fn off_limits_no_key_and_a_new_rate_applies_at_once() {
    let limiter = Limiter::with_slots(1 << 12);
    assert_eq!(allowed(&limiter, 1, 0, 50), 50);
    assert!(limiter.table.get().is_none(), "and takes no memory");
    limiter.set(Some(Rate::new(1, 5).unwrap()));
    assert_eq!(allowed(&limiter, 1, 0, 50), 5);
    limiter.set(Some(Rate::new(1, 8).unwrap()));
    assert_eq!(allowed(&limiter, 1, 0, 50), 3);
    limiter.set(None);
    assert_eq!((limiter.rate(), allowed(&limiter, 1, 0, 50)), (None, 50));
}

#[test]
fn threads_share_the_limit_of_a_key() {
    let limiter = limiter(1, 1_000);
    let counts: Vec<AtomicU32> = (0..8).map(|_| AtomicU32::new(0)).collect();
    thread::scope(|scope| {
        for _ in 0..4 {
            scope.spawn(|| {
                for n in 0..8_000 {
                    let key = n % 8;
                    if limiter.take(key, 0).is_ok() {
                        counts[key].fetch_add(1, Ordering::Relaxed);
                    }
                }
            });
        }
    });
    assert!(counts.iter().all(|count| count.load(Ordering::Relaxed) == 1_000), "{counts:?}");
}

/// 500,000 other keys with one purchase each: twice as many as there are slots.
#[test]
fn in_a_crowd_of_keys_only_the_heaviest_is_limited() {
    let address = |n: u64| std::net::Ipv6Addr::from(u128::from(n) << 64);
    check_crowd(address);
    check_crowd(|n| crate::sale::User::new(&format!("user-{n}")).unwrap());
}

fn check_crowd<K: Hash>(key: impl Fn(u64) -> K) {
    let limiter = Limiter::default();
    let allowed = |limiter: &Limiter, n, now_ms, tries| {
        (0..tries).filter(|_| limiter.take(key(n), now_ms).is_ok()).count()
    };
    limiter.set(Some(Rate::new(1, 10).unwrap()));
    assert_eq!(allowed(&limiter, 0, 0, 50), 10);
    let mut forgotten = 0;
    for n in 1..=500_000 {
        let taken = limiter.take(key(n), 0);
        forgotten += u32::from(taken.expect("a newcomer is allowed"));
        if n % 1_000 == 0 {
            assert!(limiter.take(key(0), 0).is_err(), "after {n} others");
        }
    }
    assert!(forgotten > 200_000, "{forgotten}");
    // No slot has memory of its own.
    assert_eq!(limiter.table.get().unwrap().bytes(), RATE_SLOTS * size_of::<u64>());
    // A second later all of their slots are free again.
    let forgets = |n: u64| limiter.take(key(n), 10_001).expect("a newcomer is allowed");
    assert!(!(1_000_000..1_001_000).any(forgets));
}

#[test]
fn rate_bounds_are_checked() {
    for (per_s, burst) in
        [(0, 1), (1, 0), (RATE_PER_S_MAX + 1, 1), (1, RATE_BURST_MAX + 1), (u64::MAX, u64::MAX)]
    {
        assert!(Rate::new(per_s, burst).is_err(), "{per_s}/{burst}");
    }
    for (per_s, burst) in [(1, 1), (RATE_PER_S_MAX, RATE_BURST_MAX), (1, RATE_BURST_MAX)] {
        let rate = Rate::new(per_s, burst).unwrap();
        assert_eq!(Rate::of_word(Rate::to_word(Some(rate))), Some(rate));
    }
}
