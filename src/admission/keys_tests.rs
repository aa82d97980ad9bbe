use super::*;

/// The key of RFC 8037, appendix A.1.
const ED25519: &str = r#"{"kty":"OKP","kid":"ed","alg":"EdDSA","crv":"Ed25519",
"x":"11qYAYKxCrfVS_7TyWQHOg7hcvPapiMlrwIaaPcHURo"}"#;
const ED25519_PRIVATE: &str = r#"{"kty":"OKP","kid":"ed","alg":"EdDSA","crv":"Ed25519",
"d":"nWGxne_9WmC6hEr0kuwsxERJxWl7MmkZcDusAxyuf2A",
"x":"11qYAYKxCrfVS_7TyWQHOg7hcvPapiMlrwIaaPcHURo"}"#;
/// The key of RFC 7515, appendix A.1.
const HS256: &str = r#"{"kty":"oct","kid":"hs","alg":"HS256",
"k":"AyM1SysPpbyDfgZld3umj1qzKObwVMkoqQ-EstJQLr_T-1qS0gZH75aKtMN3Yj0iPS4hcgUuTwjAzZr1Z9CAow"}"#;

fn set(keys: &[&str]) -> Result<KeySet, KeyProblem> {
    KeySet::parse(format!(r#"{{"keys":[{}]}}"#, keys.join(",")).as_bytes())
}

#[test]
fn the_test_vectors_of_the_rfcs_verify() {
    let keys = set(&[HS256, ED25519]).unwrap();
    for (kid, jws) in [
        (
            "hs",
            "eyJ0eXAiOiJKV1QiLA0KICJhbGciOiJIUzI1NiJ9.eyJpc3MiOiJqb2UiLA0KICJleHAiOjEzMDA4MTkzODAsDQogImh0dHA6Ly9leGFtcGxlLmNvbS9pc19yb290Ijp0cnVlfQ.dBjftJeZ4CVP-mB92K27uhbUJU1p1r_wW1gFWFOEjXk",
        ),
        (
            "ed",
            "eyJhbGciOiJFZERTQSJ9.RXhhbXBsZSBvZiBFZDI1NTE5IHNpZ25pbmc.hgyY0il_MGCjP0JzlnLWG1PPOt7-09PGcvMg3AIbQR6dWbhijcNR4ki4iylGjg5BhVsPt9g7sVvpAr_MuM0KAg",
        ),
    ] {
        let (text, signature) = jws.rsplit_once('.').unwrap();
        let signature = decode(signature).unwrap();
        let key = keys.find(kid).unwrap();
        assert!(key.verifies(text.as_bytes(), &signature), "{kid}");
        assert!(!key.verifies(&text.as_bytes()[1..], &signature), "{kid}");
        for at in 0..signature.len() {
            let mut other = signature.clone();
            other[at] ^= 1;
            assert!(!key.verifies(text.as_bytes(), &other), "{kid}: byte {at}");
            assert!(!key.verifies(text.as_bytes(), &signature[..at]), "{kid}: {at} bytes");
        }
    }
}

#[test]
fn only_private_keys_sign_and_their_signatures_verify() {
    assert_eq!(set(&[ED25519]).unwrap().find("ed").unwrap().sign(b"text"), None);
    let keys = set(&[ED25519_PRIVATE, HS256]).unwrap();
    assert_eq!(keys.private_kids().collect::<Vec<_>>(), ["ed"]);
    for kid in keys.kids() {
        let key = keys.find(kid).unwrap();
        assert!(key.verifies(b"text", &key.sign(b"text").unwrap()), "{kid}");
    }
}

#[test]
fn malformed_key_sets_are_refused_without_showing_secrets() {
    let without = |key: &str, member: &str| {
        let mut value: Value = serde_json::from_str(key).unwrap();
        value.as_object_mut().unwrap().remove(member).unwrap();
        value.to_string()
    };
    let with = |key: &str, member: &str, other: Value| {
        let mut value: Value = serde_json::from_str(key).unwrap();
        value[member] = other;
        value.to_string()
    };
    let secret = |bytes: usize| with(HS256, "k", encode(&vec![7; bytes]).into());
    for (key, said) in [
        (without(HS256, "kid"), "it has no kid"),
        (without(HS256, "alg"), "it has no alg"),
        (without(HS256, "k"), "it has no k"),
        (without(HS256, "kty"), "it must be kty oct"),
        (with(HS256, "kid", "a b".into()), "a kid is 1 to 64"),
        (with(HS256, "kid", "x".repeat(65).into()), "a kid is 1 to 64"),
        (with(HS256, "alg", "none".into()), "its alg must be HS256 or EdDSA"),
        (with(HS256, "alg", "HS512".into()), "its alg must be HS256 or EdDSA"),
        (with(HS256, "alg", "EdDSA".into()), "it must be kty oct"),
        (with(HS256, "use", "enc".into()), "its use is not sig"),
        (with(HS256, "k", "AAA=".into()), "base64url without padding"),
        (secret(ADMISSION_SECRET_BYTES_MIN - 1), "32 to 512 bytes"),
        (secret(ADMISSION_SECRET_BYTES_MAX + 1), "32 to 512 bytes"),
        (with(ED25519, "alg", "HS256".into()), "it must be kty oct"),
        (with(ED25519, "crv", "X25519".into()), "its crv must be Ed25519"),
        (with(ED25519, "x", "AAAA".into()), "its x must be 32 bytes"),
        (without(ED25519, "x"), "its x must be 32 bytes"),
        (with(ED25519_PRIVATE, "d", encode(&[1; 32]).into()), "its x and d are no pair"),
        (with(ED25519_PRIVATE, "d", "AA".into()), "its d must be 32 bytes"),
    ] {
        let error = set(&[&key]).unwrap_err().to_string();
        assert!(error.contains(said), "{key}: {error}");
        assert!(!error.contains("AyM1") && !error.contains("nWGx"), "{error}");
    }
    assert!(set(&[&secret(ADMISSION_SECRET_BYTES_MIN)]).is_ok());
    assert!(set(&[&secret(ADMISSION_SECRET_BYTES_MAX)]).is_ok());
    assert!(set(&[HS256, HS256]).unwrap_err().to_string().contains("another key has this kid"));
    assert_eq!(set(&[]).unwrap_err(), KeyProblem::Count(0));
    let many: Vec<String> =
        (0..=ADMISSION_KEYS_MAX).map(|n| with(HS256, "kid", n.to_string().into())).collect();
    let many: Vec<&str> = many.iter().map(String::as_str).collect();
    assert_eq!(set(&many).unwrap_err(), KeyProblem::Count(ADMISSION_KEYS_MAX + 1));
    assert!(set(&many[1..]).is_ok());
    let twice = HS256.replace(r#""kid":"hs""#, r#""kid":"hs","kid":"hs""#);
    assert!(set(&[&twice]).unwrap_err().to_string().contains("stands there twice"));
    for text in ["", "[]", "{}", "{\"keys\":{}}", "AyM1SysPpbyDfgZld3umj1qzKObwVMkoqQ"] {
        let error = KeySet::parse(text.as_bytes()).unwrap_err().to_string();
        assert!(error.contains("must be a JSON Web Key Set") && !error.contains("AyM1"), "{error}");
    }
    let long = vec![b' '; ADMISSION_KEYS_BYTES_MAX + 1];
    assert_eq!(KeySet::parse(&long).unwrap_err(), KeyProblem::TooLong);
}

#[test]
fn messages_state_the_actual_bounds() {
    let bounds = format!("{ADMISSION_SECRET_BYTES_MIN} to {ADMISSION_SECRET_BYTES_MAX}");
    assert_eq!((bounds.as_str(), ADMISSION_KID_BYTES_MAX), ("32 to 512", 64));
}

#[test]
fn unknown_members_are_ignored() {
    let key = HS256.replace(r#""kty""#, r#""x5t":["a",{"b":[1]}],"key_ops":["verify"],"kty""#);
    assert!(set(&[&key]).is_ok());
}

#[test]
fn a_generated_key_signs_and_verifies() {
    for algorithm in [Algorithm::Hs256, Algorithm::EdDsa] {
        let new = NewKey::of(algorithm, "new-1", &[9; 32]).unwrap();
        let keys = set(&[&new.private.to_string()]).unwrap();
        let key = keys.find("new-1").unwrap();
        assert_eq!(key.algorithm(), algorithm);
        let signature = key.sign(b"text").unwrap();
        let Some(public) = new.public else { continue };
        let public = set(&[&public.to_string()]).unwrap();
        assert!(public.find("new-1").unwrap().verifies(b"text", &signature));
        assert_eq!(public.private_kids().count(), 0);
    }
}

#[test]
fn equal_files_give_equal_sets_and_debug_shows_no_secret() {
    assert_eq!(set(&[HS256]).unwrap(), set(&[HS256]).unwrap());
    assert_ne!(set(&[HS256]).unwrap(), set(&[HS256, ED25519]).unwrap());
    assert_eq!(format!("{:?}", set(&[HS256, ED25519]).unwrap()), r#"["hs", "ed"]"#);
}
