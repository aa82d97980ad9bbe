//! Orders in a PostgreSQL that is killed, by workers that are killed: in the end there is one row per
//! reservation, with its last status.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;
use std::thread;
use std::time::{Duration, Instant};

use stampede::orders::{Order, open};
use stampede::sale::SaleId;

use crate::chance::Chance;
use crate::lab::Lab;
use crate::postgres_server::PostgresServer;
use crate::process::{Around, Member};
use crate::rows::{Row, Rows};
use crate::tally::Tally;

/// Time for the workers to write what is left.
const DEADLINE: Duration = Duration::from_secs(60);
/// Workers that share a group.
const WORKERS: usize = 2;

/// What a row says: user, units, status.
type Stands = (String, u32, String);

/// A database, and the workers that write to it: none if a server does.
pub struct Orders {
    workers: Vec<Member>,
    database: PostgresServer,
}

impl Orders {
    /// A database without workers.
    pub fn alone() -> Self {
        Self { workers: Vec::new(), database: PostgresServer::start() }
    }

    /// The same with workers that read from this Redis.
    pub fn with_workers(lab: &Arc<Lab>, from: &str) -> Self {
        let mut orders = Self::alone();
        let to = orders.url();
        for number in 0..WORKERS {
            let name = format!("worker{number}");
            let (from, to, consumer) = (from.to_owned(), to.clone(), name.clone());
            let build = move || {
                let mut command = Around::Here.command(env!("CARGO_BIN_EXE_stampede"));
                command.args(["orders", "--from", &from, "--to", &to, "--consumer", &consumer]);
                // So that the entries of a dead worker are taken over at once.
                command.args(["--claim-after", "500ms"]);
                command
            };
            orders.workers.push(Member::start(lab, &name, "", Box::new(build)));
        }
        orders
    }

    /// The database's URL.
    pub fn url(&self) -> String {
        self.database.url()
    }

    /// The database's name and version.
    pub fn version(&self) -> String {
        let row = self.database.connect().query_one("SHOW server_version", &[]);
        let version: String = row.expect("its version").get(0);
        format!("PostgreSQL {}", version.split(' ').next().unwrap_or_default())
    }

    /// Kills a worker, and starts it again.
    pub fn kill_worker(&mut self, chance: &mut Chance) {
        let number = chance.below(self.workers.len());
        self.workers[number].kill();
        thread::sleep(Duration::from_millis(chance.below(100) as u64));
        self.workers[number].restart();
    }

    /// Kills the database, and starts it again after this time.
    pub fn kill_database(&mut self, after: Duration) {
        self.database.crash();
        thread::sleep(after);
        self.database.restart();
    }

    /// Waits until the database has these rows and no other, and finds what is different.
    pub fn check(&mut self, rows: &Rows, sales: &BTreeSet<String>, tally: &mut Tally) {
        let stands = |row: &Row| (row.user.clone(), row.quantity, row.status.as_str().to_owned());
        let wanted: BTreeMap<String, Stands> =
            rows.iter().map(|(id, row)| (id.clone(), stands(row))).collect();
        let since = Instant::now();
        let mut written = self.written(sales);
        while written.as_ref() != Some(&wanted) && since.elapsed() < DEADLINE {
            thread::sleep(Duration::from_millis(100));
            written = self.written(sales);
        }
        let Some(written) = written else {
            tally.stranded("the database of the orders can't be read".to_owned());
            return;
        };
        compare(&wanted, &written, tally);
    }

    /// The orders of these sales. `None`: the database is away.
    fn written(&self, sales: &BTreeSet<String>) -> Option<BTreeMap<String, Stands>> {
        let mut database = open(&self.url()).ok()?;
        let mut written = BTreeMap::new();
        for sale in sales {
            let mut each = |order: Order| {
                let status = order.status.map_or("", |status| status.as_str()).to_owned();
                let stands = (order.user.unwrap_or_default(), order.quantity, status);
                written.insert(format!("{sale}~{}", order.id), stands);
            };
            let id = SaleId::new(sale).expect("a sale");
            database.orders(&id, &mut each).ok()?;
        }
        Some(written)
    }

    /// What the logs of the workers say that they must not.
    pub fn faults(&self) -> impl Iterator<Item = &String> {
        self.workers.iter().flat_map(Member::faults)
    }
}

/// Finds what is different.
fn compare(
    wanted: &BTreeMap<String, Stands>,
    written: &BTreeMap<String, Stands>,
    tally: &mut Tally,
) {
    for (id, stands) in wanted {
        match written.get(id) {
            None => tally.lost(format!("{id} has no order")),
            Some(there) if there != stands => {
                tally.wrong(format!("{id}: the order says {there:?}, not {stands:?}"));
            }
            Some(_) => {}
        }
    }
    for id in written.keys().filter(|id| !wanted.contains_key(*id)) {
        tally.wrong(format!("{id} has an order and no reservation"));
    }
}

/// Shows that the comparison finds what it is for: run before the scenarios.
pub fn try_out() {
    let order = |id: &str, status: &str| (id.to_owned(), ("ann".to_owned(), 1, status.to_owned()));
    let found = |written: &[(String, Stands)]| {
        let wanted = BTreeMap::from([order("1", "held"), order("2", "confirmed")]);
        let mut tally = Tally::quiet();
        compare(&wanted, &written.iter().cloned().collect(), &mut tally);
        (tally.lost, tally.wrong)
    };
    assert_eq!(found(&[order("1", "held"), order("2", "confirmed")]), (0, 0));
    assert_eq!(found(&[order("1", "held")]), (1, 0));
    assert_eq!(found(&[order("1", "held"), order("2", "held")]), (0, 1));
    assert_eq!(found(&[order("1", "held"), order("2", "confirmed"), order("3", "held")]), (0, 1));
}
