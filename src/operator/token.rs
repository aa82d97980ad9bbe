//! `stampede token`: creates tokens and keys, and prints the public parts of keys.

use std::fs::{self, File, OpenOptions};
use std::io::{Read, Write};
use std::os::unix::fs::OpenOptionsExt;
use std::path::Path;

use serde_json::{Value, json};

use super::arguments::{check_sale, quoted};
use super::failure::Failure;
use crate::admission::{Algorithm, Claims, KeySet, NewKey, mint};
use crate::cli::{TokenAction, TokenOptions};
use crate::clock::wall_ms;
use crate::config::{duration_within, whole_number};
use crate::limits::{
    ADMISSION_AUDIENCE_BYTES_MAX, ADMISSION_KEYS_BYTES_MAX, ADMISSION_SALES_MAX,
    ADMISSION_TTL_MS_MAX, QUANTITY_MAX,
};
use crate::sale::User;

/// Prints a token.
pub fn token(options: &TokenOptions, out: &mut dyn Write) -> Result<(), Failure> {
    let usage = |name: &str| {
        let name = name.to_owned();
        move |problem: String| Failure::Usage(format!("--{name}: {problem}"))
    };
    let user = options.user.as_deref().unwrap_or_default();
    User::new(user).map_err(|error| usage("user")(error.to_string()))?;
    options.sale.iter().try_for_each(|sale| check_sale(sale))?;
    if !(1..=ADMISSION_SALES_MAX).contains(&options.sale.len()) {
        return Err(usage("sale")(format!("a token names 1 to {ADMISSION_SALES_MAX} sales")));
    }
    let ttl_ms =
        duration_within(&options.ttl, (1_000, ADMISSION_TTL_MS_MAX)).map_err(usage("ttl"))?;
    let units = |text: &String| whole_number(text, 1, QUANTITY_MAX.into()).map(|n| n as u32);
    let max = options.max.as_ref().map(units).transpose().map_err(usage("max"))?;
    if !(1..=ADMISSION_AUDIENCE_BYTES_MAX).contains(&options.audience.len()) {
        let problem = format!("must have 1 to {ADMISSION_AUDIENCE_BYTES_MAX} bytes");
        return Err(usage("audience")(problem));
    }
    let file = options.keys.as_deref().unwrap_or_default();
    let (keys, _) = read(file)?;
    let now_ms = wall_ms();
    let claims = Claims {
        user,
        audience: &options.audience,
        sales: &options.sale,
        max,
        from_ms: now_ms,
        until_ms: now_ms + ttl_ms,
    };
    let token = match &options.kid {
        Some(kid) => mint(&keys, kid, &claims),
        None => keys.kids().filter_map(|kid| mint(&keys, kid, &claims)).last(),
    };
    let token = token.ok_or_else(|| match &options.kid {
        Some(kid) if keys.find(kid).is_none() => {
            Failure::Failed(format!("{}: there is no key {}", quoted(file), quoted(kid)))
        }
        Some(kid) => {
            let problem = "has no private part (d), so it can't sign";
            Failure::Failed(format!("{}: key {} {problem}", quoted(file), quoted(kid)))
        }
        None => Failure::Failed(format!("{}: no key of the file can sign", quoted(file))),
    })?;
    writeln!(out, "{token}")?;
    Ok(())
}

/// Runs `stampede token new-key` and `public-keys`.
pub fn token_keys(action: &TokenAction, out: &mut dyn Write) -> Result<(), Failure> {
    match action {
        TokenAction::NewKey { keys, kid, alg } => new_key(keys, kid.as_deref(), alg, out),
        TokenAction::PublicKeys { keys } => {
            let (_, mut set) = read(keys)?;
            for key in set["keys"].as_array_mut().into_iter().flatten() {
                key.as_object_mut().and_then(|members| members.remove("d"));
            }
            writeln!(out, "{}", pretty(&set))?;
            Ok(())
        }
    }
}

/// Adds a key to a file. Creates the file if it is missing.
fn new_key(
    file: &str,
    kid: Option<&str>,
    algorithm: &str,
    out: &mut dyn Write,
) -> Result<(), Failure> {
    let algorithm = Algorithm::named(algorithm)
        .ok_or_else(|| Failure::Usage("--alg: must be HS256 or EdDSA".into()))?;
    let mut random = [0; 36];
    getrandom::fill(&mut random)
        .map_err(|error| Failure::Failed(format!("no random numbers: {error}")))?;
    let [a, b, c, d, secret @ ..] = random;
    let kid = kid.map_or_else(|| format!("k-{a:02x}{b:02x}{c:02x}{d:02x}"), str::to_owned);
    let key = NewKey::of(algorithm, &kid, &secret).ok_or_else(|| {
        Failure::Failed("the random numbers are no key: run the command again".into())
    })?;
    let mut set = match Path::new(file).exists() {
        true => read(file)?.1,
        false => json!({ "keys": [] }),
    };
    if let Some(keys) = set["keys"].as_array_mut() {
        keys.push(key.private);
    }
    let text = pretty(&set) + "\n";
    // Write only text that can be read back.
    KeySet::parse(text.as_bytes())
        .map_err(|problem| Failure::Failed(format!("{}: {problem}", quoted(file))))?;
    replace(file, &text)
        .map_err(|error| Failure::Failed(format!("{}: can't be written: {error}", quoted(file))))?;
    writeln!(out, "{kid}")?;
    Ok(())
}

/// Replaces a file in one step, readable by its owner only. A concurrent reader gets the old content.
fn replace(file: &str, text: &str) -> std::io::Result<()> {
    let path = fs::canonicalize(file).unwrap_or_else(|_| file.into());
    let mut next = path.clone().into_os_string();
    next.push(".new");
    let written = OpenOptions::new()
        .write(true)
        .create_new(true)
        .mode(0o600)
        .open(&next)
        .and_then(|mut new| {
            new.write_all(text.as_bytes())?;
            new.sync_all()
        })
        .and_then(|()| fs::rename(&next, &path));
    // Another command may be writing the file: do not remove it.
    if written.as_ref().is_err_and(|error| error.kind() != std::io::ErrorKind::AlreadyExists) {
        let _ = fs::remove_file(&next);
    }
    written
}

/// The keys of a file, and its JSON.
fn read(file: &str) -> Result<(KeySet, Value), Failure> {
    let wrong = |problem: String| Failure::Failed(format!("{}: {problem}", quoted(file)));
    let mut text = Vec::new();
    File::open(file)
        .and_then(|open| open.take(ADMISSION_KEYS_BYTES_MAX as u64 + 1).read_to_end(&mut text))
        .map_err(|error| wrong(format!("can't be read: {error}")))?;
    let keys = KeySet::parse(&text).map_err(|problem| wrong(problem.to_string()))?;
    let set = serde_json::from_slice(&text).map_err(|_| wrong("is no JSON".into()))?;
    Ok((keys, set))
}

fn pretty(set: &Value) -> String {
    format!("{set:#}")
}
