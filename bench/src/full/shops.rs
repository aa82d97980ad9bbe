//! What a shop's buyers send, beside the article's anonymous GET: a user, and a user with a key of his
//! own in a sale that gives each user one ticket. Purchases, refusals when nothing is left, purchases
//! of many hot sales.

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

/// What users are called: three letters and ten digits. No user of the warm-up comes again.
const USERS: &str = "usr";
const USERS_OF_WARM_UP: &str = "wrm";

/// Where stores stand in the tables of scenarios.
const STORES: [Store; 2] = [Store::Redis, Store::Embedded];

/// Numbers of hot sales, as the tables of scenarios have them.
const HOT: [u32; 3] = [1, 100, 1_000];

/// Who buys.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Buyer {
    /// Nobody in particular, by GET.
    Anonymous,
    /// A user, by POST.
    User,
    /// A user with a key, by POST. He gets one ticket.
    Keyed,
}

/// Each, and where it stands in the tables of scenarios.
const BUYERS: [(Buyer, usize); 3] =
    [(Buyer::Anonymous, GET), (Buyer::User, USER), (Buyer::Keyed, KEYED)];

impl Buyer {
    /// The load that comes from such buyers.
    fn load<'a>(self, plan: &LoadPlan<'a>) -> LoadPlan<'a> {
        let target = if self == Self::Anonymous { TARGET } else { shop::TARGET };
        let users = (self != Self::Anonymous).then_some(USERS);
        LoadPlan { target, users, keys: self == Self::Keyed, ..*plan }
    }

    /// Sees that one of them is sold a ticket as he should be.
    fn check(self, served: &Served) -> Result<()> {
        match self {
            Self::Anonymous => served.expect(Answer::Granted),
            Self::User => {
                let mut client = Client::connect(served.address)?;
                match shop::order(&mut client, shop::PATH, "checking-user", None)? {
                    Told::Granted(_) => Ok(()),
                    told => fail(format!("an order was told {told:?}")),
                }
            }
            Self::Keyed => shop::check(served.address),
        }
    }
}

/// The same load for a second, by other users.
fn warm_up(lab: &mut Lab, served: &Served, plan: &LoadPlan<'_>) -> Result<()> {
    let users = plan.users.map(|_| USERS_OF_WARM_UP);
    measure::warm_up(lab, served, &LoadPlan { users, ..*plan })
}

/// Every request buys. What buyers were told must be in the store.
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
        // Those give each user of an order one ticket, whatever they are asked.
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

/// Warms up and loads a server that sells of these sales.
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
        return fail(format!("buyers were told of {told} tickets, the store counted {sold}"));
    }
    Ok(with_redis(measured.sale_figures(), told, redis_us))
}

/// Every request is refused, since the one ticket that there was is sold.
fn refuse(lab: &mut Lab, store: Store, buyer: Buyer, plan: &LoadPlan<'_>) -> Result<Figures> {
    let store = Opened::open(lab, store)?;
    let served = store.stampede(lab, &["--sale", &format!("ticket={TOTAL_TINY}")])?;
    served.expect(Answer::SoldOut)?;
    let plan = LoadPlan { expect: "sold_out", ..buyer.load(plan) };
    warm_up(lab, &served, &plan)?;
    let (measured, redis_us) = store.under_load(lab, &served, &plan)?;
    Ok(with_redis(measured.figures(), measured.load.requests, redis_us))
}

/// Every request buys of a random one of many sales.
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

/// The plain design in the server's place: one EVALSHA per ticket.
fn many_evalsha(lab: &mut Lab, count: u32, calls: Calls, seconds: u64) -> Result<Figures> {
    /// Far beyond the users of a warm-up.
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
        return fail(format!("the client sold {told} tickets, Redis counted {counted}"));
    }
    let sales = told as f64;
    Ok(vec![
        (figure::SALES, sales),
        (figure::SALES_PER_S, sales / took_s),
        (figure::REDIS_CPU_US, redis_us / sales),
    ])
}

/// The same, beginning with another one in each round: what is compared is not always measured in the
/// same order.
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

    /// Whom such buyers can come to, and from what that one sells.
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

    /// One EVALSHA per ticket of so many sales, in both ways.
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
