//! `tuning/observe/`: the files of Prometheus and Grafana, tried with Prometheus itself.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

use serde_json::Value;

use crate::prometheus::{Prometheus, assert_right, configuration, promtool};
use crate::scene::{LOOKS, Meanwhile, Scene, ask};
use crate::tuning::text;

#[test]
fn promtool_accepts_the_alerts_and_the_configuration() {
    assert_right(&promtool(&["check", "rules", "alerts.yml"], b""));
    assert_right(&promtool(&["test", "rules", "alerts_test.yml"], b""));
    let folder = tempfile::tempdir().expect("a temporary folder");
    let file = configuration(folder.path(), LOOKS, &[]);
    assert_right(&promtool(&["check", "config", file.to_str().expect("a path")], b""));
}

/// The names after `key`, each with what follows it up to the next.
fn parts<'a>(text: &'a str, key: &str) -> Vec<(&'a str, &'a str)> {
    let part = |part: &'a str| part.split_once('\n').map_or((part, ""), |(a, b)| (a.trim(), b));
    text.split(key).skip(1).map(part).collect()
}

#[test]
fn every_alert_is_documented_and_tested_both_ways() {
    let (rules, tests) = (text("observe/alerts.yml"), text("observe/alerts_test.yml"));
    let page = include_str!("../../docs/operate.md");
    let mut tested: BTreeMap<&str, (bool, bool)> = BTreeMap::new();
    for (name, expected) in parts(&tests, "alertname: ") {
        let seen = tested.entry(name).or_default();
        match expected.trim_start().starts_with("exp_alerts: []") {
            true => seen.1 = true,
            false => seen.0 = true,
        }
    }
    let alerts = parts(&rules, "- alert: ");
    assert!(alerts.len() >= 16, "{}", alerts.len());
    for (name, rule) in &alerts {
        for key in ["severity", "summary", "description"] {
            assert!(rule.contains(&format!(" {key}: ")), "{name} lacks {key}");
        }
        let anchor = format!("runbook: docs/operate.md#alert-{}\n", name.to_lowercase());
        assert!(rule.contains(&anchor) || rule.ends_with(anchor.trim_end()), "{name}: {anchor}");
        assert!(page.contains(&format!("\n### Alert {name}\n")), "{name} is not in operate.md");
        assert_eq!(tested.get(name), Some(&(true, true)), "{name}: fires, does not");
    }
    let names: BTreeSet<_> = alerts.iter().map(|(name, _)| *name).collect();
    let documented: BTreeSet<_> =
        page.lines().filter_map(|line| line.strip_prefix("### Alert ")).collect();
    assert_eq!(documented, names);
    assert_eq!(tested.keys().copied().collect::<BTreeSet<_>>(), names);
}

/// The metrics that the conditions of rules name.
fn metrics_in(rules: &str) -> BTreeSet<String> {
    let conditions = parts(rules, "expr: ").into_iter().flat_map(|(first, rest)| {
        let more = rest.lines().take_while(|line| !line.contains(':') || line.contains("{"));
        [first].into_iter().chain(more)
    });
    let is_name = |word: &&str| word.starts_with("stampede_") || word.starts_with("process_");
    let names = |line: &str| -> Vec<String> {
        let words = line.split(|c: char| !(c.is_ascii_alphanumeric() || c == '_'));
        words.filter(is_name).map(str::to_owned).collect()
    };
    conditions.flat_map(names).collect()
}

/// Panels of the dashboard, those within rows too.
fn panels(dashboard: &Value) -> Vec<Value> {
    let of = |value: &Value| value["panels"].as_array().cloned().unwrap_or_default();
    of(dashboard).into_iter().flat_map(|panel| [of(&panel), vec![panel]].concat()).collect()
}

#[test]
fn the_dashboard_is_valid_for_grafana() {
    let dashboard: Value = serde_json::from_str(&text("observe/dashboard.json")).expect("JSON");
    assert_eq!(dashboard["uid"], "stampede");
    assert!(dashboard["schemaVersion"].as_u64().is_some_and(|version| version >= 36));
    assert!(dashboard["id"].is_null(), "the id is Grafana's to give");
    let variables = dashboard["templating"]["list"].as_array().expect("variables");
    assert_eq!(
        (&variables[0]["name"], &variables[0]["type"]),
        (&"datasource".into(), &"datasource".into())
    );
    let mut ids = BTreeSet::new();
    let mut places = BTreeSet::new();
    let mut rows = Vec::new();
    for panel in panels(&dashboard) {
        let title = panel["title"].as_str().expect("a title").to_owned();
        assert!(ids.insert(panel["id"].as_u64()), "{title}: its id is taken");
        let place = |name: &str| panel["gridPos"][name].as_u64().expect("a place");
        assert!(place("x") + place("w") <= 24, "{title} is too wide");
        for x in place("x")..place("x") + place("w") {
            for y in place("y")..place("y") + place("h") {
                assert!(places.insert((x, y)), "{title} covers another");
            }
        }
        if panel["type"] == "row" {
            rows.push(title);
            continue;
        }
        let targets = panel["targets"].as_array().expect("queries");
        for source in
            targets.iter().map(|target| &target["datasource"]).chain([&panel["datasource"]])
        {
            assert_eq!(source["uid"], "${datasource}", "{title}");
        }
        let unit = &panel["fieldConfig"]["defaults"]["unit"];
        assert!(panel["type"] == "table" || unit.is_string(), "{title} has no unit");
    }
    for row in ["Buyers", "Ledger", "Connections", "Cores", "Process"] {
        assert!(rows.iter().any(|title| title == row), "{row} is not among {rows:?}");
    }
}

#[test]
fn promtool_accepts_the_metrics_of_servers() {
    let scene = Scene::start();
    scene.buy();
    scene.audit();
    for server in scene.servers() {
        let told = ask(server, "/metrics", LOOKS, "");
        assert_eq!(told.status(), 200);
        assert_right(&promtool(&["check", "metrics"], &told.body));
    }
}

#[test]
fn prometheus_has_data_for_every_panel_and_alert() {
    let scene = Arc::new(Scene::start());
    scene.audit();
    let theirs = scene.clone();
    let buyers = Meanwhile::start(move || theirs.buy());
    let targets = scene.servers().map(|server| server.control());
    let prometheus = Prometheus::start(LOOKS, &targets);
    let all = |values: &[f64]| values == [1.0; 3];
    prometheus.until("up{job=\"stampede\"}", all);
    // Only OpenMetrics has units, so that form was read.
    let unit = |metric: &str| {
        let data = prometheus.get("/api/v1/targets/metadata", &format!("metric={metric}"));
        (data[0]["type"].clone(), data[0]["unit"].clone())
    };
    let seconds = "stampede_purchase_duration_seconds";
    assert_eq!(unit(seconds), ("histogram".into(), "seconds".into()));
    assert_eq!(unit("stampede_received_bytes"), ("counter".into(), "bytes".into()));
    let granted =
        "sum by (instance) (stampede_purchases_total{sale=\"ticket\", outcome=\"granted\"})";
    prometheus.until(granted, |values| values == [20.0; 3]);
    let counted = "stampede_purchase_duration_seconds_count > 0";
    prometheus.until(counted, |values| values.len() == 3);

    let dashboard: Value = serde_json::from_str(&text("observe/dashboard.json")).expect("JSON");
    let mut queries = 0;
    for panel in panels(&dashboard) {
        for target in panel["targets"].as_array().into_iter().flatten() {
            let query = target["expr"].as_str().expect("a query");
            let query = query.replace("$instance", ".*").replace("$__rate_interval", "10s");
            assert!(!query.contains('$'), "{query}");
            prometheus.until(&query, |values| !values.is_empty());
            queries += 1;
        }
    }
    assert!(queries >= 40, "{queries}");
    // Its rules are evaluated, and nothing is wrong.
    let rules = prometheus.get("/api/v1/rules", "type=alert");
    let rules = rules["groups"][0]["rules"].as_array().expect("rules");
    assert!(rules.iter().all(|rule| rule["health"] != "err"), "{rules:?}");
    // Those that no slow machine causes.
    let wrong =
        "SaleRefused|AuditDiffers|AuditFails|CertificateExpires|LogLinesLost|VersionsDiffer";
    let firing = prometheus.query(&format!("ALERTS{{alertname=~\"Stampede({wrong})\"}}"));
    assert!(firing.is_empty(), "{}", prometheus.get("/api/v1/alerts", ""));
    // An alert on a missing metric would never fire.
    for metric in metrics_in(&text("observe/alerts.yml")) {
        prometheus.until(&format!("count({metric})"), |values| values.iter().sum::<f64>() > 0.0);
    }
    drop(buyers);
}
