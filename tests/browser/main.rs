//! The live page in real Chromium: what it shows is what the ledger has, what it changes is what the
//! operator confirmed, and nobody else reads or changes anything. And the page for buyers of `stampede
//! demo`. `tests/browser/run` starts it.

#[allow(dead_code)]
#[path = "../support/buyer.rs"]
mod buyer;
mod changes;
#[allow(dead_code)]
#[path = "../support/client.rs"]
mod client;
mod control;
#[allow(dead_code)]
#[path = "../support/demo.rs"]
mod demo;
mod foreign;
mod keyboard;
mod numbers;
mod pages;
mod pictures;
#[allow(dead_code)]
#[path = "../support/redis.rs"]
mod redis;
#[allow(dead_code)]
#[path = "../support/server.rs"]
mod server;
mod states;
mod storefront;
mod webdriver;

use server::Server;
use webdriver::Browser;

/// Opens the live page of a server.
#[track_caller]
fn open(browser: &Browser, server: &Server) {
    browser.open(&format!("http://{}/", server.control()));
}

/// Opens the live page and waits until it has numbers.
#[track_caller]
fn open_live(browser: &Browser, server: &Server) {
    open(browser, server);
    browser.until("document.body.dataset.state === 'live'");
    browser.until("document.querySelector('#sales-age').innerText !== 'x' && !document.querySelector('#sales-empty strong')?.innerText.startsWith('Reading')");
}

/// What the page's table shows of a sale: free, held, confirmed and total.
const ROW: &str = "((id) => { \
    const row = [...document.querySelectorAll('#sales-table tbody tr')].find((row) => row.dataset.sale === id); \
    return row ? [2, 3, 4, 5].map((at) => row.cells[at].textContent.replace(/,/g, '')).join(' ') : 'none'; })";
