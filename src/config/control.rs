//! The settings of the control port: where it is, the token that opens it, and the token that may only
//! look.
//!
//! Whoever reaches the control port can sell what there is. Without a token it is therefore only
//! ever on loopback. A token that may only look is nothing without one that may more: it would be
//! stricter with its holder than with everybody else.

use std::fmt;
use std::io::Read;
use std::net::SocketAddr;
use std::path::{Path, PathBuf};

use super::listen::Listen;
use super::taker::Taker;
use super::value;
use crate::limits::{CONTROL_TOKEN_BYTES_MAX, CONTROL_TOKEN_BYTES_MIN, SHOP_TOKENS_MAX};

/// Where the control port is unless told otherwise.
pub const CONTROL_DEFAULT: &str = "127.0.0.1:3006";

/// The settings that name the token that opens it: its file, and itself.
pub(super) const CONTROL_TOKEN: [&str; 2] = ["control-token-file", "control-token"];
/// The setting that names the files of the shop's tokens.
pub(super) const SHOP_TOKEN: &str = "shop-token-file";
/// The same of the token that may only look.
pub(super) const READ_TOKEN: [&str; 2] = ["read-token-file", "read-token"];

/// The control port.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ControlSetting {
    /// Where it listens.
    pub address: SocketAddr,
    /// What its clients must show.
    pub tokens: Tokens,
}

/// What opens the control port.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Tokens {
    /// What its clients must show. Never `None` unless its address is loopback.
    pub operates: Option<Token>,
    /// What is enough for those who only look: Prometheus, a dashboard. Only beside the other, and
    /// never the same.
    pub looks: Option<Token>,
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

impl Token {
    /// The one of these tokens that is shown. All are compared: the time does not tell which of them is
    /// nearly right.
    pub fn shown_of<'a>(tokens: &'a [Self], shown: &[u8]) -> Option<&'a Self> {
        tokens.iter().fold(None, |found, token| Some(token).filter(|t| t.matches(shown)).or(found))
    }
}

impl fmt::Debug for Token {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Token(***)")
    }
}

impl Taker {
    pub(super) fn control(&mut self, listen: &[Listen]) -> Option<ControlSetting> {
        let operates = self.token(CONTROL_TOKEN);
        let looks = self.token(READ_TOKEN);
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
        let given = self.layers.values("control").map_or(CONTROL_DEFAULT, |v| &v[0]).to_owned();
        let is_wrong = self.problems.len() != wrong_before;
        let token_wrong = CONTROL_TOKEN.iter().any(|name| self.is_set(name));
        if operates.is_none() && !token_wrong && !is_wrong && !address.ip().is_loopback() {
            self.wrong(
                "control",
                &given,
                "whoever reaches this address could change every sale: set a token with \
                 --control-token-file FILE or STAMPEDE_CONTROL_TOKEN, or use a loopback address",
            );
        }
        self.judge_read_token(looks.as_ref(), operates.as_ref(), token_wrong);
        if address.port() != 0 && listen.iter().any(|one| one.address() == Some(address)) {
            self.wrong("control", &given, "the control port can't be the port for buyers");
        }
        Some(ControlSetting { address, tokens: Tokens { operates, looks } })
    }

    /// The shop's tokens, which it shows at either port. Each of them is as good as any other, so that one
    /// can take another's place. None is a token of `control`, which may more, or less.
    pub(super) fn shop_tokens(&mut self, control: Option<&ControlSetting>) -> Vec<Token> {
        let given = self.layers.values(SHOP_TOKEN).unwrap_or_default().to_vec();
        let mut tokens: Vec<Token> = Vec::new();
        let others = control.map(|control| [&control.tokens.operates, &control.tokens.looks]);
        for path in &given {
            let same = |token: &Token, other: &Token| token.matches(other.text.as_bytes());
            match Token::from_file(Path::new(path)) {
                Err(problem) => self.wrong(SHOP_TOKEN, path, &problem),
                Ok(token) if tokens.iter().any(|other| same(&token, other)) => {
                    self.wrong(SHOP_TOKEN, path, "the same token stands in another of the files");
                }
                Ok(token)
                    if others.iter().flatten().copied().flatten().any(|o| same(&token, o)) =>
                {
                    let told = "it is a token of the control port's: make another one";
                    self.wrong(SHOP_TOKEN, path, told);
                }
                Ok(token) => tokens.push(token),
            }
        }
        if tokens.len() > SHOP_TOKENS_MAX {
            let told = format!("{} files, at most {SHOP_TOKENS_MAX}", tokens.len());
            self.wrong(SHOP_TOKEN, &given[given.len() - 1], &told);
        }
        tokens
    }

    fn is_set(&self, name: &str) -> bool {
        self.layers.values(name).is_some()
    }

    /// A token that stands in the file of the first setting, or in the second.
    fn token(&mut self, [file, text]: [&'static str; 2]) -> Option<Token> {
        let by_file = self.one(file, None, |path| Token::from_file(Path::new(path)).map(Some));
        let by_text = self.one(text, None, |token| Token::new(token).map(Some));
        if self.is_set(file) && self.is_set(text) {
            self.wrong(text, "", &format!("{file} is set too; one token is enough"));
        }
        by_file.or(by_text)
    }

    /// `is_guarded`: there is a token that opens the control port, or there was to be one.
    fn judge_read_token(
        &mut self,
        read_token: Option<&Token>,
        token: Option<&Token>,
        is_guarded: bool,
    ) {
        let Some(name) = READ_TOKEN.into_iter().find(|name| self.is_set(name)) else { return };
        let given = self.layers.values(name).map_or_else(String::new, |v| v[0].clone());
        if !is_guarded {
            self.wrong(
                name,
                &given,
                "without a token that may change sales everybody who reaches the control port may: \
                 set one with --control-token-file FILE or STAMPEDE_CONTROL_TOKEN too",
            );
        }
        if let (Some(read), Some(token)) = (read_token, token)
            && token.matches(read.text.as_bytes())
        {
            self.wrong(name, &given, "it is the token that may change sales: make another one");
        }
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
