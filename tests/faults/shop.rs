//! Servers that share a Redis, with whatever else is there: workers, a database, a receiver of
//! webhooks, a disk with a bound, a network between servers and Redis.

use std::collections::BTreeSet;
use std::net::{IpAddr, Ipv4Addr, SocketAddr};
use std::sync::Arc;
use std::thread;
use std::time::Duration;

use rustix::process::Signal;

use crate::chance::Chance;
use crate::disk::Disk;
use crate::hooks::Hooks;
use crate::lab::{Lab, Net};
use crate::orders::Orders;
use crate::process::{Around, Redis, Seller};
use crate::rows::{Rows, of_redis, places};
use crate::run::{Fault, Place};
use crate::tally::Tally;

/// What goes wrong.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Kind {
    /// A server is killed.
    Server,
    /// A server is killed while it starts.
    ServerTwice,
    /// The Redis is killed.
    Redis,
    /// The Redis stands still.
    RedisAsleep,
    /// A server stands still.
    ServerAsleep,
    /// The Redis may use no more memory.
    Memory,
    /// The link between servers and Redis loses every packet.
    Link,
    /// The disk of the Redis is full.
    Disk,
    /// A worker of the orders is killed.
    Worker,
    /// The database of the orders is killed.
    Database,
    /// The worker of the webhooks is killed.
    HookWorker,
    /// The receiver of the webhooks is away.
    Receiver,
}

/// See the module's header. What is dropped first is first.
pub struct Shop {
    sellers: Vec<Seller>,
    /// Workers of the orders, and their database.
    pub orders: Option<Orders>,
    /// The worker of the webhooks, and their receiver.
    pub hooks: Option<Hooks>,
    redis: Redis,
    disk: Option<Disk>,
    /// The switch between servers and Redis, and the port of the Redis.
    link: Option<(Net, &'static str)>,
    parts: usize,
    kinds: &'static [Kind],
}

/// A shop before its servers start.
pub struct Plot<'a> {
    /// The lab.
    pub lab: &'a Arc<Lab>,
    /// The program of the Redis.
    pub redis: &'a str,
    /// Servers.
    pub servers: usize,
    /// Parts of each sale.
    pub parts: usize,
    /// What goes wrong, each as often as it is named.
    pub kinds: &'static [Kind],
    /// A disk of its own for the Redis.
    pub disk: Option<Disk>,
    /// The switch between servers and Redis with the port of the Redis; its namespace and address.
    pub link: Option<(Net, &'static str, Net, Ipv4Addr)>,
}

impl<'a> Plot<'a> {
    /// Two servers, one Redis, and nothing else.
    pub fn new(lab: &'a Arc<Lab>, redis: &'a str, kinds: &'static [Kind]) -> Self {
        Self { lab, redis, servers: 2, parts: 1, kinds, disk: None, link: None }
    }

    /// Starts all of it.
    pub fn open(self) -> Shop {
        let (around, address) = match (&self.disk, &self.link) {
            (Some(disk), _) => (disk.around(), Ipv4Addr::LOCALHOST),
            (None, Some((_, _, net, address))) => (Around::Net(net.clone()), *address),
            (None, None) => (Around::Here, Ipv4Addr::LOCALHOST),
        };
        let folder = self.disk.as_ref().map(|disk| disk.folder().to_owned());
        let folder = folder.unwrap_or_else(|| {
            let folder = self.lab.folder().join("redis-data");
            std::fs::create_dir(&folder).expect("a folder for the Redis");
            folder
        });
        let redis = Redis::start(self.lab, self.redis, &around, IpAddr::V4(address), folder);
        let url = redis.url();
        let sellers = (0..self.servers)
            .map(|number| {
                let name = format!("server{number}");
                Seller::start(self.lab, &name, &Around::Here, &["--ledger", &url])
            })
            .collect();
        Shop {
            sellers,
            orders: None,
            hooks: None,
            redis,
            disk: self.disk,
            link: self.link.map(|(switch, port, ..)| (switch, port)),
            parts: self.parts,
            kinds: self.kinds,
        }
    }
}

/// A time up to this one.
fn up_to(chance: &mut Chance, ms_max: usize) -> Duration {
    Duration::from_millis(chance.below(ms_max) as u64)
}

impl Shop {
    /// The ledger's URL.
    pub fn ledger(&self) -> String {
        self.redis.url()
    }

    /// The version of the Redis, or of the Valkey.
    pub fn version(&self) -> String {
        let told = self.redis.connect().text("INFO server");
        let named = |name: &str| {
            let line = told.lines().find_map(|line| line.strip_prefix(name))?;
            Some(line.trim().to_owned())
        };
        match named("valkey_version:") {
            Some(version) => format!("Valkey {version}"),
            None => format!("Redis {}", named("redis_version:").unwrap_or_default()),
        }
    }

    fn disturb_by(&mut self, kind: Kind, chance: &mut Chance) -> Fault {
        let number = chance.below(self.sellers.len());
        match kind {
            Kind::Server => {
                self.sellers[number].member.kill();
                thread::sleep(up_to(chance, 60));
                self.sellers[number].member.restart();
                Fault::killed("server")
            }
            Kind::ServerTwice => {
                self.sellers[number].member.kill();
                self.sellers[number].member.start_and_kill(up_to(chance, 80));
                self.sellers[number].member.restart();
                Fault { what: "server", kills: 2 }
            }
            Kind::Redis => {
                self.redis.member.kill();
                thread::sleep(up_to(chance, 150));
                self.redis.restart();
                Fault::killed("Redis")
            }
            Kind::RedisAsleep => {
                self.redis.member.signal(Signal::STOP);
                thread::sleep(Duration::from_millis(200) + up_to(chance, 2_500));
                self.redis.member.signal(Signal::CONT);
                Fault::starved("Redis asleep")
            }
            Kind::ServerAsleep => {
                self.sellers[number].member.signal(Signal::STOP);
                thread::sleep(Duration::from_millis(100) + up_to(chance, 1_500));
                self.sellers[number].member.signal(Signal::CONT);
                Fault::starved("server asleep")
            }
            Kind::Memory => {
                let mut redis = self.redis.connect();
                assert_eq!(redis.text("CONFIG SET maxmemory 1"), "OK");
                thread::sleep(Duration::from_millis(50) + up_to(chance, 400));
                assert_eq!(redis.text("CONFIG SET maxmemory 0"), "OK");
                Fault::starved("Redis without memory")
            }
            Kind::Link => {
                let (switch, port) = self.link.as_ref().expect("a link");
                switch.run(&["ip", "link", "set", port, "nomaster"]);
                thread::sleep(Duration::from_millis(200) + up_to(chance, 3_000));
                switch.run(&["ip", "link", "set", port, "master", "switch"]);
                Fault::starved("link cut")
            }
            Kind::Disk => self.fill_disk(chance),
            Kind::Worker => {
                self.orders.as_mut().expect("workers").kill_worker(chance);
                Fault::killed("orders worker")
            }
            Kind::Database => {
                self.orders.as_mut().expect("a database").kill_database(up_to(chance, 300));
                Fault::killed("PostgreSQL")
            }
            Kind::HookWorker => {
                self.hooks.as_mut().expect("a worker").kill_worker(up_to(chance, 60));
                Fault::killed("webhooks worker")
            }
            Kind::Receiver => {
                self.hooks.as_mut().expect("a receiver").stop_receiver(up_to(chance, 300));
                Fault::starved("receiver away")
            }
        }
    }

    /// With an append-only file that is synced at each write, Redis ends itself when it cannot
    /// write it.
    fn fill_disk(&mut self, chance: &mut Chance) -> Fault {
        let disk = self.disk.as_ref().expect("a disk");
        disk.fill();
        thread::sleep(Duration::from_millis(100) + up_to(chance, 300));
        disk.clear();
        match self.redis.member.is_running() {
            true => Fault::starved("Redis with a full disk"),
            false => {
                self.redis.restart();
                Fault::killed("Redis by a full disk")
            }
        }
    }
}

impl Place for Shop {
    fn doors(&self) -> (Vec<SocketAddr>, Vec<SocketAddr>) {
        (
            self.sellers.iter().map(Seller::public).collect(),
            self.sellers.iter().map(Seller::control).collect(),
        )
    }

    fn parts(&self) -> usize {
        self.parts
    }

    fn disturb(&mut self, chance: &mut Chance) -> Fault {
        let kind = self.kinds[chance.below(self.kinds.len())];
        self.disturb_by(kind, chance)
    }

    fn rows(&mut self, sales: &BTreeSet<String>) -> Rows {
        for seller in &mut self.sellers {
            assert_eq!(seller.member.terminate(), 0, "a server did not end in order");
        }
        let mut redis = self.redis.connect();
        let places = sales.iter().flat_map(|sale| places(sale, self.parts));
        places.flat_map(|place| of_redis(&mut redis, &place)).collect()
    }

    fn check_more(&mut self, rows: &Rows, sales: &BTreeSet<String>, tally: &mut Tally) {
        tally.version = self.version();
        if let Some(orders) = &mut self.orders {
            orders.check(rows, sales, tally);
            tally.version = orders.version();
        }
        if let Some(hooks) = &mut self.hooks {
            hooks.check(rows, tally);
        }
    }

    fn faults(&self) -> Vec<String> {
        let of_sellers = self.sellers.iter().flat_map(|seller| seller.member.faults());
        let of_orders = self.orders.iter().flat_map(|orders| orders.faults());
        let of_hooks = self.hooks.iter().flat_map(|hooks| hooks.faults());
        of_sellers.chain(of_orders).chain(of_hooks).cloned().collect()
    }
}
