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
/// Redis alone, in the place of a server.
pub const BARE_REDIS: &str = "bare_redis";
/// A program that only reads and drops, in the place of a server that is attacked.
pub const SINK: &str = "sink";
/// The disk alone.
pub const BARE_APPEND: &str = "bare_append";
