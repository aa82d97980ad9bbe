//! Tickets that every server of a fleet takes (RFC 8446, section 4.6.1; RFC 5077), so that a client whom
//! the balancer sends to another server resumes there.
//!
//! The file has a key on each line, 64 hexadecimal digits. The first one seals, all of them open. To
//! change keys without a full handshake more than necessary: add the new one behind the first on every
//! server, then put it first on every server, then remove the old one after the tickets' lifetime.

use std::fs::File;
use std::io::Read;
use std::path::Path;

use ring::aead::{AES_256_GCM, Aad, LessSafeKey, NONCE_LEN, Nonce, UnboundKey};
use ring::digest::{SHA256, digest};
use ring::rand::{SecureRandom, SystemRandom};
use rustls::server::ProducesTickets;

use super::setting::TlsProblem;
use crate::limits::{TICKET_BYTES_MAX, TICKET_KEYS_MAX, TICKET_LIFETIME_S};

/// Bytes of a key.
const KEY_BYTES: usize = 32;
/// Bytes that say with which key a ticket was sealed.
const NAME_BYTES: usize = 16;

/// See the module's header.
#[derive(Debug)]
pub(super) struct SharedTickets {
    keys: Vec<TicketKey>,
    random: SystemRandom,
}

struct TicketKey {
    name: [u8; NAME_BYTES],
    key: LessSafeKey,
}

impl std::fmt::Debug for TicketKey {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("TicketKey(***)")
    }
}

impl SharedTickets {
    pub(super) fn load(path: &Path) -> Result<Self, TlsProblem> {
        let wrong = |problem: String| TlsProblem {
            setting: "tls-ticket-keys",
            file: path.to_owned(),
            problem,
        };
        let most = (2 * TICKET_KEYS_MAX * (2 * KEY_BYTES + 2)) as u64;
        let mut text = String::new();
        File::open(path)
            .and_then(|file| file.take(most).read_to_string(&mut text))
            .map_err(|error| wrong(format!("can't be read: {error}")))?;
        Self::parse(&text).map_err(wrong)
    }

    fn parse(text: &str) -> Result<Self, String> {
        let lines = text.lines().map(str::trim).filter(|line| !line.is_empty());
        let keys = lines.map(TicketKey::parse).collect::<Option<Vec<_>>>();
        let keys = keys.filter(|keys| (1..=TICKET_KEYS_MAX).contains(&keys.len()));
        let keys = keys.ok_or_else(|| {
            format!(
                "must have 1 to {TICKET_KEYS_MAX} lines of {} hexadecimal digits, such as \
                 `openssl rand -hex {KEY_BYTES}` prints",
                2 * KEY_BYTES
            )
        })?;
        Ok(Self { keys, random: SystemRandom::new() })
    }
}

impl TicketKey {
    fn parse(line: &str) -> Option<Self> {
        let mut bytes = [0; KEY_BYTES];
        if line.len() != 2 * KEY_BYTES || !line.bytes().all(|digit| digit.is_ascii_hexdigit()) {
            return None;
        }
        for (byte, at) in bytes.iter_mut().zip((0..).step_by(2)) {
            *byte = u8::from_str_radix(&line[at..at + 2], 16).ok()?;
        }
        let name = digest(&SHA256, &bytes).as_ref()[..NAME_BYTES].try_into().ok()?;
        let key = LessSafeKey::new(UnboundKey::new(&AES_256_GCM, &bytes).ok()?);
        Some(Self { name, key })
    }
}

impl ProducesTickets for SharedTickets {
    fn enabled(&self) -> bool {
        true
    }

    fn lifetime(&self) -> u32 {
        TICKET_LIFETIME_S
    }

    fn encrypt(&self, plain: &[u8]) -> Option<Vec<u8>> {
        let first = self.keys.first()?;
        let mut nonce = [0; NONCE_LEN];
        self.random.fill(&mut nonce).ok()?;
        let mut sealed = plain.to_vec();
        let nonce_value = Nonce::assume_unique_for_key(nonce);
        first
            .key
            .seal_in_place_append_tag(nonce_value, Aad::from(&first.name), &mut sealed)
            .ok()?;
        Some([&first.name[..], &nonce, &sealed].concat())
    }

    fn decrypt(&self, ticket: &[u8]) -> Option<Vec<u8>> {
        if ticket.len() > TICKET_BYTES_MAX {
            return None;
        }
        let (name, rest) = ticket.split_first_chunk::<NAME_BYTES>()?;
        let (nonce, sealed) = rest.split_first_chunk::<NONCE_LEN>()?;
        let key = self.keys.iter().find(|key| key.name == *name)?;
        let mut plain = sealed.to_vec();
        let nonce = Nonce::assume_unique_for_key(*nonce);
        let bytes = key.key.open_in_place(nonce, Aad::from(&key.name), &mut plain).ok()?.len();
        plain.truncate(bytes);
        Some(plain)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn tickets(keys: &[char]) -> SharedTickets {
        let lines: Vec<_> = keys.iter().map(|key| key.to_string().repeat(64)).collect();
        SharedTickets::parse(&lines.join("\n")).expect("keys")
    }

    #[test]
    fn a_ticket_is_accepted_by_servers_that_share_its_key() {
        let ticket = tickets(&['a', 'b']).encrypt(b"a session").expect("a ticket");
        assert_eq!(tickets(&['b', 'a']).decrypt(&ticket).as_deref(), Some(&b"a session"[..]));
        assert_eq!(tickets(&['b', 'c']).decrypt(&ticket), None);
    }

    #[test]
    fn changed_or_truncated_tickets_are_refused() {
        let shared = tickets(&['a']);
        let ticket = shared.encrypt(b"a session").expect("a ticket");
        for at in 0..ticket.len() {
            let mut changed = ticket.clone();
            changed[at] ^= 1;
            assert_eq!(shared.decrypt(&changed), None, "byte {at}");
            assert_eq!(shared.decrypt(&ticket[..at]), None, "{at} bytes");
        }
        assert_ne!(shared.encrypt(b"a session"), Some(ticket), "a nonce is used once");
    }

    #[test]
    fn key_files_are_checked() {
        let key = "0123456789abcdefABCDEF0123456789".repeat(2);
        for (text, good) in [
            (key.clone(), true),
            (format!("{key}\n\n{key}\r\n"), true),
            (String::new(), false),
            (key[1..].to_owned(), false),
            (format!("{key}0"), false),
            (key.replace('0', "g"), false),
            (format!("{key}\n").repeat(TICKET_KEYS_MAX + 1), false),
        ] {
            assert_eq!(SharedTickets::parse(&text).is_ok(), good, "{text}");
        }
    }
}
