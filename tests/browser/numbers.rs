//! A sale runs while the page watches: in the end its numbers are the ledger's.

use std::sync::Barrier;
use std::sync::atomic::{AtomicU64, Ordering};
use std::thread;

use serde_json::json;

use crate::buyer::Buyer;
use crate::control::{ask, units};
use crate::redis::RedisServer;
use crate::server::Server;
use crate::webdriver::Browser;
use crate::{ROW, open_live};

/// Buyers of a server that run at the same time.
const BUYERS: usize = 6;
/// Purchases of each before any is refused: those of two servers leave units.
const SOME: u64 = 20;

/// What buyers have got from a server.
#[derive(Default)]
struct Crowd {
    granted: AtomicU64,
    rejected: AtomicU64,
}

/// Each buyer buys some, pays for every third and gives every third back. Only then do all buy until
/// each was refused ten times: a unit that is given back after the last refusal would stay free.
fn run_crowd(server: &Server, name: &str, crowd: &Crowd) {
    let all_have_some = Barrier::new(BUYERS);
    thread::scope(|scope| {
        for number in 0..BUYERS {
            let all_have_some = &all_have_some;
            scope.spawn(move || {
                let mut buyer = Buyer::connect(server.address()).expect("a connection");
                let (mut bought, mut refused) = (0, 0);
                while refused < 10 {
                    if bought == SOME {
                        all_have_some.wait();
                    }
                    let user = format!("{name}-{number}-{bought}");
                    let answer = buyer.reserve("ticket", &user, 1, "").expect("an answer").bought();
                    let Some(id) = answer.granted() else {
                        assert!(bought > SOME, "refused before the sale was sold out");
                        refused += 1;
                        continue;
                    };
                    let settle = |action: &str| {
                        ask(server, "POST", &format!("/v1/reservations/{id}/{action}"), None)
                    };
                    match bought % 3 {
                        0 => _ = settle("confirm"),
                        1 if bought < SOME => _ = settle("cancel"),
                        _ => {}
                    }
                    bought += 1;
                }
                crowd.granted.fetch_add(bought, Ordering::Relaxed);
                crowd.rejected.fetch_add(refused, Ordering::Relaxed);
            });
        }
    });
}

/// What a server has counted since its start, as its page says it.
fn since_the_start(browser: &Browser, place: usize) -> String {
    let tile = format!("document.querySelector('#tiles').children[{place}].children[2].innerText");
    let text = browser.run(&format!("return {tile}"));
    let text = text.as_str().expect("text").replace(',', "");
    let number = text.split("; ").last().expect("a number").split(' ').next();
    number.expect("a number").to_owned()
}

fn watch(servers: &[&Server]) {
    let browser = Browser::start();
    open_live(&browser, servers[0]);
    browser.until_text("#sale-title", "ticket");
    let crowds: Vec<Crowd> = servers.iter().map(|_| Crowd::default()).collect();
    thread::scope(|scope| {
        for (at, (server, crowd)) in servers.iter().zip(&crowds).enumerate() {
            scope.spawn(move || run_crowd(server, &format!("s{at}"), crowd));
        }
        // The page follows while it goes on.
        browser.until(&format!("{ROW}('ticket').split(' ')[0] < 300"));
    });
    let want = units(servers[0], "ticket");
    assert!(want.starts_with("0 "), "the crowd has bought all: {want}");
    browser.until(&format!("{ROW}('ticket') === {want:?}"));
    // The one sale in full says the same, and so does the chart for those who can't see it.
    let [free, held, confirmed, total] = *want.split(' ').collect::<Vec<_>>() else {
        panic!("four numbers: {want}")
    };
    for (name, value) in
        [("Free", free), ("Held", held), ("Confirmed", confirmed), ("Total", total)]
    {
        let shown = format!(
            "[...document.querySelectorAll('#sale-units > div')].some((div) => div.innerText.replace(/[\\s,]+/g, ' ') === '{name} {value}')"
        );
        browser.until(&shown);
    }
    browser.until(&format!(
        "document.querySelector('#stock-chart svg').getAttribute('aria-label').includes('{free} units free, {held} held and {confirmed} confirmed of {total}')"
    ));
    // The cores' counters are those of what the buyers of this server got.
    for (place, count) in [(0, &crowds[0].granted), (1, &crowds[0].rejected)] {
        let count = count.load(Ordering::Relaxed).to_string();
        browser.until(&format!("document.querySelector('#tiles').children[{place}].innerText.replace(/,/g, '').includes('{count}')"));
        assert_eq!(since_the_start(&browser, place), count);
    }
    browser.until("document.querySelector('#cores-table tbody').rows.length === 2");
    browser.until_text("#tiles > :nth-child(8) dd", &servers.len().to_string());
    browser.until(&format!(
        "document.querySelector('#servers-table tbody').rows.length === {}",
        servers.len()
    ));
    browser.assert_quiet(false);
}

#[test]
fn the_page_matches_an_embedded_ledger() {
    let server = Server::start(&["--sale", "ticket=300,hold=10m", "--cores", "0,1"]);
    watch(&[&server]);
}

#[test]
fn the_pages_of_two_servers_match_their_redis() {
    let redis = RedisServer::start(&[]);
    let url = redis.url();
    let start = |name: &str| {
        Server::start(&[
            "--sale",
            "ticket=300,hold=10m",
            "--ledger",
            &url,
            "--instance",
            name,
            "--cores",
            "0,1",
        ])
    };
    let (one, other) = (start("north"), start("south"));
    watch(&[&one, &other]);
}

#[test]
fn the_page_shows_the_ticket_types_of_a_sale() {
    let server = Server::start(&[]);
    let body = json!({ "id": "fair", "total": 50, "types": { "adult": 40, "child": 20 } });
    assert_eq!(ask(&server, "POST", "/v1/sales", Some(body)).status(), 201);
    let mut buyer = Buyer::connect(server.address()).expect("a connection");
    let lines = r#"{"user":"ann","lines":{"adult":2,"child":1}}"#;
    let bought =
        buyer.request("POST", "/v1/sales/fair/reservations", &[], lines).expect("an answer");
    assert_eq!(bought.status, 201, "{}", bought.body);
    let browser = Browser::start();
    open_live(&browser, &server);
    browser.until(&format!("{ROW}('fair') !== 'none'"));
    browser.run("[...document.querySelectorAll('#sales-table th button')].find((one) => one.innerText === 'fair').click()");
    browser.until("document.querySelector('#sale-types')?.innerText.replace(/\\s+/g, ' ').includes('adult 38 2 0 40 child 19 1 0 20')");
    browser.assert_quiet(false);
}
