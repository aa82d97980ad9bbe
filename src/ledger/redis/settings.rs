//! The address of Redis and the login: one server (`redis://user:password@host:port/db`), the
//! primary that Sentinels name (`redis-sentinel://…@host:port,host:port/MASTERNAME/db`) or a
//! Cluster (`redis-cluster://…@host:port,host:port`). An `s` after `redis` means TLS, with all of
//! them.

use std::fmt;

use redis::{ConnectionAddr, IntoConnectionInfo};

use super::rights::Needs;
use crate::limits::{PRIMARY_NAME_BYTES_MAX, REDIS_ENDPOINTS_MAX};

/// The port of Redis unless the URL names another.
const REDIS_PORT: u16 = 6379;
/// The port of a Sentinel.
const SENTINEL_PORT: u16 = 26379;

/// A password. It is never displayed.
#[derive(Clone, PartialEq, Eq)]
pub struct Password(String);

impl Password {
    /// Takes a password.
    pub fn new(text: impl Into<String>) -> Self {
        Self(text.into())
    }

    /// The password, to be sent, not printed.
    pub fn reveal(&self) -> &str {
        &self.0
    }
}

impl fmt::Debug for Password {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("<hidden>")
    }
}

/// Why a URL is not accepted. Never quotes the URL: it may contain a password.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum UrlError {
    /// An unknown scheme.
    #[error(
        "a Redis URL begins with redis://, redis-sentinel:// or redis-cluster:// (rediss… for TLS), \
         not {0}://"
    )]
    Scheme(String),
    /// No scheme, or missing parts.
    #[error(
        "a Redis URL is redis://[user:password@]host[:port][/db], \
         redis-sentinel://[user:password@]host[:port][,host[:port]…]/MASTERNAME[/db] or \
         redis-cluster://[user:password@]host[:port][,host[:port]…]; with rediss it is TLS"
    )]
    Form,
    /// The parser rejected it.
    #[error(
        "not a Redis URL ({0}): it is redis://[user:password@]host[:port][/db], with every \
         character of the password other than letters, digits and -._~ percent-encoded"
    )]
    Parse(String),
    /// The path is no number.
    #[error("the database in a Redis URL is a number from 0 on: redis://host:port/0")]
    Database,
    /// A Cluster with a database.
    #[error("a Redis Cluster has no database but 0: redis-cluster://host:port,host:port")]
    ClusterDatabase,
    /// No name of the primary, or an invalid one.
    #[error(
        "a Sentinel URL names the primary as the Sentinels know it (letters, digits and .-_, at \
         most {PRIMARY_NAME_BYTES_MAX}): redis-sentinel://host:port,host:port/mymaster"
    )]
    PrimaryName,
    /// Several hosts where one is expected.
    #[error(
        "redis:// has one host: for several that stand in for each other use \
         redis-sentinel://host,host/MASTERNAME or redis-cluster://host,host"
    )]
    OneHost,
    /// Too many hosts.
    #[error("a Redis URL has at most {REDIS_ENDPOINTS_MAX} hosts, not {0}: some of them will do")]
    TooManyHosts(usize),
    /// Text after the path.
    #[error("a Redis URL ends with the database: no ? and no #")]
    Options,
    /// A user without a password.
    #[error("a Redis URL with a user needs its password too: redis://user:password@host:port/db")]
    NoPassword,
}

/// The address of a server.
#[derive(Debug, Clone, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct Endpoint {
    /// Name or address, without brackets.
    pub host: String,
    /// TCP port.
    pub port: u16,
}

impl fmt::Display for Endpoint {
    /// `host:port`, with an IPv6 address in brackets.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let (open, close) = if self.host.contains(':') { ("[", "]") } else { ("", "") };
        write!(f, "{open}{}{close}:{}", self.host, self.port)
    }
}

/// The servers of a Redis, and how to find the one to use.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Topology {
    /// One server, which is the primary.
    One(Endpoint),
    /// A primary that Sentinels watch and replace.
    Sentinel {
        /// At least one, each different.
        sentinels: Vec<Endpoint>,
        /// The primary's name in their configuration.
        primary: String,
    },
    /// A Cluster.
    Cluster {
        /// Some of its nodes, at least one, each different: they know the others.
        seeds: Vec<Endpoint>,
    },
}

/// The address of Redis and the login.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct RedisSettings {
    /// The servers.
    pub topology: Topology,
    /// Whether the streams to all servers are TLS.
    pub tls: bool,
    /// ACL user. `None`: Redis' default user.
    pub user: Option<String>,
    /// Password. `None`: no authentication.
    pub password: Option<Password>,
    /// Database number.
    pub db: u32,
    /// How many replicas a primary must have. Not part of a URL: 0 from [`from_url`].
    ///
    /// [`from_url`]: Self::from_url
    pub replicas: u32,
    /// The purpose of a connection, if it is to be checked when the connection is made. Not part of
    /// a URL.
    pub needs: Option<Needs>,
}

/// The kind of servers that a scheme means.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Kind {
    One,
    Sentinel,
    Cluster,
}

impl RedisSettings {
    /// Parses a URL of any of the schemes.
    ///
    /// # Errors
    /// The URL can't be used; the error says why, without any part that may be a password.
    pub fn from_url(url: &str) -> Result<Self, UrlError> {
        let (scheme, rest) = url.trim().split_once("://").ok_or(UrlError::Form)?;
        let (kind, tls) = match scheme {
            "redis" => (Kind::One, false),
            "rediss" => (Kind::One, true),
            "redis-sentinel" => (Kind::Sentinel, false),
            "rediss-sentinel" => (Kind::Sentinel, true),
            "redis-cluster" => (Kind::Cluster, false),
            "rediss-cluster" => (Kind::Cluster, true),
            _ => return Err(UrlError::Scheme(scheme.to_owned())),
        };
        let authority_end = rest.find(['/', '?', '#']).unwrap_or(rest.len());
        let (authority, path) = rest.split_at(authority_end);
        let (login, hosts) =
            authority.rfind('@').map_or(("", authority), |at| authority.split_at(at + 1));
        let hosts: Vec<&str> = hosts.split(',').collect();
        if kind == Kind::One && hosts.len() > 1 {
            return Err(UrlError::OneHost);
        }
        if hosts.len() > REDIS_ENDPOINTS_MAX {
            return Err(UrlError::TooManyHosts(hosts.len()));
        }
        let default_port = if kind == Kind::Sentinel { SENTINEL_PORT } else { REDIS_PORT };
        let (mut endpoints, mut who) = (Vec::new(), (None, None));
        for host in hosts {
            let (endpoint, user, password) = one_server(login, host, default_port)?;
            if !endpoints.contains(&endpoint) {
                endpoints.push(endpoint);
            }
            who = (user, password);
        }
        let (user, password) = who;
        let (topology, db) = place(kind, endpoints, path)?;
        Ok(Self { topology, tls, user, password, db, replicas: 0, needs: None })
    }
}

/// Parses a login and one of the hosts after it, with the parser of the `redis` crate.
fn one_server(
    login: &str,
    host: &str,
    default_port: u16,
) -> Result<(Endpoint, Option<String>, Option<Password>), UrlError> {
    // We do TLS ourselves, so the crate is built without it, and would refuse the scheme.
    let url = redis::parse_redis_url(&format!("redis://{login}{host}"))
        .ok_or_else(|| UrlError::Parse("it can't be split into its parts".to_owned()))?;
    let port = url.port();
    let info = url.into_connection_info().map_err(|error| {
        UrlError::Parse(error.detail().map_or_else(|| error.to_string(), str::to_owned))
    })?;
    let ConnectionAddr::Tcp(host, _) = info.addr() else { return Err(UrlError::Form) };
    let redis = info.redis_settings();
    if redis.username().is_some() && redis.password().is_none() {
        return Err(UrlError::NoPassword);
    }
    let endpoint = Endpoint { host: host.clone(), port: port.unwrap_or(default_port) };
    let password = redis.password().map(Password::new);
    Ok((endpoint, redis.username().map(str::to_owned), password))
}

/// Parses the path: the primary's name where Sentinels are asked, the database.
fn place(
    kind: Kind,
    mut endpoints: Vec<Endpoint>,
    path: &str,
) -> Result<(Topology, u32), UrlError> {
    if path.contains(['?', '#']) {
        return Err(UrlError::Options);
    }
    let path = path.strip_prefix('/').unwrap_or(path);
    match kind {
        Kind::One => Ok((Topology::One(endpoints.swap_remove(0)), database(path)?)),
        Kind::Cluster if database(path)? != 0 => Err(UrlError::ClusterDatabase),
        Kind::Cluster => Ok((Topology::Cluster { seeds: endpoints }, 0)),
        Kind::Sentinel => {
            let (name, db) = path.split_once('/').unwrap_or((path, ""));
            let good = |byte: u8| byte.is_ascii_alphanumeric() || b".-_".contains(&byte);
            if name.is_empty() || name.len() > PRIMARY_NAME_BYTES_MAX || !name.bytes().all(good) {
                return Err(UrlError::PrimaryName);
            }
            let primary = name.to_owned();
            Ok((Topology::Sentinel { sentinels: endpoints, primary }, database(db)?))
        }
    }
}

/// A database number. An empty text is 0.
fn database(text: &str) -> Result<u32, UrlError> {
    let digits = text.bytes().all(|byte| byte.is_ascii_digit());
    match text {
        "" => Ok(0),
        _ if digits => text.parse().map_err(|_| UrlError::Database),
        _ => Err(UrlError::Database),
    }
}

impl fmt::Display for RedisSettings {
    /// As a URL, without user and password.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let list = |endpoints: &[Endpoint]| {
            endpoints.iter().map(Endpoint::to_string).collect::<Vec<_>>().join(",")
        };
        let scheme = if self.tls { "rediss" } else { "redis" };
        match &self.topology {
            Topology::One(endpoint) => write!(f, "{scheme}://{endpoint}/{}", self.db),
            Topology::Sentinel { sentinels, primary } => {
                write!(f, "{scheme}-sentinel://{}/{primary}/{}", list(sentinels), self.db)
            }
            Topology::Cluster { seeds } => write!(f, "{scheme}-cluster://{}", list(seeds)),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn endpoint(host: &str, port: u16) -> Endpoint {
        Endpoint { host: host.to_owned(), port }
    }

    fn read(url: &str) -> RedisSettings {
        RedisSettings::from_url(url).unwrap_or_else(|error| panic!("{url}: {error}"))
    }

    #[test]
    fn every_part_of_a_url_is_read() {
        let got = read("rediss://ann:p%40ss%2Fword@redis.example:7000/3");
        assert_eq!(got.topology, Topology::One(endpoint("redis.example", 7000)));
        assert_eq!((got.tls, got.db), (true, 3));
        assert_eq!(got.user.as_deref(), Some("ann"));
        assert_eq!(got.password.as_ref().map(Password::reveal), Some("p@ss/word"));
        assert_eq!(got.to_string(), "rediss://redis.example:7000/3");

        let got = read("redis://:secret@[::1]");
        assert_eq!(got.topology, Topology::One(endpoint("::1", 6379)));
        assert_eq!((got.db, got.user.is_none()), (0, true));
        assert_eq!(got.to_string(), "redis://[::1]:6379/0");
        let shown = format!("{got:?} {got:#?}");
        assert!(!shown.contains("secret") && shown.contains("<hidden>"), "{shown}");
    }

    #[test]
    fn urls_with_several_hosts_are_read() {
        let got = read("redis-sentinel://ann:s%2Cecret@a,[::1]:7000,a:26379,b:1/my.master-1/2");
        let sentinels = vec![endpoint("a", 26379), endpoint("::1", 7000), endpoint("b", 1)];
        let primary = "my.master-1".to_owned();
        assert_eq!(got.topology, Topology::Sentinel { sentinels, primary });
        assert_eq!((got.tls, got.db, got.user.as_deref()), (false, 2, Some("ann")));
        assert_eq!(got.password.as_ref().map(Password::reveal), Some("s,ecret"));
        assert_eq!(got.to_string(), "redis-sentinel://a:26379,[::1]:7000,b:1/my.master-1/2");
        assert!(read("rediss-sentinel://a/m").tls && read("redis-sentinel://a/m/").db == 0);

        let got = read("rediss-cluster://:secret@a,b:7000/");
        let seeds = vec![endpoint("a", 6379), endpoint("b", 7000)];
        assert_eq!((got.topology, got.tls, got.db), (Topology::Cluster { seeds }, true, 0));
        assert_eq!(read("redis-cluster://[::1]").to_string(), "redis-cluster://[::1]:6379");
    }

    #[test]
    fn url_errors_suggest_the_fix_and_hide_the_password() {
        let many = format!("redis-cluster://:secret@{}x", "x,".repeat(REDIS_ENDPOINTS_MAX));
        let long = format!("redis-sentinel://:secret@x/{}", "n".repeat(PRIMARY_NAME_BYTES_MAX + 1));
        for (url, part) in [
            ("localhost:6379", "redis://"),
            ("http://:secret@x", "not http://"),
            ("redis://:sec/ret@x", "percent-encoded"),
            ("redis://:secret@x/tickets", "number"),
            ("redis://:secret@x/99999999999", "number"),
            ("redis://:secret@x/-1", "number"),
            ("redis://:secret@x/0?protocol=3", "ends with the database"),
            ("rediss://:secret@x/#insecure", "ends with the database"),
            ("redis://ann@x", "needs its password"),
            ("redis://:secret@", "not a Redis URL"),
            ("redis://:secret@x:99999", "not a Redis URL"),
            ("redis://:secret@x,y", "one host"),
            ("redis-sentinel://:secret@x", "/mymaster"),
            ("redis-sentinel://:secret@x//0", "/mymaster"),
            ("redis-sentinel://:secret@x/a b", "/mymaster"),
            ("redis-sentinel://:sec/ret@x/m", "percent-encoded"),
            ("redis-sentinel://:secret@x/m/one", "number"),
            ("redis-sentinel://:secret@x/m?a=b", "ends with the database"),
            ("redis-sentinel://:secret@x,,y/m", "not a Redis URL"),
            ("redis-sentinel://ann@x/m", "needs its password"),
            ("redis-cluster://:secret@x/1", "no database but 0"),
            ("redis-cluster://:secret@x/m", "number"),
            ("redis-cluster://:secret@x,", "not a Redis URL"),
            (&many, "at most"),
            (&long, "/mymaster"),
        ] {
            let error = RedisSettings::from_url(url).unwrap_err();
            let text = format!("{error} {error:?}");
            assert!(text.contains(part) && !text.contains("sec"), "{url}: {text}");
        }
    }
}
