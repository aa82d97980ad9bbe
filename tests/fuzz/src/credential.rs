//! What callers prove themselves with: tokens of admission, their keys, and the shop's token.

use std::sync::LazyLock;

use base64::Engine;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use serde_json::Value;
use stampede::admission::{Admission, Algorithm, KeySet, NewKey};
use stampede::config::Token;
use stampede::engine::http::{Bearer, parse_head};
use stampede::limits::{ADMISSION_LEEWAY_MS, QUANTITY_MAX};
use stampede::sale::{SaleId, User};

use crate::bounds::bounded;
use crate::choices::Choices;

/// A token is decoded in parts; keys are parsed from JSON, and a key of HMAC has two states.
const MEMORY_PER_BYTE: usize = 128;
const MEMORY_MIN: usize = 64 * 1024;

/// 2026-12-01, in ms since 1970.
const NOW_MS: u64 = 1_796_083_200_000;
const AUDIENCE: &str = "shop.example";
const KIDS: [(&str, Algorithm); 2] = [("h", Algorithm::Hs256), ("e", Algorithm::EdDsa)];
const SHOP_TOKENS: [&str; 2] = ["shop-token-0123456789", "another-token-0123456789"];

static ADMISSION: LazyLock<Admission> = LazyLock::new(|| {
    let private = |(kid, algorithm)| NewKey::of(algorithm, kid, &[7; 32]).map(|key| key.private);
    let keys: Vec<Value> = KIDS.into_iter().filter_map(private).collect();
    let set = serde_json::json!({ "keys": keys }).to_string();
    let keys = KeySet::parse(set.as_bytes()).expect("keys");
    Admission { keys, audience: AUDIENCE.into() }
});

/// The kind of the credential, and its text.
pub fn credential(input: &[u8]) {
    let mut choices = Choices::new(input);
    match choices.byte() % 5 {
        0 => token(choices.rest()),
        kind @ 1..=2 => {
            let (kid, _) = KIDS[usize::from(kind) - 1];
            let header = choices.line();
            signed(kid, header, choices.rest());
        }
        3 => keys(choices.rest()),
        _ => shop_token(choices.rest()),
    }
}

/// A token as it is sent. Nothing that was not signed is accepted.
fn token(token: &[u8]) {
    let checked =
        bounded(MEMORY_MIN + MEMORY_PER_BYTE * token.len(), || ADMISSION.check(token, NOW_MS));
    if checked.is_ok() {
        let text = str::from_utf8(token).expect("a token is ASCII");
        let (signed, signature) = text.rsplit_once('.').expect("a signature");
        let signature = URL_SAFE_NO_PAD.decode(signature).expect("base64url");
        let mut keys = KIDS.iter().filter_map(|(kid, _)| ADMISSION.keys.find(kid));
        assert!(keys.any(|key| key.verifies(signed.as_bytes(), &signature)), "{text}");
    }
}

/// A header and claims that the shop has signed, whatever they say.
fn signed(kid: &str, header: &[u8], claims: &[u8]) {
    let signed = [header, claims].map(|part| URL_SAFE_NO_PAD.encode(part)).join(".");
    let key = ADMISSION.keys.find(kid).expect("a key");
    let signature = key.sign(signed.as_bytes()).expect("a private part");
    let token = format!("{signed}.{}", URL_SAFE_NO_PAD.encode(signature));
    let checked = bounded(MEMORY_MIN + MEMORY_PER_BYTE * token.len(), || {
        ADMISSION.check(token.as_bytes(), NOW_MS)
    });
    let Ok(pass) = checked else { return };
    // What has no meaning here may be what `serde_json` rejects, such as a number beyond all range.
    let parse = |json: &[u8]| serde_json::from_slice::<Value>(json).ok();
    let (Some(header), Some(claims)) = (parse(header), parse(claims)) else { return };
    let named = |name: &str| -> Vec<&str> {
        match claims.get(name) {
            Some(Value::String(text)) => vec![text.as_str()],
            Some(Value::Array(list)) => list.iter().filter_map(Value::as_str).collect(),
            _ => Vec::new(),
        }
    };
    let text = |json: &Value, name: &str| json.get(name)?.as_str().map(str::to_owned);
    assert_eq!(text(&header, "kid").as_deref(), Some(kid), "the header names the key");
    assert_eq!(text(&header, "alg").as_deref(), Some(key.algorithm().name()));
    assert_eq!(header.get("crit"), None);
    assert!(named("aud").contains(&AUDIENCE));
    assert_eq!(text(&claims, "sub").as_deref(), Some(pass.user.as_str()));
    assert!(User::new(pass.user.as_str()).is_ok());
    let sales: Vec<&str> = pass.sales.iter().map(|sale| &**sale).collect();
    assert_eq!(sales, named("sales"));
    assert!(!sales.is_empty() && sales.iter().all(|sale| SaleId::new(sale).is_ok()));
    assert_eq!(claims.get("max").and_then(Value::as_u64), pass.max.map(u64::from));
    assert!(pass.max.is_none_or(|max| (1..=QUANTITY_MAX).contains(&max)));
    let seconds = |name: &str| claims.get(name).and_then(Value::as_f64);
    let (now, leeway) = (NOW_MS as f64 / 1000.0, ADMISSION_LEEWAY_MS as f64 / 1000.0);
    assert!(seconds("exp").is_some_and(|end| end + leeway > now - 1.0), "it has expired");
    assert!(seconds("nbf").is_none_or(|start| start - leeway < now + 1.0), "it is not valid yet");
}

/// A file of keys. Each key that can sign verifies its own signatures.
fn keys(text: &[u8]) {
    let parsed = bounded(MEMORY_MIN + MEMORY_PER_BYTE * text.len(), || KeySet::parse(text));
    let Ok(keys) = parsed else { return };
    assert!(keys.kids().count() > 0);
    for kid in keys.kids() {
        let key = keys.find(kid).expect("a key");
        if let Some(signature) = key.sign(b"text") {
            assert!(key.verifies(b"text", &signature) && !key.verifies(b"other", &signature));
        }
    }
}

/// A request, perhaps with the shop's token.
fn shop_token(input: &[u8]) {
    let tokens = SHOP_TOKENS.map(|text| Token::new(text).expect("a token"));
    let Ok(Some(head)) = parse_head(input) else { return };
    let Bearer::Token(shown) = head.bearer() else { return };
    let found = Token::shown_of(&tokens, shown);
    let equal = tokens.iter().find(|token| token.expose().as_bytes() == shown);
    assert_eq!(found.map(Token::expose), equal.map(Token::expose));
    if let Ok(token) = Token::new(&String::from_utf8_lossy(shown)) {
        assert!(token.matches(token.expose().as_bytes()));
        assert!(!format!("{token:?}").contains(token.expose()));
    }
}

#[test]
fn a_token_that_the_shop_has_signed_is_accepted() {
    for (kid, algorithm) in KIDS {
        let header = format!(r#"{{"alg":"{}","kid":"{kid}"}}"#, algorithm.name());
        let claims = format!(
            r#"{{"sub":"ann","aud":"{AUDIENCE}","sales":["ticket"],"exp":{}}}"#,
            NOW_MS / 1000 + 60
        );
        signed(kid, header.as_bytes(), claims.as_bytes());
        let signed = [header, claims].map(|part| URL_SAFE_NO_PAD.encode(part)).join(".");
        let key = ADMISSION.keys.find(kid).expect("a key");
        let signature = URL_SAFE_NO_PAD.encode(key.sign(signed.as_bytes()).expect("a signature"));
        assert!(ADMISSION.check(format!("{signed}.{signature}").as_bytes(), NOW_MS).is_ok());
        assert!(ADMISSION.check(format!("{signed}x.{signature}").as_bytes(), NOW_MS).is_err());
    }
}
