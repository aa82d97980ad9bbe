//! A shop that mints tokens, and buyers who show them.

use std::path::PathBuf;
use std::time::{SystemTime, UNIX_EPOCH};

use serde_json::{Value, json};
use stampede::admission::{Algorithm, Claims, KeySet, NewKey, mint};
use tempfile::TempDir;

use crate::client::{Client, Response};

/// The time, in ms since 1970.
pub fn now_ms() -> u64 {
    SystemTime::now().duration_since(UNIX_EPOCH).expect("after 1970").as_millis() as u64
}

/// A shop with its keys in a file.
pub struct Shop {
    folder: TempDir,
    keys: KeySet,
}

/// A set of keys, each made from a byte.
pub fn set(keys: &[(Algorithm, &str, u8)]) -> Value {
    let key = |(algorithm, kid, byte): &(Algorithm, &str, u8)| {
        NewKey::of(*algorithm, kid, &[*byte; 32]).expect("a key").private
    };
    json!({ "keys": keys.iter().map(key).collect::<Vec<_>>() })
}

impl Shop {
    /// With an HS256 key `hs` and an EdDSA key `ed`.
    pub fn new() -> Self {
        Self::with(&set(&[(Algorithm::Hs256, "hs", 1), (Algorithm::EdDsa, "ed", 2)]))
    }

    /// With these keys.
    pub fn with(set: &Value) -> Self {
        let folder = tempfile::tempdir().expect("a folder");
        let mut shop = Self { folder, keys: keys(set) };
        shop.change(set);
        shop
    }

    /// Replaces its keys.
    pub fn change(&mut self, set: &Value) {
        std::fs::write(self.file(), set.to_string()).expect("write");
        self.keys = keys(set);
    }

    /// The file of its keys.
    pub fn file(&self) -> PathBuf {
        self.folder.path().join("keys.json")
    }

    /// The options of a server that accepts its tokens.
    pub fn options<'a>(&self, more: &[&'a str]) -> Vec<&'a str> {
        let file: &str = self.file().display().to_string().leak();
        [&["--admission-keys", file], more].concat()
    }

    /// A token for the sale `ticket`.
    pub fn token(&self, kid: &str, user: &str) -> String {
        self.token_with(kid, user, |_| {})
    }

    /// The same with a change.
    pub fn token_with(
        &self,
        kid: &str,
        user: &str,
        change: impl FnOnce(&mut Claims<'_>),
    ) -> String {
        let sales = ["ticket".to_owned()];
        let now_ms = now_ms();
        let mut order = Claims {
            user,
            audience: "stampede",
            sales: &sales,
            max: None,
            from_ms: now_ms,
            until_ms: now_ms + 600_000,
        };
        change(&mut order);
        mint(&self.keys, kid, &order).expect("a token")
    }
}

fn keys(set: &Value) -> KeySet {
    KeySet::parse(set.to_string().as_bytes()).expect("keys")
}

/// The header lines that show a token.
pub fn bearer(token: &str) -> String {
    format!("Authorization: Bearer {token}\r\n")
}

/// Sends a request with these header lines.
pub fn ask(client: &mut Client, line: &str, headers: &str) -> Response {
    client.ask(format!("{line} HTTP/1.1\r\nHost: a\r\n{headers}\r\n"))
}

/// Buys at `/buy/ticket`.
pub fn buy(client: &mut Client, headers: &str) -> Response {
    ask(client, "GET /buy/ticket", headers)
}

/// The `code` of an answer of `/buy/ticket`, with its status.
pub fn code(answer: &Response) -> (u16, i64) {
    (answer.status(), answer.json()["code"].as_i64().expect("a code"))
}
