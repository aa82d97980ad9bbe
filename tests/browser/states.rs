//! What the page says when there is nothing, or nobody, to show.

use crate::control::{ask, units};
use crate::redis::RedisServer;
use crate::server::Server;
use crate::webdriver::Browser;
use crate::{ROW, open_live};

#[test]
fn the_first_sale_of_an_empty_ledger_appears() {
    let redis = RedisServer::start(&[]);
    let server = Server::start(&["--ledger", &redis.url(), "--sale", "ticket=1"]);
    ask(&server, "POST", "/v1/sales/ticket/close", None);
    assert_eq!(ask(&server, "DELETE", "/v1/sales/ticket", None).status(), 200);
    let browser = Browser::start();
    open_live(&browser, &server);
    browser.until_text("#sales-empty", "No sale yet");
    assert_eq!(browser.text("#sale"), "");
    let body = serde_json::json!({ "id": "first", "total": 5 });
    assert_eq!(ask(&server, "POST", "/v1/sales", Some(body)).status(), 201);
    browser.until(&format!("{ROW}('first') === '5 0 0 5'"));
    browser.until_text("#sale-title", "first");
    browser.assert_quiet(false);
}

#[test]
fn the_page_keeps_the_last_numbers_until_the_server_returns() {
    let mut server = Server::start(&["--sale", "ticket=10"]);
    let browser = Browser::start();
    open_live(&browser, &server);
    browser.until(&format!("{ROW}('ticket') === '10 0 0 10'"));
    browser.assert_quiet(false);
    server.kill();
    browser.until("document.body.dataset.state === 'lost'");
    browser.until_text("#banner", "No answer from the server since");
    browser.until("document.body.classList.contains('stale')");
    browser.until_text("#state", "Disconnected");
    assert_eq!(browser.run(&format!("return {ROW}('ticket')")), "10 0 0 10");
    server.restart();
    browser.until("document.body.dataset.state === 'live'");
    browser.until("!document.body.classList.contains('stale')");
    browser.until("document.querySelector('#banner').hidden");
    crate::client::assert_sells(&server);
    let want = units(&server, "ticket");
    browser.until(&format!("{ROW}('ticket') === {want:?}"));
    browser.assert_quiet(true);
}

#[test]
fn the_page_reports_an_unreachable_ledger() {
    let mut redis = RedisServer::start(&[]);
    let server = Server::start(&["--ledger", &redis.url(), "--sale", "ticket=10"]);
    let browser = Browser::start();
    open_live(&browser, &server);
    browser.until(&format!("{ROW}('ticket') === '10 0 0 10'"));
    browser.until_text("#tiles > :nth-child(6)", "Healthy");
    redis.kill();
    browser.until_text("#tiles > :nth-child(6)", "Out of reach");
    browser.until_text("#sales-age", "can't be read");
    browser.until("document.body.dataset.state === 'live'");
    assert_eq!(browser.run(&format!("return {ROW}('ticket')")), "10 0 0 10");
    browser.assert_quiet(false);
}

#[test]
fn a_hidden_page_polls_less_often() {
    let server = Server::start(&["--sale", "ticket=10"]);
    let browser = Browser::start();
    open_live(&browser, &server);
    // Headless Chromium shows every window, so the page is told what a browser would say.
    browser.run(
        "Object.defineProperty(document, 'hidden', { value: true, configurable: true }); \
         performance.clearResourceTimings();",
    );
    // One more that was due, and then one in 10 seconds: 3 in the time of 12.
    browser
        .until("performance.now() > 13000 && performance.getEntriesByType('resource').length >= 2");
    let polls = "performance.getEntriesByType('resource')";
    let starts = browser.run(&format!("return {polls}.slice(0, 2).map((one) => one.startTime)"));
    let gap_ms = starts[1].as_f64().expect("ms") - starts[0].as_f64().expect("ms");
    assert!(gap_ms > 5_000.0, "polls that are {gap_ms} ms apart");
    browser.run("delete document.hidden; document.dispatchEvent(new Event('visibilitychange'))");
    browser.until("performance.getEntriesByType('resource').length >= 5");
    browser.assert_quiet(false);
}
