//! Settings of the control port: its address, the operator's token and the read token.
//!
//! A client of the control port can change every sale. Without a token, the port therefore listens on
//! loopback only. A read token needs an operator's token: otherwise its holder could do less than a
//! client without any token.

use std::fmt;
use std::fs;
use std::io::Read;
use std::net::SocketAddr;
use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};

use super::builder::ConfigBuilder;
use super::listen::Listen;
use super::value;
use crate::limits::{CONTROL_TOKEN_BYTES_MAX, CONTROL_TOKEN_BYTES_MIN, SHOP_TOKENS_MAX};

/// Default address of the control port.
pub const CONTROL_DEFAULT: &str = "127.0.0.1:3006";

/// The settings of the operator's token: its file, and the token itself.
pub(super) const CONTROL_TOKEN: [&str; 2] = ["control-token-file", "control-token"];
/// The setting that names the files of the shop's tokens.
pub(super) const SHOP_TOKEN: &str = "shop-token-file";
/// The settings of the read token.
pub(super) const READ_TOKEN: [&str; 2] = ["read-token-file", "read-token"];

/// The control port.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ControlSetting {
    /// Its address.
    pub address: SocketAddr,
    /// The tokens that its clients send.
    pub tokens: Tokens,
}

/// The tokens of the control port.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Tokens {
    /// The operator's token. Only `None` on a loopback address.
    pub operator: Option<Token>,
    /// The read token, for Prometheus and dashboards. Only together with the operator's token, and
    /// different from it.
    pub reader: Option<Token>,
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

    /// Identifies the token in a log: the first bytes of a hash.
    pub fn fingerprint(&self) -> String {
        let text = ["stampede control token ", &self.text].concat();
        let hash = ring::digest::digest(&ring::digest::SHA256, text.as_bytes());
        hash.as_ref()[..4].iter().map(|byte| format!("{byte:02x}")).collect()
    }

    /// The file of the token.
    pub fn file(&self) -> Option<&Path> {
        self.file.as_deref()
    }

    /// Whether `shown` is this token. The time does not depend on the number of matching bytes.
    pub fn matches(&self, shown: &[u8]) -> bool {
        let token = self.text.as_bytes();
        let differ = |shown: &[u8]| {
            token.iter().zip(shown).fold(0u8, |all, (a, b)| std::hint::black_box(all | (a ^ b)))
        };
        token.len() == shown.len() && differ(shown) == 0
    }
}

impl Token {
    /// The token among `tokens` that equals `shown`. Compares with all of them, so that the time does not
    /// show which token is nearly right.
    pub fn shown_of<'a>(tokens: &'a [Self], shown: &[u8]) -> Option<&'a Self> {
        tokens.iter().fold(None, |found, token| Some(token).filter(|t| t.matches(shown)).or(found))
    }
}

impl fmt::Debug for Token {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Token(***)")
    }
}

impl ConfigBuilder {
    pub(super) fn control(&mut self, listen: &[Listen]) -> Option<ControlSetting> {
        let operator = self.token(CONTROL_TOKEN);
        let reader = self.token(READ_TOKEN);
        let wrong_before = self.problems.len();
        let default = CONTROL_DEFAULT.parse().ok();
        let address = self.value_or("control", default, |text| match text {
            "off" => Ok(None),
            // Operator's commands accept http:// in the same variable.
            text => {
                let shape = "must be HOST:PORT, such as 127.0.0.1:3006, or off";
                let text = text.strip_prefix("http://").unwrap_or(text);
                value::addresses(text, shape).map(|found| found.first().copied())
            }
        })?;
        let given = self.layers.values("control").map_or(CONTROL_DEFAULT, |v| &v[0]).to_owned();
        let is_wrong = self.problems.len() != wrong_before;
        let token_wrong = CONTROL_TOKEN.iter().any(|name| self.is_set(name));
        if operator.is_none() && !token_wrong && !is_wrong && !address.ip().is_loopback() {
            self.reject(
                "control",
                &given,
                "everybody who reaches this address could change every sale: set a token with \
                 --control-token-file FILE or STAMPEDE_CONTROL_TOKEN, or use a loopback address",
            );
        }
        self.check_read_token(reader.as_ref(), operator.as_ref(), token_wrong);
        if address.port() != 0 && listen.iter().any(|one| one.address() == Some(address)) {
            self.reject("control", &given, "the control port can't be the port for buyers");
        }
        Some(ControlSetting { address, tokens: Tokens { operator, reader } })
    }

    /// The shop's tokens, which are valid at both ports. Several tokens are equivalent, so that the shop can
    /// rotate them. A token of the control port has other rights, and can't be a token of the shop.
    pub(super) fn shop_tokens(&mut self, control: Option<&ControlSetting>) -> Vec<Token> {
        let given = self.layers.values(SHOP_TOKEN).unwrap_or_default().to_vec();
        let mut tokens: Vec<Token> = Vec::new();
        let others = control.map(|control| [&control.tokens.operator, &control.tokens.reader]);
        for path in &given {
            let same = |token: &Token, other: &Token| token.matches(other.text.as_bytes());
            match Token::from_file(Path::new(path)) {
                Err(problem) => self.reject(SHOP_TOKEN, path, &problem),
                Ok(token) if tokens.iter().any(|other| same(&token, other)) => {
                    self.reject(SHOP_TOKEN, path, "another of the files has the same token");
                }
                Ok(token)
                    if others.iter().flatten().copied().flatten().any(|o| same(&token, o)) =>
                {
                    let problem = "this is a token of the control port: create another one";
                    self.reject(SHOP_TOKEN, path, problem);
                }
                Ok(token) => tokens.push(token),
            }
        }
        self.warn_of_readers(SHOP_TOKEN);
        if tokens.len() > SHOP_TOKENS_MAX {
            let problem = format!("{} files, at most {SHOP_TOKENS_MAX}", tokens.len());
            self.reject(SHOP_TOKEN, &given[given.len() - 1], &problem);
        }
        tokens
    }

    /// Warns if every user of the machine can read the tokens in these files.
    fn warn_of_readers(&mut self, name: &str) {
        for path in self.layers.values(name).unwrap_or_default().to_vec() {
            let mode = fs::metadata(&path).map_or(0, |file| file.permissions().mode());
            if mode & 0o004 != 0 {
                self.layers.warnings.push(format!(
                    "{name}: every user of this machine can read the token in {path}: chmod o-r"
                ));
            }
        }
    }

    fn is_set(&self, name: &str) -> bool {
        self.layers.values(name).is_some()
    }

    /// The token in the file of the first setting, or in the second setting.
    fn token(&mut self, [file, text]: [&'static str; 2]) -> Option<Token> {
        let by_file = self.value_or(file, None, |path| Token::from_file(Path::new(path)).map(Some));
        let by_text = self.value_or(text, None, |token| Token::new(token).map(Some));
        if by_file.is_some() {
            self.warn_of_readers(file);
        }
        if self.is_set(file) && self.is_set(text) {
            self.reject(text, "", &format!("{file} is set too; one token is enough"));
        }
        by_file.or(by_text)
    }

    /// `is_guarded`: an operator's token is set, valid or not.
    fn check_read_token(
        &mut self,
        read_token: Option<&Token>,
        token: Option<&Token>,
        is_guarded: bool,
    ) {
        let Some(name) = READ_TOKEN.into_iter().find(|name| self.is_set(name)) else { return };
        let given = self.layers.values(name).map_or_else(String::new, |v| v[0].clone());
        if !is_guarded {
            self.reject(
                name,
                &given,
                "without a token for changes, everybody who reaches the control port can change sales: \
                 set one with --control-token-file FILE or STAMPEDE_CONTROL_TOKEN too",
            );
        }
        if let (Some(read), Some(token)) = (read_token, token)
            && token.matches(read.text.as_bytes())
        {
            self.reject(
                name,
                &given,
                "this is the token that may change sales: create another one",
            );
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn tokens_are_checked_and_never_shown() {
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
    fn a_token_is_read_from_a_file() {
        let file = tempfile::NamedTempFile::new().unwrap();
        std::fs::write(&file, "0123456789abcdef\n").unwrap();
        let token = Token::from_file(file.path()).unwrap();
        assert!(token.matches(b"0123456789abcdef") && token.file() == Some(file.path()));
        std::fs::write(&file, "two lines\nof text, 0123456789").unwrap();
        assert!(Token::from_file(file.path()).is_err());
        assert!(Token::from_file(Path::new("/no/such")).unwrap_err().contains("can't be read"));
    }
}
