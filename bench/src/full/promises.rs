//! Promises on rejections, anonymous sales, many connections, and load beside other load.

use super::places::{FLOOR, OURS, cpu, least, most, sales, shown};
use super::scenario;
use crate::report::{Place, Promise};
use crate::rows::figure;

const fn neighbour_p99(scenario: &'static str) -> Place {
    (scenario, OURS, figure::LATENCY_P99_US)
}

const fn hot_p50(scenario: &'static str) -> Place {
    (scenario, OURS, figure::HOT_P50_US)
}

/// The other servers with this figure in this scenario.
macro_rules! peers {
    ($scenario:expr, $($server:literal),+) => { &[$(cpu($scenario, $server)),+] };
}

const REJECTION: Place = cpu(scenario::KEEPALIVE, OURS);
const PIPELINED: Place = cpu(scenario::PIPELINED, OURS);
const EACH: Place = cpu(scenario::CONNECTION_EACH, OURS);
const KEEPALIVE_PEERS: &[Place] =
    peers!(scenario::KEEPALIVE, "may_minihttp", "axum", "nginx", "nginx_lua", "article");
const PIPELINED_PEERS: &[Place] =
    peers!(scenario::PIPELINED, "may_minihttp", "axum", "nginx", "nginx_lua", "article");
const EACH_PEERS: &[Place] =
    peers!(scenario::CONNECTION_EACH, "axum", "nginx", "nginx_lua", "article");
const SALES: Place = sales(scenario::SALES_MEMORY, OURS);
const REDIS: Place = (scenario::SALES_MEMORY, OURS, figure::REDIS_CPU_US);
const ATTACKED: Place = sales(scenario::STRANGERS, OURS);
const LIVEZ: &str = figure::LIVEZ_P99_US;
const EVALSHA: Place = (scenario::SALES_MEMORY, "one_evalsha", figure::REDIS_CPU_US);
const EVALSHA_PIPELINED: Place = (scenario::SALES_MEMORY, "floor_evalsha", figure::REDIS_CPU_US);
const P999: &str = figure::LATENCY_P999_US;
const FLOOR_SOLD: Place = (scenario::HEADLINE, "floor_sales", figure::LAST_ANSWER_S);
const SOLD: Place = (scenario::HEADLINE, OURS, figure::LAST_ANSWER_S);

const CONNECTION_NOTE: &str = "A connection costs stampede four system calls (accept4, read, send, \
     close) and hardly any epoll call. nginx makes more calls of both kinds and uses 1.1 us more user \
     time. The other 24 us are the kernel's. stampede reads a connection before it registers the \
     connection with epoll, which saves the fifth call.";

const NEIGHBOUR_NOTE: &str = "The buyer's purchase enters the next batch as soon as the core has read \
     it, and is always granted. But the core is saturated: 4,000 connections send a request as soon as \
     they have an answer. The core reads connections in the order in which they became ready, so the \
     buyer's request waits in the socket as long as the crowd's. Answering fewer requests per turn, to \
     read sooner, did not change this.";

/// The promises, in the order of the summary.
pub const RUN_PROMISES: [Promise; 50] = [
    most(1.03, "CPU per rejection, relative to the floor", REJECTION).to(cpu(scenario::KEEPALIVE, FLOOR)),
    most(1.08, "CPU per rejection, 16 pipelined, relative to the floor", PIPELINED).to(cpu(scenario::PIPELINED, FLOOR)),
    most(1.0, "CPU per rejection, relative to the cheapest peer", REJECTION).to_cheapest(KEEPALIVE_PEERS),
    most(1.0, "CPU per rejection, 16 pipelined, relative to the cheapest peer", PIPELINED).to_cheapest(PIPELINED_PEERS),
    most(1.0, "CPU per rejection, one connection per request, relative to the cheapest peer", EACH).to_cheapest(EACH_PEERS).note(CONNECTION_NOTE),
    most(1.3, "CPU per sale, relative to a rejection", cpu(scenario::SALES_MEMORY, OURS))
        .to(cpu(scenario::REJECTIONS_REDIS, OURS))
        .note(
            "A sale waits for its batch, so the core sleeps and wakes some 1,500 times per second. A \
             rejection never waits. The floor of a sale, which checks nothing, costs as much.",
        ),
    most(0.25, "Redis CPU per sale, relative to one EVALSHA per ticket over 64 connections", REDIS).to(EVALSHA),
    most(0.25, "Redis CPU per sale, relative to one EVALSHA per ticket, pipelined by the same loop", REDIS)
        .to(EVALSHA_PIPELINED)
        .note(
            "Pipelined on one connection, an EVALSHA costs Redis half as much as over 64 \
             connections. Most of a ticket's cost in stampede's batches is its line and its deadline, \
             which the one EVALSHA per ticket does not write.",
        ),
    least(10.0, "Sales/s, relative to the article", SALES)
        .to(sales(scenario::SALES_MEMORY, "article"))
        .note(
            "One core of HTTP limits stampede, as it limits the floor of a sale. The article's server \
             also waits for Redis and for the generator's core, and varies most from run to run.",
        ),
    least(0.8, "Sales/s, relative to the floor of a sale", SALES)
        .to(sales(scenario::SALES_MEMORY, "floor_sales")),
    least(0.8, "Sales/s, relative to a bare client of Redis with the same batches, without HTTP", SALES)
        .to(sales(scenario::SALES_MEMORY, scenario::BARE_REDIS))
        .note(
            "One core of the server answers some 100,000 purchases per second. The kernel's TCP path \
             takes four fifths of the core. The load generator shares the core of Redis. The bare \
             client answers no requests.",
        ),
    least(
        0.7,
        "Durable sales/s, relative to a bare write and fdatasync of the same bytes",
        sales(scenario::SALES_EMBEDDED, OURS),
    )
    .to(sales(scenario::SALES_EMBEDDED, scenario::BARE_APPEND))
    .note("With 64 connections, HTTP on one core is the limit, and not the disk."),
    least(0.7, "Durable sales/s over 4 connections, relative to a bare write and fdatasync", sales(scenario::SALES_EMBEDDED_4, OURS))
        .to(sales(scenario::SALES_EMBEDDED_4, scenario::BARE_APPEND)),
    least(
        1.0,
        "One connection per request: requests/s, relative to nginx",
        (scenario::CONNECTION_EACH, OURS, figure::REQUESTS_PER_S),
    )
    .to((scenario::CONNECTION_EACH, "nginx", figure::REQUESTS_PER_S))
    .note(
        "The load generator limits every server: it needs nearly twice a server's CPU per connection, \
         and its core is always busy. Compare the CPU of the server instead.",
    ),
    most(1.0, "One connection per request: CPU per request, relative to nginx", EACH)
        .to(cpu(scenario::CONNECTION_EACH, "nginx"))
        .note(CONNECTION_NOTE),
    most(0.25, "Headline: time to the last answer, relative to the article", SOLD).to((
        scenario::HEADLINE,
        "article",
        figure::LAST_ANSWER_S,
    ))
    .note(
        "The floor of a sale takes nine tenths of stampede's time, and the load generator is always \
         busy, too. With 15,000 connections, the kernel's TCP path costs nearly twice as much as with \
         64, on both sides.",
    ),
    shown("Headline: the floor of a sale's time to the last answer, relative to the article", FLOOR_SOLD)
        .to((scenario::HEADLINE, "article", figure::LAST_ANSWER_S)),
    most(1.5, "p99.9 of rejections at 70 %, relative to the floor", (scenario::OPEN_70, OURS, P999)).to((
        scenario::OPEN_70,
        FLOOR,
        P999,
    ))
    .note(
        "One request in a thousand waits longer than p99.9. A single pause of the machine delays more \
         requests than that. The floor has such pauses of 5 to 26 ms, too.",
    ),
    most(
        1.1,
        "p99.9 of rejections beside purchases that wait, relative to rejections alone",
        (scenario::BESIDE_WAITING, OURS, P999),
    )
    .to((scenario::BESIDE_NOTHING, OURS, P999)),
    most(
        2.0,
        "One buyer beside 4,000 of another sale: median minus the median alone, in batch round trips",
        (scenario::NEIGHBOUR, OURS, figure::TRIPS_ABOVE),
    )
    .note(NEIGHBOUR_NOTE),
    most(1.0, "One buyer beside 4,000: p99 of the buyer, relative to the median of the crowd", neighbour_p99(scenario::NEIGHBOUR))
        .to(hot_p50(scenario::NEIGHBOUR)),
    most(
        2.0,
        "One buyer beside 4,000, embedded ledger: median minus the median alone, in batch round trips",
        (scenario::NEIGHBOUR_EMBEDDED, OURS, figure::TRIPS_ABOVE),
    ),
    most(
        1.0,
        "One buyer beside 4,000, embedded ledger: p99 of the buyer, relative to the median of the crowd",
        neighbour_p99(scenario::NEIGHBOUR_EMBEDDED),
    )
    .to(hot_p50(scenario::NEIGHBOUR_EMBEDDED)),
    least(0.9, "Sales/s under attack, relative to an attack on a sink", ATTACKED)
        .to(sales(scenario::STRANGERS, scenario::SINK)),
    least(
        1.0,
        "Under attack: honest connections that survive, relative to those held before",
        (scenario::STRANGERS, OURS, figure::SURVIVED),
    )
    .to((scenario::STRANGERS, OURS, figure::CONNECTIONS)),
    most(100_000.0, "Under attack: p99 of /livez, us", (scenario::STRANGERS, OURS, LIVEZ)),
    most(
        1.0,
        "Under attack: memory of the attack, relative to its bound",
        (scenario::STRANGERS, OURS, figure::GROWN_KIB),
    )
    .to((scenario::STRANGERS, OURS, figure::GROWN_BOUND_KIB)),
    most(100_000.0, "p99 of /livez with every core busy, us", (scenario::LIVEZ_BUSY, OURS, LIVEZ)),
    most(
        3.0,
        "p99 of rejections beside 500 clients that pipeline and never read, relative to rejections alone",
        (scenario::PIPELINERS_500, OURS, figure::LATENCY_P99_US),
    )
    .to((scenario::PIPELINERS_NONE, OURS, figure::LATENCY_P99_US)),
    most(6.0, "Memory per idle connection, KiB", (scenario::IDLE, OURS, figure::CONNECTION_KIB)),
    most(1.1, "CPU per rejection, 15,000 connections relative to 64", cpu(scenario::CONNECTIONS_15000, OURS))
        .to(cpu(scenario::CONNECTIONS_64, OURS))
        .note(
            "The floor's CPU grows as much (below): 15,000 sockets with their buffers, on both sides, do \
             not fit into the core's cache.",
        ),
    most(1.1, "CPU per rejection, 1,024 connections relative to 64", cpu(scenario::CONNECTIONS_1024, OURS))
        .to(cpu(scenario::CONNECTIONS_64, OURS))
        .note("The floor's CPU grows as much (below)."),
    most(1.1, "CPU per rejection, 2 cores relative to 1", cpu(scenario::CORES_2, OURS))
        .to(cpu(scenario::CORES_1, OURS)),
    most(1.1, "CPU per rejection, 10,000 sales relative to 1", cpu(scenario::DEFINED, "10000_sales"))
        .to(cpu(scenario::DEFINED, "1_sale")),
    shown("Floor: CPU per rejection, 1,024 connections relative to 64", cpu(scenario::CONNECTIONS_1024, FLOOR))
        .to(cpu(scenario::CONNECTIONS_64, FLOOR)),
    shown("Floor: CPU per rejection, 15,000 connections relative to 64", cpu(scenario::CONNECTIONS_15000, FLOOR))
        .to(cpu(scenario::CONNECTIONS_64, FLOOR)),
    shown("nginx: CPU per rejection, 15,000 connections relative to 64", cpu(scenario::CONNECTIONS_15000, "nginx"))
        .to(cpu(scenario::CONNECTIONS_64, "nginx")),
    shown("Floor: CPU per rejection, 2 cores relative to 1", cpu(scenario::CORES_2, FLOOR))
        .to(cpu(scenario::CORES_1, FLOOR)),
    shown("CPU per rejection, 15,000 connections, relative to the floor", cpu(scenario::CONNECTIONS_15000, OURS))
        .to(cpu(scenario::CONNECTIONS_15000, FLOOR)),
    shown("CPU per rejection, relative to the io_uring floor", REJECTION)
        .to(cpu(scenario::KEEPALIVE, "floor_uring")),
    shown("CPU per rejection, one connection per request, relative to the floor", EACH)
        .to(cpu(scenario::CONNECTION_EACH, FLOOR)),
    shown("CPU per plaintext of TechEmpower, relative to the floor", cpu(scenario::PLAINTEXT, OURS))
        .to(cpu(scenario::PLAINTEXT, FLOOR)),
    shown("CPU per JSON of TechEmpower, relative to the floor", cpu(scenario::JSON, OURS))
        .to(cpu(scenario::JSON, FLOOR)),
    shown("Redis CPU per sale, relative to the bare client with the same batches", REDIS)
        .to((scenario::SALES_MEMORY, scenario::BARE_REDIS, figure::REDIS_CPU_US)),
    shown(
        "CPU per durable sale (embedded), relative to a rejection",
        cpu(scenario::SALES_EMBEDDED, OURS),
    )
    .to(REJECTION),
    shown("Sales/s, Redis in memory relative to PostgreSQL", SALES)
        .to(sales(scenario::SALES_POSTGRES, "axum_postgres")),
    shown(
        "Headline, durable: time to the last answer, relative to PostgreSQL",
        (scenario::HEADLINE_DURABLE, OURS, figure::LAST_ANSWER_S),
    )
    .to((scenario::HEADLINE_DURABLE, "axum_postgres", figure::LAST_ANSWER_S)),
    shown("CPU per rejection, Unix socket relative to TCP", cpu(scenario::UNIX, OURS))
        .to(cpu(scenario::TCP, OURS)),
    shown("CPU per rejection behind nginx, Unix socket relative to TCP", cpu(scenario::NGINX_UNIX, OURS))
        .to(cpu(scenario::NGINX_TCP, OURS)),
    shown(
        "CPU of the load generator per request, relative to wrk",
        (scenario::GENERATORS, "load", figure::GENERATOR_CPU_US),
    )
    .to((scenario::GENERATORS, "wrk", figure::GENERATOR_CPU_US)),
];
