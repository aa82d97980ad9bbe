//! The layers of settings: command line, environment, file. Collects the text of each setting from the
//! first layer that has it. Other modules parse the text.

use std::collections::{BTreeMap, HashMap};
use std::ffi::OsString;
use std::fmt;
use std::fs::File;
use std::io::Read;
use std::path::{Path, PathBuf};

use toml::Value;

use crate::cli::ServeOptions;
use crate::limits::CONFIG_FILE_BYTES_MAX;
use crate::redact::redacted;

/// A setting: an option of the command line, a variable of the environment, a name in the file.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Setting {
    /// Its name, as in `--name`.
    pub name: &'static str,
    /// Separator of its values in the environment, if it can have several.
    pub separator: Option<char>,
    /// A secret, which is no option: other users of the machine can read the command line.
    pub secret: bool,
    /// A running server applies a new value when it reads its settings again.
    pub changeable: bool,
}

const fn one(name: &'static str) -> Setting {
    Setting { name, separator: None, secret: false, changeable: false }
}

const fn several(name: &'static str, separator: char) -> Setting {
    Setting { name, separator: Some(separator), secret: false, changeable: false }
}

const fn secret(name: &'static str) -> Setting {
    Setting { name, separator: None, secret: true, changeable: false }
}

const fn changeable(setting: Setting) -> Setting {
    Setting { changeable: true, ..setting }
}

/// All settings.
pub const SETTINGS: &[Setting] = &[
    one("config"),
    several("listen", ','),
    changeable(several("tls-cert", ',')),
    changeable(several("tls-key", ',')),
    changeable(one("tls-ticket-keys")),
    one("control"),
    changeable(one("control-token-file")),
    changeable(secret("control-token")),
    changeable(one("read-token-file")),
    changeable(secret("read-token")),
    changeable(several("shop-token-file", ',')),
    changeable(several("cors-origins", ',')),
    one("public-confirm"),
    one("cores"),
    changeable(one("connections-max")),
    changeable(one("connections-per-address")),
    changeable(several("trusted-proxies", ',')),
    changeable(one("proxy-protocol")),
    changeable(one("forwarded-header")),
    changeable(one("admission-keys")),
    changeable(one("admission-audience")),
    changeable(one("rate-per-user")),
    changeable(one("rate-per-address")),
    one("ledger"),
    one("redis-ca"),
    one("redis-cert"),
    one("redis-key"),
    one("redis-counters-key"),
    one("redis-total-field"),
    one("redis-sold-field"),
    one("redis-wait"),
    one("redis-sentinel-user"),
    secret("redis-sentinel-password"),
    one("orders"),
    one("webhook-state"),
    one("webhook-secret-file"),
    one("webhook-ca"),
    one("restored-ledger"),
    several("sale", ';'),
    one("splits"),
    one("stock"),
    one("stock-buffer"),
    one("instance"),
    one("stat-log"),
    changeable(one("log")),
    one("log-format"),
    changeable(one("drain-delay")),
    changeable(one("drain-timeout")),
    changeable(one("idle-timeout")),
    changeable(one("head-timeout")),
    changeable(one("body-timeout")),
    changeable(one("write-timeout")),
    changeable(one("ledger-timeout")),
    changeable(one("waiting-max")),
];

/// The name of the format in a file, and the format that this version reads.
pub(super) const FORMAT_KEY: &str = "format";
pub(super) const FORMAT: i64 = 1;

/// Prefix of every variable.
const PREFIX: &str = "STAMPEDE_";

impl Setting {
    /// The variable that sets it: `STAMPEDE_` and its name.
    pub fn variable(&self) -> String {
        format!("{PREFIX}{}", self.name.to_ascii_uppercase().replace('-', "_"))
    }
}

/// The source of a setting's value.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Source {
    /// The command line.
    Flag,
    /// The environment.
    Environment,
    /// The file of `--config`.
    File,
    /// No layer has the setting.
    Default,
}

impl Source {
    /// Its public name.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Flag => "flag",
            Self::Environment => "environment",
            Self::File => "file",
            Self::Default => "default",
        }
    }
}

/// The text of every setting that a layer has.
#[derive(Default)]
pub(super) struct Layers {
    /// The file that was read.
    pub file: Option<PathBuf>,
    /// Settings that are legal but probably a mistake.
    pub warnings: Vec<String>,
    given: BTreeMap<&'static str, (Source, Vec<String>)>,
}

impl Layers {
    /// Collects all layers. Also returns all problems of their syntax.
    pub fn gather(
        options: &ServeOptions,
        environment: impl IntoIterator<Item = (OsString, OsString)>,
    ) -> (Self, Vec<String>) {
        let mut layers = Self::default();
        let mut problems = Vec::new();
        for setting in SETTINGS {
            let values = options.given(setting.name);
            if !values.is_empty() {
                let values = values.into_iter().map(str::to_owned).collect();
                layers.add(setting.name, Source::Flag, values);
            }
        }
        layers.add_environment(environment, &mut problems);
        if let Some(file) = layers.values("config").map(|v| PathBuf::from(&v[0])) {
            layers.add_file(&file, &mut problems);
            layers.file = Some(file);
        }
        (layers, problems)
    }

    /// The values of a setting, if a layer has it.
    pub fn values(&self, name: &str) -> Option<&[String]> {
        self.given.get(name).map(|(_, values)| values.as_slice())
    }

    /// The text of every setting that a layer has.
    pub fn given(&self) -> GivenValues {
        GivenValues(self.given.iter().map(|(name, (_, values))| (*name, values.clone())).collect())
    }

    /// The source of a setting.
    pub fn source(&self, name: &str) -> Source {
        self.given.get(name).map_or(Source::Default, |(source, _)| *source)
    }

    /// A setting and its value as written in its source, for an error.
    pub fn place(&self, name: &str, value: &str) -> String {
        let value = display_value(name, value);
        match self.source(name) {
            Source::Flag => format!("--{name} {value}"),
            Source::Environment => format!("{}={value}", one_variable(name)),
            Source::File => {
                format!(
                    "{}: {name} = {value}",
                    self.file.as_deref().unwrap_or("".as_ref()).display()
                )
            }
            Source::Default => format!("{name} {value} (the default)"),
        }
    }

    fn add(&mut self, name: &'static str, source: Source, mut values: Vec<String>) {
        values.iter_mut().for_each(|value| value.truncate(without_newline(value).len()));
        self.given.entry(name).or_insert((source, values));
    }

    fn add_environment(
        &mut self,
        environment: impl IntoIterator<Item = (OsString, OsString)>,
        problems: &mut Vec<String>,
    ) {
        let settings: HashMap<String, &Setting> =
            SETTINGS.iter().map(|setting| (setting.variable(), setting)).collect();
        for (variable, value) in environment {
            let Some(variable) = variable.to_str().filter(|v| v.starts_with(PREFIX)) else {
                continue;
            };
            let Some(setting) = settings.get(variable) else {
                // Not an error: an orchestrator makes variables of a service's name too.
                let names = settings.keys().map(|name| &name[PREFIX.len()..]);
                if let Some(like) = closest(&variable[PREFIX.len()..], names) {
                    let like = format!("{PREFIX}{like}");
                    let warning = format!("{variable} is not a setting; did you mean {like}?");
                    self.warnings.push(warning);
                }
                continue;
            };
            match variable_values(setting, value.to_str()) {
                Ok(values) => self.add(setting.name, Source::Environment, values),
                Err(problem) => problems.push(format!("{variable}{problem}")),
            }
        }
    }

    fn add_file(&mut self, file: &Path, problems: &mut Vec<String>) {
        let table = match read_table(file) {
            Ok(table) => table,
            Err(problem) => return problems.push(problem),
        };
        for (key, value) in table {
            if key == FORMAT_KEY {
                problems.extend(
                    check_format(&value)
                        .err()
                        .map(|problem| format!("{}: {key}: {problem}", file.display())),
                );
                continue;
            }
            let Some(setting) = SETTINGS.iter().find(|s| s.name == key && key != "config") else {
                let names = SETTINGS.iter().map(|s| s.name).filter(|name| *name != "config");
                let hint = match closest(&key.replace('_', "-"), names) {
                    None if value.is_table() => {
                        "; settings stand at the top of the file, in no [section]".to_owned()
                    }
                    like => did_you_mean(like),
                };
                problems.push(format!("{}: {key}: there is no such setting{hint}", file.display()));
                continue;
            };
            match file_values(setting, value) {
                Ok(values) => self.add(setting.name, Source::File, values),
                Err(problem) => problems.push(format!("{}: {key}: {problem}", file.display())),
            }
        }
    }
}

/// The difference between a new configuration and the one in use.
#[derive(Debug, Default, PartialEq, Eq)]
pub struct Changes {
    /// Settings that apply at once.
    pub applied: Vec<&'static str>,
    /// Settings that need a restart.
    pub need_restart: Vec<&'static str>,
}

/// The text of the settings, to be compared with later texts. It can hold passwords, so `Debug` masks
/// it.
#[derive(Clone)]
pub struct GivenValues(BTreeMap<&'static str, Vec<String>>);

impl GivenValues {
    /// The settings whose text differs in `other`.
    pub(super) fn changes(&self, other: &Self, is_applied: impl Fn(&Setting) -> bool) -> Changes {
        let differs = |setting: &&Setting| self.0.get(setting.name) != other.0.get(setting.name);
        let (changeable, fixed): (Vec<_>, Vec<_>) =
            SETTINGS.iter().filter(differs).partition(|setting| is_applied(setting));
        let names = |settings: Vec<&Setting>| settings.iter().map(|s| s.name).collect();
        Changes { applied: names(changeable), need_restart: names(fixed) }
    }

    /// This text, with the text of `other` for the settings that apply.
    pub(super) fn with_applied(&self, other: &Self, is_applied: impl Fn(&Setting) -> bool) -> Self {
        let from = |setting: &'static Setting| {
            let given = if is_applied(setting) { other } else { self };
            Some((setting.name, given.0.get(setting.name)?.clone()))
        };
        Self(SETTINGS.iter().filter_map(from).collect())
    }
}

impl fmt::Debug for GivenValues {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("GivenValues(***)")
    }
}

/// A value without the newline that `echo` and editors add to a secret or a URL. No setting needs a
/// newline at its end.
pub fn without_newline(value: &str) -> &str {
    value.trim_end_matches(['\r', '\n'])
}

fn one_variable(name: &str) -> String {
    SETTINGS.iter().find(|s| s.name == name).map(Setting::variable).unwrap_or_default()
}

/// A value for an error: without a password, on one line, at most 200 characters.
pub(super) fn display_value(name: &str, value: &str) -> String {
    let value = match name {
        "ledger" | "orders" => redacted(value),
        "control-token" | "read-token" | "redis-sentinel-password" => "***".to_owned(),
        _ => value.to_owned(),
    };
    let plain = !value.is_empty() && !value.chars().any(|c| c.is_control() || c.is_whitespace());
    let mut value = if plain { value } else { format!("{value:?}") };
    if let Some((cut, _)) = value.char_indices().nth(200) {
        value.truncate(cut);
        value.push('…');
    }
    value
}

/// The name most similar to `given`, if one is similar enough.
pub fn closest<'a>(given: &str, names: impl Iterator<Item = &'a str>) -> Option<&'a str> {
    let likeness = |name: &'a str| (strsim::jaro_winkler(given, name), name);
    names
        .map(likeness)
        .filter(|(likeness, _)| *likeness > 0.85)
        .max_by(|(a, _), (b, _)| a.total_cmp(b))
        .map(|(_, name)| name)
}

/// `; did you mean NAME?`, or nothing.
pub(super) fn did_you_mean(name: Option<&str>) -> String {
    name.map(|name| format!("; did you mean {name}?")).unwrap_or_default()
}

/// The values in a variable. An error begins with what follows the variable's name.
fn variable_values(setting: &Setting, value: Option<&str>) -> Result<Vec<String>, String> {
    let value = value.ok_or(": is not valid UTF-8")?;
    if value.trim().is_empty() {
        return Err(": is empty; give it a value, or unset it for the default".into());
    }
    let Some(separator) = setting.separator else {
        return Ok(vec![value.to_owned()]);
    };
    let values: Vec<String> = value.split(separator).map(|v| v.trim().to_owned()).collect();
    if values.iter().any(String::is_empty) {
        let value = display_value(setting.name, value);
        return Err(format!("={value}: has an empty part between two `{separator}` or at an end"));
    }
    Ok(values)
}

fn read_table(file: &Path) -> Result<toml::Table, String> {
    let name = file.display().to_string();
    let at = |problem: String| format!("{}: {problem}", display_value("config", &name));
    let mut text = String::new();
    File::open(file)
        .and_then(|open| open.take(CONFIG_FILE_BYTES_MAX + 1).read_to_string(&mut text))
        .map_err(|error| at(format!("can't read the configuration file: {error}")))?;
    if text.len() as u64 > CONFIG_FILE_BYTES_MAX {
        return Err(at(format!("is larger than {CONFIG_FILE_BYTES_MAX} bytes")));
    }
    // The error's own text would quote the line, and with it perhaps a password.
    text.parse().map_err(|error: toml::de::Error| {
        let before = &text[..error.span().map_or(0, |span| span.start).min(text.len())];
        let line = before.matches('\n').count() + 1;
        let column = before.chars().rev().take_while(|c| *c != '\n').count() + 1;
        format!("{}:{line}:{column}: not valid TOML: {}", file.display(), error.message())
    })
}

/// Checks the format of a file. A file without a format has the first one.
fn check_format(value: &Value) -> Result<(), String> {
    match value {
        Value::Integer(FORMAT) => Ok(()),
        Value::Integer(newer) if *newer > FORMAT => Err(format!(
            "{newer} is the format of a newer version; this version, {}, reads {FORMAT}",
            env!("CARGO_PKG_VERSION")
        )),
        _ => Err(format!("must be {FORMAT}")),
    }
}

fn file_values(setting: &Setting, value: Value) -> Result<Vec<String>, String> {
    match (setting.name, value) {
        ("sale", Value::Array(tables)) => tables.into_iter().map(sale_text).collect(),
        ("sale", _) => Err("must be tables: [[sale]] with id, total and more".into()),
        ("cores", Value::Array(parts)) => {
            let parts: Result<Vec<_>, _> = parts.into_iter().map(plain_text).collect();
            Ok(vec![parts?.join(",")])
        }
        ("listen", Value::Array(parts)) if parts.is_empty() => {
            Err("must have at least one address".into())
        }
        (_, Value::Array(parts)) if setting.separator.is_some() => {
            parts.into_iter().map(plain_text).collect()
        }
        ("public-confirm" | "proxy-protocol", Value::Boolean(on)) => Ok(vec![on.to_string()]),
        (_, value) => Ok(vec![plain_text(value)?]),
    }
}

fn plain_text(value: Value) -> Result<String, String> {
    match value {
        Value::String(text) => Ok(text),
        Value::Integer(number) => Ok(number.to_string()),
        other => Err(format!("must be text or a whole number, not {}", kind(&other))),
    }
}

fn kind(value: &Value) -> &'static str {
    match value {
        Value::String(_) => "text",
        Value::Integer(_) => "a whole number",
        Value::Float(_) => "a fraction",
        Value::Boolean(_) => "true or false",
        Value::Datetime(_) => "a time",
        Value::Array(_) => "a list",
        Value::Table(_) => "a table",
    }
}

/// Ticket types as the text of `--sale` has them.
fn types_text(types: toml::Table) -> Result<String, String> {
    let one = |(name, cap): (String, Value)| match cap {
        _ if name.contains(['+', ':']) => {
            Err(format!("types: {name:?} is no name of a ticket type"))
        }
        Value::Integer(cap) => Ok(format!("{name}:{cap}")),
        cap => Err(format!("types: the cap of {name} must be a whole number, not {}", kind(&cap))),
    };
    let types = types.into_iter().map(one).collect::<Result<Vec<_>, _>>()?;
    Ok(types.join("+"))
}

/// A `[[sale]]` table as the text of `--sale`, so that both get the same checks.
fn sale_text(table: Value) -> Result<String, String> {
    let Value::Table(mut table) = table else {
        return Err("must be tables: [[sale]] with id, total and more".into());
    };
    let part = |key: &str, value: Value| match value {
        Value::Datetime(time) => Ok(time.to_string()),
        Value::Table(types) if key == "types" => types_text(types),
        value => plain_text(value).map_err(|problem| format!("{key}: {problem}")),
    };
    let mut required = |key: &str| {
        let value = table.remove(key).ok_or(format!("a [[sale]] without {key}"))?;
        part(key, value)
    };
    let (id, total) = (required("id")?, required("total")?);
    let mut parts = vec![(id.clone(), total)];
    for (key, value) in table {
        let value = part(&key, value)?;
        parts.push((key, value));
    }
    let odd = |text: &str| text.contains([',', '=']);
    if let Some((key, value)) = parts.iter().find(|(key, value)| odd(key) || odd(value)) {
        return Err(format!(
            "{}: `,` and `=` can't be part of a name or value",
            display_value(key, value)
        ));
    }
    let parts: Vec<_> = parts.into_iter().map(|(key, value)| format!("{key}={value}")).collect();
    Ok(parts.join(","))
}
