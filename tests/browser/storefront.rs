//! The page for buyers of `stampede demo`: what it says is what the ledger has, and what it does can be
//! done with the keyboard alone.

use std::net::SocketAddr;

use serde_json::json;

use crate::buyer::Buyer;
use crate::demo::Demo;
use crate::webdriver::{Browser, key};

/// A sale in a demonstration, a browser that shows its page, and a look at its units beside it.
struct Scene {
    browser: Browser,
    beside: Buyer,
    address: SocketAddr,
    _demo: Demo,
}

impl Scene {
    /// Without a crowd: nobody but the test buys.
    fn start(arguments: &[&str]) -> Self {
        // First the browser, which takes longer than some sales do to open.
        let browser = Browser::start_with(&["--window-size=500,900"]);
        let mut demo = Demo::start(&[&["--buyers=0"], arguments].concat());
        let address = demo.address("buy");
        let beside = Buyer::connect(address).expect("connect");
        let scene = Self { browser, beside, address, _demo: demo };
        scene.open();
        scene
    }

    fn open(&self) {
        self.browser.open(&format!("http://{}/", self.address));
    }

    /// Waits until the page says this.
    #[track_caller]
    fn says(&self, what: &str) {
        self.browser.until_text("#what", what);
    }

    /// Waits until a button says this and can be pressed, and presses it.
    #[track_caller]
    fn press(&self, button: &str, label: &str) {
        self.browser.until(&format!("({CAN_PRESS})({button:?}, {label:?})"));
        self.browser.click(&format!("#{button}"));
    }

    /// Free, held and confirmed units, as soon as they are this: a view may be a little old.
    #[track_caller]
    fn units(&mut self, want: [u64; 3]) {
        let mut got = [u64::MAX; 3];
        for _ in 0..200 {
            let sale = self.beside.sale("ticket").expect("the sale");
            got = ["free", "held", "confirmed"].map(|name| sale[name].as_u64().expect("units"));
            if got == want {
                return;
            }
            std::thread::sleep(std::time::Duration::from_millis(50));
        }
        assert_eq!(got, want);
    }
}

const CAN_PRESS: &str = "(id, label) => { const button = document.getElementById(id); \
    return !button.hidden && button.textContent === label && button.ariaDisabled === 'false'; }";

/// Presses Enter, which must be on this element.
#[track_caller]
fn enter_on(browser: &Browser, id: &str, label: &str) {
    browser.until(&format!(
        "({CAN_PRESS})({id:?}, {label:?}) && document.activeElement.id === {id:?}"
    ));
    browser.press(&[key::ENTER]);
}

#[test]
fn a_person_waits_buys_and_pays() {
    let mut scene = Scene::start(&["--opens-in=15s", "--tickets=2", "--hold=10m"]);
    scene.says("Not open yet");
    let browser = &scene.browser;
    browser.until("/^0:(0\\d|1[0-5])$/.test(document.querySelector('#timer').innerText)");
    assert_eq!(browser.run("return document.querySelector('#first').ariaDisabled"), "true");
    scene.says("The sale is open");
    scene.press("first", "Buy one ticket");
    scene.says("Held for you");
    scene.browser.until("/^(9:5\\d|10:00)$/.test(document.querySelector('#timer').innerText)");
    scene.units([1, 1, 0]);
    scene.press("first", "Pay now");
    scene.says("The ticket is yours");
    scene.units([1, 0, 1]);
    // What the page shows of a reservation is the ledger's.
    let id = scene.browser.text("#id").replace("Reservation ", "");
    assert_eq!(scene.beside.reservation(&id).unwrap().json()["status"], "confirmed");
    scene.browser.assert_quiet(false);
    scene.press("first", "Try to buy a second one");
    scene.says("One per buyer");
    scene.units([1, 0, 1]);
    scene.press("second", "Look at my ticket");
    scene.says("The ticket is yours");
    scene.browser.assert_quiet(true);
}

#[test]
fn a_person_cancels_and_lets_a_hold_expire() {
    let mut scene = Scene::start(&["--opens-in=0s", "--tickets=1", "--hold=10s"]);
    scene.press("first", "Buy one ticket");
    scene.says("Held for you");
    scene.units([0, 1, 0]);
    scene.press("second", "Give it back");
    scene.says("Given back");
    scene.units([1, 0, 0]);
    scene.press("first", "Buy one ticket");
    scene.says("Held for you");
    scene.units([0, 1, 0]);
    scene.says("The hold has ended");
    scene.units([1, 0, 0]);
    scene.browser.assert_quiet(false);
}

#[test]
fn a_late_person_sees_sold_out_and_asks_again() {
    let mut scene = Scene::start(&["--opens-in=0s", "--tickets=1", "--hold=10m"]);
    scene.says("The sale is open");
    let bought = scene.beside.reserve("ticket", "ann", 1, "k").unwrap().bought();
    let id = bought.granted().expect("the only ticket");
    scene.press("first", "Buy one ticket");
    scene.says("Sold out");
    scene.browser.until_text("#why", "comes back");
    scene.beside.cancel(&id).unwrap();
    scene.browser.until_text("#why", "ask again");
    scene.press("first", "Ask again");
    scene.says("Held for you");
    scene.units([0, 1, 0]);
    scene.browser.assert_quiet(true);
}

#[test]
fn a_lost_answer_is_retried_with_the_same_key() {
    let mut scene = Scene::start(&["--opens-in=0s", "--tickets=5", "--hold=10m"]);
    scene.says("The sale is open");
    // The server has the first purchase, and the page never hears of it; the same with a payment.
    scene.browser.run(
        "const real = window.fetch; const lost = new Set(); window.keys = []; \
         window.fetch = async (path, options) => { \
             if (options.method !== 'POST') return real(path, options); \
             window.keys.push(options.headers['Idempotency-Key'] ?? 'none'); \
             const answer = await real(path, options); \
             if (lost.has(path)) return answer; \
             lost.add(path); throw new TypeError('lost'); }",
    );
    scene.press("first", "Buy one ticket");
    scene.says("It is not known yet");
    scene.units([4, 1, 0]);
    scene.says("Held for you");
    scene.units([4, 1, 0]);
    let keys = scene.browser.run("return window.keys");
    assert!(keys[0] == keys[1] && keys[0] != "none", "{keys}");
    scene.press("first", "Pay now");
    scene.says("It is not known yet");
    scene.says("The ticket is yours");
    scene.units([4, 0, 1]);
}

#[test]
fn a_reload_keeps_the_buyer_until_another_is_chosen() {
    let mut scene = Scene::start(&["--opens-in=0s", "--tickets=5", "--hold=10m"]);
    scene.press("first", "Buy one ticket");
    scene.says("Held for you");
    let me = scene.browser.text("#me");
    scene.open();
    scene.says("Held for you");
    assert_eq!(scene.browser.text("#me"), me);
    scene.units([4, 1, 0]);
    scene.press("first", "Pay now");
    scene.says("The ticket is yours");
    scene.press("second", "Be another buyer");
    scene.press("first", "Buy one ticket");
    scene.says("Held for you");
    assert_ne!(scene.browser.text("#me"), me);
    scene.units([3, 1, 1]);
}

#[test]
fn the_storefront_works_by_keyboard() {
    let mut scene = Scene::start(&["--opens-in=15s", "--tickets=1", "--hold=10m"]);
    scene.says("Not open yet");
    scene.browser.press(&[key::TAB]);
    enter_on(&scene.browser, "first", "Buy one ticket");
    enter_on(&scene.browser, "first", "Pay now");
    scene.says("The ticket is yours");
    scene.units([0, 0, 1]);
    // What is new is read to who does not see it; what ticks is not.
    for (id, role, live) in [("what", "status", "polite"), ("timer", "timer", "off")] {
        let script = format!(
            "const one = document.getElementById({id:?}).closest('[role]'); \
             return `${{one.role}} ${{one.ariaLive}}`"
        );
        assert_eq!(scene.browser.run(&script), format!("{role} {live}"));
    }
}

#[test]
fn the_storefront_fits_a_small_screen() {
    let scene = Scene::start(&["--opens-in=0s", "--tickets=1", "--hold=10m"]);
    for theme in ["light", "dark"] {
        let metrics =
            json!({ "width": 320, "height": 640, "deviceScaleFactor": 2, "mobile": true });
        scene.browser.devtools("Emulation.setDeviceMetricsOverride", metrics);
        let features = json!({ "features": [
            { "name": "prefers-color-scheme", "value": theme },
            { "name": "prefers-reduced-motion", "value": "reduce" },
        ] });
        scene.browser.devtools("Emulation.setEmulatedMedia", features);
        scene.says(if theme == "light" { "The sale is open" } else { "Held for you" });
        let sideways =
            "document.documentElement.scrollWidth > document.documentElement.clientWidth";
        assert_eq!(scene.browser.run(&format!("return {sideways}")), false, "{theme}");
        if let Some(folder) = std::env::var_os("BROWSER_SCREENSHOTS") {
            let file = std::path::Path::new(&folder).join(format!("storefront-{theme}.png"));
            std::fs::write(file, scene.browser.screenshot()).expect("a picture");
        }
        if theme == "light" {
            scene.press("first", "Buy one ticket");
        }
    }
}
