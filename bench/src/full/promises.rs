//! What is promised of rejections, anonymous sales, the crowd and everything beside them.

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

/// Everyone else who answers, in this scenario.
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

const CONNECTION_NOTE: &str = "A connection costs four system calls here (accept4, read, send, close) \
     and hardly any of epoll; nginx has more of both, and 1.1 us more of user time. The other 24 us \
     are the kernel's. Reading a connection before it is watched saved the fifth call.";

const NEIGHBOUR_NOTE: &str = "His purchase is in the next batch as soon as the core has read it, and \
     always granted. But the core is saturated: 4,000 connections ask again as soon as they are \
     answered, and it reads connections in the order in which they became ready, so he waits in the \
     socket as long as the crowd does. Answering fewer at a time, so as to read sooner, did not change \
     that.";

/// What is promised, in the order in which it is asked for.
pub const RUN_PROMISES: [Promise; 50] = [
    most(1.03, "CPU per rejection, to the floor's", REJECTION).to(cpu(scenario::KEEPALIVE, FLOOR)),
    most(1.08, "the same, 16 pipelined", PIPELINED).to(cpu(scenario::PIPELINED, FLOOR)),
    most(1.0, "CPU per rejection, to the cheapest peer's", REJECTION).to_cheapest(KEEPALIVE_PEERS),
    most(1.0, "the same, 16 pipelined", PIPELINED).to_cheapest(PIPELINED_PEERS),
    most(1.0, "the same, a connection each", EACH).to_cheapest(EACH_PEERS).note(CONNECTION_NOTE),
    most(1.3, "CPU per sale, to that per rejection", cpu(scenario::SALES_MEMORY, OURS))
        .to(cpu(scenario::REJECTIONS_REDIS, OURS))
        .note(
            "A sale waits for its batch, so the core sleeps and is woken some 1,500 times a second \
             where a rejection never waits. The floor of a sale, which checks nothing, costs as much.",
        ),
    most(0.25, "Redis CPU per sale, to one EVALSHA per ticket over 64 connections", REDIS).to(EVALSHA),
    most(0.25, "the same, to one EVALSHA per ticket pipelined by the same loop", REDIS)
        .to(EVALSHA_PIPELINED)
        .note(
            "Pipelined on one connection, an EVALSHA costs Redis half of what it does over 64. Most \
             of a ticket's cost in our batches is its line and its deadline, which one EVALSHA a \
             ticket does not write.",
        ),
    least(10.0, "Sales/s, to the article's", SALES)
        .to(sales(scenario::SALES_MEMORY, "article"))
        .note(
            "One core of HTTP is the limit of ours, as it is of the floor of a sale. The article's \
             also waits for Redis and for the generator's core, and differs most from run to run.",
        ),
    least(0.8, "Sales/s, to the floor of a sale", SALES)
        .to(sales(scenario::SALES_MEMORY, "floor_sales")),
    least(0.8, "Sales/s, to a bare client of Redis with the same batches, without HTTP", SALES)
        .to(sales(scenario::SALES_MEMORY, scenario::BARE_REDIS))
        .note(
            "One core of the server answers some 100,000 purchases a second, and the kernel's TCP \
             path is four fifths of that; the load generator shares Redis' core. The bare client \
             answers nobody.",
        ),
    least(
        0.7,
        "Durable sales/s, to a bare write and fdatasync of the same bytes",
        sales(scenario::SALES_EMBEDDED, OURS),
    )
    .to(sales(scenario::SALES_EMBEDDED, scenario::BARE_APPEND))
    .note("As above: with 64 connections HTTP on one core is the limit, and not the disk."),
    least(0.7, "the same with 4 connections", sales(scenario::SALES_EMBEDDED_4, OURS))
        .to(sales(scenario::SALES_EMBEDDED_4, scenario::BARE_APPEND)),
    least(
        1.0,
        "A connection each: requests/s, to nginx's",
        (scenario::CONNECTION_EACH, OURS, figure::REQUESTS_PER_S),
    )
    .to((scenario::CONNECTION_EACH, "nginx", figure::REQUESTS_PER_S))
    .note(
        "The generator is the limit of all: it needs nearly twice a server's CPU per connection, and \
         its core is busy all the time. So the CPU of the server decides.",
    ),
    most(1.0, "A connection each: CPU per request, to nginx's", EACH)
        .to(cpu(scenario::CONNECTION_EACH, "nginx"))
        .note(CONNECTION_NOTE),
    most(0.25, "The headline: time to the last answer, to the article's", SOLD).to((
        scenario::HEADLINE,
        "article",
        figure::LAST_ANSWER_S,
    ))
    .note(
        "The floor of a sale takes nine tenths of our time, and the load generator is busy all the \
         time too: with 15,000 connections the kernel's TCP path costs nearly twice what it does with \
         64, on both sides.",
    ),
    shown("the same of the floor of a sale", FLOOR_SOLD)
        .to((scenario::HEADLINE, "article", figure::LAST_ANSWER_S)),
    most(1.5, "p99.9 of rejections at 70 %, to the floor's", (scenario::OPEN_70, OURS, P999)).to((
        scenario::OPEN_70,
        FLOOR,
        P999,
    ))
    .note(
        "A thousandth of a second's requests wait longer than p99.9. One pause that the machine makes \
         (the floor, too, waits 5 to 26 ms) is more than that, and whoever is served then has it.",
    ),
    most(
        1.1,
        "p99.9 of rejections beside purchases that wait, to nothing beside them",
        (scenario::BESIDE_WAITING, OURS, P999),
    )
    .to((scenario::BESIDE_NOTHING, OURS, P999)),
    most(
        2.0,
        "One buyer beside 4,000 of another sale: median above his alone, in batch round trips",
        (scenario::NEIGHBOUR, OURS, figure::TRIPS_ABOVE),
    )
    .note(NEIGHBOUR_NOTE),
    most(1.0, "the same: his p99, to the crowd's median", neighbour_p99(scenario::NEIGHBOUR))
        .to(hot_p50(scenario::NEIGHBOUR)),
    most(
        2.0,
        "the same, embedded ledger: median above his alone, in batch round trips",
        (scenario::NEIGHBOUR_EMBEDDED, OURS, figure::TRIPS_ABOVE),
    ),
    most(
        1.0,
        "the same, embedded ledger: his p99, to the crowd's median",
        neighbour_p99(scenario::NEIGHBOUR_EMBEDDED),
    )
    .to(hot_p50(scenario::NEIGHBOUR_EMBEDDED)),
    least(0.9, "Sales/s under attack, to those while a sink is attacked", ATTACKED)
        .to(sales(scenario::STRANGERS, scenario::SINK)),
    least(
        1.0,
        "the same: honest connections that survive, to those that were held",
        (scenario::STRANGERS, OURS, figure::SURVIVED),
    )
    .to((scenario::STRANGERS, OURS, figure::CONNECTIONS)),
    most(100_000.0, "the same: p99 of /livez, us", (scenario::STRANGERS, OURS, LIVEZ)),
    most(
        1.0,
        "the same: memory that the attack takes, to its bound",
        (scenario::STRANGERS, OURS, figure::GROWN_KIB),
    )
    .to((scenario::STRANGERS, OURS, figure::GROWN_BOUND_KIB)),
    most(100_000.0, "p99 of /livez with every core busy, us", (scenario::LIVEZ_BUSY, OURS, LIVEZ)),
    most(
        3.0,
        "p99 of rejections beside 500 clients that pipeline and never read, to nobody beside them",
        (scenario::PIPELINERS_500, OURS, figure::LATENCY_P99_US),
    )
    .to((scenario::PIPELINERS_NONE, OURS, figure::LATENCY_P99_US)),
    most(6.0, "Memory per idle connection, KiB", (scenario::IDLE, OURS, figure::CONNECTION_KIB)),
    most(1.1, "CPU per rejection, 15,000 connections to 64", cpu(scenario::CONNECTIONS_15000, OURS))
        .to(cpu(scenario::CONNECTIONS_64, OURS))
        .note(
            "The floor grows as much (below): 15,000 sockets and their buffers, and the generator's, \
             do not fit into the core's cache.",
        ),
    most(1.1, "CPU per rejection, 1,024 connections to 64", cpu(scenario::CONNECTIONS_1024, OURS))
        .to(cpu(scenario::CONNECTIONS_64, OURS))
        .note("The floor grows as much (below)."),
    most(1.1, "CPU per rejection, 2 cores to 1", cpu(scenario::CORES_2, OURS))
        .to(cpu(scenario::CORES_1, OURS)),
    most(1.1, "CPU per rejection, 10,000 sales to 1", cpu(scenario::DEFINED, "10000_sales"))
        .to(cpu(scenario::DEFINED, "1_sale")),
    shown("the floor's: 1,024 connections to 64", cpu(scenario::CONNECTIONS_1024, FLOOR))
        .to(cpu(scenario::CONNECTIONS_64, FLOOR)),
    shown("the floor's: 15,000 connections to 64", cpu(scenario::CONNECTIONS_15000, FLOOR))
        .to(cpu(scenario::CONNECTIONS_64, FLOOR)),
    shown("nginx's: 15,000 connections to 64", cpu(scenario::CONNECTIONS_15000, "nginx"))
        .to(cpu(scenario::CONNECTIONS_64, "nginx")),
    shown("the floor's: 2 cores to 1", cpu(scenario::CORES_2, FLOOR))
        .to(cpu(scenario::CORES_1, FLOOR)),
    shown("CPU with 15,000 connections, to the floor's", cpu(scenario::CONNECTIONS_15000, OURS))
        .to(cpu(scenario::CONNECTIONS_15000, FLOOR)),
    shown("CPU per rejection, to the io_uring floor's", REJECTION)
        .to(cpu(scenario::KEEPALIVE, "floor_uring")),
    shown("CPU per rejection, a connection each, to the floor's", EACH)
        .to(cpu(scenario::CONNECTION_EACH, FLOOR)),
    shown("CPU of TechEmpower's plaintext, to the floor's", cpu(scenario::PLAINTEXT, OURS))
        .to(cpu(scenario::PLAINTEXT, FLOOR)),
    shown("CPU of TechEmpower's JSON, to the floor's", cpu(scenario::JSON, OURS))
        .to(cpu(scenario::JSON, FLOOR)),
    shown("Redis CPU per sale, to the bare client's with the same batches", REDIS)
        .to((scenario::SALES_MEMORY, scenario::BARE_REDIS, figure::REDIS_CPU_US)),
    shown(
        "CPU per durable sale (embedded), to that per rejection",
        cpu(scenario::SALES_EMBEDDED, OURS),
    )
    .to(REJECTION),
    shown("Sales/s, Redis in memory, to PostgreSQL", SALES)
        .to(sales(scenario::SALES_POSTGRES, "axum_postgres")),
    shown(
        "Headline, durable: time to the last answer, to PostgreSQL's",
        (scenario::HEADLINE_DURABLE, OURS, figure::LAST_ANSWER_S),
    )
    .to((scenario::HEADLINE_DURABLE, "axum_postgres", figure::LAST_ANSWER_S)),
    shown("CPU per rejection over a Unix socket, to TCP's", cpu(scenario::UNIX, OURS))
        .to(cpu(scenario::TCP, OURS)),
    shown("the same behind nginx", cpu(scenario::NGINX_UNIX, OURS))
        .to(cpu(scenario::NGINX_TCP, OURS)),
    shown(
        "CPU of the load generator per request, to wrk's",
        (scenario::GENERATORS, "load", figure::GENERATOR_CPU_US),
    )
    .to((scenario::GENERATORS, "wrk", figure::GENERATOR_CPU_US)),
];
