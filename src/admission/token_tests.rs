use serde_json::{Value, json};

use super::super::keys::{NewKey, encode};
use super::super::mint::{Claims, mint};
use super::*;

const NOW_MS: u64 = 1_900_000_000_000;

fn keys() -> KeySet {
    let key = |algorithm, kid, byte| NewKey::of(algorithm, kid, &[byte; 32]).unwrap().private;
    let set = json!({ "keys": [key(Algorithm::Hs256, "hs", 1), key(Algorithm::EdDsa, "ed", 2)] });
    KeySet::parse(set.to_string().as_bytes()).unwrap()
}

fn admission() -> Admission {
    Admission { keys: keys(), audience: "stampede".into() }
}

fn claims() -> Value {
    json!({ "sub": "u1", "aud": "stampede", "exp": NOW_MS / 1000 + 60, "sales": ["ticket"] })
}

/// A token with exactly this header and these claims, signed by a key.
fn sign(kid: &str, header: &str, claims: &str) -> String {
    let text = format!("{}.{}", encode(header.as_bytes()), encode(claims.as_bytes()));
    let signature = keys().find(kid).unwrap().sign(text.as_bytes()).unwrap();
    format!("{text}.{}", encode(&signature))
}

fn token(claims: &Value) -> String {
    sign("hs", r#"{"alg":"HS256","kid":"hs"}"#, &claims.to_string())
}

fn check(token: &str) -> Result<Pass, Denied> {
    admission().check(token.as_bytes(), NOW_MS)
}

#[test]
fn a_token_of_each_algorithm_admits() {
    for kid in ["hs", "ed"] {
        let sales = ["ticket".to_owned(), "poster".to_owned()];
        let claims = Claims {
            user: "张三",
            audience: "stampede",
            sales: &sales,
            max: Some(2),
            from_ms: NOW_MS,
            until_ms: NOW_MS + 60_000,
        };
        let pass = check(&mint(&keys(), kid, &claims).unwrap()).unwrap();
        assert_eq!((pass.user.as_str(), pass.max), ("张三", Some(2)));
        assert_eq!(pass.check_sale("ticket"), Ok(()));
        assert_eq!(pass.check_sale("poster"), Ok(()));
        assert_eq!(pass.check_sale("posters"), Err(Denied::Sale));
        assert_eq!(pass.check_quantity(2), Ok(()));
        assert_eq!(pass.check_quantity(3), Err(Denied::Max { max: 2 }));
    }
}

#[test]
fn the_key_chooses_the_algorithm() {
    let claims = claims().to_string();
    for (kid, header, said) in [
        ("hs", r#"{"alg":"none","kid":"hs"}"#, Denied::Algorithm),
        ("hs", r#"{"alg":"None","kid":"hs"}"#, Denied::Algorithm),
        ("hs", r#"{"alg":"hs256","kid":"hs"}"#, Denied::Algorithm),
        ("hs", r#"{"alg":"HS512","kid":"hs"}"#, Denied::Algorithm),
        ("hs", r#"{"alg":"RS256","kid":"hs"}"#, Denied::Algorithm),
        ("hs", r#"{"alg":"EdDSA","kid":"hs"}"#, Denied::Algorithm),
        ("hs", r#"{"alg":"HS256","kid":"ed"}"#, Denied::Algorithm),
        ("ed", r#"{"alg":"EdDSA","kid":"hs"}"#, Denied::Algorithm),
        ("ed", r#"{"alg":"HS256","kid":"hs"}"#, Denied::Signature),
        ("hs", r#"{"alg":"HS256","kid":"other"}"#, Denied::UnknownKey),
        ("hs", r#"{"alg":"HS256"}"#, Denied::UnknownKey),
    ] {
        assert_eq!(check(&sign(kid, header, &claims)).unwrap_err(), said, "{header}");
    }
    // The public key as an HMAC secret: the classic confusion.
    let public = NewKey::of(Algorithm::EdDsa, "ed", &[2; 32]).unwrap().public.unwrap();
    let public = decode(public["x"].as_str().unwrap()).unwrap();
    let text =
        format!("{}.{}", encode(br#"{"alg":"HS256","kid":"ed"}"#), encode(claims.as_bytes()));
    let key = ring::hmac::Key::new(ring::hmac::HMAC_SHA256, &public);
    let signature = encode(ring::hmac::sign(&key, text.as_bytes()).as_ref());
    assert_eq!(check(&format!("{text}.{signature}")), Err(Denied::Algorithm));
}

#[test]
fn a_header_is_read_strictly() {
    let claims = claims().to_string();
    for header in [
        "",
        "[]",
        "\"HS256\"",
        r#"["HS256","hs"]"#,
        r#"{"kid":"hs"}"#,
        r#"{"alg":null,"kid":"hs"}"#,
        r#"{"alg":5,"kid":"hs"}"#,
        r#"{"alg":"HS256","kid":["hs"]}"#,
        r#"{"alg":"none","alg":"HS256","kid":"hs"}"#,
        r#"{"alg":"HS256","kid":"other","kid":"hs"}"#,
        r#"{"alg":"HS256","kid":"hs","crit":["exp"]}"#,
        r#"{"alg":"HS256","kid":"hs","crit":[]}"#,
        r#"{"alg":"HS256","kid":"hs","crit":null}"#,
        r#"{"alg":"HS256","kid":"hs"} {}"#,
    ] {
        let said = check(&sign("hs", header, &claims)).expect_err(header);
        assert!(matches!(said, Denied::Malformed(_)), "{header}: {said}");
    }
    // Keys in the header are ignored, and so are nested values.
    for header in [
        r#"{"typ":"JWT","alg":"HS256","kid":"hs","jwk":{"kty":"oct","k":"AAAA"},"jku":"http://x"}"#,
        &format!(r#"{{"alg":"H\u0053256","kid":"hs","x":{}{}}}"#, "[".repeat(300), "]".repeat(300)),
    ] {
        assert!(check(&sign("hs", header, &claims)).is_ok(), "{header}");
    }
}

#[test]
fn claims_are_read_strictly() {
    let with = |name: &str, value: Value| {
        let mut claims = claims();
        claims[name] = value;
        token(&claims)
    };
    for name in ["sub", "exp", "sales"] {
        let mut claims = claims();
        claims.as_object_mut().unwrap().remove(name);
        let said = check(&token(&claims)).unwrap_err();
        assert!(matches!(said, Denied::Malformed(text) if text.contains(name)), "{name}: {said}");
    }
    for (name, value) in [
        ("sub", json!("")),
        ("sub", json!(7)),
        ("sub", json!("a\u{1}")),
        ("sub", json!("x".repeat(129))),
        ("exp", json!("1900000060")),
        ("exp", json!(-1)),
        ("exp", json!(1e300)),
        ("nbf", json!("0")),
        ("sales", json!([])),
        ("sales", json!([7])),
        ("sales", json!("*")),
        ("sales", json!(["ticket", "Ticket"])),
        ("sales", json!(["ticket~1of2"])),
        ("sales", json!((0..=ADMISSION_SALES_MAX).map(|n| n.to_string()).collect::<Vec<_>>())),
        ("sales", json!({ "ticket": true })),
        ("max", json!(0)),
        ("max", json!(1.5)),
        ("max", json!(-1)),
        ("max", json!(1_000_001)),
        ("aud", json!([])),
        ("aud", json!(7)),
    ] {
        let said = check(&with(name, value.clone())).unwrap_err();
        assert!(matches!(said, Denied::Malformed(_)), "{name} {value}: {said}");
    }
    let twice = claims().to_string().replace(r#""sub""#, r#""sub":"u2","sub""#);
    let said = check(&sign("hs", r#"{"alg":"HS256","kid":"hs"}"#, &twice)).unwrap_err();
    assert!(matches!(said, Denied::Malformed(_)), "{said}");
    for (name, value) in [
        ("sales", json!("ticket")),
        ("sales", json!((0..ADMISSION_SALES_MAX).map(|n| n.to_string()).collect::<Vec<_>>())),
        ("max", json!(1_000_000)),
        ("iat", json!("whenever")),
        ("iss", json!({ "deep": [[[]]] })),
        ("aud", json!(["other", "stampede"])),
    ] {
        assert!(check(&with(name, value.clone())).is_ok(), "{name} {value}");
    }
}

#[test]
fn times_have_a_leeway() {
    let leeway_s = (ADMISSION_LEEWAY_MS / 1000) as i64;
    let now_s = (NOW_MS / 1000) as i64;
    for (exp, nbf, said) in [
        (json!(now_s - leeway_s + 1), Value::Null, Ok(())),
        (json!(now_s - leeway_s), Value::Null, Err(Denied::Expired)),
        (json!(now_s as f64 - leeway_s as f64 + 0.5), Value::Null, Ok(())),
        (json!(now_s as f64 - leeway_s as f64 - 0.5), Value::Null, Err(Denied::Expired)),
        (json!(now_s + 60), json!(now_s + leeway_s), Ok(())),
        (json!(now_s + 60), json!(now_s + leeway_s + 1), Err(Denied::NotYetValid)),
        (json!(now_s + 60), json!(now_s as f64 + leeway_s as f64 + 0.5), Err(Denied::NotYetValid)),
        (json!(0), Value::Null, Err(Denied::Expired)),
    ] {
        let mut claims = claims();
        claims["exp"] = exp.clone();
        if !nbf.is_null() {
            claims["nbf"] = nbf.clone();
        }
        assert_eq!(check(&token(&claims)).map(drop), said, "exp {exp}, nbf {nbf}");
    }
}

#[test]
fn a_token_for_another_audience_is_refused() {
    let mut claims = claims();
    for other in [json!("Stampede"), json!("stampede "), json!(["a", "b"])] {
        claims["aud"] = other.clone();
        assert_eq!(check(&token(&claims)), Err(Denied::Audience), "{other}");
    }
    claims.as_object_mut().unwrap().remove("aud");
    assert_eq!(check(&token(&claims)), Err(Denied::Audience));
}

#[test]
fn a_token_with_a_changed_byte_is_refused() {
    for kid in ["hs", "ed"] {
        let header = format!(
            r#"{{"alg":"{}","kid":"{kid}"}}"#,
            keys().find(kid).unwrap().algorithm().name()
        );
        let good = sign(kid, &header, &claims().to_string());
        assert!(check(&good).is_ok());
        for at in 0..good.len() {
            for other in [b'A', b'.', b'=', b' ', b'_'] {
                let mut bytes = good.clone().into_bytes();
                if std::mem::replace(&mut bytes[at], other) == other {
                    continue;
                }
                assert!(admission().check(&bytes, NOW_MS).is_err(), "byte {at} as {other}");
            }
            assert!(check(&good[..at]).is_err(), "{at} bytes");
        }
        for more in ["=", ".", "A", " ", "\u{e9}"] {
            assert!(check(&format!("{good}{more}")).is_err(), "{more}");
            assert!(check(&format!("{more}{good}")).is_err(), "{more}");
        }
    }
}

#[test]
fn too_long_or_malformed_tokens_are_refused() {
    let mut claims = claims();
    claims["pad"] = "x".repeat(ADMISSION_TOKEN_BYTES_MAX).into();
    let said = check(&token(&claims)).unwrap_err();
    let told = format!("it is longer than {ADMISSION_TOKEN_BYTES_MAX} bytes");
    assert!(matches!(said, Denied::Malformed(text) if text == told), "{said}");
    for text in ["", ".", "..", "...", "a.b", "a.b.c.d", "é.é.é"] {
        assert!(matches!(check(text), Err(Denied::Malformed(_))), "{text}");
    }
}
