//! Data folders: one of a killed server, with orders that are behind it, one of a server that ended
//! in order, and one with a snapshot.

use jiff::SignedDuration;

use crate::PROGRAM;
use crate::database::{assert_written, audit, wait_until_written};
use crate::faked_clock::Clock;
use crate::fixture::Fixture;
use crate::known::Known;
use crate::server::Server;
use crate::takeover::{
    agrees, holds_limits, replays_every_key, returns_what_is_overdue, sells_the_rest, set_after,
    settles,
};

/// Right after it was left: only reservations that were held for seconds are overdue.
const SOON: SignedDuration = SignedDuration::from_secs(30);
/// Everything that was held is overdue.
const LATER: SignedDuration = SignedDuration::from_hours(3);
/// The sale that was to open the next day is open, and everything sold by then is overdue.
const NEXT_DAY: SignedDuration = SignedDuration::from_hours(30);

/// Continues with the folder, through two more starts. Returns what is known at the end.
fn goes_on(fixture: &Fixture, options: &[&str], mut after: impl FnMut(&Server, &Known)) {
    let mut known = fixture.known();
    let clock = Clock::new();
    let ledger = fixture.ledger();
    let options = [&["--ledger", &ledger], options].concat();
    let now = set_after(&clock, &known, SOON);
    let mut server = Server::start_with(&clock.environment(), &options);
    returns_what_is_overdue(&server, &mut known, now);
    replays_every_key(&server, &known);
    holds_limits(&server, &known);
    settles(&server, &mut known);
    sells_the_rest(&server, &mut known, "soon");
    replays_every_key(&server, &known);
    after(&server, &known);
    for (later, tag) in [(LATER, "later"), (NEXT_DAY, "next day")] {
        let now = set_after(&clock, &known, later);
        server.restart();
        returns_what_is_overdue(&server, &mut known, now);
        replays_every_key(&server, &known);
        sells_the_rest(&server, &mut known, tag);
        after(&server, &known);
    }
    assert_eq!(server.terminate(), 0);
    audit(PROGRAM, &ledger, None);
}

fn goes_on_with_orders(fixture: &Fixture, url: &str) {
    goes_on(fixture, &["--orders", url], |server, known| {
        wait_until_written(url, known);
        let report = crate::asking::control(server, "GET", "/v1/audit");
        assert_eq!((report.status, &report.json()["differences"]), (200, &0.into()), "{report:?}");
    });
    audit(PROGRAM, &fixture.ledger(), Some(url));
}

#[test]
fn a_killed_server_of_0_1_0_with_its_orders_in_sqlite() {
    let fixture = Fixture::copy("0.1.0/embedded-killed");
    goes_on_with_orders(&fixture, &fixture.sqlite());
}

#[test]
fn a_killed_server_of_0_1_0_with_its_orders_in_postgresql() {
    let fixture = Fixture::copy("0.1.0/embedded-killed");
    let postgres = fixture.postgres();
    goes_on_with_orders(&fixture, &postgres.url());
}

#[test]
fn a_server_of_0_1_0_that_was_stopped_cleanly() {
    goes_on(&Fixture::copy("0.1.0/embedded-stopped"), &[], |_, _| {});
}

#[test]
fn a_snapshot_of_0_1_0_with_a_journal() {
    goes_on(&Fixture::copy("0.1.0/embedded-folded"), &[], |_, _| {});
}

#[test]
fn data_of_0_1_0_agrees_in_an_audit_before_any_change() {
    for name in ["0.1.0/embedded-killed", "0.1.0/embedded-stopped", "0.1.0/embedded-folded"] {
        audit(PROGRAM, &Fixture::copy(name).ledger(), None);
    }
}

#[test]
fn every_hold_has_expired_after_years() {
    let fixture = Fixture::copy("0.1.0/embedded-killed");
    let mut known = fixture.known();
    let clock = Clock::new();
    let now = set_after(&clock, &known, SignedDuration::from_hours(24 * 365 * 3));
    let url = fixture.sqlite();
    let options = ["--ledger", &fixture.ledger(), "--orders", &url];
    let mut server = Server::start_with(&clock.environment(), &options);
    returns_what_is_overdue(&server, &mut known, now);
    replays_every_key(&server, &known);
    agrees(&server, &known);
    wait_until_written(&url, &known);
    assert_eq!(server.terminate(), 0);
    assert_written(&url, &known);
}
