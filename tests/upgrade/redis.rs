//! A Redis with plain and split sales, orders pending in their streams, and both databases behind.

use jiff::SignedDuration;

use crate::PROGRAM;
use crate::database::{assert_written, audit, behind, drain};
use crate::faked_clock::Clock;
use crate::fixture::Fixture;
use crate::known::Known;
use crate::redis_server::RedisServer;
use crate::server::Server;
use crate::takeover::{
    holds_limits, replays_every_key, returns_what_is_overdue, sells_the_rest, set_after, settles,
};

/// Right after it was left: only reservations that were held for seconds are overdue.
const SOON: SignedDuration = SignedDuration::from_secs(30);
/// Everything that was held is overdue.
const LATER: SignedDuration = SignedDuration::from_hours(3);
/// The sale that was to open the next day is open, and everything sold by then is overdue.
const NEXT_DAY: SignedDuration = SignedDuration::from_hours(30);

/// A Redis with the fixture's sales and this clock.
fn redis(fixture: &Fixture, clock: &Clock) -> RedisServer {
    let redis = RedisServer::start_with(&clock.environment(), &[]);
    fixture.restore(&redis);
    redis
}

/// Entries that a group has been given and has not finished.
fn pending(redis: &RedisServer, known: &Known, group: &str) -> usize {
    let sales = known.sales.iter().map(|sale| (sale.id(), sale.shows["splits"].as_u64()));
    let places = sales.flat_map(|(id, splits)| match splits {
        Some(parts) => (1..=parts).map(|n| format!("{id}~{n}of{parts}")).collect(),
        None => vec![id.to_owned()],
    });
    let mut connection = redis.connect();
    let mut count = |place: String| {
        let key = format!("{{{place}_hash_key}}:stream");
        // A sale that sold nothing has no stream.
        match connection.ask(&format!("XPENDING {key} {group} - + 1000")) {
            ::redis::Value::Array(entries) => entries.len(),
            _ => 0,
        }
    };
    places.map(&mut count).sum()
}

#[test]
fn plain_and_split_sales_of_0_1_0_with_orders_under_way() {
    let fixture = Fixture::copy("0.1.0/redis");
    let mut known = fixture.known();
    let clock = Clock::new();
    let now = set_after(&clock, &known, SOON);
    let redis = redis(&fixture, &clock);
    let postgres = fixture.postgres();
    let groups = [("orders", postgres.url()), ("report", fixture.sqlite())];
    for (group, url) in &groups {
        // Its worker had entries when it died.
        let (pending, behind) = (pending(&redis, &known, group), behind(url, &known));
        assert!(pending > 0 && behind > 0, "{group}: {pending} pending, {behind} behind");
    }
    let mut server = Server::start(&["--ledger", &redis.url()]);
    let orders_are_written = |known: &Known| {
        for (group, url) in &groups {
            drain(PROGRAM, &redis.url(), url, group, "new");
            assert_written(url, known);
            assert_eq!(pending(&redis, known, group), 0);
            audit(PROGRAM, &redis.url(), Some(url));
        }
    };
    returns_what_is_overdue(&server, &mut known, now);
    replays_every_key(&server, &known);
    holds_limits(&server, &known);
    settles(&server, &mut known);
    orders_are_written(&known);
    sells_the_rest(&server, &mut known, "soon");
    orders_are_written(&known);
    for (later, tag) in [(LATER, "later"), (NEXT_DAY, "next day")] {
        // A server waits for deadlines by a clock that nobody can set.
        server.kill();
        let now = set_after(&clock, &known, later);
        server.restart();
        returns_what_is_overdue(&server, &mut known, now);
        replays_every_key(&server, &known);
        sells_the_rest(&server, &mut known, tag);
        orders_are_written(&known);
    }
}

#[test]
fn data_of_0_1_0_agrees_in_an_audit_before_any_change() {
    let fixture = Fixture::copy("0.1.0/redis");
    let clock = Clock::new();
    set_after(&clock, &fixture.known(), SOON);
    let redis = redis(&fixture, &clock);
    let postgres = fixture.postgres();
    // A row that is on its way to the orders is no difference.
    audit(PROGRAM, &redis.url(), Some(&postgres.url()));
}

#[test]
fn every_hold_has_expired_after_years() {
    let fixture = Fixture::copy("0.1.0/redis");
    let mut known = fixture.known();
    let clock = Clock::new();
    let now = set_after(&clock, &known, SignedDuration::from_hours(24 * 365 * 3));
    let redis = redis(&fixture, &clock);
    let url = fixture.sqlite();
    let server = Server::start(&["--ledger", &redis.url()]);
    returns_what_is_overdue(&server, &mut known, now);
    replays_every_key(&server, &known);
    drain(PROGRAM, &redis.url(), &url, "report", "new");
    assert_written(&url, &known);
    audit(PROGRAM, &redis.url(), Some(&url));
}
