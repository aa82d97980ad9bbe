//! Names of scenarios, and of what is measured in them and is no server, as they stand in `raw.csv`.

/// Rejections over 64 kept connections.
pub const KEEPALIVE: &str = "rejections_keepalive";
/// The same with 16 requests on their way on each.
pub const PIPELINED: &str = "rejections_pipelined16";
/// A connection for each request.
pub const CONNECTION_EACH: &str = "rejections_connection_each";
/// TechEmpower's plaintext test.
pub const PLAINTEXT: &str = "plaintext_pipelined16";
/// TechEmpower's JSON test.
pub const JSON: &str = "json_keepalive";
/// One request in a hundred buys, from a sale in Redis.
pub const MIXED: &str = "mixed_1pct";
/// Every request buys; 64 connections; Redis in memory.
pub const SALES_MEMORY: &str = "sales_redis_memory";
/// Nobody gets a ticket any more, of the same server beside the same Redis.
pub const REJECTIONS_REDIS: &str = "rejections_redis";
/// The same sales with `everysec`.
pub const SALES_EVERYSEC: &str = "sales_redis_everysec";
/// The same with `always`.
pub const SALES_ALWAYS: &str = "sales_redis_always";
/// Every request buys; 64 connections; the embedded ledger with fdatasync.
pub const SALES_EMBEDDED: &str = "sales_embedded";
/// The same with 4 connections.
pub const SALES_EMBEDDED_4: &str = "sales_embedded_c4";
/// Every request buys; 64 connections; a row in PostgreSQL, durable.
pub const SALES_POSTGRES: &str = "sales_postgres";
/// A million requests for ten thousand tickets from 15,000 connections; a Redis in memory.
pub const HEADLINE: &str = "headline";
/// The same with a store that keeps what it sold.
pub const HEADLINE_DURABLE: &str = "headline_durable";
/// The headline with a server on all cores, which it shares with the load and Redis.
pub const HEADLINE_ALL_CORES: &str = "headline_all_cores";
/// The same with a store that keeps what it sold.
pub const HEADLINE_DURABLE_ALL_CORES: &str = "headline_durable_all_cores";
/// 15,000 connections ask a sale that is sold out, and Redis stands still for a second.
pub const STALL: &str = "stall_1s";
/// One buyer beside 4,000 of another sale; a Redis in memory.
pub const NEIGHBOUR: &str = "neighbour";
/// The same with the embedded ledger.
pub const NEIGHBOUR_EMBEDDED: &str = "neighbour_embedded";
/// Stock returns to a sale that 15,000 connections ask.
pub const STORM: &str = "reopen_storm";
/// Rejections over as many kept connections.
pub const CONNECTIONS_64: &str = "connections_64";
/// The same.
pub const CONNECTIONS_1024: &str = "connections_1024";
/// The same.
pub const CONNECTIONS_15000: &str = "connections_15000";
/// Rejections by a server on one core, the load on the other.
pub const CORES_1: &str = "cores_1";
/// Rejections by a server on two cores, which it shares with the load.
pub const CORES_2: &str = "cores_2";
/// Rejections at half of what stampede can do.
pub const OPEN_50: &str = "open_50";
/// At 70 %.
pub const OPEN_70: &str = "open_70";
/// At 90 %.
pub const OPEN_90: &str = "open_90";
/// Rejections at half of what it can do, and nothing beside them.
pub const BESIDE_NOTHING: &str = "beside_nothing";
/// The same beside purchases that wait for a Redis that stands still.
pub const BESIDE_WAITING: &str = "beside_waiting";
/// Rejections over TCP, of a server that listens on a Unix socket too.
pub const TCP: &str = "over_tcp";
/// The same over the Unix socket.
pub const UNIX: &str = "over_unix";
/// The same behind nginx, which comes over TCP.
pub const NGINX_TCP: &str = "nginx_over_tcp";
/// The same behind nginx, which comes over the Unix socket.
pub const NGINX_UNIX: &str = "nginx_over_unix";
/// Memory of idle connections.
pub const IDLE: &str = "idle_connections";
/// Rejections with one sale and with 10,000 in Redis.
pub const DEFINED: &str = "sales_defined";
/// What each load generator uses, and the rate that it reaches, on the epoll floor.
pub const GENERATORS: &str = "generators";
/// Strangers attack both ports of a server that sells; as `sink`, another program.
pub const STRANGERS: &str = "strangers";
/// `/livez` while every core is busy with rejections.
pub const LIVEZ_BUSY: &str = "livez_busy";
/// Rejections at 5,000 a second, and nobody else.
pub const PIPELINERS_NONE: &str = "pipeliners_none";
/// The same beside 500 clients that pipeline and never read.
pub const PIPELINERS_500: &str = "pipeliners_500";
/// The crowd of the headline with a user and a key in each request; a Redis in memory.
pub const HEADLINE_KEYED: &str = "headline_keyed";
/// The same with a sale in four parts.
pub const HEADLINE_KEYED_SPLIT: &str = "headline_keyed_splits4";
/// The same with the embedded ledger.
pub const HEADLINE_KEYED_DURABLE: &str = "headline_keyed_durable";

/// In the tables below: the anonymous GET, POST with a user, POST with a user and a key.
pub const GET: usize = 0;
pub const USER: usize = 1;
pub const KEYED: usize = 2;
/// In the tables below: from a Redis in memory, and from a store that keeps what it sold.
pub const REDIS: usize = 0;
pub const DURABLE: usize = 1;
/// In the tables of refusals: over 64 and 1,024 connections, and over one.
pub const C64: usize = 0;
pub const C1024: usize = 1;
pub const C1: usize = 2;

/// Purchases.
pub const SHOPS: [[&str; 2]; 3] = [
    ["shop_get", "shop_get_durable"],
    ["shop_user", "shop_user_durable"],
    ["shop_keyed", "shop_keyed_durable"],
];
/// Refusals of a sale that is sold out.
pub const REFUSED: [[[&str; 2]; 3]; 3] = [
    [
        ["refused_get_c64", "refused_get_c64_durable"],
        ["refused_user_c64", "refused_user_c64_durable"],
        ["refused_keyed_c64", "refused_keyed_c64_durable"],
    ],
    [
        ["refused_get_c1024", "refused_get_c1024_durable"],
        ["refused_user_c1024", "refused_user_c1024_durable"],
        ["refused_keyed_c1024", "refused_keyed_c1024_durable"],
    ],
    [
        ["refused_get_c1", "refused_get_c1_durable"],
        ["refused_user_c1", "refused_user_c1_durable"],
        ["refused_keyed_c1", "refused_keyed_c1_durable"],
    ],
];
/// Purchases by GET over one connection: what one of its answers takes, a round trip to the ledger
/// does too.
pub const TRIP: [&str; 2] = ["trip_c1", "trip_c1_durable"];
/// Purchases of one of 1, 100 and 1,000 hot sales over 64 connections.
pub const HOT_C64: [[&str; 2]; 3] = [
    ["hot_1_c64", "hot_1_c64_durable"],
    ["hot_100_c64", "hot_100_c64_durable"],
    ["hot_1000_c64", "hot_1000_c64_durable"],
];
/// The same over 512 connections.
pub const HOT_C512: [[&str; 2]; 3] = [
    ["hot_1_c512", "hot_1_c512_durable"],
    ["hot_100_c512", "hot_100_c512_durable"],
    ["hot_1000_c512", "hot_1000_c512_durable"],
];
/// One EVALSHA per ticket over 64 connections, in the place of a server.
pub const EVALSHA_EACH: &str = "evalsha_each";
/// The same calls pipelined on one connection.
pub const EVALSHA_PIPELINED: &str = "evalsha_pipelined";

/// Redis alone, in the place of a server.
pub const BARE_REDIS: &str = "bare_redis";
/// A program that only reads and drops, in the place of a server that is attacked.
pub const SINK: &str = "sink";
/// The disk alone.
pub const BARE_APPEND: &str = "bare_append";
