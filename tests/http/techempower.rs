//! The rules of TechEmpower's two tests, and that the entry in `bench/techempower` is true.

use serde_json::Value;

use crate::server::Server;
use crate::techempower_rules::{TESTS, check};

const CONFIG_JSON: &str = include_str!("../../bench/techempower/benchmark_config.json");
const CONFIG_TOML: &str = include_str!("../../bench/techempower/config.toml");
const DOCKERFILE: &str = include_str!("../../bench/techempower/stampede.dockerfile");

/// The command of the image.
fn command() -> Vec<String> {
    let line = DOCKERFILE.lines().find_map(|line| line.strip_prefix("CMD ")).expect("a CMD");
    serde_json::from_str(line).expect("the exec form")
}

#[test]
fn every_rule_of_techempower_holds() {
    let mut words = command().into_iter();
    assert_eq!(words.next().as_deref(), Some("stampede"));
    // Its options, but for the port and the folder.
    let words: Vec<String> = words.collect();
    let ours = words.chunks(2).filter(|pair| !["--listen", "--ledger"].contains(&&*pair[0]));
    let options: Vec<&str> = ours.flatten().map(String::as_str).collect();
    assert_eq!(options, ["--control", "off"]);
    let server = Server::start(&options);
    let findings = check(server.address());
    assert!(TESTS.iter().all(|test| findings.iter().any(|finding| finding.test == test.name)));
    for finding in findings {
        assert!(finding.found.is_ok(), "{}: {}: {:?}", finding.test, finding.rule, finding.found);
    }
}

#[test]
fn the_entry_lists_the_served_paths() {
    let json: Value = serde_json::from_str(CONFIG_JSON).expect("JSON");
    let test = &json["tests"][0]["default"];
    let toml: toml::Table = CONFIG_TOML.parse().expect("TOML");
    let main = &toml["main"];
    for served in TESTS {
        assert_eq!(test[format!("{}_url", served.name)], served.path);
        assert_eq!(main["urls"][served.name].as_str(), Some(served.path));
    }
    for same in ["approach", "classification", "orm", "platform", "webserver", "os", "versus"] {
        assert_eq!(test[same].as_str(), main[same].as_str(), "{same}");
    }
    assert_eq!(json["framework"].as_str(), toml["framework"]["name"].as_str());
    let listen = format!("0.0.0.0:{}", test["port"]);
    assert!(command().contains(&listen), "{listen}");
    assert!(DOCKERFILE.contains(&format!("EXPOSE {}\n", test["port"])));
}
