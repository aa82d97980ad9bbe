//! Ten thousand sales: the page shows and polls only what is on it.

use std::thread;

use serde_json::json;

use crate::client::Client;
use crate::open_live;
use crate::server::Server;
use crate::webdriver::Browser;

const SALES: usize = 10_000;
/// Clients that create them.
const CLIENTS: usize = 8;
/// Longest answer to a poll, in bytes.
const ANSWER_BYTES_MAX: u64 = 24 * 1024;

fn create_sales(server: &Server) {
    thread::scope(|scope| {
        for client in 0..CLIENTS {
            scope.spawn(move || {
                let mut connection = Client::control(server);
                for number in (client..SALES).step_by(CLIENTS) {
                    let body = json!({ "id": format!("sale-{number:05}"), "total": number }).to_string();
                    let made = connection.ask(format!(
                        "POST /v1/sales HTTP/1.1\r\nHost: localhost\r\nContent-Type: application/json\r\n\
                         Content-Length: {}\r\n\r\n{body}",
                        body.len()
                    ));
                    assert_eq!(made.status(), 201, "{}", made.text());
                }
            });
        }
    });
}

#[test]
fn ten_thousand_sales_are_searched_and_paged() {
    // `ticket` is there unless other sales are asked for.
    let server = Server::start(&["--sale", "ticket=1"]);
    create_sales(&server);
    let browser = Browser::start();
    open_live(&browser, &server);
    let rows =
        "[...document.querySelectorAll('#sales-table tbody tr')].map((row) => row.dataset.sale)";
    let shows = |first: &str, last: &str, count: usize, range: &str| {
        browser.until_text("#range", range);
        browser.until(&format!(
            "(({rows}).length === {count} && ({rows})[0] === {first:?} && ({rows}).at(-1) === {last:?})"
        ));
    };
    shows("sale-00000", "sale-00019", 20, "1 to 20 of 10,001");
    browser.click("#next");
    shows("sale-00020", "sale-00039", 20, "21 to 40 of 10,001");
    browser.click("#next");
    shows("sale-00040", "sale-00059", 20, "41 to 60 of 10,001");
    // The sale that was chosen on the first page is still shown in full.
    browser.until_text("#sale-title", "sale-00000");
    browser.click("#previous");
    shows("sale-00020", "sale-00039", 20, "21 to 40 of 10,001");
    browser.fill("#search", "77");
    browser.until_text("#range", "1 to 20 of 280");
    browser.fill("#search", "ALE-0777");
    shows("sale-07770", "sale-07779", 10, "1 to 10 of 10");
    assert!(browser.run("return document.querySelector('#next').disabled").as_bool() == Some(true));
    browser.run("[...document.querySelectorAll('#sales-table th button')][7].click()");
    browser.until_text("#sale-title", "sale-07777");
    browser.until_text("#sale-units", "7,777");
    browser.fill("#search", "no such");
    browser.until_text("#sales-empty", "No sale has this in its id");
    browser.until_text("#sales-empty", "10,001 sales");
    // A poll costs what is on the page, and not what there is.
    let largest = browser.until(
        "Math.max(...performance.getEntriesByType('resource').map((entry) => entry.encodedBodySize))",
    );
    assert!(largest.as_u64().is_some_and(|bytes| bytes < ANSWER_BYTES_MAX), "{largest}");
    browser.assert_quiet(false);
}
