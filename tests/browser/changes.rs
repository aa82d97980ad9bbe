//! An operator changes sales from the page: with the token, and after a confirmation.

use crate::buyer::Buyer;
use crate::control::{OPERATOR, READER, ask, guarded, sale};
use crate::server::Server;
use crate::webdriver::Browser;
use crate::{ROW, open, open_live};

/// Lets the page see numbers, by this token.
fn unlock(browser: &Browser, token: &str) {
    browser.until("!document.querySelector('#door').hidden");
    browser.fill("#door-token", token);
    browser.click("#door-form button");
}

/// The state and total of a sale in the ledger.
fn state(server: &Server, id: &str) -> (String, u64) {
    let sale = sale(server, id);
    (sale["state"].as_str().expect("a state").to_owned(), sale["total"].as_u64().expect("units"))
}

#[test]
fn the_operators_token_changes_a_sale_after_confirmation() {
    let guarded = guarded(&["--sale", "ticket=10"]);
    let server = &guarded.server;
    let browser = Browser::start();
    open(&browser, server);
    unlock(&browser, OPERATOR);
    browser.until_text("#sale-title", "ticket");
    browser.until_text("#token-button", "Changes on");

    // Nothing happens before the confirmation, nor after "Cancel".
    browser.click("#close");
    browser.until_text("#dialog-title", "Close the sale ticket?");
    browser.click("#dialog-cancel");
    browser.until("!document.querySelector('#dialog').open");
    assert_eq!(state(server, "ticket"), ("open".to_owned(), 10));

    browser.click("#close");
    browser.click("#dialog-go");
    browser.until_text("#said", "The sale ticket is closed.");
    assert_eq!(state(server, "ticket"), ("closed".to_owned(), 10));
    browser.until_text("#sale-state", "Closed");
    let mut buyer = Buyer::connect(server.address()).expect("a connection");
    assert!(buyer.buy().expect("an answer").is("closed"));

    browser.click("#add");
    browser.fill("#field-units", "0");
    browser.click("#dialog-go");
    browser.until_text("#dialog-error", "at least 1");
    browser.fill("#field-units", "15");
    browser.click("#dialog-go");
    browser.until_text("#dialog-body", "from 10 to 25");
    assert_eq!(state(server, "ticket").1, 10);
    browser.click("#dialog-go");
    browser.until_text("#said", "15 units more in ticket.");
    assert_eq!(state(server, "ticket"), ("closed".to_owned(), 25));

    browser.click("#open");
    browser.until_text("#dialog-title", "Open the sale ticket?");
    browser.click("#dialog-go");
    browser.until_text("#said", "The sale ticket is open.");
    assert_eq!(state(server, "ticket"), ("open".to_owned(), 25));

    browser.click("#create");
    browser.fill("#field-id", "Poster!");
    browser.fill("#field-total", "7");
    browser.click("#dialog-go");
    browser.until_text("#dialog-error", "small letters");
    browser.fill("#field-id", "poster");
    browser.fill("#field-limit", "2");
    browser.click("#dialog-go");
    browser.until_text("#dialog-title", "Create the sale poster?");
    assert_eq!(ask(server, "GET", "/v1/sales/poster", None).status(), 404);
    browser.click("#dialog-go");
    browser.until_text("#said", "The sale poster is created.");
    let made = sale(server, "poster");
    assert_eq!((&made["total"], &made["limit_per_user"]), (&7.into(), &2.into()));
    browser.until(&format!("{ROW}('poster') === '7 0 0 7'"));
    browser.assert_quiet(true);

    // What the server refuses is said in the dialog, with its reason.
    browser.click("#create");
    browser.fill("#field-id", "poster");
    browser.fill("#field-total", "8");
    browser.click("#dialog-go");
    browser.until_text("#dialog-title", "Create the sale poster?");
    browser.click("#dialog-go");
    browser.until_text("#dialog-error", "409 exists");
    browser.click("#dialog-cancel");

    // The token is kept by the tab alone, and never stands in an address.
    let kept = "return [Object.values(sessionStorage).join(), Object.values(localStorage).join(), \
                document.cookie, location.href, performance.getEntriesByType('resource').map((one) => one.name).join()]";
    let kept = browser.run(kept);
    assert_eq!((&kept[0], &kept[1], &kept[2]), (&OPERATOR.into(), &"".into(), &"".into()));
    assert!(!kept[3].to_string().contains(OPERATOR) && !kept[4].to_string().contains(OPERATOR));
    browser.click("#token-button");
    browser.click("#dialog-other");
    browser.until("!document.querySelector('#door').hidden");
    assert_eq!(browser.run("return sessionStorage.length"), 0);
}

#[test]
fn the_read_token_allows_no_changes() {
    let guarded = guarded(&["--sale", "ticket=10"]);
    let server = &guarded.server;
    let browser = Browser::start();
    open(&browser, server);
    unlock(&browser, "wrong-0123456789abcdef");
    browser.until_text("#door-error", "This is not the control port's token.");
    unlock(&browser, READER);
    browser.until(&format!("{ROW}('ticket') === '10 0 0 10'"));
    browser.until_text("#token-button", "Allow changes");
    // A change asks for the operator's token first, and does not take another.
    browser.click("#close");
    browser.until_text("#dialog-title", "Operator's token");
    browser.fill("#field-token", READER);
    browser.click("#dialog-go");
    browser.until_text("#dialog-error", "This token may only look.");
    browser.fill("#field-token", "wrong-0123456789abcdef");
    browser.click("#dialog-go");
    browser.until_text("#dialog-error", "This is not the control port's token.");
    assert_eq!(state(server, "ticket").0, "open");
    // Nor does the server, whatever the page sends.
    let sent = browser.run_async(&format!(
        "const answer = await fetch('/v1/sales/ticket/close', {{ method: 'POST', headers: {{ Authorization: 'Bearer {READER}' }} }}); \
         return answer.status;"
    ));
    assert_eq!(sent, 403);
    assert_eq!(state(server, "ticket").0, "open");
    browser.fill("#field-token", OPERATOR);
    browser.click("#dialog-go");
    browser.until_text("#dialog-title", "Close the sale ticket?");
    browser.click("#dialog-go");
    browser.until_text("#said", "The sale ticket is closed.");
    assert_eq!(state(server, "ticket").0, "closed");
    browser.assert_quiet(true);
}

#[test]
fn without_an_operators_token_the_page_says_how_to_set_one() {
    let server = Server::start(&["--sale", "ticket=10"]);
    let browser = Browser::start();
    open_live(&browser, &server);
    browser.until_text("#token-button", "Read only");
    browser.until_text("#sale-title", "ticket");
    for button in ["#close", "#add", "#create", "#token-button"] {
        browser.click(button);
        browser.until_text("#dialog-body", "--control-token-file");
        assert!(
            browser.run("return document.querySelector('#dialog-go').hidden").as_bool().unwrap()
        );
        browser.click("#dialog-cancel");
    }
    browser.assert_quiet(false);
    let sent = browser.run_async(
        "const answer = await fetch('/v1/sales/ticket/close', { method: 'POST' }); \
         return [answer.status, (await answer.json()).detail];",
    );
    assert_eq!(sent[0], 403);
    assert!(sent[1].as_str().is_some_and(|text| text.contains("--control-token-file")), "{sent}");
    assert_eq!(state(&server, "ticket").0, "open");
    // A program on this machine may, as ever.
    assert_eq!(ask(&server, "POST", "/v1/sales/ticket/close", None).status(), 200);
}
