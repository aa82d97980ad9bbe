//! What an operator has a server report and do, with real servers and the real program.

#[allow(dead_code)]
#[path = "../support/buyer.rs"]
mod buyer;
#[allow(dead_code)]
#[path = "../support/client.rs"]
mod client;
#[allow(dead_code)]
#[path = "../support/place.rs"]
mod place;
#[allow(dead_code)]
#[path = "../support/port.rs"]
mod port;
#[allow(dead_code)]
#[path = "../support/postgres.rs"]
mod postgres;
#[allow(dead_code)]
#[path = "../support/redis.rs"]
mod redis;
#[allow(dead_code)]
#[path = "../support/secure.rs"]
mod secure;
#[allow(dead_code)]
#[path = "../support/server.rs"]
mod server;
#[allow(dead_code)]
#[path = "../support/tuning.rs"]
mod tuning;

mod changes;
mod formats;
mod hand_over;
mod logs;
mod metrics;
mod observe;
mod prometheus;
mod read_token;
mod refunds;
mod reload;
mod scene;
mod shop;
mod supervised;
mod upkeep;
mod watch;
