//! Pictures of the page under load and in its other states, for people to look at. `live-page.png` is
//! the one of the README.

use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::thread;
use std::time::{Duration, Instant};

use serde_json::json;

use crate::buyer::Buyer;
use crate::control::{OPERATOR, ask, guarded};
use crate::server::Server;
use crate::webdriver::Browser;
use crate::{open, open_live};

/// Names the folder that the pictures are left in: `tests/browser/run --screenshots DIR` sets it.
const FOLDER: &str = "BROWSER_SCREENSHOTS";
/// The first bytes of each PNG.
const PNG: &[u8] = b"\x89PNG\r\n\x1a\n";
/// Most bytes of the README's picture.
const README_BYTES_MAX: usize = 200_000;

/// Buyers of the sale that runs, and the time that each takes to decide.
const BUYERS: u64 = 8;
const PAUSE: Duration = Duration::from_millis(40);

struct Album {
    folder: PathBuf,
    _own: Option<tempfile::TempDir>,
    /// Whether somebody will look at the pictures, so that the sale is to run for a while.
    is_kept: bool,
}

impl Album {
    fn open() -> Self {
        match std::env::var_os(FOLDER) {
            Some(folder) => {
                std::fs::create_dir_all(&folder).expect("a folder");
                Self { folder: folder.into(), _own: None, is_kept: true }
            }
            None => {
                let own = tempfile::tempdir().expect("a folder");
                Self { folder: own.path().to_owned(), _own: Some(own), is_kept: false }
            }
        }
    }

    /// Takes a picture of so many pixels of the page's top, or of all of it.
    fn take(&self, browser: &Browser, name: &str, width: u32, height: Option<u32>) -> usize {
        let set = |height: u64| {
            browser.devtools(
                "Emulation.setDeviceMetricsOverride",
                json!({ "width": width, "height": height, "deviceScaleFactor": 1, "mobile": width < 500 }),
            );
            // Drawn anew for this size.
            browser.until(&format!("innerWidth === {width} && innerHeight === {height}"));
            browser.run_async("await new Promise((resolve) => requestAnimationFrame(() => requestAnimationFrame(resolve)))");
        };
        set(height.unwrap_or(900).into());
        if height.is_none() {
            let all = browser.run("return Math.min(document.documentElement.scrollHeight, 8000)");
            set(all.as_u64().expect("pixels"));
        }
        let fits = browser.run("return document.documentElement.scrollWidth <= innerWidth");
        assert_eq!(fits, true, "{name}: the page is wider than {width} pixels");
        let picture = browser.screenshot();
        assert!(picture.starts_with(PNG), "{name} is no picture");
        std::fs::write(self.path(name), &picture).expect("a picture");
        picture.len()
    }

    fn path(&self, name: &str) -> PathBuf {
        Path::new(&self.folder).join(format!("{name}.png"))
    }
}

fn set_dark(browser: &Browser, dark: bool) {
    let value = if dark { "dark" } else { "light" };
    let feature = json!({ "name": "prefers-color-scheme", "value": value });
    browser.devtools("Emulation.setEmulatedMedia", json!({ "features": [feature] }));
}

/// A crowd that asks a sale that is sold out: `wrk`, which ends when this is dropped.
struct Rejected(Child);

impl Rejected {
    fn start(server: &Server) -> Self {
        let url = format!("http://{}/buy/ticket", server.address());
        let child = Command::new("wrk")
            .args(["-t1", "-c32", "-d600s", &url])
            .stdout(Stdio::null())
            .spawn()
            .unwrap_or_else(|error| panic!("wrk: {error}: run tests/browser/run"));
        Self(child)
    }
}

impl Drop for Rejected {
    fn drop(&mut self) {
        let _ = self.0.kill();
        let _ = self.0.wait();
    }
}

/// Buys from the sale `festival` until it is to end. Two of three reservations are paid for.
fn buy(server: &Server, ends: &AtomicBool, number: &AtomicU64) {
    let mut buyer = Buyer::connect(server.address()).expect("a connection");
    while !ends.load(Ordering::Relaxed) {
        let number = number.fetch_add(1, Ordering::Relaxed);
        let answer =
            buyer.reserve("festival", &format!("user-{number}"), 1 + number as u32 % 2, "");
        if let Some(id) = answer.expect("an answer").bought().granted()
            && !number.is_multiple_of(3)
        {
            ask(server, "POST", &format!("/v1/reservations/{id}/confirm"), None);
        }
        thread::sleep(PAUSE);
    }
}

#[test]
fn pictures_of_a_running_sale() {
    let album = Album::open();
    let orders = tempfile::tempdir().expect("a folder");
    let orders = format!("sqlite:{}", orders.path().join("orders.db").display());
    let mut options = vec!["--cores", "0,1", "--orders", &orders, "--instance", "north-1"];
    for sale in ["festival=20000,hold=1m,limit=4", "matinee=300", "ticket=1"] {
        options.extend(["--sale", sale]);
    }
    let server = Server::start(&options);
    ask(&server, "POST", "/v1/sales/matinee/close", None);
    crate::client::assert_sells(&server);
    let browser = Browser::start();
    set_dark(&browser, false);
    open_live(&browser, &server);
    browser.until_text("#sale-title", "festival");
    let (ends, number) = (AtomicBool::new(false), AtomicU64::new(0));
    thread::scope(|scope| {
        let _crowd = Rejected::start(&server);
        for _ in 0..BUYERS {
            scope.spawn(|| buy(&server, &ends, &number));
        }
        let watched = Instant::now();
        let time = Duration::from_secs(if album.is_kept { 58 } else { 5 });
        // The page must have something to draw; how much is a matter of looks.
        while watched.elapsed() < time {
            browser.until("document.body.dataset.state === 'live'");
            thread::sleep(Duration::from_millis(250));
        }
        let bytes = album.take(&browser, "live-page", 1280, Some(1440));
        assert!(bytes < README_BYTES_MAX, "{bytes} bytes");
        album.take(&browser, "running-light", 1280, None);
        set_dark(&browser, true);
        album.take(&browser, "running-dark", 1280, None);
        set_dark(&browser, false);
        album.take(&browser, "running-tablet", 820, None);
        album.take(&browser, "running-phone", 390, None);
        ends.store(true, Ordering::Relaxed);
    });
    browser.assert_quiet(false);
}

#[test]
fn pictures_of_the_other_states() {
    let album = Album::open();
    let browser = Browser::start();
    let guarded = guarded(&["--sale", "ticket=10"]);
    open(&browser, &guarded.server);
    browser.until("!document.querySelector('#door').hidden");
    album.take(&browser, "token-wanted", 1280, Some(700));
    set_dark(&browser, true);
    album.take(&browser, "token-wanted-phone-dark", 390, Some(700));
    set_dark(&browser, false);
    browser.fill("#door-token", "wrong-0123456789abcdef");
    browser.click("#door-form button");
    browser.until_text("#door-error", "not the control port's token");
    album.take(&browser, "token-refused", 1280, Some(700));
    browser.fill("#door-token", OPERATOR);
    browser.click("#door-form button");
    browser.until_text("#sale-title", "ticket");
    browser.click("#create");
    album.take(&browser, "create-phone", 390, Some(800));
    album.take(&browser, "create", 1280, Some(800));
    browser.click("#dialog-cancel");
    browser.click("#close");
    album.take(&browser, "confirm", 1280, Some(800));
    browser.click("#dialog-cancel");
    browser.until("!document.querySelector('#dialog').open");
    ask(&guarded.server, "POST", "/v1/sales/ticket/close", None);
    ask(&guarded.server, "DELETE", "/v1/sales/ticket", None);
    browser.until_text("#sales-empty", "No sale yet");
    album.take(&browser, "empty", 1280, Some(900));
    drop(guarded);
    browser.until("document.body.dataset.state === 'lost'");
    album.take(&browser, "disconnected", 1280, Some(900));
    album.take(&browser, "disconnected-phone", 390, Some(800));
}
