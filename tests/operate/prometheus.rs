//! A real Prometheus for a test: its own process, port and folder, removed on drop.

use std::fs;
use std::net::SocketAddr;
use std::path::{Path, PathBuf};
use std::process::{Command, Output, Stdio};
use std::thread;
use std::time::{Duration, Instant};

use serde_json::Value;
use tempfile::TempDir;

use crate::redis::port::Port;
use crate::server::ANSWER_DEADLINE;
use crate::tuning::{Running, folder, text};

const NEEDS: &str = "this test needs Prometheus: apt-get install prometheus";
/// Time for a query to have data, and for a Prometheus to start, on a busy machine.
const DATA_DEADLINE: Duration = Duration::from_secs(60);

/// Runs `promtool` in the folder of our files, with these bytes to read.
pub fn promtool(arguments: &[&str], input: &[u8]) -> Output {
    let file = tempfile::NamedTempFile::new().expect("a file");
    fs::write(file.path(), input).expect("write the input");
    let mut command = Command::new("promtool");
    command.args(arguments).current_dir(folder().join("observe"));
    command.stdin(fs::File::open(file.path()).expect("the input"));
    command.output().expect(NEEDS)
}

/// The output of `promtool`, if it found nothing wrong.
#[track_caller]
pub fn assert_right(told: &Output) {
    let said = [&told.stdout[..], &told.stderr].concat();
    let said = String::from_utf8_lossy(&said);
    assert!(told.status.success(), "{said}");
    // It warns of some things and succeeds.
    assert!(!said.to_lowercase().contains("warn"), "{said}");
}

/// Our example of a configuration, with a file that holds this token, and these servers, if any, in
/// place of its own, scraped every second.
pub fn configuration(into: &Path, token: &str, servers: &[SocketAddr]) -> PathBuf {
    let (file, held) = (into.join("prometheus.yml"), into.join("stampede.token"));
    fs::write(&held, format!("{token}\n")).expect("write the token");
    fs::write(into.join("alerts.yml"), text("observe/alerts.yml")).expect("write the alerts");
    let example = text("observe/prometheus.yml");
    let in_example = "/etc/prometheus/stampede.token";
    assert!(example.contains(in_example));
    let mut ours = example.replace(in_example, held.to_str().expect("a path"));
    if !servers.is_empty() {
        let (before, _) = ours.split_once("      - targets:\n").expect("targets");
        let targets: String = servers.iter().map(|one| format!("          - {one}\n")).collect();
        ours = format!("{before}      - targets:\n{targets}").replace(": 5s\n", ": 1s\n");
    }
    fs::write(&file, ours).expect("write the configuration");
    file
}

/// A running Prometheus.
pub struct Prometheus {
    port: Port,
    _process: Running,
    _folder: TempDir,
}

impl Prometheus {
    /// Starts one that scrapes these servers and shows them this token.
    pub fn start(token: &str, servers: &[SocketAddr]) -> Self {
        let folder = tempfile::tempdir().expect("a temporary folder");
        let configuration = configuration(folder.path(), token, servers);
        let port = Port::free();
        let log = fs::File::create(folder.path().join("log")).expect("a log");
        let mut command = Command::new("prometheus");
        command.arg(format!("--config.file={}", configuration.display()));
        command.arg(format!("--storage.tsdb.path={}", folder.path().join("data").display()));
        command.arg(format!("--web.listen-address=127.0.0.1:{}", port.number()));
        command.stdin(Stdio::null()).stdout(Stdio::null()).stderr(log);
        let prometheus =
            Self { port, _process: Running(command.spawn().expect(NEEDS)), _folder: folder };
        let deadline = Instant::now() + DATA_DEADLINE;
        while prometheus.try_get("/-/ready", "").is_none() {
            let log = || fs::read_to_string(prometheus._folder.path().join("log"));
            assert!(Instant::now() < deadline, "Prometheus did not start: {:?}", log());
            thread::sleep(Duration::from_millis(50));
        }
        prometheus
    }

    fn try_get(&self, path: &str, parameter: &str) -> Option<String> {
        let mut command = Command::new("curl");
        command.args(["-sS", "--fail-with-body", "-G", "--max-time"]);
        command.arg(ANSWER_DEADLINE.as_secs().to_string());
        if !parameter.is_empty() {
            command.args(["--data-urlencode", parameter]);
        }
        command.arg(format!("http://127.0.0.1:{}{path}", self.port.number()));
        let told = command.output().expect("this test needs curl: apt-get install curl");
        let is_right = told.status.success();
        let text = String::from_utf8_lossy(&told.stdout).into_owned();
        assert!(is_right || !text.contains("\"error\""), "{parameter}: {text}");
        is_right.then_some(text)
    }

    /// What its API answers.
    #[track_caller]
    pub fn get(&self, path: &str, parameter: &str) -> Value {
        let text = self.try_get(path, parameter).unwrap_or_else(|| panic!("{path} {parameter}"));
        let answer: Value = serde_json::from_str(&text).expect("JSON");
        assert_eq!(answer["status"], "success", "{parameter}: {answer}");
        answer["data"].clone()
    }

    /// The present values of a query, without those that are no number.
    #[track_caller]
    pub fn query(&self, query: &str) -> Vec<f64> {
        let data = self.get("/api/v1/query", &format!("query={query}"));
        let series = data["result"].as_array().cloned().unwrap_or_default();
        let value = |one: &Value| one["value"][1].as_str()?.parse::<f64>().ok();
        series.iter().filter_map(value).filter(|value| !value.is_nan()).collect()
    }

    /// Waits until a query has the right values.
    #[track_caller]
    pub fn until(&self, query: &str, is_right: impl Fn(&[f64]) -> bool) -> Vec<f64> {
        let deadline = Instant::now() + DATA_DEADLINE;
        loop {
            let values = self.query(query);
            if is_right(&values) {
                return values;
            }
            assert!(Instant::now() < deadline, "{query}: {values:?}");
            thread::sleep(Duration::from_millis(200));
        }
    }
}
