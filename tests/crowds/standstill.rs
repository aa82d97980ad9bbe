//! Redis stands still for a second while 19,000 wait at one core: then each gets a true answer.

use std::thread;
use std::time::{Duration, Instant};

use crate::buyer::Buyer;
use crate::crowd::{CROWD, Crowd, alone, granted, held, on_redis, purchase, told};
use crate::redis_server::RedisServer;

/// How long it stands still: half of the time that the server waits for an answer.
const STANDSTILL: Duration = Duration::from_secs(1);
/// Deadlines that would be too short, if a waiting client's deadline ran.
const SHORT: [&str; 6] =
    ["--idle-timeout", "500ms", "--head-timeout", "500ms", "--body-timeout", "500ms"];

/// Redis stands still while this runs and until its time is over.
fn while_it_stands_still<T>(redis: &RedisServer, time: Duration, act: impl FnOnce() -> T) -> T {
    redis.stop();
    let since = Instant::now();
    thread::scope(|scope| {
        scope.spawn(|| {
            thread::sleep(time.saturating_sub(since.elapsed()));
            redis.go_on();
        });
        act()
    })
}

#[test]
fn nineteen_thousand_waiting_buyers_get_true_answers() {
    const TICKETS: usize = 10_000;
    let _alone = alone();
    let redis = RedisServer::start(&[]);
    let server = on_redis(&redis, &["--sale", "ticket=10000"]);
    let mut crowd = Crowd::connect(&server, 0..CROWD);
    crowd.warm_up();
    while_it_stands_still(&redis, STANDSTILL, || crowd.ask());
    let told = crowd.told();
    assert_eq!(granted(&told, &["sold_out"]), TICKETS);
    assert_eq!(held(&server), TICKETS as u64);
}

#[test]
fn a_half_closed_connection_still_gets_its_answer() {
    const CLIENTS: usize = 2_000;
    let _alone = alone();
    let redis = RedisServer::start(&[]);
    let server = on_redis(&redis, &["--sale", "ticket=1500"]);
    let mut crowd = Crowd::connect(&server, 0..CLIENTS);
    while_it_stands_still(&redis, STANDSTILL, || {
        crowd.ask();
        for (_, buyer) in &crowd.0 {
            buyer.socket().shutdown(std::net::Shutdown::Write).expect("half-close");
        }
    });
    assert_eq!(granted(&crowd.told(), &["sold_out"]), 1_500);
    for (number, buyer) in &mut crowd.0 {
        assert!(buyer.answer().is_err(), "{number}: more than was asked for");
    }
}

/// The time for a head begins when the request before it is answered, even if the head arrives
/// earlier.
#[test]
fn waiting_for_the_ledger_does_not_use_up_head_timeouts() {
    // Few, so that the last of them gets its answer soon after the first.
    const CLIENTS: usize = 90;
    let _alone = alone();
    let redis = RedisServer::start(&[]);
    let server = on_redis(&redis, &[&["--sale", "ticket=5000"], &SHORT[..]].concat());
    let mut crowd = Crowd::connect(&server, 0..CLIENTS);
    let next = |number: usize| purchase(CLIENTS + number);
    let half = next(0).len() / 2;
    while_it_stands_still(&redis, STANDSTILL, || {
        crowd.ask();
        for (number, buyer) in crowd.0.iter_mut().filter(|(number, _)| number % 3 == 0) {
            buyer.send(&next(*number)[..half]).expect("send");
        }
    });
    assert_eq!(granted(&crowd.told(), &[]), CLIENTS);
    let (mut early, mut late) = (0, 0);
    let mut go_on = |number: usize, buyer: &mut Buyer, text: &str| {
        // This test has no core of its own, so some may really be late.
        match buyer.ask(text) {
            Ok(answer) if answer.status == 201 => {
                told(CLIENTS + number, &answer);
                early += 1;
            }
            Ok(answer) => {
                assert_eq!(answer.json()["code"], "request_timeout");
                late += 1;
            }
            Err(_) => late += 1,
        }
    };
    for (number, buyer) in &mut crowd.0 {
        match *number % 3 {
            0 => go_on(*number, buyer, &next(*number)[half..]),
            1 => go_on(*number, buyer, &next(*number)),
            _ => {}
        }
    }
    assert!(early > late, "{late} of {} were cut off", early + late);
    // A client that sends nothing more is closed.
    for (number, buyer) in crowd.0.iter_mut().filter(|(number, _)| number % 3 == 2) {
        assert!(buyer.answer().is_err(), "{number} was not let go");
    }
}
