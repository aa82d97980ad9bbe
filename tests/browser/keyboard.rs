//! Everything can be reached and done with the keyboard alone, and has a name for a screen reader.

use crate::control::{OPERATOR, guarded, sale};
use crate::server::Server;
use crate::webdriver::{Browser, key};
use crate::{open, open_live};

/// What has the focus.
fn focused(browser: &Browser) -> String {
    let script = "const one = document.activeElement; \
                  return one === document.body ? 'BODY' : one.id || one.textContent.trim()";
    browser.run(script).as_str().expect("a name").to_owned()
}

/// Presses Tab until this has the focus.
#[track_caller]
fn tab_to(browser: &Browser, name: &str) {
    let mut seen = Vec::new();
    for _ in 0..60 {
        browser.press(&[key::TAB]);
        let now = focused(browser);
        if now == name {
            return;
        }
        seen.push(now);
    }
    panic!("Tab does not lead to {name}: {seen:?}");
}

#[test]
fn a_sale_can_be_closed_by_keyboard() {
    let guarded = guarded(&["--sale", "poster=5", "--sale", "ticket=10"]);
    let server = &guarded.server;
    let browser = Browser::start();
    open(&browser, server);
    // The token is asked for where the focus is.
    browser.until("document.activeElement.id === 'door-token'");
    let token: Vec<String> = OPERATOR.chars().map(String::from).collect();
    browser.press(&token.iter().map(String::as_str).collect::<Vec<_>>());
    browser.press(&[key::ENTER]);
    browser.until_text("#sale-title", "poster");
    tab_to(&browser, "ticket");
    browser.press(&[key::ENTER]);
    browser.until_text("#sale-title", "ticket");
    tab_to(&browser, "close");
    browser.press(&[key::ENTER]);
    browser.until("document.querySelector('#dialog').open");
    // Tab stays in the dialog, and Escape leaves it to where it was opened.
    for _ in 0..6 {
        browser.press(&[key::TAB]);
        let outside =
            "document.activeElement !== document.body && !document.activeElement.closest('dialog')";
        assert_eq!(browser.run(&format!("return {outside}")), false);
    }
    browser.press(&[key::ESCAPE]);
    browser.until("!document.querySelector('#dialog').open");
    assert_eq!(
        (focused(&browser).as_str(), &sale(server, "ticket")["state"]),
        ("close", &"open".into())
    );
    browser.press(&[key::ENTER]);
    browser.until("document.querySelector('#dialog').open");
    // Enter alone does not confirm: the focus is at Cancel.
    assert_eq!(focused(&browser), "dialog-cancel");
    tab_to(&browser, "dialog-go");
    browser.press(&[key::ENTER]);
    browser.until_text("#said", "The sale ticket is closed.");
    assert_eq!(sale(server, "ticket")["state"], "closed");
    browser.assert_quiet(true);
}

#[test]
fn tab_reaches_every_control_with_a_visible_focus() {
    let server = Server::start(&["--sale", "ticket=10"]);
    let browser = Browser::start();
    open_live(&browser, &server);
    browser.until_text("#sale-title", "ticket");
    let mut seen: Vec<String> = Vec::new();
    for _ in 0..60 {
        browser.press(&[key::TAB]);
        let now = focused(&browser);
        if seen.first() == Some(&now) {
            break;
        }
        let outline = browser.run("return getComputedStyle(document.activeElement).outlineStyle");
        assert!(now == "BODY" || outline == "solid", "{now}: {outline}");
        seen.push(now);
    }
    for name in ["Skip to the sales", "token-button", "create", "search", "ticket", "close", "add"]
    {
        assert!(seen.iter().any(|one| one == name), "{name} is not among {seen:?}");
    }
    browser.press_with(key::SHIFT, key::TAB);
    assert!(seen.contains(&focused(&browser)));
}

#[test]
fn every_control_has_an_accessible_name() {
    let server = Server::start(&["--sale", "ticket=10"]);
    let browser = Browser::start();
    open_live(&browser, &server);
    browser.until_text("#sale-title", "ticket");
    browser.click("#create");
    let tree = browser.devtools("Accessibility.getFullAXTree", serde_json::json!({}));
    let mut roles = Vec::new();
    for node in tree["nodes"].as_array().expect("nodes") {
        let role = node["role"]["value"].as_str().unwrap_or_default();
        let name = node["name"]["value"].as_str().unwrap_or_default();
        let named = [
            "button",
            "textbox",
            "searchbox",
            "spinbutton",
            "dialog",
            "image",
            "table",
            "navigation",
        ];
        if node["ignored"] == false && named.contains(&role) {
            assert!(!name.trim().is_empty(), "{node}");
        }
        roles.push(role.to_owned());
    }
    assert!(roles.iter().any(|role| role == "dialog"), "{roles:?}");
    browser.click("#dialog-cancel");
    let wrong = browser.run(
        "const wrong = []; \
         for (const table of document.querySelectorAll('table')) \
           for (const th of table.querySelectorAll('th')) if (!th.scope) wrong.push(th.textContent); \
         for (const svg of document.querySelectorAll('svg')) \
           if (!svg.getAttribute('aria-label')) wrong.push('svg'); \
         const levels = [...document.querySelectorAll('h1, h2, h3')].map((h) => Number(h.tagName[1])); \
         levels.reduce((before, level) => { if (level > before + 1) wrong.push('h' + level); return level; }, 0); \
         for (const name of ['header', 'main', 'footer']) \
           if (document.querySelectorAll(name).length !== 1) wrong.push(name); \
         if (document.documentElement.lang !== 'en') wrong.push('lang'); \
         return wrong;",
    );
    assert_eq!(wrong, serde_json::json!([]));
}
