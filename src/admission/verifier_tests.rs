use serde_json::json;

use super::super::keys::{Algorithm, KeySet, NewKey};
use super::super::mint::{Claims, mint};
use super::*;
use crate::limits::{
    ADMISSION_CACHED_MAX, ADMISSION_EDDSA_COST_US, ADMISSION_HS256_COST_US, ADMISSION_LEEWAY_MS,
};

const NOW_MS: u64 = 1_900_000_000_000;

fn admission(byte: u8) -> Arc<Admission> {
    let key = |algorithm, kid| NewKey::of(algorithm, kid, &[byte; 32]).unwrap().private;
    let set = json!({ "keys": [key(Algorithm::Hs256, "hs"), key(Algorithm::EdDsa, "ed")] });
    let keys = KeySet::parse(set.to_string().as_bytes()).unwrap();
    Arc::new(Admission { keys, audience: "stampede".into() })
}

fn token(admission: &Admission, kid: &str, user: &str) -> String {
    let sales = ["ticket".to_owned()];
    let claims = Claims {
        user,
        audience: "stampede",
        sales: &sales,
        max: None,
        from_ms: NOW_MS,
        until_ms: NOW_MS + 60_000,
    };
    mint(&admission.keys, kid, &claims).unwrap()
}

fn from(address: u64) -> VerifyContext {
    VerifyContext { address: Some(address), now_ms: NOW_MS }
}

#[test]
fn checks_per_tick_are_bounded_except_for_known_tokens() {
    for (kid, cost_us) in [("hs", ADMISSION_HS256_COST_US), ("ed", ADMISSION_EDDSA_COST_US)] {
        let ours = admission(1);
        let mut verifier = TokenVerifier::new(ours.clone());
        let most = ADMISSION_CHECKS_PER_TICK_US / cost_us;
        let tokens: Vec<_> = (0..=most).map(|n| token(&ours, kid, &format!("u{n}"))).collect();
        let (last, first) = tokens.split_last().unwrap();
        for (n, token) in first.iter().enumerate() {
            let pass = verifier.admit(token.as_bytes(), from(1)).unwrap();
            assert_eq!(pass.user.as_str(), format!("u{n}"));
        }
        assert_eq!(verifier.admit(last.as_bytes(), from(2)), Err(Denied::Busy));
        let newest = &first[first.len() - 1];
        assert!(verifier.admit(newest.as_bytes(), from(2)).is_ok(), "a known token needs no check");
        verifier.tick(&ours);
        assert!(verifier.admit(last.as_bytes(), from(2)).is_ok());
    }
}

#[test]
fn checks_of_an_address_that_forges_tokens_are_bounded() {
    let (ours, theirs) = (admission(1), admission(2));
    let mut verifier = TokenVerifier::new(ours.clone());
    let forged = |n: u32| token(&theirs, "ed", &format!("u{n}"));
    let most = ADMISSION_FORGED_PER_ADDRESS_US / ADMISSION_EDDSA_COST_US;
    for n in 0..most {
        assert_eq!(verifier.admit(forged(n).as_bytes(), from(7)), Err(Denied::Signature));
    }
    for n in most..10_000 {
        assert_eq!(verifier.admit(forged(n).as_bytes(), from(7)), Err(Denied::Busy));
    }
    let other = (8..).find(|address| verifier.counter(*address) != verifier.counter(7)).unwrap();
    // Another address is not affected; a good token of the same address waits.
    assert!(verifier.admit(token(&ours, "ed", "honest").as_bytes(), from(other)).is_ok());
    let neighbour = token(&ours, "ed", "neighbour");
    assert_eq!(verifier.admit(neighbour.as_bytes(), from(7)), Err(Denied::Busy));
    verifier.tick(&ours);
    assert!(verifier.admit(neighbour.as_bytes(), from(7)).is_ok());
    // Without an address only the core's bound applies.
    let nobody = VerifyContext { address: None, now_ms: NOW_MS };
    for n in 0..most + 1 {
        assert_eq!(verifier.admit(forged(n).as_bytes(), nobody), Err(Denied::Signature));
    }
    assert_eq!(verifier.cache.count(), 2, "what is forged is not kept");
}

#[test]
fn many_forging_addresses_leave_capacity_for_others() {
    const ADDRESSES: u64 = 200;
    let (ours, theirs) = (admission(1), admission(2));
    let mut verifier = TokenVerifier::new(ours.clone());
    let forged = token(&theirs, "ed", "u1");
    let honest = (ADDRESSES..)
        .find(|honest| (0..ADDRESSES).all(|n| verifier.counter(n) != verifier.counter(*honest)))
        .unwrap();
    let mut refused = 0;
    for tick in 0..10 * ADMISSION_SUSPECT_TICKS {
        verifier.tick(&ours);
        let checked = (0..10 * ADDRESSES)
            .filter(|n| {
                verifier.admit(forged.as_bytes(), from(n % ADDRESSES)) == Err(Denied::Signature)
            })
            .count() as u32;
        let token = token(&ours, "ed", &format!("honest-{tick}"));
        match verifier.admit(token.as_bytes(), from(honest)) {
            Ok(_) => {
                assert!(checked * ADMISSION_EDDSA_COST_US < ADMISSION_CHECKS_PER_TICK_US);
            }
            // Only until each forging address is known for wrong signatures.
            refused_once => {
                assert_eq!(refused_once, Err(Denied::Busy));
                refused += 1;
            }
        }
    }
    assert!(refused <= 3, "{refused} of {}", 10 * ADMISSION_SUSPECT_TICKS);
    // A second after the last wrong signature no address is suspected.
    for _ in 0..=ADMISSION_SUSPECT_TICKS {
        verifier.tick(&ours);
    }
    let late: Vec<_> = (0..ADDRESSES)
        .map(|n| verifier.admit(token(&ours, "hs", &format!("late-{n}")).as_bytes(), from(n)))
        .collect();
    assert!(late.iter().all(Result::is_ok));
    assert_eq!(verifier.suspects_left_us, ADMISSION_SUSPECTS_PER_TICK_US);
}

#[test]
fn a_cached_token_ends_with_its_expiry_or_its_key() {
    let ours = admission(1);
    let mut verifier = TokenVerifier::new(ours.clone());
    let token = token(&ours, "hs", "u1");
    assert!(verifier.admit(token.as_bytes(), from(1)).is_ok());
    let at = |now_ms| VerifyContext { now_ms, ..from(1) };
    let end_ms = NOW_MS + 60_000 + ADMISSION_LEEWAY_MS;
    assert!(verifier.admit(token.as_bytes(), at(end_ms - 1)).is_ok());
    assert_eq!(verifier.admit(token.as_bytes(), at(end_ms)), Err(Denied::Expired));
    let early_ms = NOW_MS - ADMISSION_LEEWAY_MS - 1000;
    assert_eq!(verifier.admit(token.as_bytes(), at(early_ms)), Err(Denied::NotYetValid));
    verifier.tick(&admission(2));
    assert_eq!(verifier.cache.count(), 0);
    assert_eq!(verifier.admit(token.as_bytes(), from(1)), Err(Denied::Signature));
}

#[test]
fn the_cache_is_bounded_and_finds_only_identical_tokens() {
    let mut cache = Cache::new();
    let ours = admission(1);
    let pass = Rc::new(ours.check(token(&ours, "hs", "u1").as_bytes(), NOW_MS).unwrap());
    let mut last = Vec::new();
    for n in 0..4 * ADMISSION_CACHED_MAX {
        last = format!("token {n}").into_bytes();
        let hash = cache.hash(&last);
        assert_eq!(cache.find(hash, &last), None);
        cache.keep(hash, &last, &pass);
    }
    assert!(cache.count() <= ADMISSION_CACHED_MAX);
    let hash = cache.hash(&last);
    assert_eq!(cache.find(hash, &last), Some(pass));
    assert_eq!(cache.find(hash, b"another token with this hash"), None);
}

#[test]
fn a_cached_header_refers_only_to_its_current_key() {
    let ours = admission(1);
    let mut verifier = TokenVerifier::new(ours.clone());
    let admits = |verifier: &mut TokenVerifier, token: &str| {
        verifier.admit(token.as_bytes(), from(1)).map(drop)
    };
    // One header after the other, and then each again.
    for n in 0..3 {
        for kid in ["hs", "ed"] {
            assert_eq!(admits(&mut verifier, &token(&ours, kid, &format!("{kid} {n}"))), Ok(()));
        }
    }
    // A known header does not help a wrong signature, nor the claims of one key a token of another.
    let (hs, ed) = (token(&ours, "hs", "eve"), token(&ours, "ed", "eve"));
    let (head, rest) = (ed.split_once('.').unwrap().0, hs.split_once('.').unwrap().1);
    assert_eq!(admits(&mut verifier, &format!("{head}.{rest}")), Err(Denied::Signature));
    assert_eq!(admits(&mut verifier, &token(&admission(2), "hs", "eve")), Err(Denied::Signature));
    assert_eq!(admits(&mut verifier, &hs), Ok(()));
    // Other keys have other positions; a removed key is unknown.
    let key = |algorithm, kid| NewKey::of(algorithm, kid, &[3; 32]).unwrap().private;
    let set = |keys: &[serde_json::Value]| {
        let keys = KeySet::parse(json!({ "keys": keys }).to_string().as_bytes()).unwrap();
        Arc::new(Admission { keys, audience: "stampede".into() })
    };
    let (hs, ed) = (key(Algorithm::Hs256, "hs"), key(Algorithm::EdDsa, "ed"));
    let turned = set(&[ed.clone(), hs]);
    verifier.tick(&turned);
    for kid in ["hs", "ed", "hs"] {
        assert_eq!(admits(&mut verifier, &token(&turned, kid, &format!("new {kid}"))), Ok(()));
    }
    verifier.tick(&set(&[ed]));
    assert_eq!(admits(&mut verifier, &token(&turned, "hs", "late")), Err(Denied::UnknownKey));
}
