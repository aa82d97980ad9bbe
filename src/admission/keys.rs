//! The shop's keys: a JSON Web Key Set (RFC 7517).
//!
//! Each key has one algorithm, and a token that names the key can't choose another one. A set can
//! have several keys, so that a new key can be added before the old one is removed.

use std::fmt;

use base64::Engine;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use ring::digest::{SHA256, digest};
use ring::hmac;
use ring::signature::{ED25519, Ed25519KeyPair, KeyPair, UnparsedPublicKey};
use serde::Deserialize;
use serde_json::{Value, json};

use crate::limits::{
    ADMISSION_KEYS_BYTES_MAX, ADMISSION_KEYS_MAX, ADMISSION_KID_BYTES_MAX,
    ADMISSION_SECRET_BYTES_MAX, ADMISSION_SECRET_BYTES_MIN,
};

/// Length of an Ed25519 public key, and of the seed of its private key.
const ED25519_BYTES: usize = 32;

/// A signature algorithm.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Algorithm {
    /// HMAC with SHA-256 (RFC 7518, section 3.2).
    Hs256,
    /// Ed25519 (RFC 8037, section 3.1).
    EdDsa,
}

impl Algorithm {
    /// The algorithm with this `alg` name.
    pub fn named(name: &str) -> Option<Self> {
        match name {
            "HS256" => Some(Self::Hs256),
            "EdDSA" => Some(Self::EdDsa),
            _ => None,
        }
    }

    /// Its `alg` name.
    pub fn name(self) -> &'static str {
        match self {
            Self::Hs256 => "HS256",
            Self::EdDsa => "EdDSA",
        }
    }
}

/// Why a file has no usable keys.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum KeyProblem {
    /// The file is too long.
    #[error("is longer than {ADMISSION_KEYS_BYTES_MAX} bytes")]
    TooLong,
    /// The file is not a JSON Web Key Set.
    #[error(
        "must be a JSON Web Key Set, {{\"keys\":[…]}}: line {line}, column {column}: {problem}"
    )]
    NotASet {
        /// Position of the error.
        line: usize,
        /// Position of the error.
        column: usize,
        /// What is expected there. It never quotes the file, which has secrets.
        problem: &'static str,
    },
    /// It has no keys, or too many.
    #[error("must have 1 to {ADMISSION_KEYS_MAX} keys, and has {0}")]
    Count(usize),
    /// One key is wrong.
    #[error("key {number} (kid {kid}): {problem}")]
    Key {
        /// Index of the key, from 1.
        number: usize,
        /// Its name, if it has one.
        kid: String,
        /// What is wrong with it.
        problem: &'static str,
    },
}

/// A key that verifies, and signs if its private part is known.
pub struct Key {
    kid: Box<str>,
    kind: Kind,
}

enum Kind {
    Hs256(hmac::Key),
    EdDsa { public: UnparsedPublicKey<[u8; ED25519_BYTES]>, pair: Option<Box<Ed25519KeyPair>> },
}

impl Key {
    /// Its name.
    pub fn kid(&self) -> &str {
        &self.kid
    }

    /// The algorithm.
    pub fn algorithm(&self) -> Algorithm {
        match self.kind {
            Kind::Hs256(_) => Algorithm::Hs256,
            Kind::EdDsa { .. } => Algorithm::EdDsa,
        }
    }

    /// Whether this is the key's signature of the text.
    pub fn verifies(&self, text: &[u8], signature: &[u8]) -> bool {
        match &self.kind {
            Kind::Hs256(key) => hmac::verify(key, text, signature).is_ok(),
            Kind::EdDsa { public, .. } => public.verify(text, signature).is_ok(),
        }
    }

    /// The key's signature of the text. `None`: the private part is not known.
    pub fn sign(&self, text: &[u8]) -> Option<Vec<u8>> {
        match &self.kind {
            Kind::Hs256(key) => Some(hmac::sign(key, text).as_ref().to_vec()),
            Kind::EdDsa { pair, .. } => Some(pair.as_ref()?.sign(text).as_ref().to_vec()),
        }
    }
}

/// The keys of a file. `Debug` shows their names only.
pub struct KeySet {
    keys: Box<[Key]>,
    fingerprint: [u8; 32],
}

impl fmt::Debug for KeySet {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_list().entries(self.keys.iter().map(Key::kid)).finish()
    }
}

impl PartialEq for KeySet {
    fn eq(&self, other: &Self) -> bool {
        self.fingerprint == other.fingerprint
    }
}

impl Eq for KeySet {}

/// A set as in the file. Unknown members are ignored (RFC 7517, section 5); known ones must not be
/// repeated.
#[derive(Deserialize)]
struct SetJson {
    keys: Vec<KeyJson>,
}

#[derive(Deserialize)]
struct KeyJson {
    kty: Option<String>,
    kid: Option<String>,
    alg: Option<String>,
    #[serde(rename = "use")]
    usage: Option<String>,
    k: Option<String>,
    crv: Option<String>,
    x: Option<String>,
    d: Option<String>,
}

impl KeySet {
    /// Parses the keys of a file.
    ///
    /// # Errors
    /// Describes the problem without any secret.
    pub fn parse(text: &[u8]) -> Result<Self, KeyProblem> {
        if text.len() > ADMISSION_KEYS_BYTES_MAX {
            return Err(KeyProblem::TooLong);
        }
        let set: SetJson = serde_json::from_slice(text).map_err(|error| {
            let problem = match error.is_data() {
                true => "a member is missing, stands there twice or has another type",
                false => "this is no JSON",
            };
            KeyProblem::NotASet { line: error.line(), column: error.column(), problem }
        })?;
        if !(1..=ADMISSION_KEYS_MAX).contains(&set.keys.len()) {
            return Err(KeyProblem::Count(set.keys.len()));
        }
        let mut keys: Vec<Key> = Vec::with_capacity(set.keys.len());
        for (number, json) in (1..).zip(&set.keys) {
            let name = json.kid.as_deref().filter(|kid| is_kid(kid)).unwrap_or("?");
            let wrong = |problem| KeyProblem::Key { number, kid: name.to_owned(), problem };
            let key = key(json).map_err(wrong)?;
            if keys.iter().any(|other| other.kid == key.kid) {
                return Err(wrong("another key has this kid"));
            }
            keys.push(key);
        }
        let fingerprint = digest(&SHA256, text).as_ref().try_into().unwrap_or_default();
        Ok(Self { keys: keys.into(), fingerprint })
    }

    /// The key with this name.
    pub fn find(&self, kid: &str) -> Option<&Key> {
        self.keys.get(self.position(kid)?)
    }

    /// The position of the key with this name.
    pub(super) fn position(&self, kid: &str) -> Option<usize> {
        self.keys.iter().position(|key| *key.kid == *kid)
    }

    /// The key at a [`position`](Self::position).
    pub(super) fn at(&self, position: usize) -> Option<&Key> {
        self.keys.get(position)
    }

    /// The names of the keys, in their order.
    pub fn kids(&self) -> impl Iterator<Item = &str> {
        self.keys.iter().map(Key::kid)
    }

    /// Whether a reader of the file could sign.
    pub fn has_secrets(&self) -> bool {
        let is_secret = |key: &Key| match &key.kind {
            Kind::Hs256(_) => true,
            Kind::EdDsa { pair, .. } => pair.is_some(),
        };
        self.keys.iter().any(is_secret)
    }

    /// The names of the keys with a private part, although verifying needs none.
    pub fn private_kids(&self) -> impl Iterator<Item = &str> {
        let private = |key: &&Key| matches!(key.kind, Kind::EdDsa { pair: Some(_), .. });
        self.keys.iter().filter(private).map(Key::kid)
    }
}

/// Whether this is a valid name of a key.
pub fn is_kid(kid: &str) -> bool {
    let legal = |b: u8| b.is_ascii_graphic() && !matches!(b, b'"' | b'\\');
    (1..=ADMISSION_KID_BYTES_MAX).contains(&kid.len()) && kid.bytes().all(legal)
}

fn key(json: &KeyJson) -> Result<Key, &'static str> {
    let kid = json.kid.as_deref().ok_or("it has no kid")?;
    if !is_kid(kid) {
        return Err("a kid is 1 to 64 visible ASCII characters without quotes and backslashes");
    }
    if json.usage.as_deref().is_some_and(|usage| usage != "sig") {
        return Err("its use is not sig");
    }
    let algorithm = json.alg.as_deref().ok_or("it has no alg: HS256 or EdDSA")?;
    let algorithm = Algorithm::named(algorithm).ok_or("its alg must be HS256 or EdDSA")?;
    let kind = match (json.kty.as_deref(), algorithm) {
        (Some("oct"), Algorithm::Hs256) => {
            let secret = json.k.as_deref().ok_or("it has no k, the secret")?;
            let secret = decode(secret).ok_or("its k is not base64url without padding")?;
            if !(ADMISSION_SECRET_BYTES_MIN..=ADMISSION_SECRET_BYTES_MAX).contains(&secret.len()) {
                return Err("its k must have 32 to 512 bytes");
            }
            Kind::Hs256(hmac::Key::new(hmac::HMAC_SHA256, &secret))
        }
        (Some("OKP"), Algorithm::EdDsa) => {
            if json.crv.as_deref() != Some("Ed25519") {
                return Err("its crv must be Ed25519");
            }
            let of_32 = |text: &Option<String>| {
                decode(text.as_deref()?)
                    .and_then(|bytes| <[u8; ED25519_BYTES]>::try_from(bytes).ok())
            };
            let public = of_32(&json.x).ok_or("its x must be 32 bytes of base64url")?;
            let pair = match &json.d {
                None => None,
                Some(_) => {
                    let seed = of_32(&json.d).ok_or("its d must be 32 bytes of base64url")?;
                    let pair = Ed25519KeyPair::from_seed_and_public_key(&seed, &public);
                    Some(Box::new(pair.map_err(|_| "its x and d are no pair")?))
                }
            };
            Kind::EdDsa { public: UnparsedPublicKey::new(&ED25519, public), pair }
        }
        _ => return Err("it must be kty oct with alg HS256, or kty OKP with alg EdDSA"),
    };
    Ok(Key { kid: kid.into(), kind })
}

/// Decodes base64url without padding. Only the canonical text of the bytes is accepted.
pub(super) fn decode(text: &str) -> Option<Vec<u8>> {
    URL_SAFE_NO_PAD.decode(text).ok()
}

/// Encodes base64url without padding.
pub(super) fn encode(bytes: &[u8]) -> String {
    URL_SAFE_NO_PAD.encode(bytes)
}

/// A newly generated key.
pub struct NewKey {
    /// With its secret or private part: for the shop.
    pub private: Value,
    /// Without the private part, if the algorithm has one: for servers that only verify.
    pub public: Option<Value>,
}

impl NewKey {
    /// The key that is derived from these random bytes.
    pub fn of(algorithm: Algorithm, kid: &str, random: &[u8; ED25519_BYTES]) -> Option<Self> {
        if algorithm == Algorithm::Hs256 {
            let k = encode(random);
            let private = json!({ "kty": "oct", "kid": kid, "alg": "HS256", "k": k });
            return Some(Self { private, public: None });
        }
        let pair = Ed25519KeyPair::from_seed_unchecked(random).ok()?;
        let x = encode(pair.public_key().as_ref());
        let public = json!({ "kty": "OKP", "kid": kid, "alg": "EdDSA", "crv": "Ed25519", "x": x });
        let mut private = public.clone();
        private["d"] = encode(random).into();
        Some(Self { private, public: Some(public) })
    }
}

#[cfg(test)]
#[path = "keys_tests.rs"]
mod tests;
