//! Pictures and summary of a made-up run in which everything was measured.

use super::layout::Kind;
use super::*;
use crate::rows::figure;

const SERVERS: [&str; 5] = ["floor", "stampede", "nginx", "axum", "somebody"];
const ROUNDS: u32 = 5;

/// Every figure of every picture.
fn rows(layout: &Layout) -> Vec<Row> {
    let percentiles = [
        figure::LATENCY_P50_US,
        figure::LATENCY_P90_US,
        figure::LATENCY_P99_US,
        figure::LATENCY_P999_US,
        figure::LATENCY_P9999_US,
    ];
    let mut places: Vec<(&str, &str)> = Vec::new();
    for chart in &layout.charts {
        match &chart.kind {
            Kind::Bars(groups) => {
                places.extend(groups.iter().map(|group| (group.scenario, group.figure)));
            }
            Kind::Percentiles { loads, .. } => {
                let each = loads.iter().flat_map(|(_, s)| percentiles.map(|figure| (*s, figure)));
                places.extend(each);
            }
            Kind::Lines { figure, points, .. } => {
                places.extend(points.iter().map(|(_, scenario)| (*scenario, *figure)));
            }
        }
    }
    let mut rows = Vec::new();
    for round in 1..=ROUNDS {
        for (scenario, figure) in &places {
            for (server, nth) in SERVERS.into_iter().zip(1..) {
                let value = f64::from(nth) * 10.0 + f64::from(round % 3);
                let (scenario, figure) = ((*scenario).into(), (*figure).into());
                rows.push(Row { round, scenario, server: server.into(), figure, value });
            }
        }
    }
    rows
}

/// Whether every element of an XML text is closed in order.
fn well_formed(text: &str) -> bool {
    let mut open = Vec::new();
    for piece in text.split('<').skip(1) {
        let Some((tag, content)) = piece.split_once('>') else { return false };
        let quotes_even = tag.matches('"').count() % 2 == 0;
        let escaped = content.split('&').skip(1).all(|entity| {
            ["amp;", "lt;", "gt;", "quot;", "apos;"].iter().any(|known| entity.starts_with(known))
        });
        if !quotes_even || !escaped {
            return false;
        }
        let name = tag.split([' ', '\n', '/']).next().unwrap_or_default();
        if let Some(ended) = tag.strip_prefix('/') {
            if open.pop() != Some(ended) {
                return false;
            }
        } else if !tag.starts_with(['?', '!']) && !tag.ends_with('/') {
            open.push(name);
        }
    }
    open.is_empty()
}

#[test]
fn malformed_xml_is_recognised() {
    assert!(well_formed("<a b=\"c\"><d/>&lt;</a>\n"));
    for bad in ["<a>", "<a></b>", "<a", "<a b=\"></a>", "<a>&</a>", "</a>"] {
        assert!(!well_formed(bad), "{bad}");
    }
}

#[test]
fn each_picture_names_its_servers_and_is_well_formed() {
    let layout = Layout::default();
    let rows = rows(&layout);
    for chart in &layout.charts {
        let name = chart.name;
        let drawn = charts::draw(chart, &rows).expect(name).expect(name);
        assert!(well_formed(&drawn), "{name}: {drawn}");
        let servers = match &chart.kind {
            Kind::Percentiles { servers, .. } => servers.clone(),
            Kind::Bars(_) | Kind::Lines { .. } => SERVERS.to_vec(),
        };
        for server in servers {
            assert!(drawn.contains(&format!("\n{server}\n")), "{name} lacks {server}: {drawn}");
        }
        assert!(drawn.contains(chart.title));
        assert!(charts::draw(chart, &[]).expect(name).is_none());
    }
}

#[test]
fn a_summary_begins_with_the_noise() {
    let folder = tempfile::tempdir().expect("a folder");
    let layout = Layout::default();
    let (mut rows, cpu) = (rows(&layout), figure::SERVER_CPU_US);
    let place = |server| ("rejections_keepalive", server, cpu);
    let promise = Promise::new("CPU", Limit::AtMost(1.5), place("stampede")).to(place("floor"));
    let printed = write(folder.path(), "# Title\n", &[promise], &layout, &rows).expect("written");
    assert!(printed.contains("| CPU | ≤ 1.500 |"), "{printed}");
    let text = fs::read_to_string(folder.path().join("summary.md")).expect("a summary");
    let sections: Vec<&str> = text.lines().filter(|line| line.starts_with("## ")).collect();
    let wanted = ["Noise", "Promises", "Pictures", "Server by server", "Measurements"];
    assert_eq!(sections, wanted.map(|title| format!("## {title}")));
    for chart in &layout.charts {
        let file = format!("{}.svg", chart.name);
        assert!(text.contains(&format!("]({file})")) && folder.path().join(&file).is_file());
    }

    // Figures that were not measured are left out.
    rows.retain(|row| row.figure == figure::SALES_PER_S);
    write(folder.path(), "# Title\n", &[], &layout, &rows).expect("written");
    let text = fs::read_to_string(folder.path().join("summary.md")).expect("a summary");
    assert!(text.contains("(sales.svg)") && !text.contains("(latency.svg)"));
    assert!(!text.contains("## Promises") && !text.contains("## Noise"));
}
