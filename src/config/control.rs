//! The settings of the control port: where it is, and the token that opens it.
//!
//! Whoever reaches the control port can sell what there is. Without a token it is therefore only
//! ever on loopback.

use std::fmt;
use std::io::Read;
use std::net::SocketAddr;
use std::path::{Path, PathBuf};

use super::listen::Listen;
use super::taker::Taker;
use super::value;
use crate::limits::{CONTROL_TOKEN_BYTES_MAX, CONTROL_TOKEN_BYTES_MIN};

/// Where the control port is unless told otherwise.
pub const CONTROL_DEFAULT: &str = "127.0.0.1:3006";

/// The control port.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ControlSetting {
    /// Where it listens.
    pub address: SocketAddr,
    /// What its clients must show. Never `None` unless `address` is loopback.
    pub token: Option<Token>,
}

/// A bearer token. Shown as `***`.
#[derive(Clone, PartialEq, Eq)]
pub struct Token {
    text: String,
    file: Option<PathBuf>,
}

impl Token {
    /// Checks and takes a token: 16 to 512 visible ASCII characters.
    pub fn new(text: &str) -> Result<Self, String> {
        let length = CONTROL_TOKEN_BYTES_MIN..=CONTROL_TOKEN_BYTES_MAX;
        if !length.contains(&text.len()) || !text.bytes().all(|b| b.is_ascii_graphic()) {
            return Err(format!(
                "a token is {CONTROL_TOKEN_BYTES_MIN} to {CONTROL_TOKEN_BYTES_MAX} visible ASCII \
                 characters without spaces, such as `openssl rand -hex 32` prints"
            ));
        }
        Ok(Self { text: text.to_owned(), file: None })
    }

    /// The token that is the only line of a file.
    pub fn from_file(path: &Path) -> Result<Self, String> {
        let mut text = String::new();
        std::fs::File::open(path)
            .and_then(|file| {
                file.take(2 * CONTROL_TOKEN_BYTES_MAX as u64).read_to_string(&mut text)
            })
            .map_err(|error| format!("can't be read: {error}"))?;
        let token = Self::new(text.trim()).map_err(|problem| format!("in the file: {problem}"))?;
        Ok(Self { file: Some(path.to_owned()), ..token })
    }

    /// The token itself, to be sent.
    pub fn expose(&self) -> &str {
        &self.text
    }

    /// What tells it from other tokens in a log: the beginning of a hash.
    pub fn fingerprint(&self) -> String {
        let text = ["stampede control token ", &self.text].concat();
        let hash = ring::digest::digest(&ring::digest::SHA256, text.as_bytes());
        hash.as_ref()[..4].iter().map(|byte| format!("{byte:02x}")).collect()
    }

    /// The file it stands in.
    pub fn file(&self) -> Option<&Path> {
        self.file.as_deref()
    }

    /// Whether it is this one, in a time that does not tell how much of it is right.
    pub fn matches(&self, shown: &[u8]) -> bool {
        let token = self.text.as_bytes();
        let differ = |shown: &[u8]| {
            token.iter().zip(shown).fold(0u8, |all, (a, b)| std::hint::black_box(all | (a ^ b)))
        };
        token.len() == shown.len() && differ(shown) == 0
    }
}

impl fmt::Debug for Token {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Token(***)")
    }
}

impl Taker {
    pub(super) fn control(&mut self, listen: &[Listen]) -> Option<ControlSetting> {
        let by_file = self
            .one("control-token-file", None, |text| Token::from_file(Path::new(text)).map(Some));
        let by_text = self.one("control-token", None, |text| Token::new(text).map(Some));
        let both = ["control-token-file", "control-token"];
        if both.iter().all(|name| self.layers.values(name).is_some()) {
            self.wrong("control-token", "", "control-token-file is set too; one token is enough");
        }
        let wrong_before = self.problems.len();
        let default = CONTROL_DEFAULT.parse().ok();
        let address = self.one("control", default, |text| match text {
            "off" => Ok(None),
            // As an operator's command takes it, from the same variable.
            text => {
                let shape = "must be HOST:PORT, such as 127.0.0.1:3006, or off";
                let text = text.strip_prefix("http://").unwrap_or(text);
                value::addresses(text, shape).map(|found| found.first().copied())
            }
        })?;
        let token = by_file.or(by_text);
        let given = self.layers.values("control").map_or(CONTROL_DEFAULT, |v| &v[0]).to_owned();
        let is_wrong = self.problems.len() != wrong_before;
        let token_wrong = self.layers.values("control-token-file").is_some()
            || self.layers.values("control-token").is_some();
        if token.is_none() && !token_wrong && !is_wrong && !address.ip().is_loopback() {
            self.wrong(
                "control",
                &given,
                "whoever reaches this address could change every sale: set a token with \
                 --control-token-file FILE or STAMPEDE_CONTROL_TOKEN, or use a loopback address",
            );
        }
        if address.port() != 0 && listen.iter().any(|one| one.address() == Some(address)) {
            self.wrong("control", &given, "the control port can't be the port for buyers");
        }
        Some(ControlSetting { address, token })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn tokens() {
        let token = Token::new("0123456789abcdef").unwrap();
        assert!(token.matches(b"0123456789abcdef") && token.expose() == "0123456789abcdef");
        for other in [&b""[..], b"0123456789abcdeg", b"0123456789abcde", b"0123456789abcdef0"] {
            assert!(!token.matches(other));
        }
        for bad in ["", "short", "0123456789 abcdef", "0123456789abcdeé", &"x".repeat(513)] {
            assert!(Token::new(bad).unwrap_err().contains("16 to 512"), "{bad}");
        }
        assert!(!format!("{token:?}").contains("0123"));
    }

    #[test]
    fn a_token_in_a_file() {
        let file = tempfile::NamedTempFile::new().unwrap();
        std::fs::write(&file, "0123456789abcdef\n").unwrap();
        let token = Token::from_file(file.path()).unwrap();
        assert!(token.matches(b"0123456789abcdef") && token.file() == Some(file.path()));
        std::fs::write(&file, "two lines\nof text, 0123456789").unwrap();
        assert!(Token::from_file(file.path()).is_err());
        assert!(Token::from_file(Path::new("/no/such")).unwrap_err().contains("can't be read"));
    }
}
