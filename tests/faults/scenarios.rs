//! What is disturbed, and by what.

use std::net::Ipv4Addr;
use std::sync::Arc;

use crate::disk::Disk;
use crate::failover::{OfCluster, OfSentinels};
use crate::hooks::Hooks;
use crate::lab::Lab;
use crate::orders::Orders;
use crate::run::{Plan, run};
use crate::shop::{Kind, Plot};
use crate::single::Single;
use crate::tally::Tally;

/// Names the newer Redis, or the Valkey: tests/faults/run installs one.
pub const NEWER: &str = "STAMPEDE_FAULTS_REDIS";
/// The Redis of the Debian package.
const REDIS: &str = "redis-server";
/// The program in `NEWER` is checked when the scenario begins.
const NEEDS_REDIS: &[(&str, &str)] = &[(REDIS, "redis-server")];
const NEEDS_MOUNTS: &[(&str, &str)] =
    &[(REDIS, "redis-server"), ("unshare", "util-linux"), ("nsenter", "util-linux")];

/// A scenario.
pub struct Scenario {
    /// Its name, as on the command line.
    pub name: &'static str,
    /// What it shows, in a few words.
    pub shows: &'static str,
    /// Its rounds in a run of 1,000 kills. Each round has a fault, and some kill nothing, so that
    /// the sum is a little more than 1,000.
    pub share: usize,
    /// About how long a round takes: the time of a run is divided by it.
    pub cost_ms: usize,
    /// Part of the short form.
    pub in_short: bool,
    /// Part of `cargo test`, with a few rounds.
    pub in_ci: bool,
    /// Programs and their Debian packages.
    pub needs: &'static [(&'static str, &'static str)],
    /// Runs it.
    pub run: fn(&Plan) -> Tally,
}

/// In the order of their run.
pub const SCENARIOS: &[Scenario] = &[
    Scenario {
        name: "embedded",
        shows: "a server on its own ledger is killed, also while it starts",
        share: 230,
        cost_ms: 1000,
        in_short: true,
        in_ci: true,
        needs: &[],
        run: embedded,
    },
    Scenario {
        name: "servers",
        shows: "two servers share a Redis, and are killed in turn",
        share: 200,
        cost_ms: 1000,
        in_short: true,
        in_ci: true,
        needs: NEEDS_REDIS,
        run: servers,
    },
    Scenario {
        name: "redis",
        shows: "the Redis of two servers is killed: it syncs each write",
        share: 140,
        cost_ms: 2200,
        in_short: true,
        in_ci: true,
        needs: NEEDS_REDIS,
        run: redis,
    },
    Scenario {
        name: "newer",
        shows: "the same with a newer Redis or a Valkey, and its servers are killed too",
        share: 70,
        cost_ms: 1600,
        in_short: true,
        in_ci: false,
        needs: &[],
        run: newer,
    },
    Scenario {
        name: "parts",
        shows: "sales in four parts: servers and Redis are killed while units move",
        share: 80,
        cost_ms: 2000,
        in_short: true,
        in_ci: false,
        needs: NEEDS_REDIS,
        run: parts,
    },
    Scenario {
        name: "sentinel",
        shows: "the primary is killed, and Sentinels name another: nothing that WAIT has seen is lost",
        share: 20,
        cost_ms: 9000,
        in_short: false,
        in_ci: false,
        needs: NEEDS_REDIS,
        run: sentinel,
    },
    Scenario {
        name: "cluster",
        shows: "a primary of a Cluster is killed, and its replica takes over",
        share: 15,
        cost_ms: 9000,
        in_short: false,
        in_ci: false,
        needs: &[(REDIS, "redis-server"), ("redis-cli", "redis-tools")],
        run: cluster,
    },
    Scenario {
        name: "orders",
        shows: "orders workers, their PostgreSQL and the Redis are killed: one row per reservation",
        share: 110,
        cost_ms: 1800,
        in_short: true,
        in_ci: true,
        needs: NEEDS_REDIS,
        run: orders,
    },
    Scenario {
        name: "own-orders",
        shows: "a server that writes its orders itself is killed, and its PostgreSQL",
        share: 50,
        cost_ms: 1500,
        in_short: true,
        in_ci: false,
        needs: &[],
        run: own_orders,
    },
    Scenario {
        name: "webhooks",
        shows: "the webhooks worker is killed, and its receiver fails and goes away",
        share: 90,
        cost_ms: 1500,
        in_short: true,
        in_ci: false,
        needs: NEEDS_REDIS,
        run: webhooks,
    },
    Scenario {
        name: "full-disk",
        shows: "the disk of a server's own ledger is full",
        share: 20,
        cost_ms: 1200,
        in_short: true,
        in_ci: false,
        needs: NEEDS_MOUNTS,
        run: full_disk,
    },
    Scenario {
        name: "full-redis",
        shows: "the disk of the Redis is full: Redis ends itself",
        share: 15,
        cost_ms: 2500,
        in_short: false,
        in_ci: false,
        needs: NEEDS_MOUNTS,
        run: full_redis,
    },
    Scenario {
        name: "links",
        shows: "the link to the Redis is cut, the Redis stands still or has no memory, a server sleeps",
        share: 40,
        cost_ms: 4500,
        in_short: true,
        in_ci: false,
        needs: &[(REDIS, "redis-server"), ("ip", "iproute2")],
        run: links,
    },
];

fn lab() -> Arc<Lab> {
    Arc::new(Lab::new())
}

fn embedded(plan: &Plan) -> Tally {
    run(&mut Single::start(&lab()), plan)
}

fn servers(plan: &Plan) -> Tally {
    const KINDS: &[Kind] = &[Kind::Server, Kind::Server, Kind::Server, Kind::ServerTwice];
    run(&mut Plot::new(&lab(), REDIS, KINDS).open(), plan)
}

fn redis(plan: &Plan) -> Tally {
    run(&mut Plot::new(&lab(), REDIS, &[Kind::Redis]).open(), plan)
}

fn newer(plan: &Plan) -> Tally {
    let program = std::env::var(NEWER).unwrap_or_default();
    assert!(
        !program.is_empty(),
        "{NEWER} names no Redis or Valkey: tests/faults/run installs one, from Debian or PyPI"
    );
    run(&mut Plot::new(&lab(), &program, &[Kind::Redis, Kind::Server]).open(), plan)
}

fn parts(plan: &Plan) -> Tally {
    let lab = lab();
    let plot = Plot::new(&lab, REDIS, &[Kind::Redis, Kind::Server, Kind::Server]);
    run(&mut Plot { parts: 4, ..plot }.open(), plan)
}

fn sentinel(plan: &Plan) -> Tally {
    run(&mut OfSentinels::start(&lab()), plan)
}

fn cluster(plan: &Plan) -> Tally {
    run(&mut OfCluster::start(&lab()), plan)
}

fn orders(plan: &Plan) -> Tally {
    const KINDS: &[Kind] = &[Kind::Worker, Kind::Worker, Kind::Database, Kind::Redis];
    let lab = lab();
    let mut shop = Plot::new(&lab, REDIS, KINDS).open();
    shop.orders = Some(Orders::with_workers(&lab, &shop.ledger()));
    run(&mut shop, plan)
}

fn own_orders(plan: &Plan) -> Tally {
    run(&mut Single::with_orders(&lab(), Orders::alone()), plan)
}

fn webhooks(plan: &Plan) -> Tally {
    const KINDS: &[Kind] =
        &[Kind::HookWorker, Kind::HookWorker, Kind::HookWorker, Kind::Redis, Kind::Receiver];
    let lab = lab();
    let mut shop = Plot::new(&lab, REDIS, KINDS).open();
    shop.hooks = Some(Hooks::start(&lab, &shop.ledger(), plan.chance("receiver")));
    run(&mut shop, plan)
}

fn full_disk(plan: &Plan) -> Tally {
    let lab = lab();
    // Less than the journal would reserve at a time: it takes only what each record needs.
    let disk = Disk::mount(&lab, "disk", "6m");
    run(&mut Single::on_disk(&lab, disk), plan)
}

fn full_redis(plan: &Plan) -> Tally {
    let lab = lab();
    let disk = Some(Disk::mount(&lab, "disk", "64m"));
    let plot = Plot::new(&lab, REDIS, &[Kind::Disk]);
    run(&mut Plot { disk, ..plot }.open(), plan)
}

fn links(plan: &Plan) -> Tally {
    const KINDS: &[Kind] =
        &[Kind::Link, Kind::Link, Kind::RedisAsleep, Kind::ServerAsleep, Kind::Memory];
    let mut lab = Lab::new();
    let (front, back, switch) = (lab.net("front"), lab.net("back"), lab.switch("between"));
    lab.plug((&switch, "front"), (&front, "eth0", "10.90.0.1/24"));
    lab.plug((&switch, "back"), (&back, "eth0", "10.90.0.2/24"));
    let lab = Arc::new(lab);
    // Servers and buyers are in one namespace, the Redis in another. What starts here is in the
    // namespace of its thread.
    front.within(|| {
        let link = Some((switch, "back", back, Ipv4Addr::new(10, 90, 0, 2)));
        let plot = Plot::new(&lab, REDIS, KINDS);
        run(&mut Plot { link, ..plot }.open(), plan)
    })
}
