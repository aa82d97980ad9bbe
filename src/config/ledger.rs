//! The setting of the ledger: kind, address, and a URL that never displays its password.

use std::fmt;
use std::path::{Path, PathBuf};

use rustls::pki_types::CertificateDer;
use rustls::pki_types::pem::PemObject;

use super::source::without_newline;
use super::value::may_write;
use crate::ledger::redis::{
    ClientFiles, Codec, KeyTemplates, Password, RedisLedger, RedisSettings, TlsFiles,
};
use crate::limits::COUNTER_NAME_BYTES_MAX;
use crate::redact::redacted;

/// Which ledger to use.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum LedgerSetting {
    /// A folder on this machine, for one instance. It need not exist.
    Embedded(PathBuf),
    /// A Redis, shared by instances.
    Redis(RedisSetting),
}

impl LedgerSetting {
    /// Whether it is a Redis Cluster, of many nodes.
    pub fn is_cluster(&self) -> bool {
        match self {
            Self::Embedded(_) => false,
            Self::Redis(redis) => {
                let scheme = redis.url.expose().split("://").next().unwrap_or_default();
                scheme.ends_with("-cluster")
            }
        }
    }
}

impl fmt::Display for LedgerSetting {
    /// As in the settings, without a password.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Embedded(folder) => write!(f, "embedded:{}", folder.display()),
            Self::Redis(redis) => write!(f, "{}", redis.url),
        }
    }
}

/// How to reach a Redis, and the names in it that people can choose.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct RedisSetting {
    /// `redis://…`, `redis-sentinel://…`, `redis-cluster://…` or the same with `rediss`, which
    /// [`RedisSettings::from_url`] takes.
    pub url: RedisUrl,
    /// Whether the connection uses TLS (`rediss…`).
    pub tls: bool,
    /// The certificate authorities to trust instead of the system's, and the client certificate. Only
    /// with `tls`.
    pub files: TlsFiles,
    /// The names of a sale's counters.
    pub counters: CounterNames,
    /// Number of replicas that must have a purchase before it is acknowledged.
    pub replicas: u32,
    /// The login at the Sentinels. `None`: no login.
    pub sentinel_login: Option<SentinelLogin>,
}

/// User and password at the Sentinels, which differ from those of Redis.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct SentinelLogin {
    /// ACL user. `None`: the default one.
    pub user: Option<String>,
    /// Its password.
    pub password: Password,
}

impl RedisSetting {
    /// The settings of connections to this Redis. Does not connect.
    ///
    /// # Errors
    /// The URL, a name or the certificate authorities can't be used, and why.
    pub fn ledger(&self) -> Result<RedisLedger, String> {
        let settings = RedisSettings::from_url(self.url.expose()).map_err(|e| e.to_string())?;
        let names = &self.counters;
        let keys = KeyTemplates::new(&names.key, &names.total_field, &names.sold_field)
            .map_err(|error| error.to_string())?;
        let ledger = RedisLedger::with_tls(settings, Codec::new(keys), &self.files)
            .map_err(|error| error.to_string())?
            .with_replicas(self.replicas);
        Ok(match self.sentinel_login.clone() {
            Some(login) => ledger.with_sentinel_login(login.user, login.password),
            None => ledger,
        })
    }
}

/// The URL of a Redis, which can hold a password. Displays without it.
#[derive(Clone, PartialEq, Eq)]
pub struct RedisUrl(String);

impl RedisUrl {
    /// The URL with its password. For connecting only.
    pub fn expose(&self) -> &str {
        &self.0
    }
}

impl fmt::Display for RedisUrl {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&redacted(&self.0))
    }
}

impl fmt::Debug for RedisUrl {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "RedisUrl({self})")
    }
}

/// The names of a sale's counters in Redis. Templates: `{sale}` stands for the sale's id.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct CounterNames {
    /// Key of the hash. It contains `{sale}`.
    pub key: String,
    /// Field of the total.
    pub total_field: String,
    /// Field of the number sold: held and confirmed.
    pub sold_field: String,
}

impl Default for CounterNames {
    fn default() -> Self {
        Self {
            key: "{sale}_hash_key".into(),
            total_field: "{sale}_total_nums".into(),
            sold_field: "{sale}_sold_nums".into(),
        }
    }
}

/// The ledger that a URL names, with the default names of counters and no certificate authority.
pub(super) fn parse(text: &str) -> Result<LedgerSetting, String> {
    let shape = "must be embedded:DIR, redis://HOST[:PORT][/DB], \
                 redis-sentinel://HOST[:PORT],…/MASTERNAME[/DB] or redis-cluster://HOST[:PORT],…; \
                 with rediss it is TLS";
    let (scheme, rest) = text.split_once(':').ok_or(shape)?;
    let hosts = rest.strip_prefix("//").unwrap_or(rest);
    let hosts = hosts.split('/').next().and_then(|login| login.rsplit('@').next());
    match scheme {
        "redis+unix" | "rediss+unix" | "unix" => {
            return Err(
                "Redis is reached over TCP only, not by a Unix socket: redis://HOST[:PORT][/DB]"
                    .into(),
            );
        }
        _ if scheme.starts_with("redis") && hosts.is_none_or(str::is_empty) => {
            return Err(format!("names no host; {shape}"));
        }
        _ => {}
    }
    match scheme {
        "embedded" => embedded(rest).map(LedgerSetting::Embedded),
        "redis" | "rediss" | "redis-sentinel" | "rediss-sentinel" | "redis-cluster"
        | "rediss-cluster" => {
            let settings = RedisSettings::from_url(text).map_err(|error| error.to_string())?;
            Ok(LedgerSetting::Redis(RedisSetting {
                url: RedisUrl(text.to_owned()),
                tls: settings.tls,
                files: TlsFiles::default(),
                counters: CounterNames::default(),
                replicas: 0,
                sentinel_login: None,
            }))
        }
        _ => Err(shape.into()),
    }
}

/// The options that name the files of TLS.
#[derive(Debug, Clone, Copy, Default)]
pub struct TlsOptions<'a> {
    /// `--redis-ca`.
    pub ca: Option<&'a str>,
    /// `--redis-cert`.
    pub certificate: Option<&'a str>,
    /// `--redis-key`.
    pub key: Option<&'a str>,
}

impl TlsOptions<'_> {
    fn files(self) -> Result<TlsFiles, String> {
        let of =
            |ca: &str| certificates(ca).map_err(|problem| format!("--redis-ca {ca}: {problem}"));
        let client = client_files(self.certificate, self.key)
            .map_err(|(name, problem)| format!("--{name}: {problem}"))?;
        Ok(TlsFiles { ca: self.ca.map(of).transpose()?, client })
    }
}

/// A Redis that is not the ledger of a server: its URL, the files of TLS and the template of
/// `--redis-counters-key`. An error quotes no password.
pub fn redis_setting(
    url: &str,
    tls: TlsOptions<'_>,
    key: Option<&str>,
) -> Result<RedisSetting, String> {
    let url = without_newline(url);
    let shown = redacted(url);
    let LedgerSetting::Redis(mut redis) =
        parse(url).map_err(|problem| format!("{shown}: {problem}"))?
    else {
        return Err(format!(
            "{shown}: must be a Redis, redis://HOST[:PORT][/DB]; the server of an embedded ledger \
             writes orders itself, with serve --orders URL"
        ));
    };
    redis.files = tls.files()?;
    if !redis.tls && redis.files != TlsFiles::default() {
        return Err(format!(
            "{shown}: --redis-ca, --redis-cert and --redis-key are only of use with rediss://, over TLS"
        ));
    }
    if let Some(key) = key {
        redis.counters.key = counters_key(key)
            .map_err(|problem| format!("--redis-counters-key {key}: {problem}"))?;
    }
    Ok(redis)
}

/// A user and a password for the Sentinels. An error names the setting that is missing.
pub(crate) fn sentinel_login(
    user: Option<String>,
    password: Option<String>,
) -> Result<Option<SentinelLogin>, String> {
    match (user, password) {
        (user, Some(password)) => {
            Ok(Some(SentinelLogin { user, password: Password::new(password) }))
        }
        (None, None) => Ok(None),
        (Some(_), None) => Err("needs its password, redis-sentinel-password, too".into()),
    }
}

fn embedded(folder: &str) -> Result<PathBuf, String> {
    if folder.is_empty() {
        return Err("must name a folder, such as embedded:./stampede-data".into());
    }
    if folder.starts_with("//") {
        return Err("has no `//`: a folder is embedded:./DIR or embedded:/DIR".into());
    }
    let folder = PathBuf::from(folder);
    // The nearest folder that is there: the others are created within it.
    let there = folder.ancestors().find(|f| f.exists()).unwrap_or(Path::new("."));
    let there = if there == Path::new("") { Path::new(".") } else { there };
    may_write(there).map_err(|error| format!("can't write in {}: {error}", there.display()))?;
    Ok(folder)
}

/// A PEM file with at least one certificate.
pub(super) fn certificates(text: &str) -> Result<PathBuf, String> {
    let path = PathBuf::from(text);
    let mut found = 0;
    let pem = CertificateDer::pem_file_iter(&path).map_err(|e| format!("can't be read: {e}"))?;
    for certificate in pem {
        certificate.map_err(|error| format!("is not a PEM file of certificates: {error}"))?;
        found += 1;
    }
    if found == 0 { Err("has no certificate; a PEM file is needed".into()) } else { Ok(path) }
}

/// The files of a client's certificate, both or neither. An error names the setting that is at fault.
pub(super) fn client_files(
    certificate: Option<&str>,
    key: Option<&str>,
) -> Result<Option<ClientFiles>, (&'static str, String)> {
    match (certificate, key) {
        (None, None) => Ok(None),
        (Some(_), None) => Err(("redis-cert", "needs its private key, redis-key, too".into())),
        (None, Some(_)) => Err(("redis-key", "needs its certificate, redis-cert, too".into())),
        (Some(certificate), Some(key)) => {
            certificates(certificate).map_err(|problem| ("redis-cert", problem))?;
            let files = ClientFiles { certificate: certificate.into(), key: key.into() };
            files.check().map_err(|problem| ("redis-key", problem.to_string()))?;
            Ok(Some(files))
        }
    }
}

/// The name of a field, as a template.
pub(super) fn counter_name(text: &str) -> Result<String, String> {
    let printable = text.bytes().all(|b| b.is_ascii_graphic());
    if text.is_empty() || text.len() > COUNTER_NAME_BYTES_MAX || !printable {
        return Err(format!(
            "must be 1 to {COUNTER_NAME_BYTES_MAX} printable ASCII characters without spaces"
        ));
    }
    Ok(text.to_owned())
}

/// The name of the key, as a template: different for each sale.
pub(super) fn counters_key(text: &str) -> Result<String, String> {
    let name = counter_name(text)?;
    if !name.contains("{sale}") {
        return Err("must contain {sale}, which stands for the sale's id".into());
    }
    // The fields are judged on their own: here they are any two.
    KeyTemplates::new(&name, "total", "sold").map_err(|error| error.to_string())?;
    Ok(name)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_url_never_shows_its_password() {
        let LedgerSetting::Redis(redis) = parse("redis://u:hunter2@host").unwrap() else {
            panic!()
        };
        assert!(!format!("{redis:?} {}", redis.url).contains("hunter2"));
        assert_eq!(redis.url.expose(), "redis://u:hunter2@host");
    }

    #[test]
    fn ledger_settings_are_parsed() {
        let folder = tempfile::tempdir().unwrap();
        let deep = folder.path().join("a/b");
        let setting = parse(&format!("embedded:{}", deep.display())).unwrap();
        assert_eq!(setting, LedgerSetting::Embedded(deep));
        for url in ["rediss://host:6380/2", "rediss-sentinel://a,b/m/1", "rediss-cluster://a,b:1"] {
            assert!(matches!(parse(url), Ok(LedgerSetting::Redis(r)) if r.tls), "{url}");
        }
        let file = folder.path().join("file");
        std::fs::write(&file, "").unwrap();
        for (bad, told) in [
            ("", "must be embedded:DIR"),
            ("data", "must be embedded:DIR"),
            ("http://host", "must be embedded:DIR"),
            ("embedded:", "must name a folder"),
            ("embedded:///data", "has no `//`"),
            (&format!("embedded:{}", file.display()), "can't write in"),
            ("redis:host", "redis://[user:password@]host[:port][/db]"),
            ("redis://", "names no host; must be"),
            ("redis:///0", "names no host"),
            ("redis://:secret@", "names no host"),
            ("redis+unix:///tmp/redis.sock", "not by a Unix socket"),
            ("unix:/tmp/redis.sock", "not by a Unix socket"),
            ("redis://host:port", "not a Redis URL"),
            ("redis://host/zero", "the database in a Redis URL is a number"),
            ("rediss://host/#insecure", "no ? and no #"),
            ("redis-sentinel://host", "redis-sentinel://host:port,host:port/mymaster"),
            ("redis-cluster://host/1", "no database but 0"),
            ("redis-ring://host", "must be embedded:DIR"),
        ] {
            let problem = parse(bad).unwrap_err();
            assert!(problem.contains(told), "{bad}: {problem}");
        }
    }

    #[test]
    fn counter_names_are_checked() {
        assert!(counter_name("n").is_ok() && counters_key("stock:{sale}").is_ok());
        for bad in ["", "a b", "票", "a\n", &"x".repeat(129)] {
            assert!(counter_name(bad).is_err(), "{bad}");
        }
        assert!(counters_key("{{sale}}:n").is_ok() && counters_key("{sale}{}").is_err());
        assert!(counters_key("stock").unwrap_err().contains("{sale}"));
    }
}
