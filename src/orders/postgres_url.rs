//! The URL of PostgreSQL: `postgres://user:password@host:port/database?sslmode=…`, and its TLS.
//!
//! `sslmode` is `disable` (the default) or one of `require`, `verify-ca` and `verify-full`, which
//! all mean the same here: encrypted, with a verified certificate. Encryption without verification,
//! as in libpq's `require`, does not protect from anybody who can change packets.

use std::fmt;
use std::path::PathBuf;
use std::str::FromStr;

use postgres::Config;
use postgres::config::SslMode;
use tokio_postgres_rustls::MakeRustlsConnect;

use super::database::DatabaseError;
use crate::ledger::redis::tls_config;
use crate::redact::redacted;

const SHAPE: &str = "must be postgres://user:password@host:port/database, with every character of \
                     the password other than letters, digits and -._~ percent-encoded";

const AMBIGUOUS: &str = "can be read in several ways, since there is an `@`, `/` or `?` in the user or \
                         password: there, every character other than letters, digits and -._~ must \
                         be percent-encoded (@ is %40, / is %2F, : is %3A, ? is %3F, # is %23, % is \
                         %25)";

/// The address of a PostgreSQL database and the login. Displayed without its password.
#[derive(Clone)]
pub(super) struct PostgresUrl {
    shown: String,
    config: Config,
    tls: bool,
    ca: Option<PathBuf>,
}

impl PostgresUrl {
    /// Parses a URL. The error says what would be valid and quotes nothing.
    pub fn parse(text: &str) -> Result<Self, String> {
        let (place, query) = text.split_once('?').unwrap_or((text, ""));
        let rest = place.split_once("://").map_or(place, |(_, rest)| rest);
        // The end of such a password would be parsed as a host, or as a parameter.
        let ambiguous = match rest.rsplit_once('@') {
            Some((login, _)) => login.contains(['@', '/']),
            None => query.contains('@'),
        };
        if ambiguous {
            return Err(AMBIGUOUS.into());
        }
        let (mut tls, mut ca, mut rest) = (false, None, Vec::new());
        for pair in query.split('&').filter(|pair| !pair.is_empty()) {
            match pair.split_once('=') {
                Some(("sslmode", "disable")) => tls = false,
                Some(("sslmode", "require" | "verify-ca" | "verify-full")) => tls = true,
                Some(("sslmode", _)) => {
                    return Err("has an sslmode that is neither disable nor require".into());
                }
                Some(("sslrootcert", file)) => ca = Some(PathBuf::from(file)),
                _ => rest.push(pair),
            }
        }
        if ca.is_some() && !tls {
            return Err("has an sslrootcert, which is only of use with sslmode=require".into());
        }
        let plain = [place, "?", &rest.join("&")].concat();
        let mut config = Config::from_str(&plain).map_err(|_| SHAPE)?;
        if config.get_hosts().is_empty() || config.get_user().is_none() {
            return Err(format!(
                "names no {}: it {SHAPE}",
                if config.get_user().is_none() { "user" } else { "host" }
            ));
        }
        config.ssl_mode(if tls { SslMode::Require } else { SslMode::Disable });
        Ok(Self { shown: redacted(text), config, tls, ca })
    }

    /// The configuration for the `postgres` crate.
    pub fn config(&self) -> &Config {
        &self.config
    }

    /// The TLS settings, if TLS is requested.
    pub fn tls(&self) -> Result<Option<MakeRustlsConnect>, DatabaseError> {
        if !self.tls {
            return Ok(None);
        }
        let config = tls_config(self.ca.as_deref())
            .map_err(|error| DatabaseError::Fatal(format!("sslrootcert: {error}")))?;
        Ok(Some(MakeRustlsConnect::new(config)))
    }
}

impl fmt::Display for PostgresUrl {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.shown)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn libpq_urls_are_read_and_passwords_hidden() {
        let url = PostgresUrl::parse("postgres://ann:hunter2@host:5433/shop?sslmode=verify-full");
        let url = url.unwrap();
        assert!(url.tls && url.tls().is_ok());
        assert_eq!(url.to_string(), "postgres://ann:***@host:5433/shop?***");
        let url = PostgresUrl::parse("postgres://ann:s3%3Ac%40r%2Fet@host/shop").unwrap();
        assert_eq!(url.config().get_password(), Some(&b"s3:c@r/et"[..]));
        let url = PostgresUrl::parse("postgresql://ann@%2Ftmp%2Fsocket/shop").unwrap();
        assert!(!url.tls && url.config().get_user() == Some("ann"));
        for (bad, told) in [
            ("postgres://ann:hunter2@host:port/shop", "must be postgres://"),
            ("postgres://ann:hunter2@host/shop?sslmode=prefer", "neither disable nor require"),
            ("postgres://ann:hunter2@host/shop?sslrootcert=/x", "only of use"),
            ("postgres://ann:hunter2@host/shop?colour=hunter2", "must be postgres://"),
            ("postgres://", "names no"),
            ("postgres://ann:s3:hunter2@r/et@host/shop", "percent-encoded (@ is %40"),
            ("postgres://ann:hunter2@x@host/shop", "percent-encoded (@ is %40"),
            ("postgres://ann:hunter2/x@host/shop", "percent-encoded (@ is %40"),
            ("postgres://ann:hunter2?x@host/shop", "percent-encoded"),
            ("postgres://ann:4711?hunter2@host/shop", "percent-encoded"),
            ("postgres://ann:hunter2@x?y@host/shop", "percent-encoded"),
        ] {
            let problem = PostgresUrl::parse(bad).err().unwrap_or_default();
            assert!(problem.contains(told) && !problem.contains("hunter2"), "{bad}: {problem}");
        }
    }
}
