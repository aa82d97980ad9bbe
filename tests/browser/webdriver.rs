//! A browser for a test: Chromium, led through chromedriver by WebDriver (W3C), with a profile of its
//! own. All of it is gone when it is dropped.

use std::fs;
use std::io::{BufRead, BufReader};
use std::path::Path;
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};

use base64::Engine;
use base64::prelude::BASE64_STANDARD;
use rustix::process::{Pid, Signal, kill_process};
use serde_json::{Value, json};
use tempfile::TempDir;
use ureq::Agent;

/// Time for anything that a browser is asked.
const ANSWER_DEADLINE: Duration = Duration::from_secs(60);
/// Time for anything to be seen that must be.
pub const SEEN_DEADLINE: Duration = Duration::from_secs(60);
const LOOK_INTERVAL: Duration = Duration::from_millis(50);
/// The name of a reference to an element in WebDriver's JSON.
const ELEMENT: &str = "element-6066-11e4-a52e-4f735466cecf";

/// Keys that have no letter, as WebDriver names them.
pub mod key {
    /// To the next element.
    pub const TAB: &str = "\u{e004}";
    /// Presses a button.
    pub const ENTER: &str = "\u{e007}";
    /// Closes a dialog.
    pub const ESCAPE: &str = "\u{e00c}";
    /// Held while another key is pressed.
    pub const SHIFT: &str = "\u{e008}";
}

/// A window of Chromium.
pub struct Browser {
    driver: Child,
    profile: TempDir,
    agent: Agent,
    /// The address of its session.
    session: String,
}

impl Browser {
    /// Starts one with a window of 1280 by 900 pixels.
    pub fn start() -> Self {
        Self::start_with(&[])
    }

    /// The same with more options of Chromium.
    pub fn start_with(options: &[&str]) -> Self {
        let profile = tempfile::tempdir().expect("a folder");
        let mut driver = Command::new("chromedriver")
            .args(["--port=0", "--log-level=SEVERE"])
            .env("TMPDIR", profile.path())
            .stdin(Stdio::null())
            .stdout(Stdio::piped())
            .stderr(Stdio::null())
            .spawn()
            .unwrap_or_else(|error| panic!("chromedriver: {error}: run tests/browser/run"));
        let stdout = driver.stdout.take().expect("its output");
        let agent = Agent::config_builder()
            .http_status_as_error(false)
            .timeout_global(Some(ANSWER_DEADLINE))
            .build()
            .into();
        // From here on it is stopped, whatever happens.
        let mut browser = Self { driver, profile, agent, session: String::new() };
        let mut lines = BufReader::new(stdout).lines().map_while(Result::ok);
        let port = lines.find_map(|line| {
            let port = line.split_once("successfully on port ")?.1;
            port.trim_end_matches('.').parse::<u16>().ok()
        });
        let driver = format!("http://127.0.0.1:{}", port.expect("chromedriver has a port"));
        std::thread::spawn(move || lines.for_each(drop));
        let data = format!("--user-data-dir={}", browser.profile.path().join("data").display());
        let mut arguments = vec![
            "--headless=new",
            "--no-sandbox",
            "--disable-gpu",
            "--disable-dev-shm-usage",
            "--no-first-run",
            "--disable-background-networking",
            "--disable-component-update",
            "--disable-sync",
            "--disable-quic",
            "--window-size=1280,900",
            "--hide-scrollbars",
            &data,
        ];
        arguments.extend(options);
        let wanted = json!({ "capabilities": { "alwaysMatch": {
            "browserName": "chrome",
            "goog:chromeOptions": { "binary": "/usr/bin/chromium", "args": arguments },
            "goog:loggingPrefs": { "browser": "ALL" },
        } } });
        let made = browser.ask("POST", &format!("{driver}/session"), &wanted);
        let id = made["sessionId"].as_str().expect("a session");
        browser.session = format!("{driver}/session/{id}");
        browser
    }

    /// Opens an address.
    #[track_caller]
    pub fn open(&self, url: &str) {
        self.command("POST", "url", json!({ "url": url }));
    }

    /// Runs the body of a function in the page. Gives what it returns.
    #[track_caller]
    pub fn run(&self, script: &str) -> Value {
        self.command("POST", "execute/sync", json!({ "script": script, "args": [] }))
    }

    /// The same of a body that may `await`.
    #[track_caller]
    pub fn run_async(&self, script: &str) -> Value {
        let script = format!(
            "const done = arguments[0]; (async () => {{ {script} }})().then(done, (e) => done(`${{e}}`));"
        );
        self.command("POST", "execute/async", json!({ "script": script, "args": [] }))
    }

    /// The text of an element as a reader sees it. Empty: there is none, or it is hidden.
    #[track_caller]
    pub fn text(&self, css: &str) -> String {
        let script = format!(
            "const one = document.querySelector({css:?}); return one?.checkVisibility() ? one.innerText : ''"
        );
        self.run(&script).as_str().expect("text").trim().to_owned()
    }

    /// Waits until something is so in the page. The expression is one of its script.
    #[track_caller]
    pub fn until(&self, expression: &str) -> Value {
        let until = Instant::now() + SEEN_DEADLINE;
        loop {
            let value = self.run(&format!("return ({expression})"));
            if value.as_bool() == Some(true) || value.is_object() || value.is_number() {
                return value;
            }
            if Instant::now() > until {
                let text = self.text("body");
                panic!("never: {expression}; the page says: {text}\n{:#?}", self.console());
            }
            std::thread::sleep(LOOK_INTERVAL);
        }
    }

    /// Waits until an element has this text in it.
    #[track_caller]
    pub fn until_text(&self, css: &str, text: &str) {
        self.until(&format!(
            "(document.querySelector({css:?})?.innerText ?? '').includes({text:?})"
        ));
    }

    /// Clicks at an element, as a mouse does: it must be in view and not covered.
    #[track_caller]
    pub fn click(&self, css: &str) {
        self.command("POST", &format!("element/{}/click", self.element(css)), json!({}));
    }

    /// Types into an element in place of what it has.
    #[track_caller]
    pub fn fill(&self, css: &str, text: &str) {
        let element = self.element(css);
        self.command("POST", &format!("element/{element}/clear"), json!({}));
        self.command("POST", &format!("element/{element}/value"), json!({ "text": text }));
    }

    #[track_caller]
    fn element(&self, css: &str) -> String {
        let found =
            self.command("POST", "element", json!({ "using": "css selector", "value": css }));
        found[ELEMENT].as_str().expect("an element").to_owned()
    }

    /// Presses keys one after the other, wherever the focus is.
    #[track_caller]
    pub fn press(&self, keys: &[&str]) {
        let press = |key: &&str| {
            [json!({ "type": "keyDown", "value": key }), json!({ "type": "keyUp", "value": key })]
        };
        self.keys(keys.iter().flat_map(press).collect());
    }

    /// Presses a key while another is held.
    #[track_caller]
    pub fn press_with(&self, held: &str, key: &str) {
        let step = |kind, value| json!({ "type": kind, "value": value });
        self.keys(vec![
            step("keyDown", held),
            step("keyDown", key),
            step("keyUp", key),
            step("keyUp", held),
        ]);
    }

    #[track_caller]
    fn keys(&self, steps: Vec<Value>) {
        let keyboard = json!({ "type": "key", "id": "keyboard", "actions": steps });
        self.command("POST", "actions", json!({ "actions": [keyboard] }));
    }

    /// Has Chromium do something that WebDriver has no word for.
    #[track_caller]
    pub fn devtools(&self, name: &str, parameters: Value) -> Value {
        let body = json!({ "cmd": name, "params": parameters });
        self.command("POST", "goog/cdp/execute", body)
    }

    /// What is in view, as a PNG.
    #[track_caller]
    pub fn screenshot(&self) -> Vec<u8> {
        let shot = self.command("GET", "screenshot", Value::Null);
        BASE64_STANDARD.decode(shot.as_str().expect("a picture")).expect("base64")
    }

    /// What the console has had since the last look: each line with its level and source.
    #[track_caller]
    pub fn console(&self) -> Vec<String> {
        let lines = self.command("POST", "se/log", json!({ "type": "browser" }));
        let lines = lines.as_array().expect("lines").iter();
        lines
            .map(|line| format!("{} {} {}", line["level"], line["source"], line["message"]))
            .collect()
    }

    /// No script has failed, and nothing was against the page's policy. Answers that are no 2xx are in
    /// the console, too: `refused` says whether any were to come.
    #[track_caller]
    pub fn assert_quiet(&self, refused: bool) {
        let is_answer = |line: &String| line.starts_with("\"SEVERE\" \"network\"");
        let lines: Vec<_> =
            self.console().into_iter().filter(|line| !(refused && is_answer(line))).collect();
        assert!(lines.is_empty(), "{lines:#?}");
    }

    #[track_caller]
    fn command(&self, method: &str, path: &str, body: Value) -> Value {
        self.ask(method, &format!("{}/{path}", self.session), &body)
    }

    #[track_caller]
    fn ask(&self, method: &str, url: &str, body: &Value) -> Value {
        let (status, answer) = self.try_ask(method, url, body).unwrap_or_else(|error| {
            panic!("{method} {url}: {error}");
        });
        assert_eq!(status, 200, "{method} {url}: {answer}");
        answer["value"].clone()
    }

    fn try_ask(&self, method: &str, url: &str, body: &Value) -> Result<(u16, Value), ureq::Error> {
        let mut answer = match method {
            "GET" => self.agent.get(url).call()?,
            "DELETE" => self.agent.delete(url).call()?,
            _ => {
                let request = self.agent.post(url).header("Content-Type", "application/json");
                request.send(body.to_string())?
            }
        };
        let body = answer.body_mut().with_config().limit(64 * 1024 * 1024).read_to_string()?;
        Ok((answer.status().as_u16(), serde_json::from_str(&body).unwrap_or(Value::Null)))
    }
}

impl Drop for Browser {
    fn drop(&mut self) {
        if !self.session.is_empty() {
            let _ = self.try_ask("DELETE", &self.session, &Value::Null);
        }
        let _ = self.driver.kill();
        let _ = self.driver.wait();
        // Whatever of Chromium did not end with its session: each process names the profile.
        processes_of(self.profile.path()).into_iter().for_each(|process| {
            let _ = kill_process(process, Signal::KILL);
        });
    }
}

/// Processes that have a folder in their arguments.
fn processes_of(folder: &Path) -> Vec<Pid> {
    let folder = folder.to_string_lossy().into_owned();
    let all = fs::read_dir("/proc").into_iter().flatten().flatten();
    all.filter_map(|entry| {
        let id = entry.file_name().to_str()?.parse().ok()?;
        let arguments = fs::read(entry.path().join("cmdline")).ok()?;
        String::from_utf8_lossy(&arguments).contains(&folder).then(|| Pid::from_raw(id))?
    })
    .collect()
}
