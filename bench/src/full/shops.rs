//! The requests of a shop's buyers, beside the article's anonymous GET: with a user, and with a user
//! and a key in a sale with one ticket per user. Measures purchases, refusals of a sold-out sale, and
//! purchases from many hot sales.

use std::fs;

use super::scenario::{self, GET, KEYED, USER};
use super::store::{Opened, Store, with_redis};
use super::{CONNECTIONS, Full, measure};
use crate::answer::{Answer, Content, TARGET};
use crate::client::Client;
use crate::error::{Because, Result, fail};
use crate::lab::{Lab, Served};
use crate::resp::Connection;
use crate::rows::figure;
use crate::scenarios::{Figures, TOTAL_HUGE, TOTAL_TINY, WARM_UP_SECONDS};
use crate::sellers::{self, Calls};
use crate::servers::{Server, Setup};
use crate::shop::{self, Told};
use crate::tools::LoadPlan;
use crate::{hot, one_sale, sales};

/// Prefix of user names, before ten digits. The warm-up uses other names.
const USERS: &str = "usr";
const USERS_OF_WARM_UP: &str = "wrm";

/// Order of the ledgers in the tables of scenarios.
const STORES: [Store; 2] = [Store::Redis, Store::Embedded];

/// Numbers of hot sales, in the order of the tables of scenarios.
const HOT: [u32; 3] = [1, 100, 1_000];

/// A kind of buyer.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Buyer {
    /// An anonymous buyer, by GET.
    Anonymous,
    /// A user, by POST.
    User,
    /// A user with a key, by POST. Gets one ticket.
    Keyed,
}

/// Each kind of buyer, and its index in the tables of scenarios.
const BUYERS: [(Buyer, usize); 3] =
    [(Buyer::Anonymous, GET), (Buyer::User, USER), (Buyer::Keyed, KEYED)];

impl Buyer {
    /// The load of such buyers.
    fn load<'a>(self, plan: &LoadPlan<'a>) -> LoadPlan<'a> {
        let target = if self == Self::Anonymous { TARGET } else { shop::TARGET };
        let users = (self != Self::Anonymous).then_some(USERS);
        LoadPlan { target, users, keys: self == Self::Keyed, ..*plan }
    }

    /// Checks that such a buyer gets a ticket as it should.
    fn check(self, served: &Served) -> Result<()> {
        match self {
            Self::Anonymous => served.expect(Answer::Granted),
            Self::User => {
                let mut client = Client::connect(served.address)?;
                match shop::order(&mut client, shop::PATH, "checking-user", None)? {
                    Told::Granted(_) => Ok(()),
                    told => fail(format!("an order got {told:?}")),
                }
            }
            Self::Keyed => shop::check(served.address),
        }
    }
}

/// Sends the same load for a second, by other users.
fn warm_up(lab: &mut Lab, served: &Served, plan: &LoadPlan<'_>) -> Result<()> {
    let users = plan.users.map(|_| USERS_OF_WARM_UP);
    measure::warm_up(lab, served, &LoadPlan { users, ..*plan })
}

/// Measures purchases. Checks that the ledger has sold what the buyers got.
fn buy(
    lab: &mut Lab,
    server: Server,
    store: Store,
    buyer: Buyer,
    plan: &LoadPlan<'_>,
) -> Result<Figures> {
    let mut store = Opened::open(lab, store)?;
    let served = match server {
        Server::Stampede => {
            let limit = if buyer == Buyer::Keyed { ",limit=1" } else { "" };
            store.stampede(lab, &["--sale", &format!("ticket={TOTAL_HUGE}{limit}")])?
        }
        // These servers always give each user of an order one ticket.
        _ => {
            let (cores, content, ledger) = ([lab.server_core], Content::SoldOut, store.ledger());
            let total = TOTAL_HUGE;
            lab.serve(
                server,
                &Setup { cores: &cores, content, ledger, total, options: &[], tls: None },
            )?
        }
    };
    buyer.check(&served)?;
    let plan = LoadPlan { expect: "granted", ..buyer.load(plan) };
    sell(lab, &served, &mut store, &["ticket".into()], &plan)
}

/// Warms up and loads a server that sells from these sales.
fn sell(
    lab: &mut Lab,
    served: &Served,
    store: &mut Opened,
    sales: &[String],
    plan: &LoadPlan<'_>,
) -> Result<Figures> {
    warm_up(lab, served, plan)?;
    let before = store.sold_of(served, sales)?;
    let (measured, redis_us) = store.under_load(lab, served, plan)?;
    let (told, sold) = (measured.load.granted, store.sold_of(served, sales)? - before);
    if told != sold {
        return fail(format!("buyers got {told} tickets, but the ledger sold {sold}"));
    }
    Ok(with_redis(measured.sale_figures(), told, redis_us))
}

/// Measures refusals: the only ticket is sold before.
fn refuse(lab: &mut Lab, store: Store, buyer: Buyer, plan: &LoadPlan<'_>) -> Result<Figures> {
    let store = Opened::open(lab, store)?;
    let served = store.stampede(lab, &["--sale", &format!("ticket={TOTAL_TINY}")])?;
    served.expect(Answer::SoldOut)?;
    let plan = LoadPlan { expect: "sold_out", ..buyer.load(plan) };
    warm_up(lab, &served, &plan)?;
    let (measured, redis_us) = store.under_load(lab, &served, &plan)?;
    Ok(with_redis(measured.figures(), measured.load.requests, redis_us))
}

/// Measures purchases from a random one of many sales.
fn buy_hot(lab: &mut Lab, store: Store, count: u32, plan: &LoadPlan<'_>) -> Result<Figures> {
    let mut store = Opened::open(lab, store)?;
    let config = lab.data().join("hot.toml");
    fs::write(&config, hot::definitions(count, hot::TOTAL, ""))
        .because(|| format!("writing {}", config.display()))?;
    let served = store.stampede(lab, &["--config", &config.to_string_lossy()])?;
    sales::await_idle(lab, &served)?;
    let ids: Vec<_> = (0..count).map(hot::id).collect();
    let (target, users, sales) = (hot::TARGET, Some(USERS), Some(count));
    let plan = LoadPlan { target, users, sales, expect: "granted", ..*plan };
    sell(lab, &served, &mut store, &ids, &plan)
}

/// Measures the plain design instead of a server: one EVALSHA per ticket.
fn many_evalsha(lab: &mut Lab, count: u32, calls: Calls, seconds: u64) -> Result<Figures> {
    /// Beyond the users of the warm-up.
    const FIRST: u64 = 1_000_000_000;
    let redis = lab.redis()?;
    let (core, at) = (lab.server_core, redis.address);
    let line = |lab: &Lab, of| sellers::many_evalsha(&lab.programs, core, at, (count, calls), of);
    let warm_up = line(lab, (0, WARM_UP_SECONDS));
    lab.load(&warm_up, WARM_UP_SECONDS)?;
    let keys: Vec<_> = (0..count).map(|number| one_sale::Keys::of(&hot::id(number))).collect();
    let mut connection = Connection::open(at)?;
    let mut sold = || keys.iter().map(|keys| keys.sold(&mut connection)).sum::<Result<u64>>();
    let before = sold()?;
    let cpu_before = redis.process.cpu()?;
    let measured = line(lab, (FIRST, seconds));
    let (told, took_s) = sellers::read_many_evalsha(&lab.load(&measured, seconds)?)?;
    let (redis_us, _) = redis.process.cpu()?.us_since(cpu_before);
    let counted = sold()? - before;
    if told != counted {
        return fail(format!("the client got {told} tickets, but Redis sold {counted}"));
    }
    let sales = told as f64;
    Ok(vec![
        (figure::SALES, sales),
        (figure::SALES_PER_S, sales / took_s),
        (figure::REDIS_CPU_US, redis_us / sales),
    ])
}

/// Rotates the items by the round, so the order of the measurements varies.
fn rotated<T: Copy, const N: usize>(round: u32, all: [T; N]) -> [T; N] {
    let mut order = all;
    order.rotate_left((round as usize - 1) % N);
    order
}

impl Full<'_> {
    pub(super) fn shops(&mut self, round: u32) -> Result<()> {
        let plan = self.plan();
        for (at, store) in STORES.into_iter().enumerate() {
            for (buyer, number) in rotated(round, BUYERS) {
                let name = scenario::SHOPS[number][at];
                for (server, store) in self.sellers_to(round, buyer, store) {
                    self.session.measure(round, name, server.name(), |lab| {
                        buy(lab, server, store, buyer, &plan)
                    })?;
                }
            }
        }
        Ok(())
    }

    /// The servers for such buyers, each with its ledger.
    fn sellers_to(&self, round: u32, buyer: Buyer, store: Store) -> Vec<(Server, Store)> {
        let (servers, theirs): (&[Server], Store) = match (buyer, store) {
            (Buyer::Keyed, Store::Redis) => {
                (&[Server::Stampede, Server::NginxLua, Server::Article], store)
            }
            (Buyer::Keyed, _) => (&[Server::Stampede, Server::AxumPostgres], Store::Postgres),
            _ => (&[Server::Stampede], store),
        };
        let from = |server| if server == Server::Stampede { store } else { theirs };
        self.order(round, servers).into_iter().map(|server| (server, from(server))).collect()
    }

    pub(super) fn refusals(&mut self, round: u32) -> Result<()> {
        let plan = self.plan();
        for server in self.order(round, &[Server::Stampede]) {
            let name = server.name();
            for (at, store) in STORES.into_iter().enumerate() {
                for (connections, names) in [64, 1_024, 1].into_iter().zip(scenario::REFUSED) {
                    let plan = LoadPlan { connections, ..plan };
                    for (buyer, number) in rotated(round, BUYERS) {
                        self.session.measure(round, names[number][at], name, |lab| {
                            refuse(lab, store, buyer, &plan)
                        })?;
                    }
                }
                let plan = LoadPlan { connections: 1, ..plan };
                self.session.measure(round, scenario::TRIP[at], name, |lab| {
                    buy(lab, server, store, Buyer::Anonymous, &plan)
                })?;
            }
        }
        Ok(())
    }

    pub(super) fn hot(&mut self, round: u32) -> Result<()> {
        let plan = self.plan();
        for (connections, names) in [(64, scenario::HOT_C64), (512, scenario::HOT_C512)] {
            let plan = LoadPlan { connections, ..plan };
            for (count, names) in rotated(round, [0, 1, 2].map(|at| (HOT[at], names[at]))) {
                for server in self.order(round, &[Server::Stampede]) {
                    for (store, name) in STORES.into_iter().zip(names) {
                        self.session.measure(round, name, server.name(), |lab| {
                            buy_hot(lab, store, count, &plan)
                        })?;
                    }
                }
                if connections == CONNECTIONS {
                    self.plain_design(round, names[scenario::REDIS], count)?;
                }
            }
        }
        Ok(())
    }

    /// Measures one EVALSHA per ticket from this number of sales, in both ways.
    fn plain_design(&mut self, round: u32, name: &'static str, count: u32) -> Result<()> {
        let seconds = self.settings.seconds;
        for (driver, calls) in
            [(scenario::EVALSHA_EACH, Calls::Each), (scenario::EVALSHA_PIPELINED, Calls::Pipelined)]
        {
            let measure = |lab: &mut Lab| many_evalsha(lab, count, calls, seconds);
            self.session.measure(round, name, driver, measure)?;
        }
        Ok(())
    }
}
