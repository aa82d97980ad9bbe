//! The tables of figures: one per scenario to compare servers, and one of everything.

use std::fmt::Write;

use super::layout::FLOORS;
use super::noise::OF_THE_MACHINE;
use super::spread::{Spread, ratios, scenarios, servers, spread, values};
use crate::rows::{Row, figure};

/// A column of a scenario's table.
enum Column {
    /// Median with quartiles.
    Spread(&'static str, &'static str),
    /// Median alone.
    Median(&'static str, &'static str),
    /// The ratio of a figure to the floor's, within rounds.
    ToFloor(&'static str),
}

/// CPU comes first. Throughput follows, because the load generator bounds it too.
const COLUMNS: [Column; 20] = [
    Column::Spread("CPU us", figure::SERVER_CPU_US),
    Column::Median("of it user", figure::SERVER_USER_US),
    Column::ToFloor(figure::SERVER_CPU_US),
    Column::Median("Redis CPU us", figure::REDIS_CPU_US),
    Column::Median("generator CPU us", figure::GENERATOR_CPU_US),
    Column::Spread("sales/s", figure::SALES_PER_S),
    Column::Median("a batch", figure::BATCH_MEAN),
    Column::Spread("requests/s", figure::REQUESTS_PER_S),
    Column::Median("p50 us", figure::LATENCY_P50_US),
    Column::Median("p90", figure::LATENCY_P90_US),
    Column::Median("p99", figure::LATENCY_P99_US),
    Column::Median("p99.9", figure::LATENCY_P999_US),
    Column::Median("p99.99", figure::LATENCY_P9999_US),
    Column::Median("most", figure::LATENCY_MAX_US),
    Column::Spread("last ticket s", figure::LAST_GRANT_S),
    Column::Spread("last answer s", figure::LAST_ANSWER_S),
    Column::Median("connections", figure::CONNECTIONS),
    Column::Spread("KiB per connection", figure::CONNECTION_KIB),
    Column::Median("of it anonymous", figure::CONNECTION_ANONYMOUS_KIB),
    Column::Median("KiB before", figure::RESIDENT_BEFORE_KIB),
];

/// The figures that sort servers: the first measured one counts.
const KEYS: [&str; 4] =
    [figure::SERVER_CPU_US, figure::CONNECTION_KIB, figure::LAST_ANSWER_S, figure::REDIS_CPU_US];

/// One table per scenario: a line per server, the cheapest first. Leaves out columns without figures.
pub fn by_scenario(rows: &[Row]) -> String {
    let mut out = String::new();
    for scenario in scenarios(rows) {
        let here: Vec<Row> = rows.iter().filter(|row| row.scenario == scenario).cloned().collect();
        if let Some(table) = table(scenario, &here) {
            // Writing to a String can't fail.
            let _ = write!(out, "### {scenario}\n\n{table}\n");
        }
    }
    if out.is_empty() {
        return out;
    }
    format!(
        "## Server by server\n\n\
         CPU is the server's CPU per request, or per sale if the scenario sells. The cheapest server \
         comes first. Each cell has the median of the rounds, with the quartiles in brackets. \
         \"× floor\" divides two figures of the same round.\n\n\
         {out}"
    )
}

fn table(scenario: &str, here: &[Row]) -> Option<String> {
    let key = KEYS.iter().find(|key| here.iter().any(|row| row.figure == **key))?;
    let mut names: Vec<&str> =
        servers(here, scenario, key).into_iter().map(|(server, _)| server).collect();
    for row in here {
        if !names.contains(&&*row.server) {
            names.push(&row.server);
        }
    }
    let mut columns: Vec<(&str, Vec<String>)> = Vec::new();
    for column in &COLUMNS {
        let cells: Vec<_> =
            names.iter().map(|server| column.cell(here, scenario, server)).collect();
        if cells.iter().any(Option::is_some) {
            let shown = cells.into_iter().map(|cell| cell.unwrap_or_else(|| "–".into()));
            columns.push((column.head(), shown.collect()));
        }
    }
    let heads: Vec<&str> = columns.iter().map(|(head, _)| *head).collect();
    let mut out = format!("| server | {} |\n", heads.join(" | "));
    let _ = writeln!(out, "|---|{}", "---:|".repeat(columns.len()));
    for (at, name) in names.iter().enumerate() {
        let cells: Vec<&str> = columns.iter().map(|(_, cells)| &*cells[at]).collect();
        let _ = writeln!(out, "| {name} | {} |", cells.join(" | "));
    }
    Some(out)
}

impl Column {
    fn head(&self) -> &'static str {
        match self {
            Self::Spread(head, _) | Self::Median(head, _) => head,
            Self::ToFloor(_) => "× floor",
        }
    }

    fn cell(&self, rows: &[Row], scenario: &str, server: &str) -> Option<String> {
        match self {
            Self::Spread(_, name) => {
                let Spread { median, p25, p75, .. } = spread(rows, (scenario, server, name))?;
                Some(format!("{} ({}–{})", shown(median), shown(p25), shown(p75)))
            }
            Self::Median(_, name) => {
                spread(rows, (scenario, server, name)).map(|spread| shown(spread.median))
            }
            Self::ToFloor(name) => {
                to_floor(rows, scenario, server, name).map(|ratio| format!("{ratio:.2}"))
            }
        }
    }
}

/// The median of a figure's ratios to the floor's. `None`: one of them was not measured.
pub fn to_floor(rows: &[Row], scenario: &str, server: &str, name: &str) -> Option<f64> {
    let floors = FLOORS.iter().map(|floor| values(rows, (scenario, floor, name)));
    let floor = floors.into_iter().find(|values| !values.is_empty())?;
    let ratios = ratios(&values(rows, (scenario, server, name)), &floor);
    Spread::of(ratios.into_iter().map(|(_, ratio)| ratio)).map(|spread| spread.median)
}

/// Every figure of a server, in the order of scenarios, then by server.
pub fn figures(rows: &[Row]) -> String {
    let mut out = String::from(
        "## Measurements\n\n\
         | scenario | server | figure | median | p25–p75 | min–max |\n|---|---|---|---|---|---|\n",
    );
    for scenario in scenarios(rows) {
        let here: Vec<Row> = rows.iter().filter(|row| row.scenario == scenario).cloned().collect();
        let mut places: Vec<(&str, &str)> = Vec::new();
        for row in &here {
            let of_a_server = !OF_THE_MACHINE.contains(&&*row.figure);
            if of_a_server && !places.contains(&(&row.server, &row.figure)) {
                places.push((&row.server, &row.figure));
            }
        }
        // By server, because rounds rotate the order of servers.
        places.sort_by_key(|(server, _)| *server);
        for (server, name) in places {
            let Some(spread) = spread(&here, (scenario, server, name)) else { continue };
            let Spread { median, p25, p75, min, max, .. } = spread;
            let digits = usize::from(max < 1_000.0) * 2;
            // Writing to a String can't fail.
            let _ = writeln!(
                out,
                "| {scenario} | {server} | {name} | {median:.digits$} | \
                 {p25:.digits$}–{p75:.digits$} | {min:.digits$}–{max:.digits$} |"
            );
        }
    }
    out
}

/// A number with its significant digits: `0.085`, `7.40`, `34.1`, `312`, `62,745`.
pub fn shown(value: f64) -> String {
    let size = value.abs();
    let digits = match size {
        size if size == 0.0 || size >= 99.95 => 0,
        size if size < 0.995 => 3,
        size if size < 9.995 => 2,
        _ => 1,
    };
    let plain = format!("{value:.digits$}");
    let whole = plain.split('.').next().map_or(0, |whole| whole.trim_start_matches('-').len());
    if whole < 4 {
        return plain;
    }
    let mut out = String::new();
    for (at, character) in plain.chars().enumerate() {
        let left = plain.len() - at;
        if left % 3 == 0 && out.ends_with(|last: char| last.is_ascii_digit()) {
            out.push(',');
        }
        out.push(character);
    }
    out
}

#[cfg(test)]
mod tests {
    use super::*;

    fn row(round: u32, server: &'static str, figure: &'static str, value: f64) -> Row {
        let (server, figure) = (server.into(), figure.into());
        Row { round, scenario: "rejections".into(), server, figure, value }
    }

    #[test]
    fn servers_are_sorted_by_cpu_and_empty_columns_omitted() {
        let rows = [
            row(1, "stampede", figure::SERVER_CPU_US, 8.0),
            row(1, "stampede", figure::REQUESTS_PER_S, 116_275.0),
            row(1, "nginx", figure::REQUESTS_PER_S, 90_000.0),
            row(1, "floor", figure::SERVER_CPU_US, 7.0),
            row(2, "stampede", figure::SERVER_CPU_US, 9.0),
            row(2, "floor", figure::SERVER_CPU_US, 6.0),
            row(1, "may_minihttp", figure::REQUESTS, 6.0),
        ];
        let wanted = "### rejections\n\n\
             | server | CPU us | × floor | requests/s |\n\
             |---|---:|---:|---:|\n\
             | floor | 6.50 (6.25–6.75) | 1.00 | – |\n\
             | stampede | 8.50 (8.25–8.75) | 1.32 | 116,275 (116,275–116,275) |\n\
             | nginx | – | – | 90,000 (90,000–90,000) |\n\
             | may_minihttp | – | – | – |\n";
        let text = by_scenario(&rows);
        assert!(text.contains(wanted), "{text}");
        assert!(
            figures(&rows)
                .contains("| rejections | floor | server_cpu_us | 6.50 | 6.25–6.75 | 6.00–7.00 |")
        );
        assert_eq!(by_scenario(&rows[6..]), "");
    }

    #[test]
    fn numbers_are_shown_with_significant_digits() {
        let cases = [
            (0.0, "0"),
            (0.0853, "0.085"),
            (7.404, "7.40"),
            (34.12, "34.1"),
            (312.3, "312"),
            (999.7, "1,000"),
            (62_745.4, "62,745"),
            (1_234_567.0, "1,234,567"),
            (-1_234.0, "-1,234"),
            (-123.0, "-123"),
        ];
        for (value, wanted) in cases {
            assert_eq!(shown(value), wanted);
        }
    }
}
