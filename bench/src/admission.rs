//! `admission`: measures the cost of a token's check, and honest buyers beside clients that send
//! forged tokens as fast as the server answers.
//!
//! Every honest purchase has its own new token, signed with Ed25519, so the server must check it. This
//! is the worst case of a sale.

use std::fs;
use std::net::SocketAddr;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::thread;
use std::time::{Duration, Instant, UNIX_EPOCH};

use clap::Args;
use hdrhistogram::Histogram;
use serde_json::json;
use stampede::admission::{
    Admission, Algorithm, Claims, KeySet, NewKey, TokenVerifier, VerifyContext, mint,
};

use crate::answer::{self, Answer, TARGET};
use crate::client::Client;
use crate::error::{Because, Result, fail};
use crate::full::places::most;
use crate::full::strangers::{begin_idle, end_idle};
use crate::lab::Lab;
use crate::load::socket::thread_cpu_ns;
use crate::process::Interrupted;
use crate::report::Promise;
use crate::rows::figure;
use crate::scenarios::{Figures, TOTAL_HUGE};
use crate::session::{Common, Session};
use crate::strangers::tokens;

const TOOLS: [&str; 3] = ["taskset", "chrt", "redis-server"];

/// Check of a token that the server has not seen before.
const CHECK_HS256: &str = "admission_check_hs256";
const CHECK_EDDSA: &str = "admission_check_eddsa";
/// Purchases alone.
const NOBODY: &str = "admission_beside_nobody";
/// Purchases beside forged tokens from one address.
const ONE: &str = "admission_beside_one_address";
/// Purchases beside forged tokens from many addresses.
const MANY: &str = "admission_beside_many_addresses";
const OURS: &str = "stampede";

/// Tokens to check.
const CHECKS: usize = 20_000;
/// Checks per tick of the admission: fewer than it allows.
const CHECKS_PER_TICK: usize = 100;
/// Concurrent buyers, each on one connection.
const BUYERS: u32 = 8;
/// Purchases per second per buyer.
const RATE: u32 = 50;
/// Purchases per buyer before the measurement.
const WARM_UP: u32 = RATE;
/// Connections of strangers, and their number of addresses if they come from many.
const STRANGERS: u32 = 200;
/// Time between the start of the attack and the buyers.
const LEAD: Duration = Duration::from_millis(500);
const TTL_MS: u64 = 3_600_000;
const KID: &str = "shop";

/// Promises about the check of a token.
pub const PROMISES: [Promise; 3] = [
    most(3.0, "CPU per check of an HS256 token, us", (CHECK_HS256, OURS, figure::SERVER_CPU_US)),
    most(
        3.0,
        "p99 of buyers beside forged tokens from one address, relative to no forged tokens",
        p99(ONE),
    )
    .to(p99(NOBODY)),
    most(
        3.0,
        "p99 of buyers beside forged tokens from many addresses, relative to no forged tokens",
        p99(MANY),
    )
    .to(p99(NOBODY)),
];

const fn p99(scenario: &'static str) -> (&'static str, &'static str, &'static str) {
    (scenario, OURS, figure::GRANTED_P99_US)
}

/// Settings of a run.
#[derive(Debug, Args)]
pub struct Settings {
    /// Rounds; each measures every scenario once.
    #[arg(long, default_value_t = 5, value_parser = clap::value_parser!(u32).range(1..=100))]
    pub rounds: u32,
    /// Seconds of purchases per measurement, after a second of warm-up.
    #[arg(long, default_value_t = 4, value_parser = clap::value_parser!(u32).range(1..=60))]
    pub seconds: u32,
    /// Settings of every command.
    #[command(flatten)]
    pub common: Common,
}

/// Measures every scenario and writes the results.
pub fn run(settings: &Settings, interrupted: Interrupted) -> Result<()> {
    let Settings { rounds, seconds, common } = settings;
    let mut session = Session::open(common, "admission", *rounds, &TOOLS, interrupted)?;
    let shop = Shop::open(session.lab.data(), Algorithm::EdDsa, 1)?;
    let forger = Shop::open(session.lab.data(), Algorithm::EdDsa, 2)?;
    for round in 1..=*rounds {
        for (scenario, algorithm) in
            [(CHECK_HS256, Algorithm::Hs256), (CHECK_EDDSA, Algorithm::EdDsa)]
        {
            session.measure(round, scenario, OURS, |_| check(algorithm))?;
        }
        let mut attacks = [(NOBODY, 0), (ONE, 1), (MANY, STRANGERS)];
        let first = (round as usize - 1) % attacks.len();
        attacks.rotate_left(first);
        for (scenario, addresses) in attacks {
            session.measure(round, scenario, OURS, |lab| {
                beside(lab, &shop, &forger, addresses, *seconds)
            })?;
        }
    }
    let text = format!(
        "\nThe server ran on core {}; buyers, strangers (with the lowest priority) and Redis ran on core {}. \
         {BUYERS} buyers make {} purchases per second, each with an EdDSA token of its own; strangers \
         have {STRANGERS} connections.\n",
        common.server_core,
        common.load_core,
        BUYERS * RATE,
    );
    session.finish(&format!("Admission, {rounds} rounds"), &text, &PROMISES)
}

/// A shop with keys of one algorithm, in a file.
pub struct Shop {
    keys: KeySet,
    /// The file.
    pub file: PathBuf,
}

fn key_set(algorithm: Algorithm, byte: u8) -> Result<(KeySet, String)> {
    let Some(key) = NewKey::of(algorithm, KID, &[byte; 32]) else { return fail("no key") };
    let text = json!({ "keys": [key.private] }).to_string();
    Ok((KeySet::parse(text.as_bytes()).because(|| "making keys".into())?, text))
}

fn token(keys: &KeySet, user: &str) -> Result<String> {
    let now_ms = UNIX_EPOCH.elapsed().unwrap_or(Duration::ZERO).as_millis() as u64;
    let claims = Claims {
        user,
        audience: "stampede",
        sales: &["ticket".to_owned()],
        max: None,
        from_ms: now_ms,
        until_ms: now_ms + TTL_MS,
    };
    mint(keys, KID, &claims).map_or_else(|| fail("no token"), Ok)
}

impl Shop {
    /// Creates a key of this algorithm from a byte.
    pub fn open(folder: &Path, algorithm: Algorithm, byte: u8) -> Result<Self> {
        let (keys, text) = key_set(algorithm, byte)?;
        let file = folder.join(format!("keys-{byte}.json"));
        fs::write(&file, text).because(|| format!("writing {}", file.display()))?;
        Ok(Self { keys, file })
    }

    /// The header line with a token of this user.
    pub fn header(&self, user: &str) -> Result<String> {
        token(&self.keys, user).map(|token| shown(&token))
    }
}

/// CPU per check, by the thread that checks.
fn check(algorithm: Algorithm) -> Result<Figures> {
    let (keys, _) = key_set(algorithm, 1)?;
    let tokens =
        (0..CHECKS).map(|n| token(&keys, &format!("buyer-{n:08}"))).collect::<Result<Vec<_>>>()?;
    let admission = Arc::new(Admission { keys, audience: "stampede".into() });
    let mut verifier = TokenVerifier::new(admission.clone());
    let now_ms = UNIX_EPOCH.elapsed().unwrap_or(Duration::ZERO).as_millis() as u64;
    let visitor = VerifyContext { address: Some(1), now_ms };
    let before = thread_cpu_ns();
    for tokens in tokens.chunks(CHECKS_PER_TICK) {
        verifier.tick(&admission);
        for token in tokens {
            if let Err(denied) = verifier.admit(token.as_bytes(), visitor) {
                return fail(format!("the server did not admit a token: {denied}"));
            }
        }
    }
    let spent = thread_cpu_ns() - before;
    Ok(vec![
        (figure::REQUESTS, CHECKS as f64),
        (figure::SERVER_CPU_US, spent as f64 / 1_000.0 / CHECKS as f64),
    ])
}

/// Measures purchases at a modest rate beside forged tokens from this number of addresses.
fn beside(
    lab: &mut Lab,
    shop: &Shop,
    forger: &Shop,
    addresses: u32,
    seconds: u32,
) -> Result<Figures> {
    let redis = lab.redis()?;
    let sale = format!("ticket={TOTAL_HUGE}");
    let keys = shop.file.display().to_string();
    let core = [lab.server_core];
    let server =
        lab.stampede(&core, &redis.url(), &["--sale", &sale, "--admission-keys", &keys])?;
    let purchases = WARM_UP + RATE * seconds;
    let tokens = (0..BUYERS)
        .map(|buyer| {
            (0..purchases).map(|n| token(&shop.keys, &format!("buyer-{buyer}-{n}"))).collect()
        })
        .collect::<Result<Vec<Vec<_>>>>()?;
    // Waits until the ledger answers.
    await_sale(lab, server.address, &token(&shop.keys, "first")?)?;
    let strangers = match addresses {
        0 => None,
        addresses => {
            let (to, keys) = (server.address.to_string(), forger.file.display().to_string());
            let (addresses, connections) = (addresses.to_string(), STRANGERS.to_string());
            let words = [
                "tokens",
                "--to",
                &to,
                "--keys",
                &keys,
                "--kid",
                KID,
                "--addresses",
                &addresses,
                "--connections",
                &connections,
            ];
            Some(begin_idle(lab, "tokens", &words)?)
        }
    };
    lab.settle(LEAD)?;
    let mut all = Bought::new()?;
    let begin = Instant::now() + LEAD;
    let buyers: Vec<_> = tokens
        .into_iter()
        .zip(0..)
        .map(|(tokens, number)| {
            let offset = Duration::from_secs(1) / RATE / BUYERS * number;
            let address = server.address;
            thread::spawn(move || buy(address, &tokens, begin + offset))
        })
        .collect();
    for buyer in buyers {
        let bought = buyer.join().map_err(|_| "a buyer panicked").or_else(fail)??;
        all.add(&bought)?;
    }
    let mut figures = all.figures();
    if let Some(strangers) = strangers {
        let report: tokens::Report = end_idle(lab, "tokens", strangers)?;
        if report.others > 0 || report.closed > 0 {
            return fail(format!("strangers got unexpected answers: {report:?}"));
        }
        let asked = report.refused + report.busy;
        figures.push((figure::STRANGERS_ATTEMPTS, asked as f64));
        figures.push((figure::FORGED_PER_S, asked as f64 / report.seconds));
        figures.push((figure::CHECKED_PER_S, report.refused as f64 / report.seconds));
    }
    Ok(figures)
}

fn await_sale(lab: &Lab, address: SocketAddr, token: &str) -> Result<()> {
    let until = Instant::now() + Duration::from_secs(10);
    loop {
        let answer = Client::connect(address)?.get_with(TARGET, &shown(token))?;
        match answer::read(&answer) {
            Some(Answer::Granted) => return Ok(()),
            _ if Instant::now() > until => return fail(format!("no ticket: {}", answer.body)),
            _ => lab.settle(Duration::from_millis(20))?,
        }
    }
}

fn shown(token: &str) -> String {
    format!("Authorization: Bearer {token}\r\n")
}

/// The answers that buyers got.
struct Bought {
    granted_us: Histogram<u64>,
    busy: u64,
}

impl Bought {
    fn new() -> Result<Self> {
        let granted_us = Histogram::new(3).because(|| "making a histogram".into())?;
        Ok(Self { granted_us, busy: 0 })
    }

    fn add(&mut self, other: &Self) -> Result<()> {
        self.busy += other.busy;
        self.granted_us.add(&other.granted_us).because(|| "adding latencies".into())
    }

    fn figures(&self) -> Figures {
        vec![
            (figure::GRANTED, self.granted_us.len() as f64),
            (figure::GRANTED_P50_US, self.granted_us.value_at_quantile(0.5) as f64),
            (figure::GRANTED_P99_US, self.granted_us.value_at_quantile(0.99) as f64),
            (figure::OTHER_ANSWERS, self.busy as f64),
        ]
    }
}

/// Buys once with each token, at fixed times. Counts the answer `busy` separately.
fn buy(address: SocketAddr, tokens: &[String], begin: Instant) -> Result<Bought> {
    let mut client = Client::connect(address)?;
    let mut bought = Bought::new()?;
    for (number, token) in (0..).zip(tokens) {
        let due = begin + Duration::from_secs(1) / RATE * number;
        thread::sleep(due.saturating_duration_since(Instant::now()));
        let answer = client.get_with(TARGET, &shown(token))?;
        let counts = number >= WARM_UP;
        match answer::read(&answer) {
            Some(Answer::Granted) if counts => {
                let took = due.elapsed().as_micros() as u64;
                bought.granted_us.record(took).because(|| "keeping a latency".into())?;
            }
            Some(Answer::Granted) => {}
            _ if answer.status == 503 => bought.busy += u64::from(counts),
            _ => {
                return fail(format!(
                    "a buyer got an unexpected answer, {}: {}",
                    answer.status, answer.body
                ));
            }
        }
    }
    Ok(bought)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_token_check_has_a_measurable_cost() {
        for algorithm in [Algorithm::Hs256, Algorithm::EdDsa] {
            let figures = check(algorithm).expect("figures");
            assert!(figures.iter().all(|(_, value)| *value > 0.0), "{figures:?}");
        }
    }
}
