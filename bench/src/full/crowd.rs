//! The crowd: 15,000 connections that empty a sale, stock that returns while they send requests, and
//! purchases that wait beside them.

use std::sync::atomic::{AtomicBool, Ordering};
use std::thread;
use std::time::Duration;

use crate::answer::{Answer, Content};
use crate::client::Client;
use crate::error::{Result, fail};
use crate::fill::Filler;
use crate::full::measure::{Measured, under_load, warm_up};
use crate::full::store::{Opened, Store, shown_as_sold};
use crate::lab::{Lab, Redis, Served};
use crate::rows::figure;
use crate::scenarios::{Figures, TOTAL_TINY};
use crate::servers::{Server, Setup};
use crate::shop::{self, Told};
use crate::tools::LoadPlan;

/// Requests of the crowd.
pub const REQUESTS: u64 = 1_000_000;
/// Tickets of the crowd's sale.
pub const TICKETS: u64 = 10_000;

/// Deadline of a buyer in the crowd. The slowest peer sells some 1,200 tickets per second.
const ANSWER_SECONDS: u64 = 60;

/// Sends a million requests for ten thousand tickets. All connections are open before the first
/// request.
pub fn headline(
    lab: &mut Lab,
    server: Server,
    store: Store,
    cores: &[usize],
    plan: &LoadPlan<'_>,
) -> Result<Figures> {
    let mut opened = Opened::open(lab, store)?;
    let (content, ledger) = (Content::SoldOut, opened.ledger());
    let setup = Setup { cores, content, ledger, total: TICKETS, options: &[], tls: None };
    let served = lab.serve(server, &setup)?;
    let measured = rush(lab, &served, plan)?;
    served.expect(Answer::SoldOut)?;
    // A floor without Redis has no ledger to ask, so its answers must do.
    if (server, store) != (Server::FloorSales, Store::Embedded) {
        check_kept(opened.sold_of(&served, &["ticket".into()])?)?;
    }
    Ok(rush_figures(&measured))
}

/// The headline with a new user and a key per request, and one ticket per user. `splits`: the number
/// of parts of the sale.
pub fn keyed(lab: &mut Lab, store: Store, splits: u32, plan: &LoadPlan<'_>) -> Result<Figures> {
    let opened = Opened::open(lab, store)?;
    let parts = if splits > 1 { format!(",splits={splits}") } else { String::new() };
    let served = opened.stampede(lab, &["--sale", &format!("ticket={TICKETS},limit=1{parts}")])?;
    let (target, users, keys) = (shop::TARGET, Some("usr"), true);
    let measured = rush(lab, &served, &LoadPlan { target, users, keys, ..*plan })?;
    let mut late = Client::connect(served.address)?;
    match shop::order(&mut late, shop::PATH, "late", Some("late"))? {
        Told::SoldOut => {}
        told => return fail(format!("the sale is sold out, but an order got {told:?}")),
    }
    // The server shows the sum of a split sale's parts.
    check_kept(shown_as_sold(&served, &["ticket".into()])?)?;
    Ok(rush_figures(&measured))
}

/// Runs the crowd. Checks that each answer is a ticket or `sold_out`, and that the number of tickets
/// is right.
fn rush(lab: &mut Lab, served: &Served, plan: &LoadPlan<'_>) -> Result<Measured> {
    let (requests, total) = (Some(REQUESTS), Some(TICKETS));
    let (expect, answer_deadline) = ("granted,sold_out", ANSWER_SECONDS);
    let plan = LoadPlan { requests, total, expect, answer_deadline, ..*plan };
    let measured = under_load(lab, served, &plan)?;
    let (requests, granted) = (measured.load.requests, measured.load.granted);
    if granted != TICKETS || requests != REQUESTS {
        return fail(format!("{requests} answers, of which {granted} grants of {TICKETS} tickets"));
    }
    Ok(measured)
}

fn check_kept(kept: u64) -> Result<()> {
    if kept == TICKETS {
        return Ok(());
    }
    fail(format!("the ledger has sold {kept} of {TICKETS} tickets"))
}

fn rush_figures(measured: &Measured) -> Figures {
    let mut figures = measured.figures();
    figures.push((figure::LAST_GRANT_S, measured.load.last_grant_s));
    figures.push((figure::LAST_ANSWER_S, measured.load.last_answer_s));
    figures
}

/// A sale in Redis without stock, until its stock returns.
const EMPTY: u64 = 0;
const HOLD_MS: u64 = 3_600_000;
/// When stock returns, well after the crowd has connected.
const RETURNS_AFTER: Duration = Duration::from_secs(2);
/// Seconds of load after the return.
const GOES_ON: u64 = 2;

/// Returns ten thousand tickets to a sold-out sale under a crowd, directly in Redis, so the server
/// gets no notice. Measures the time from the first to the last of these tickets.
pub fn storm(lab: &mut Lab, plan: &LoadPlan<'_>) -> Result<Figures> {
    let redis = lab.redis()?;
    let mut filler = Filler::open(redis.address, "ticket")?;
    filler.create(EMPTY, HOLD_MS)?;
    let served = lab.stampede(&[lab.server_core], &redis.url(), &[])?;
    served.expect(Answer::SoldOut)?;
    let seconds = RETURNS_AFTER.as_secs() + GOES_ON;
    let plan = LoadPlan { seconds, total: Some(TICKETS), expect: "granted,sold_out", ..*plan };
    let (measured, returned) = thread::scope(|scope| {
        let returning = scope.spawn(|| {
            thread::sleep(RETURNS_AFTER);
            filler.add_stock(TICKETS)
        });
        let measured = under_load(lab, &served, &plan);
        (measured, returning.join())
    });
    let measured = measured?;
    match returned {
        Ok(returned) => returned?,
        Err(_) => return fail("the thread that returns stock panicked"),
    }
    served.expect(Answer::SoldOut)?;
    let load = &measured.load;
    if load.granted != TICKETS {
        return fail(format!("{TICKETS} tickets returned, but buyers got {}", load.granted));
    }
    let mut figures = measured.figures();
    figures.push((figure::RESOLD_MS, (load.last_grant_s - load.first_grant_s) * 1e3));
    Ok(figures)
}

/// When Redis stops under the crowd, and for how long: longer than a server trusts its cached sale,
/// shorter than a request waits.
const STALLS_AFTER: Duration = Duration::from_secs(1);
const STALL: Duration = Duration::from_secs(1);

/// Stops Redis (SIGSTOP) for a second under a crowd that requests a sold-out sale. Checks that every
/// request gets `sold_out`, those of that second when Redis is back.
pub fn stall(lab: &mut Lab, plan: &LoadPlan<'_>) -> Result<Figures> {
    let redis = lab.redis()?;
    let ticket = format!("ticket={TOTAL_TINY}");
    let served = lab.stampede(&[lab.server_core], &redis.url(), &["--sale", &*ticket])?;
    served.expect(Answer::SoldOut)?;
    let seconds = (STALLS_AFTER + STALL).as_secs() + GOES_ON;
    let plan = LoadPlan { seconds, expect: "sold_out", ..*plan };
    let process = &redis.process;
    let (measured, stalled) = thread::scope(|scope| {
        let stalling = scope.spawn(|| -> Result<()> {
            thread::sleep(STALLS_AFTER);
            process.signal(libc::SIGSTOP)?;
            thread::sleep(STALL);
            process.signal(libc::SIGCONT)
        });
        let measured = under_load(lab, &served, &plan);
        (measured, stalling.join())
    });
    match stalled {
        Ok(stalled) => stalled?,
        Err(_) => return fail("the thread that stops Redis panicked"),
    }
    Ok(measured?.figures())
}

/// A sale that never sells out, beside the sold-out `ticket`.
const OPEN: &str = "open";
const OPEN_SALE: &str = "open=10000000";
const OPEN_TARGET: &str = "POST /v1/sales/open/reservations";

/// Measures rejections, of which one request in `every` buys from another sale in Redis.
pub fn mixed(lab: &mut Lab, every: u64, plan: &LoadPlan<'_>) -> Result<Figures> {
    let mut redis = lab.redis()?;
    let served = two_sales(lab, &redis)?;
    let also = Some((OPEN_TARGET, every));
    let plan = LoadPlan { also, expect: "granted,sold_out", ..*plan };
    warm_up(lab, &served, &plan)?;
    let sold = redis.sold_of(OPEN)?;
    let measured = under_load(lab, &served, &plan)?;
    let (granted, counted) = (measured.load.granted, redis.sold_of(OPEN)? - sold);
    if granted == 0 || counted != granted {
        return fail(format!("buyers got {granted} tickets, but Redis sold {counted}"));
    }
    let mut figures = measured.figures();
    figures.push((figure::GRANTED, measured.load.granted as f64));
    figures.push((figure::GRANTED_P50_US, measured.load.granted_latency_us.p50));
    figures.push((figure::GRANTED_P99_US, measured.load.granted_latency_us.p99));
    figures.push((figure::REFUSED_P50_US, measured.load.refused_latency_us.p50));
    figures.push((figure::REFUSED_P99_US, measured.load.refused_latency_us.p99));
    Ok(figures)
}

/// The load beside the measured rejections.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Beside {
    /// No purchases.
    Nothing,
    /// Purchases whose batch waits for a stopped Redis.
    Waiting,
}

/// Number of waiting buyers: enough for a batch, too few for a load of their own.
const BUYERS: u32 = 4;
/// Time for which Redis stops, less than a server trusts its cached sale.
const STANDS_STILL: Duration = Duration::from_millis(40);
/// Time for which Redis runs in between.
const GOES: Duration = Duration::from_millis(10);

/// Measures rejections of a sold-out sale at a fixed rate, while Redis is stopped (SIGSTOP) for four
/// fifths of the time. With buyers, the batch of another sale waits for Redis on the same core.
pub fn beside(lab: &mut Lab, beside: Beside, plan: &LoadPlan<'_>) -> Result<Figures> {
    let mut redis = lab.redis()?;
    let served = two_sales(lab, &redis)?;
    let plan = LoadPlan { expect: "sold_out", ..*plan };
    warm_up(lab, &served, &plan)?;
    let mut buyers = None;
    if beside == Beside::Waiting {
        let seconds = plan.seconds + 30;
        let target = OPEN_TARGET;
        let buying = LoadPlan { connections: BUYERS, target, seconds, rate: None, ..plan };
        let buying = LoadPlan { expect: "granted", ..buying };
        let line = lab.programs.load(&buying, &served.address.to_string());
        buyers = Some(lab.background("load", &line)?);
    }
    let sold = redis.sold_of(OPEN)?;
    let over = AtomicBool::new(false);
    let process = &redis.process;
    let (measured, stopping) = thread::scope(|scope| {
        let stopping = scope.spawn(|| -> Result<()> {
            while !over.load(Ordering::Relaxed) {
                process.signal(libc::SIGSTOP)?;
                thread::sleep(STANDS_STILL);
                process.signal(libc::SIGCONT)?;
                thread::sleep(GOES);
            }
            Ok(())
        });
        let measured = under_load(lab, &served, &plan);
        over.store(true, Ordering::Relaxed);
        (measured, stopping.join())
    });
    let measured = measured?;
    match stopping {
        Ok(stopped) => stopped?,
        Err(_) => return fail("the thread that stops Redis panicked"),
    }
    let bought = redis.sold_of(OPEN)? - sold;
    if let Some(buyers) = &mut buyers {
        buyers.check_alive()?;
    }
    if (bought > 0) != (beside == Beside::Waiting) {
        return fail(format!("buyers beside the rejections got {bought} tickets"));
    }
    let mut figures = measured.figures();
    figures.push((figure::GRANTED, bought as f64));
    Ok(figures)
}

/// Starts a stampede on a Redis with a sold-out `ticket` and another sale with plenty of stock.
fn two_sales(lab: &mut Lab, redis: &Redis) -> Result<Served> {
    let ticket = format!("ticket={TOTAL_TINY}");
    let options = ["--sale", &*ticket, "--sale", OPEN_SALE];
    let served = lab.stampede(&[lab.server_core], &redis.url(), &options)?;
    served.expect(Answer::SoldOut)?;
    Ok(served)
}
