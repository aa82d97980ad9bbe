//! `reopen`: two servers on one Redis, a sale that is sold out, connections on every core of both
//! that ask all the time. Units come back in the ledger, behind the servers' backs: how long until
//! each connection has one.

use std::fs::File;
use std::io::Write;
use std::net::SocketAddr;
use std::sync::atomic::{AtomicU32, Ordering};
use std::sync::mpsc::{Receiver, RecvTimeoutError, Sender, channel};
use std::thread;
use std::time::{Duration, Instant};

use clap::Args;

use crate::answer::{self, Answer, text_field};
use crate::client::Client;
use crate::error::{Because, Result, fail};
use crate::fill::Filler;
use crate::lab::{Lab, unexpected};
use crate::process::Interrupted;
use crate::report::{Limit, Promise};
use crate::rows::figure;
use crate::scenarios::Figures;
use crate::session::{Common, Session};

const SERVERS: usize = 2;
const SERVER: &str = "stampede";
const ADD_STOCK: &str = "reopen_add_stock";
const CANCEL: &str = "reopen_cancel";
/// Between two questions of a connection.
const PAUSE: Duration = Duration::from_millis(1);
/// Every core has met the latch many times by then.
const SOLD_OUT_FOR: Duration = Duration::from_millis(200);
/// Changes fall on other moments of the servers' ticks by this.
const STAGGER: Duration = Duration::from_millis(7);
const DEADLINE: Duration = Duration::from_secs(10);
/// Tells the connections to end.
const OVER: u32 = u32::MAX;

/// What is promised of these scenarios.
pub const PROMISES: [Promise; 2] = [
    Promise::new(
        "Longest time until a connection could buy after stock was added, ms",
        Limit::AtMost(100.0),
        (ADD_STOCK, SERVER, figure::REOPEN_MAX_MS),
    ),
    Promise::new(
        "Longest time until a connection could buy after reservations were cancelled, ms",
        Limit::AtMost(100.0),
        (CANCEL, SERVER, figure::REOPEN_MAX_MS),
    ),
];

/// Settings of a run.
#[derive(Debug, Args)]
pub struct Settings {
    /// Rounds; each reopens the sale by added stock and by cancelling.
    #[arg(long, default_value_t = 5, value_parser = clap::value_parser!(u32).range(1..=100))]
    pub rounds: u32,
    /// Reopenings of each kind in a round.
    #[arg(long, default_value_t = 25, value_parser = clap::value_parser!(u32).range(1..=1000))]
    pub reopenings: u32,
    /// Connections to each server.
    #[arg(long, default_value_t = 16, value_parser = clap::value_parser!(u16).range(1..=100))]
    pub connections: u16,
    /// What every command takes.
    #[command(flatten)]
    pub common: Common,
}

/// Runs everything and writes the results.
pub fn run(settings: &Settings, interrupted: Interrupted) -> Result<()> {
    let tools = ["taskset", "redis-server"];
    let mut session =
        Session::open(&settings.common, "reopen", settings.rounds, &tools, interrupted)?;
    let path = session.out.join("reopen.csv");
    let mut raw = File::create(&path).because(|| format!("creating {}", path.display()))?;
    writeln!(raw, "round,scenario,reopening,connection,ms")?;

    let lab = &mut session.lab;
    let redis = lab.redis()?;
    let cores = [lab.server_core, lab.load_core];
    let mut filler = Filler::open(redis.address, "ticket")?;
    filler.create(0, 3_600_000)?;
    let mut served = Vec::new();
    for _ in 0..SERVERS {
        served.push(lab.stampede(&cores, &redis.url(), &[])?);
    }
    for server in &served {
        server.expect(Answer::SoldOut)?;
    }
    let addresses: Vec<_> = served.iter().map(|server| server.address).collect();

    let turn = AtomicU32::new(0);
    thread::scope(|scope| {
        let (sender, bought) = channel();
        let count = usize::from(settings.connections) * SERVERS;
        for number in 0..count {
            let (turn, sender) = (&turn, sender.clone());
            let address = addresses[number % SERVERS];
            scope.spawn(move || keep_asking(number, address, turn, &sender));
        }
        drop(sender);
        let mut buyers = Buyers { turn: &turn, bought, count, ids: Vec::new() };
        let mut all = || -> Result<()> {
            for round in 1..=settings.rounds {
                for scenario in [ADD_STOCK, CANCEL] {
                    session.measure(round, scenario, SERVER, |lab| {
                        let mut note = |reopening: u32, delays: &[(usize, f64)]| {
                            for (connection, ms) in delays {
                                writeln!(
                                    raw,
                                    "{round},{scenario},{reopening},{connection},{ms:.3}"
                                )?;
                            }
                            Ok(())
                        };
                        let by_cancel = scenario == CANCEL;
                        buyers.measure(lab, &mut filler, by_cancel, settings.reopenings, &mut note)
                    })?;
                }
            }
            Ok(())
        };
        let done = all();
        turn.store(OVER, Ordering::Relaxed);
        done
    })?;
    let text = format!(
        "\nTwo servers with two cores each (shared with Redis and the load), {} connections to each, \
         each of which asks once a millisecond. Time from just before the ledger was told until the \
         connection had its unit; {} reopenings of each kind. Every delay: `reopen.csv`.\n",
        settings.connections,
        settings.rounds * settings.reopenings
    );
    session.finish("A sold-out sale reopens", &text, &PROMISES)
}

/// A connection got a unit: which one, when, in which turn, and the reservation's id.
type Bought = Result<(usize, Instant, u32, String)>;

/// In each turn, asks until it has a unit; then it waits for the next turn.
fn keep_asking(number: usize, address: SocketAddr, turn: &AtomicU32, bought: &Sender<Bought>) {
    let mut had = 0;
    let mut ask = || -> Result<()> {
        let mut client = Client::connect(address)?;
        loop {
            let now = turn.load(Ordering::Relaxed);
            if now == OVER {
                return Ok(());
            }
            if now != had {
                let response = client.get(answer::TARGET)?;
                match answer::read(&response) {
                    Some(Answer::SoldOut) => {}
                    Some(Answer::Granted) => {
                        had = now;
                        let id = text_field(&response.body, "reservation").unwrap_or_default();
                        // Nobody listens any more: it is over.
                        let _ = bought.send(Ok((number, Instant::now(), now, id.to_owned())));
                    }
                    None => return fail(unexpected(Answer::SoldOut, &response)),
                }
            }
            thread::sleep(PAUSE);
        }
    };
    if let Err(failure) = ask() {
        let _ = bought.send(Err(failure));
    }
}

/// Keeps the delays of a reopening: connections, and milliseconds.
type Note<'a> = dyn FnMut(u32, &[(usize, f64)]) -> Result<()> + 'a;

struct Buyers<'a> {
    turn: &'a AtomicU32,
    bought: Receiver<Bought>,
    count: usize,
    /// What the last turn bought.
    ids: Vec<String>,
}

impl Buyers<'_> {
    fn measure(
        &mut self,
        lab: &Lab,
        filler: &mut Filler,
        by_cancel: bool,
        reopenings: u32,
        note: &mut Note<'_>,
    ) -> Result<Figures> {
        let mut all = Vec::new();
        for reopening in 1..=reopenings {
            let turn = 1 + self.turn.fetch_add(1, Ordering::Relaxed);
            lab.settle(SOLD_OUT_FOR + STAGGER * (turn % 13))?;
            if let Ok(early) = self.bought.try_recv() {
                let (number, ..) = early?;
                return fail(format!("connection {number} got a unit of a sale that is sold out"));
            }
            let changed = Instant::now();
            match by_cancel {
                true => filler.cancel(&self.ids)?,
                false => filler.add_stock(self.count as u64)?,
            }
            self.ids.clear();
            let mut delays = Vec::new();
            while delays.len() < self.count {
                let (number, at, in_turn, id) = self.next()?;
                if in_turn != turn {
                    return fail("a unit of another turn");
                }
                delays.push((number, at.saturating_duration_since(changed).as_secs_f64() * 1e3));
                self.ids.push(id);
            }
            note(reopening, &delays)?;
            all.extend(delays.into_iter().map(|(_, ms)| ms));
        }
        all.sort_by(f64::total_cmp);
        let percentile = |percent: usize| all[(all.len() * percent / 100).min(all.len() - 1)];
        Ok(vec![
            (figure::REOPEN_P50_MS, percentile(50)),
            (figure::REOPEN_P90_MS, percentile(90)),
            (figure::REOPEN_P99_MS, percentile(99)),
            (figure::REOPEN_MAX_MS, percentile(100)),
        ])
    }

    fn next(&self) -> Bought {
        match self.bought.recv_timeout(DEADLINE) {
            Ok(bought) => bought,
            Err(RecvTimeoutError::Timeout) => {
                fail(format!("a connection had no unit {DEADLINE:?} after the change"))
            }
            Err(RecvTimeoutError::Disconnected) => fail("every connection has ended"),
        }
    }
}
