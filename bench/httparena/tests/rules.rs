//! Checks HttpArena's rules on the entry, and the claims of the entry's files.

use std::fs;
use std::io::{BufRead, BufReader};
use std::net::SocketAddr;
use std::path::Path;
use std::process::{Child, Command, Stdio};

use bench::httparena::rules::check;
use bench::load;
use clap::Parser;
use serde_json::Value;

/// A running entry. Dropping it ends the process.
struct Entry {
    process: Child,
    address: SocketAddr,
}

impl Entry {
    fn start() -> Self {
        let mut process = Command::new(env!("CARGO_BIN_EXE_httparena"))
            .args(["--listen", "127.0.0.1:0"])
            .stdout(Stdio::piped())
            .spawn()
            .expect("the entry starts");
        let mut line = String::new();
        let printed = process.stdout.take().expect("its output");
        BufReader::new(printed).read_line(&mut line).expect("a line");
        let address = line.split("http://").nth(1).and_then(|rest| rest.split(',').next());
        let address = address.and_then(|text| text.parse().ok());
        Self { process, address: address.unwrap_or_else(|| panic!("no address in {line:?}")) }
    }
}

impl Drop for Entry {
    fn drop(&mut self) {
        let _ = self.process.kill();
        let _ = self.process.wait();
    }
}

fn file(name: &str) -> String {
    let path = Path::new(env!("CARGO_MANIFEST_DIR")).join(name);
    fs::read_to_string(&path).unwrap_or_else(|error| panic!("{}: {error}", path.display()))
}

#[test]
fn every_rule_of_httparena_holds() {
    let mut entry = Entry::start();
    for finding in check(entry.address) {
        assert!(finding.found.is_ok(), "{}: {}: {:?}", finding.test, finding.rule, finding.found);
    }
    let ended = entry.process.try_wait().expect("its state");
    assert_eq!(ended, None, "it goes on");
}

/// The load of `bench/run httparena`.
#[test]
fn the_request_mix_of_httparena_is_answered() {
    let entry = Entry::start();
    let to = entry.address.to_string();
    let words = ["load", "--to", &to, "--target", "/baseline11?a=13&b=42", "--and-post", "20"];
    let words = words.into_iter().chain(["--renew-after", "10", "--connections", "30"]);
    let words =
        words.chain(["--requests", "3000", "--expect", "sum,sum_with_body", "--cores", "0"]);
    let settings = load::settings::Settings::try_parse_from(words).expect("legal words");
    let report = load::run(&settings, Default::default()).expect("a run");
    assert_eq!(report.complaint(), None);
    let answers: Vec<_> = report.answers.iter().map(|(kind, count)| (&**kind, *count)).collect();
    assert_eq!(answers, [("sum", 1_000), ("sum_with_body", 2_000)]);
    assert!(report.renewed >= 3_000 / 10 - 30, "{}", report.renewed);
}

#[test]
fn the_entry_drains_on_sigterm() {
    let mut entry = Entry::start();
    let id = entry.process.id().to_string();
    // Also with a connection that is open.
    let _idle = std::net::TcpStream::connect(entry.address).expect("connect");
    assert!(Command::new("kill").args(["-TERM", &id]).status().expect("kill runs").success());
    assert!(entry.process.wait().expect("its end").success());
}

#[test]
fn the_entry_files_match_what_httparena_expects() {
    let meta: Value = serde_json::from_str(&file("meta.json")).expect("JSON");
    assert_eq!(meta["type"], "engine");
    assert_eq!(meta["tests"], serde_json::json!(["baseline", "pipelined", "limited-conn"]));
    let dockerfile = file("Dockerfile");
    // HttpArena's verifier refuses images without a version.
    let images: Vec<_> = dockerfile.lines().filter(|line| line.starts_with("FROM ")).collect();
    assert!(images.len() == 2 && images.iter().all(|image| image.contains(':')), "{images:?}");
    assert!(dockerfile.contains("EXPOSE 8080\n") && dockerfile.ends_with("CMD [\"httparena\"]\n"));
    // The image runs the entry without options: the port is the default.
    let main = file("src/main.rs");
    assert!(main.contains("default_value = \"0.0.0.0:8080\""));
    for used in main.split("stampede::").skip(1) {
        assert!(used.starts_with("engine::"), "it takes more than the engine: {used}");
    }
}
