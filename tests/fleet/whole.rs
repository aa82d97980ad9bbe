//! The whole fleet: buyers, a router that spreads over two edges by OSPF, nginx on each, three
//! servers behind them, and a Redis with two replicas and three Sentinels. During a sale of ten
//! thousand a server is killed, the primary is killed, a server is drained and started again, and
//! an edge's link loses every packet. Every buyer learns his outcome, exactly the total is sold,
//! and with `WAIT 1` and `min-replicas-to-write 1` nothing acknowledged is lost.

use std::collections::HashSet;
use std::fs;
use std::io;
use std::net::{Ipv4Addr, TcpStream};
use std::path::Path;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::thread::{self, JoinHandle};
use std::time::{Duration, Instant};

use crate::Scenario;
use crate::buyer::{Bought, Buyer};
use crate::front::{Edge, Front};
use crate::lab::{Lab, Net, Program, output, until};
use crate::redis_server::RedisConnection;
use crate::table::Line;

/// The scenario.
pub const SCENARIO: Scenario = Scenario {
    name: "whole",
    shows: "a sale of 10,000 through OSPF, nginx, three servers and Sentinel; one of each is lost",
    in_ci: false,
    needs: &[
        ("ip", "iproute2"),
        ("ospfd", "frr"),
        ("curl", "curl"),
        ("sysctl", "procps"),
        ("redis-server", "redis-server"),
        ("nginx", "nginx"),
    ],
    run,
};

const TOTAL: usize = 10_000;
const BUYERS: usize = 12_000;
const CROWDS: usize = 64;
const SERVERS: u8 = 3;
/// The Redis, each with a Sentinel beside it; the first is the primary at the beginning.
const REDIS: [&str; 3] = ["10.81.0.21", "10.81.0.22", "10.81.0.23"];

/// The URL at which nginx reports its health, on the edge itself.
const HEALTH: &str = "http://127.0.0.1:8080/health";

const START_DEADLINE: Duration = Duration::from_secs(20);
/// Time for a buyer to learn his outcome.
const BUYER_DEADLINE: Duration = Duration::from_secs(60);
/// Time for the sale to get that far.
const SALE_DEADLINE: Duration = Duration::from_secs(120);

/// All of it. The first field is dropped first.
struct Fleet {
    nginx: Vec<Program>,
    servers: Vec<Program>,
    redis: Vec<Program>,
    _sentinels: Vec<Program>,
    edges: Vec<Edge>,
    front: Front,
    nets: Vec<Net>,
    redis_nets: Vec<Net>,
    lab: Lab,
}

fn run() -> Vec<Line> {
    let mut fleet = Fleet::build();
    let rush = Rush::start(&fleet.front.client);
    rush.wait_for(TOTAL / 4);
    fleet.servers[0].kill();
    rush.wait_for(TOTAL / 3);
    fleet.redis[0].kill();
    rush.wait_for(TOTAL * 2 / 5);
    assert_eq!(fleet.servers[1].terminate(START_DEADLINE), 0);
    fleet.servers[1] = fleet.server(1, "again");
    rush.wait_for(TOTAL * 3 / 5);
    fleet.edges[0].cut();
    let sold_at_cut = rush.shared.granted.load(Ordering::Relaxed);
    assert!(sold_at_cut < TOTAL, "the link was cut after the sale");
    rush.wait_for(TOTAL * 4 / 5);
    fleet.edges[0].heal();
    let told = rush.finish();
    fleet.front.wait_for_ways(fleet.edges.len());
    fleet.judge(told)
}

impl Fleet {
    fn build() -> Self {
        let mut lab = Lab::new();
        let (front, edges) = Front::build(&mut lab, 2);
        let back = lab.switch("back");
        for (edge, number) in edges.iter().zip(1_u8..) {
            let address = format!("10.81.0.{number}/24");
            lab.plug((&back, &format!("edge{number}")), (&edge.net, "back0", &address));
        }
        let (redis_nets, redis, sentinels) = three_redis(&mut lab, &back);
        let nets: Vec<Net> = (0..SERVERS)
            .map(|number| {
                let net = lab.net(&format!("server{number}"));
                let address = format!("{}/24", server_address(number));
                lab.plug((&back, &format!("server{number}")), (&net, "eth0", &address));
                net
            })
            .collect();
        let (nginx, servers) = (Vec::new(), Vec::new());
        let mut fleet = Self {
            nginx,
            servers,
            redis,
            _sentinels: sentinels,
            edges,
            front,
            nets,
            redis_nets,
            lab,
        };
        for number in 0..SERVERS {
            let mut server = fleet.server(number, "");
            server.says("buy one", START_DEADLINE);
            fleet.servers.push(server);
        }
        for number in 0..fleet.edges.len() {
            let nginx = fleet.nginx(number);
            fleet.nginx.push(nginx);
            fleet.edges[number].announce(&fleet.lab, &["--check", HEALTH]);
        }
        fleet.front.wait_for_ways(fleet.edges.len());
        fleet
    }

    fn server(&self, number: u8, again: &str) -> Program {
        let (ledger, sale) = (ledger(), format!("ticket={TOTAL}"));
        let options = ["--ledger", &ledger, "--redis-wait", "1", "--sale", &sale];
        let net = &self.nets[usize::from(number)];
        let mut command = net.serve(server_address(number), &options);
        self.lab.start(&format!("server{number}{again}"), &mut command)
    }

    /// nginx as in `tuning/nginx`, with the three servers behind it and no rate limit: here all
    /// buyers have one address.
    fn nginx(&self, number: usize) -> Program {
        let folder = self.lab.folder().join(format!("nginx{number}"));
        fs::create_dir_all(&folder).expect("a folder for nginx");
        let at = folder.display();
        fs::write(folder.join("stampede.conf"), nginx_of_the_edge()).expect("write a file");
        let around = format!(
            "daemon off; user www-data; worker_processes 1; pid {at}/pid; error_log {at}/errors;
             events {{ worker_connections 4096; }}
             http {{
                 access_log off; client_body_temp_path {at}/body; proxy_temp_path {at}/proxy;
                 fastcgi_temp_path {at}/fastcgi; uwsgi_temp_path {at}/uwsgi;
                 scgi_temp_path {at}/scgi; include {at}/stampede.conf;
                 server {{ listen 127.0.0.1:8080; location = /health {{ return 200; }} }}
             }}"
        );
        fs::write(folder.join("nginx.conf"), around).expect("write a file");
        let mut command = self.edges[number].net.command("nginx");
        command.arg("-c").arg(folder.join("nginx.conf"));
        self.lab.start(&format!("nginx{number}"), &mut command)
    }

    /// Compares the answers with what is there.
    fn judge(&mut self, told: Told) -> Vec<Line> {
        let there = self.reservations();
        assert_eq!(there.len(), TOTAL);
        let distinct: HashSet<String> = told.granted.iter().cloned().collect();
        assert_eq!(distinct.len(), told.granted.len(), "one reservation for two buyers");
        assert_eq!(distinct, there, "what buyers were told is what the ledger has");
        assert_eq!(told.refused, BUYERS - TOTAL);
        let mut audit = self.redis_nets[1].command(env!("CARGO_BIN_EXE_stampede"));
        output(audit.args(["audit", "--ledger", &ledger()]));
        assert!(self.nginx.iter_mut().all(Program::is_running));
        let seen = format!(
            "{} sold, {} refused, {} requests repeated, {:.1} s; audit clean",
            distinct.len(),
            told.refused,
            told.repeats,
            told.took.as_secs_f64()
        );
        let what = format!(
            "{BUYERS} buyers with keys; a server killed, the primary killed, a server drained and \
             started again, a link cut"
        );
        vec![Line::new(what, format!("{TOTAL} sold, every buyer knows"), seen)]
    }

    /// The ids that Redis has, as buyers know them.
    fn reservations(&self) -> HashSet<String> {
        let connect = |place: usize, port: u16| {
            let address = (REDIS[place].parse::<Ipv4Addr>().expect("an address"), port);
            let stream = self.redis_nets[place].within(|| TcpStream::connect(address));
            RedisConnection::new(stream.expect("connect"))
        };
        let primary = connect(1, 26379).list("SENTINEL GET-MASTER-ADDR-BY-NAME shop").remove(0);
        let place = REDIS.iter().position(|address| *address == primary).expect("one of them");
        assert_ne!(place, 0, "the one that was killed");
        let mut redis = connect(place, 6379);
        let sold = redis.text("HGET ticket_hash_key ticket_sold_nums");
        assert_eq!(sold, TOTAL.to_string());
        let all = redis.reservations("{ticket_hash_key}:reservations");
        all.into_iter().map(|(id, _)| format!("ticket~{id}")).collect()
    }
}

/// The ledger's URL: all Sentinels, and the primary's name.
fn ledger() -> String {
    let sentinels: Vec<_> = REDIS.iter().map(|address| format!("{address}:26379")).collect();
    format!("redis-sentinel://{}/shop/0", sentinels.join(","))
}

/// A primary, two replicas that follow it, and the Sentinels, which know all of them.
fn three_redis(lab: &mut Lab, back: &Net) -> (Vec<Net>, Vec<Program>, Vec<Program>) {
    let (mut nets, mut programs, mut sentinels) = (Vec::new(), Vec::new(), Vec::new());
    for (number, address) in REDIS.into_iter().enumerate() {
        let net = lab.net(&format!("redis{number}"));
        lab.plug((back, &format!("redis{number}")), (&net, "eth0", &format!("{address}/24")));
        let folder = lab.folder().join(format!("redis{number}"));
        fs::create_dir_all(&folder).expect("a folder for Redis");
        let mut command = net.command("redis-server");
        command.args(["--port", "6379", "--bind", address, "--protected-mode", "no"]).args([
            "--save",
            "",
            "--appendonly",
            "yes",
            "--min-replicas-to-write",
            "1",
            "--min-replicas-max-lag",
            "2",
            "--repl-diskless-sync-delay",
            "0",
            "--dir",
        ]);
        command.arg(&folder);
        if number > 0 {
            command.args(["--replicaof", REDIS[0], "6379"]);
        }
        programs.push(lab.start(&format!("redis{number}"), &mut command));
        // A Sentinel writes what it learns into its file. Half a second is for a test: see
        // tuning/redis/sentinel.conf.
        let conf = lab.file(
            &format!("sentinel{number}.conf"),
            &format!(
                "port 26379\nbind {address}\nprotected-mode no\ndir {}\n\
                 sentinel monitor shop {} 6379 2\nsentinel down-after-milliseconds shop 500\n\
                 sentinel failover-timeout shop 5000\n",
                folder.display(),
                REDIS[0]
            ),
        );
        let mut command = net.command("redis-server");
        command.arg(conf).arg("--sentinel");
        sentinels.push(lab.start(&format!("sentinel{number}"), &mut command));
        nets.push(net);
    }
    for (net, address) in nets.iter().zip(REDIS) {
        let asked = |port: u16, question: &str| {
            let address = (address.parse::<Ipv4Addr>().expect("an address"), port);
            let stream = net.within(|| TcpStream::connect(address)).ok()?;
            Some(RedisConnection::new(stream).list(question))
        };
        until("a Sentinel knows all", START_DEADLINE, || {
            let state = asked(26379, "SENTINEL MASTER shop").unwrap_or_default();
            let is = |name: &str| state.chunks(2).any(|pair| pair[0] == name && pair[1] == "2");
            is("num-slaves") && is("num-other-sentinels")
        });
    }
    (nets, programs, sentinels)
}

fn server_address(number: u8) -> Ipv4Addr {
    Ipv4Addr::new(10, 81, 0, 11 + number)
}

fn nginx_of_the_edge() -> String {
    let file = Path::new(env!("CARGO_MANIFEST_DIR")).join("tuning/nginx/stampede.conf");
    let text = fs::read_to_string(file).expect("nginx's configuration");
    let mut servers = 0;
    let mut lines = Vec::new();
    for line in text.lines() {
        match line.trim_start().strip_prefix("server 127.0.0.1:3005 ") {
            Some(how) => {
                servers += 1;
                let all = (0..SERVERS).map(|n| format!("server {}:3005 {how}", server_address(n)));
                lines.extend(all);
            }
            None => lines.push(line.replace("rate=10r/s", "rate=1000000r/s")),
        }
    }
    assert_eq!(servers, 1, "the line of one server in nginx's configuration");
    lines.join("\n")
}

/// Buyers, each with his own key, who repeat failed requests until they know.
struct Rush {
    shared: Arc<Shared>,
    crowds: JoinHandle<Told>,
}

#[derive(Default)]
struct Shared {
    next: AtomicUsize,
    granted: AtomicUsize,
}

/// The buyers' final answers.
#[derive(Default)]
struct Told {
    granted: Vec<String>,
    refused: usize,
    repeats: usize,
    took: Duration,
}

impl Rush {
    fn start(client: &Net) -> Self {
        let shared = Arc::new(Shared::default());
        let all = shared.clone();
        let crowds = client.spawn(move || {
            let since = Instant::now();
            let crowd = || {
                let shared = all.clone();
                thread::spawn(move || shared.crowd())
            };
            let crowds: Vec<_> = (0..CROWDS).map(|_| crowd()).collect();
            let mut told = Told::default();
            for crowd in crowds {
                let one = crowd.join().expect("a crowd");
                told.granted.extend(one.granted);
                told.refused += one.refused;
                told.repeats += one.repeats;
            }
            told.took = since.elapsed();
            told
        });
        Self { shared, crowds }
    }

    fn wait_for(&self, granted: usize) {
        let enough = || self.shared.granted.load(Ordering::Relaxed) >= granted;
        until(&format!("{granted} are sold"), SALE_DEADLINE, enough);
    }

    fn finish(self) -> Told {
        self.crowds.join().expect("the crowds")
    }
}

impl Shared {
    /// One buyer after the other, until there are no more.
    fn crowd(&self) -> Told {
        let mut told = Told::default();
        loop {
            let number = self.next.fetch_add(1, Ordering::Relaxed);
            if number >= BUYERS {
                return told;
            }
            let until = Instant::now() + BUYER_DEADLINE;
            loop {
                match purchase(number) {
                    Ok(Bought::Granted(id)) => {
                        told.granted.push(id);
                        self.granted.fetch_add(1, Ordering::Relaxed);
                        break;
                    }
                    Ok(bought) if bought.is("sold_out") => {
                        told.refused += 1;
                        break;
                    }
                    other => {
                        assert!(Instant::now() < until, "buyer {number}: {other:?}");
                        told.repeats += 1;
                        thread::sleep(Duration::from_millis(20));
                    }
                }
            }
        }
    }
}

/// A new connection and one purchase. An error: the outcome is unknown.
fn purchase(number: usize) -> io::Result<Bought> {
    let mut buyer = Buyer::connect(Front::address(80))?;
    let answer = buyer.reserve("ticket", &format!("buyer-{number}"), 1, "once")?;
    match answer.status {
        // nginx's own answer about a server that it lost: no JSON, or a problem without an id.
        502 | 504 => Err(io::Error::other(format!("status {}", answer.status))),
        _ => Ok(answer.bought()),
    }
}
