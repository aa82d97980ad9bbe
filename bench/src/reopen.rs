//! `reopen`: two servers on one Redis with a sold-out sale, whose connections on every core of both
//! send requests all the time. Units return in the ledger without a notice to the servers. Measures
//! how soon each connection has a unit. Repeats this with one of 50 sales in four parts each, all of
//! which get requests.

use std::fs::{self, File};
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
use crate::lab::{Lab, Redis, Served, unexpected};
use crate::process::Interrupted;
use crate::report::{Limit, Promise};
use crate::rows::figure;
use crate::scenarios::Figures;
use crate::session::{Common, Session};
use crate::shop::{self, Told};
use crate::{hot, sales};

const SERVERS: usize = 2;
const SERVER: &str = "stampede";
const ADD_STOCK: &str = "reopen_add_stock";
const CANCEL: &str = "reopen_cancel";
const ADD_STOCK_SPLIT: &str = "reopen_add_stock_50_split";
/// Number of split hot sales, and of the parts per sale.
const SPLIT_SALES: u32 = 50;
const SPLITS: &str = "splits = 4";
/// Pause of a connection between two requests.
const PAUSE: Duration = Duration::from_millis(1);
/// Time for every core to hit the latch many times.
const SOLD_OUT_FOR: Duration = Duration::from_millis(200);
/// Shift of each change against the servers' ticks.
const STAGGER: Duration = Duration::from_millis(7);
const DEADLINE: Duration = Duration::from_secs(10);
/// Turn that ends the connections.
const OVER: u32 = u32::MAX;

/// Promises on these scenarios.
pub const PROMISES: [Promise; 3] = [
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
    Promise::new(
        "p99 of the time until a connection could buy after one of 50 split sales got stock, ms",
        Limit::AtMost(100.0),
        (ADD_STOCK_SPLIT, SERVER, figure::REOPEN_P99_MS),
    ),
];

/// Settings of a run.
#[derive(Debug, Args)]
pub struct Settings {
    /// Rounds; each reopens a sale by added stock, by cancelled reservations, and as one of 50 split
    /// sales.
    #[arg(long, default_value_t = 5, value_parser = clap::value_parser!(u32).range(1..=100))]
    pub rounds: u32,
    /// Reopenings of each kind per round.
    #[arg(long, default_value_t = 25, value_parser = clap::value_parser!(u32).range(1..=1000))]
    pub reopenings: u32,
    /// Connections per server.
    #[arg(long, default_value_t = 16, value_parser = clap::value_parser!(u16).range(1..=100))]
    pub connections: u16,
    /// Settings of every command.
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

    for sales in [Sales::Ticket, Sales::Split] {
        measure(&mut session, settings, sales, &mut raw)?;
    }
    let text = format!(
        "\nTwo servers with two cores each (shared with Redis and the load), {} connections to each, \
         each of which asks once a millisecond, and beside one of {SPLIT_SALES} split sales another of \
         them too. Time from just before the ledger was told until the connection had its unit; {} \
         reopenings of each kind. Every delay: `reopen.csv`.\n",
        settings.connections,
        settings.rounds * settings.reopenings
    );
    session.finish("A sold-out sale reopens", &text, &PROMISES)
}

/// The sales that the connections request.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Sales {
    /// `ticket`, by GET.
    Ticket,
    /// Split sales, by POST with a user. Each turn returns stock to another sale, while all sales get
    /// requests.
    Split,
}

impl Sales {
    /// The scenarios of these sales.
    fn scenarios(self) -> &'static [&'static str] {
        match self {
            Self::Ticket => &[ADD_STOCK, CANCEL],
            Self::Split => &[ADD_STOCK_SPLIT],
        }
    }

    /// The sale that gets stock in this turn.
    fn id(self, turn: u32) -> String {
        match self {
            Self::Ticket => "ticket".into(),
            Self::Split => hot::id(turn % SPLIT_SALES),
        }
    }

    /// Starts the servers with these sales, all sold out.
    fn serve(self, lab: &mut Lab, redis: &Redis) -> Result<Vec<Served>> {
        let config = lab.data().join("reopen.toml");
        let options: &[&str] = match self {
            Self::Ticket => {
                Filler::open(redis.address, "ticket")?.create(0, 3_600_000)?;
                &[]
            }
            Self::Split => {
                fs::write(&config, hot::definitions(SPLIT_SALES, 0, SPLITS))
                    .because(|| format!("writing {}", config.display()))?;
                &["--config", &config.to_string_lossy()]
            }
        };
        let cores = [lab.server_core, lab.load_core];
        let mut served = Vec::new();
        for _ in 0..SERVERS {
            served.push(lab.stampede(&cores, &redis.url(), options)?);
        }
        for server in &served {
            match self {
                Self::Ticket => server.expect(Answer::SoldOut)?,
                Self::Split => sales::await_idle(lab, server)?,
            }
        }
        Ok(served)
    }

    /// Requests a unit of this turn's sale. Returns the reservation id, or `None` if it is sold out.
    fn ask(self, client: &mut Client, number: usize, turn: u32) -> Result<Option<String>> {
        if self == Self::Split {
            // A new user per request, so that every part is the home of some users.
            return order(client, &self.id(turn), &format!("c{number}-{turn}"));
        }
        let response = client.get(answer::TARGET)?;
        match answer::read(&response) {
            Some(Answer::SoldOut) => Ok(None),
            Some(Answer::Granted) => {
                Ok(Some(text_field(&response.body, "reservation").unwrap_or_default().to_owned()))
            }
            None => fail(unexpected(Answer::SoldOut, &response)),
        }
    }

    /// Requests a unit of another sale, not of this, the previous or the next turn, because all sales
    /// are hot.
    fn ask_another(self, client: &mut Client, number: usize, turn: u32, nth: u32) -> Result<()> {
        if self == Self::Ticket {
            return Ok(());
        }
        let sale = hot::id((turn + 2 + nth % (SPLIT_SALES - 3)) % SPLIT_SALES);
        match order(client, &sale, &format!("c{number}"))? {
            None => Ok(()),
            Some(id) => fail(format!("{sale} is sold out, but granted {id}")),
        }
    }
}

/// Posts an order of one unit.
fn order(client: &mut Client, sale: &str, user: &str) -> Result<Option<String>> {
    match shop::order(client, &format!("/v1/sales/{sale}/reservations"), user, None)? {
        Told::Granted(id) => Ok(Some(id)),
        Told::SoldOut => Ok(None),
        told => fail(format!("{user} got {told:?}")),
    }
}

/// Runs all rounds with these sales, on new servers and a new Redis.
fn measure(session: &mut Session, settings: &Settings, sales: Sales, raw: &mut File) -> Result<()> {
    let redis = session.lab.redis()?;
    let served = sales.serve(&mut session.lab, &redis)?;
    let addresses: Vec<_> = served.iter().map(|server| server.address).collect();
    let turn = AtomicU32::new(0);
    thread::scope(|scope| {
        let (sender, bought) = channel();
        let count = usize::from(settings.connections) * SERVERS;
        for number in 0..count {
            let (turn, sender) = (&turn, sender.clone());
            let address = addresses[number % SERVERS];
            scope.spawn(move || keep_asking(sales, number, address, turn, &sender));
        }
        drop(sender);
        let ids = Vec::new();
        let mut buyers = Buyers { sales, redis: redis.address, turn: &turn, bought, count, ids };
        let mut all = || -> Result<()> {
            for round in 1..=settings.rounds {
                for &scenario in sales.scenarios() {
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
                        buyers.measure(lab, by_cancel, settings.reopenings, &mut note)
                    })?;
                }
            }
            Ok(())
        };
        let done = all();
        turn.store(OVER, Ordering::Relaxed);
        done
    })
}

/// A unit that a connection got: connection, time, turn, and reservation id.
type Bought = Result<(usize, Instant, u32, String)>;

/// Sends requests in each turn until it has a unit, then waits for the next turn.
fn keep_asking(
    sales: Sales,
    number: usize,
    address: SocketAddr,
    turn: &AtomicU32,
    bought: &Sender<Bought>,
) {
    let (mut had, mut others) = (0, number as u32);
    let mut ask = || -> Result<()> {
        let mut client = Client::connect(address)?;
        loop {
            let now = turn.load(Ordering::Relaxed);
            if now == OVER {
                return Ok(());
            }
            if now != had
                && let Some(id) = sales.ask(&mut client, number, now)?
            {
                had = now;
                // The receiver has ended.
                let _ = bought.send(Ok((number, Instant::now(), now, id)));
            }
            sales.ask_another(&mut client, number, now, others)?;
            others = others.wrapping_add(1);
            thread::sleep(PAUSE);
        }
    };
    if let Err(failure) = ask() {
        let _ = bought.send(Err(failure));
    }
}

/// Records the delays of a reopening per connection, in milliseconds.
type Note<'a> = dyn FnMut(u32, &[(usize, f64)]) -> Result<()> + 'a;

struct Buyers<'a> {
    sales: Sales,
    redis: SocketAddr,
    turn: &'a AtomicU32,
    bought: Receiver<Bought>,
    count: usize,
    /// Reservation ids of the last turn.
    ids: Vec<String>,
}

impl Buyers<'_> {
    fn measure(
        &mut self,
        lab: &Lab,
        by_cancel: bool,
        reopenings: u32,
        note: &mut Note<'_>,
    ) -> Result<Figures> {
        let mut all = Vec::new();
        for reopening in 1..=reopenings {
            let turn = 1 + self.turn.fetch_add(1, Ordering::Relaxed);
            let mut filler = Filler::open(self.redis, &self.sales.id(turn))?;
            lab.settle(SOLD_OUT_FOR + STAGGER * (turn % 13))?;
            if let Ok(early) = self.bought.try_recv() {
                let (number, ..) = early?;
                return fail(format!("connection {number} got a unit of a sold-out sale"));
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
                    return fail("a unit of another reopening");
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
