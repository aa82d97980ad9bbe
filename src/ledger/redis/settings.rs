//! Where Redis is and who we are there: `redis://user:password@host:port/db`.

use std::fmt;

use redis::{ConnectionAddr, IntoConnectionInfo};

/// A password. Never shown.
#[derive(Clone, PartialEq, Eq)]
pub struct Password(String);

impl Password {
    /// Takes a password.
    pub fn new(text: impl Into<String>) -> Self {
        Self(text.into())
    }

    /// The password, to be sent and not to be printed.
    pub fn reveal(&self) -> &str {
        &self.0
    }
}

impl fmt::Debug for Password {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("<hidden>")
    }
}

/// Why a URL can't be taken. Never quotes it: it may hold a password.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum UrlError {
    /// Another scheme.
    #[error("a Redis URL begins with redis:// or rediss:// (TLS), not {0}://")]
    Scheme(String),
    /// No scheme at all.
    #[error("a Redis URL is redis://[user:password@]host[:port][/db], or rediss:// for TLS")]
    Form,
    /// Sentinel or Cluster.
    #[error("{0}:// is not supported yet: give the primary itself, as redis://host:port/db")]
    NotSupportedYet(String),
    /// The parser did not take it.
    #[error(
        "not a Redis URL ({0}): it is redis://[user:password@]host[:port][/db], with every \
         character of the password other than letters, digits and -._~ percent-encoded"
    )]
    Parse(String),
    /// The path is no number.
    #[error("the database in a Redis URL is a number from 0 on: redis://host:port/0")]
    Database,
    /// Something behind the path.
    #[error("a Redis URL has nothing behind the database: no ? and no #")]
    Options,
    /// A user without a password.
    #[error("a Redis URL with a user needs its password too: redis://user:password@host:port/db")]
    NoPassword,
}

/// Where Redis is and who we are there.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct RedisSettings {
    /// Name or address, without brackets.
    pub host: String,
    /// TCP port.
    pub port: u16,
    /// Whether the stream is TLS.
    pub tls: bool,
    /// ACL user. `None`: Redis' default user.
    pub user: Option<String>,
    /// Password. `None`: no authentication.
    pub password: Option<Password>,
    /// Database number.
    pub db: u32,
}

impl RedisSettings {
    /// Reads a `redis://` or `rediss://` URL.
    pub fn from_url(url: &str) -> Result<Self, UrlError> {
        let (scheme, rest) = url.trim().split_once("://").ok_or(UrlError::Form)?;
        let tls = match scheme {
            "redis" => false,
            "rediss" => true,
            "redis-sentinel" | "redis-cluster" => {
                return Err(UrlError::NotSupportedYet(scheme.to_owned()));
            }
            _ => return Err(UrlError::Scheme(scheme.to_owned())),
        };
        // The TLS is ours, so the crate is built without its own, and would refuse the scheme.
        let url = redis::parse_redis_url(&format!("redis://{rest}"))
            .ok_or_else(|| UrlError::Parse("it can't be split into its parts".to_owned()))?;
        if url.query().is_some() || url.fragment().is_some() {
            return Err(UrlError::Options);
        }
        let path = url.path().trim_start_matches('/');
        let digits = path.bytes().all(|byte| byte.is_ascii_digit());
        let db = match path {
            "" => 0,
            _ if digits => path.parse().map_err(|_| UrlError::Database)?,
            _ => return Err(UrlError::Database),
        };
        let info = url.into_connection_info().map_err(|error| {
            UrlError::Parse(error.detail().map_or_else(|| error.to_string(), str::to_owned))
        })?;
        let ConnectionAddr::Tcp(host, port) = info.addr() else { return Err(UrlError::Form) };
        let redis = info.redis_settings();
        if redis.username().is_some() && redis.password().is_none() {
            return Err(UrlError::NoPassword);
        }
        Ok(Self {
            host: host.clone(),
            port: *port,
            tls,
            user: redis.username().map(str::to_owned),
            password: redis.password().map(Password::new),
            db,
        })
    }
}

impl fmt::Display for RedisSettings {
    /// As a URL, without the user and the password.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let scheme = if self.tls { "rediss" } else { "redis" };
        let (open, close) = if self.host.contains(':') { ("[", "]") } else { ("", "") };
        write!(f, "{scheme}://{open}{}{close}:{}/{}", self.host, self.port, self.db)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn reads_every_part() {
        let got =
            RedisSettings::from_url("rediss://ann:p%40ss%2Fword@redis.example:7000/3").unwrap();
        assert_eq!((&*got.host, got.port, got.tls, got.db), ("redis.example", 7000, true, 3));
        assert_eq!(got.user.as_deref(), Some("ann"));
        assert_eq!(got.password.as_ref().map(Password::reveal), Some("p@ss/word"));
        assert_eq!(got.to_string(), "rediss://redis.example:7000/3");

        let got = RedisSettings::from_url("redis://:secret@[::1]").unwrap();
        assert_eq!((&*got.host, got.port, got.db, got.user.is_none()), ("::1", 6379, 0, true));
        assert_eq!(got.to_string(), "redis://[::1]:6379/0");
        let shown = format!("{got:?} {got:#?}");
        assert!(!shown.contains("secret") && shown.contains("<hidden>"), "{shown}");
    }

    #[test]
    fn says_what_is_right_and_never_the_password() {
        for (url, part) in [
            ("localhost:6379", "redis://"),
            ("http://:secret@x", "not http://"),
            ("redis-sentinel://:secret@x", "not supported yet"),
            ("redis-cluster://:secret@x", "not supported yet"),
            ("redis://:sec/ret@x", "percent-encoded"),
            ("redis://:secret@x/tickets", "number"),
            ("redis://:secret@x/99999999999", "number"),
            ("redis://:secret@x/-1", "number"),
            ("redis://:secret@x/0?protocol=3", "nothing behind"),
            ("rediss://:secret@x/#insecure", "nothing behind"),
            ("redis://ann@x", "needs its password"),
            ("redis://:secret@", "not a Redis URL"),
            ("redis://:secret@x:99999", "not a Redis URL"),
        ] {
            let error = RedisSettings::from_url(url).unwrap_err();
            let text = format!("{error} {error:?}");
            assert!(text.contains(part) && !text.contains("sec"), "{url}: {text}");
        }
    }
}
