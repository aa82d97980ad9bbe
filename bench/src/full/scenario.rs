//! Names of scenarios, and of the measured programs that are no servers, as in `raw.csv`.

/// Rejections over 64 kept connections.
pub const KEEPALIVE: &str = "rejections_keepalive";
/// Rejections over 64 kept connections, 16 requests pipelined per connection.
pub const PIPELINED: &str = "rejections_pipelined16";
/// Rejections, one connection per request.
pub const CONNECTION_EACH: &str = "rejections_connection_each";
/// TechEmpower's plaintext test.
pub const PLAINTEXT: &str = "plaintext_pipelined16";
/// TechEmpower's JSON test.
pub const JSON: &str = "json_keepalive";
/// Rejections with one purchase per 100 requests, from a sale in Redis.
pub const MIXED: &str = "mixed_1pct";
/// Sales over 64 connections from Redis in memory.
pub const SALES_MEMORY: &str = "sales_redis_memory";
/// Rejections by the same server with the same Redis.
pub const REJECTIONS_REDIS: &str = "rejections_redis";
/// Sales over 64 connections from Redis with `appendfsync everysec`.
pub const SALES_EVERYSEC: &str = "sales_redis_everysec";
/// Sales over 64 connections from Redis with `appendfsync always`.
pub const SALES_ALWAYS: &str = "sales_redis_always";
/// Sales over 64 connections from the embedded ledger with fdatasync.
pub const SALES_EMBEDDED: &str = "sales_embedded";
/// Sales over 4 connections from the embedded ledger.
pub const SALES_EMBEDDED_4: &str = "sales_embedded_c4";
/// Sales over 64 connections as durable rows in PostgreSQL.
pub const SALES_POSTGRES: &str = "sales_postgres";
/// The headline: a million requests for ten thousand tickets from 15,000 connections, from Redis in
/// memory.
pub const HEADLINE: &str = "headline";
/// The headline with a durable ledger.
pub const HEADLINE_DURABLE: &str = "headline_durable";
/// The headline with a server on all cores, shared with the load and Redis.
pub const HEADLINE_ALL_CORES: &str = "headline_all_cores";
/// The headline with a durable ledger and a server on all cores.
pub const HEADLINE_DURABLE_ALL_CORES: &str = "headline_durable_all_cores";
/// 15,000 connections request a sold-out sale, and Redis stops for a second.
pub const STALL: &str = "stall_1s";
/// One buyer beside 4,000 buyers of another sale, from Redis in memory.
pub const NEIGHBOUR: &str = "neighbour";
/// One buyer beside 4,000 buyers of another sale, from the embedded ledger.
pub const NEIGHBOUR_EMBEDDED: &str = "neighbour_embedded";
/// Stock returns to a sold-out sale under 15,000 connections.
pub const STORM: &str = "reopen_storm";
/// Rejections over 64 kept connections.
pub const CONNECTIONS_64: &str = "connections_64";
/// Rejections over 1,024 kept connections.
pub const CONNECTIONS_1024: &str = "connections_1024";
/// Rejections over 15,000 kept connections.
pub const CONNECTIONS_15000: &str = "connections_15000";
/// Rejections by a server on one core, the load on the other.
pub const CORES_1: &str = "cores_1";
/// Rejections by a server on two cores, shared with the load.
pub const CORES_2: &str = "cores_2";
/// Rejections at 50 % of stampede's capacity.
pub const OPEN_50: &str = "open_50";
/// Rejections at 70 % of stampede's capacity.
pub const OPEN_70: &str = "open_70";
/// Rejections at 90 % of stampede's capacity.
pub const OPEN_90: &str = "open_90";
/// Rejections at 50 % of the capacity, without other load.
pub const BESIDE_NOTHING: &str = "beside_nothing";
/// Rejections at 50 % of the capacity beside purchases that wait for a stopped Redis.
pub const BESIDE_WAITING: &str = "beside_waiting";
/// Rejections over TCP by a server that also listens on a Unix socket.
pub const TCP: &str = "over_tcp";
/// Rejections over the Unix socket.
pub const UNIX: &str = "over_unix";
/// Rejections behind nginx, which connects over TCP.
pub const NGINX_TCP: &str = "nginx_over_tcp";
/// Rejections behind nginx, which connects over the Unix socket.
pub const NGINX_UNIX: &str = "nginx_over_unix";
/// Memory of idle connections.
pub const IDLE: &str = "idle_connections";
/// Rejections with one sale and with 10,000 in Redis.
pub const DEFINED: &str = "sales_defined";
/// CPU and rate of each load generator against the epoll floor.
pub const GENERATORS: &str = "generators";
/// Strangers attack both ports of a selling server. As `sink`, they attack a program that only reads.
pub const STRANGERS: &str = "strangers";
/// `/livez` while every core is busy with rejections.
pub const LIVEZ_BUSY: &str = "livez_busy";
/// Rejections at 5,000 per second, without other load.
pub const PIPELINERS_NONE: &str = "pipeliners_none";
/// Rejections at 5,000 per second beside 500 clients that pipeline and never read.
pub const PIPELINERS_500: &str = "pipeliners_500";
/// The headline with a user and a key per request, from Redis in memory.
pub const HEADLINE_KEYED: &str = "headline_keyed";
/// The headline with a user and a key per request, from a sale in four parts.
pub const HEADLINE_KEYED_SPLIT: &str = "headline_keyed_splits4";
/// The headline with a user and a key per request, from the embedded ledger.
pub const HEADLINE_KEYED_DURABLE: &str = "headline_keyed_durable";

/// Indexes of the tables below: the anonymous GET, POST with a user, POST with a user and a key.
pub const GET: usize = 0;
pub const USER: usize = 1;
pub const KEYED: usize = 2;
/// Indexes of the tables below: from Redis in memory, and from a durable ledger.
pub const REDIS: usize = 0;
pub const DURABLE: usize = 1;
/// Indexes of the tables of refusals: over 64 and 1,024 connections, and over one.
pub const C64: usize = 0;
pub const C1024: usize = 1;
pub const C1: usize = 2;

/// Purchases.
pub const SHOPS: [[&str; 2]; 3] = [
    ["shop_get", "shop_get_durable"],
    ["shop_user", "shop_user_durable"],
    ["shop_keyed", "shop_keyed_durable"],
];
/// Refusals by a sold-out sale.
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
/// Purchases by GET over one connection: each answer takes one round trip to the ledger.
pub const TRIP: [&str; 2] = ["trip_c1", "trip_c1_durable"];
/// Purchases from 1, 100 and 1,000 hot sales over 64 connections.
pub const HOT_C64: [[&str; 2]; 3] = [
    ["hot_1_c64", "hot_1_c64_durable"],
    ["hot_100_c64", "hot_100_c64_durable"],
    ["hot_1000_c64", "hot_1000_c64_durable"],
];
/// Purchases from 1, 100 and 1,000 hot sales over 512 connections.
pub const HOT_C512: [[&str; 2]; 3] = [
    ["hot_1_c512", "hot_1_c512_durable"],
    ["hot_100_c512", "hot_100_c512_durable"],
    ["hot_1000_c512", "hot_1000_c512_durable"],
];
/// One EVALSHA per ticket over 64 connections, instead of a server.
pub const EVALSHA_EACH: &str = "evalsha_each";
/// One EVALSHA per ticket pipelined on one connection, instead of a server.
pub const EVALSHA_PIPELINED: &str = "evalsha_pipelined";

/// Redis alone, instead of a server.
pub const BARE_REDIS: &str = "bare_redis";
/// A program that only reads, instead of an attacked server.
pub const SINK: &str = "sink";
/// The disk alone.
pub const BARE_APPEND: &str = "bare_append";
