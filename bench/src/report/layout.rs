//! The pictures and README lines of a run, by the names of its scenarios. Figures that were not
//! measured are left out, so one layout serves every command.

use crate::rows::figure;

/// The floors. The first one with figures in a scenario is the one to compare with.
pub const FLOORS: [&str; 2] = ["floor", "floor_sales"];

/// The content of a report.
#[derive(Debug, Clone)]
pub struct Layout {
    /// The pictures, in the order of `summary.md`.
    pub charts: Vec<Chart>,
    /// The lines of the README's table.
    pub lines: Vec<Line>,
}

/// One picture.
#[derive(Debug, Clone)]
pub struct Chart {
    /// The file's name, without `.svg`.
    pub name: &'static str,
    /// Its title with the unit.
    pub title: &'static str,
    /// Its kind.
    pub kind: Kind,
}

/// Form of a picture. It always shows medians, with whiskers for the quartiles.
#[derive(Debug, Clone)]
pub enum Kind {
    /// A bar per server, in groups. The scale is logarithmic, and marked so, if the longest bar is
    /// more than 20 times the shortest.
    Bars(Vec<Group>),
    /// Latency by percentile of these servers, with a panel per load (label and scenario).
    Percentiles {
        /// Label and scenario.
        loads: Vec<(&'static str, &'static str)>,
        /// The servers.
        servers: Vec<&'static str>,
    },
    /// A line per server over a number that differs by scenario.
    Lines {
        /// The figure.
        figure: &'static str,
        /// The name of the number.
        along: &'static str,
        /// The number, and its scenario.
        points: Vec<(f64, &'static str)>,
    },
}

/// Bars that belong together: every server that has a figure in a scenario.
#[derive(Debug, Clone)]
pub struct Group {
    /// Label above the bars, possibly empty.
    pub label: &'static str,
    /// The scenario.
    pub scenario: &'static str,
    /// The figure.
    pub figure: &'static str,
}

/// A line of the README's table.
#[derive(Debug, Clone)]
pub struct Line {
    /// Its text with the unit.
    pub text: &'static str,
    /// The scenario.
    pub scenario: &'static str,
    /// The figure.
    pub figure: &'static str,
}

impl Default for Layout {
    fn default() -> Self {
        Self { charts: charts(), lines: lines() }
    }
}

const CPU: &str = figure::SERVER_CPU_US;
const SALES: &str = figure::SALES_PER_S;

/// `quick` has its own names of scenarios. A run has one name or the other.
fn charts() -> Vec<Chart> {
    let bars = |name, title, groups: &[(&'static str, &'static str, &'static str)]| {
        let group = |&(label, scenario, figure): &_| Group { label, scenario, figure };
        Chart { name, title, kind: Kind::Bars(groups.iter().map(group).collect()) }
    };
    vec![
        bars(
            "purchases",
            "Purchases per second by POST with a user, a key and one ticket each",
            &[
                ("Redis, in memory", "shop_keyed", SALES),
                ("synced always", "shop_keyed_durable", SALES),
            ],
        ),
        bars(
            "purchases-cpu",
            "CPU per purchase, us",
            &[
                ("anonymous GET, Redis in memory", "shop_get", CPU),
                ("POST with a user", "shop_user", CPU),
                ("POST with a user, a key and one ticket each", "shop_keyed", CPU),
            ],
        ),
        bars(
            "rejections-keepalive",
            "CPU per rejection, kept connections, us",
            &[("", "rejections_keepalive", CPU), ("", "rejections_keepalive_c64", CPU)],
        ),
        bars(
            "rejections-pipelined",
            "CPU per rejection, 16 pipelined, us",
            &[("", "rejections_pipelined16", CPU)],
        ),
        bars(
            "rejections-connection-each",
            "CPU per rejection, one connection per request, us",
            &[("", "rejections_connection_each", CPU), ("", "rejections_connection_each_c64", CPU)],
        ),
        bars(
            "sales",
            "Sales per second by ledger",
            &[
                ("Redis, in memory", "sales_redis_memory", SALES),
                ("Redis, synced each second", "sales_redis_everysec", SALES),
                ("Redis, synced always", "sales_redis_always", SALES),
                ("Redis, 64 connections", "sales_redis_c64", SALES),
                ("Redis, 256 connections", "sales_redis_c256", SALES),
                ("Redis, no server", "one_evalsha_c64", SALES),
                ("embedded, synced always", "sales_embedded", SALES),
                ("embedded, 64 connections", "sales_embedded_c64", SALES),
                ("PostgreSQL, synced always", "sales_postgres", SALES),
            ],
        ),
        bars(
            "headline",
            "Headline: seconds since the first request",
            &[
                ("until the last ticket", "headline", figure::LAST_GRANT_S),
                ("until the last answer", "headline", figure::LAST_ANSWER_S),
            ],
        ),
        Chart {
            name: "latency",
            title: "Latency by percentile, open loop, us",
            kind: Kind::Percentiles {
                loads: vec![
                    ("50 % of the capacity", "open_50"),
                    ("70 % of the capacity", "open_70"),
                    ("90 % of the capacity", "open_90"),
                ],
                servers: vec!["floor", "stampede"],
            },
        },
        Chart {
            name: "connections",
            title: "CPU per rejection by number of connections, us",
            kind: Kind::Lines {
                figure: CPU,
                along: "connections",
                points: vec![
                    (64.0, "connections_64"),
                    (1_024.0, "connections_1024"),
                    (15_000.0, "connections_15000"),
                ],
            },
        },
        bars(
            "cores",
            "Rejections per second by cores of the server",
            &[
                ("one core", "cores_1", figure::REQUESTS_PER_S),
                ("two cores", "cores_2", figure::REQUESTS_PER_S),
            ],
        ),
        bars(
            "tls-rejections",
            "CPU per rejection over TLS, kept connections, us",
            &[("one request at a time", "tls_rejections", CPU), ("16", "tls_pipelined16", CPU)],
        ),
        bars(
            "tls-connections",
            "CPU per rejection over TLS, one connection per request, us",
            &[
                ("full handshake", "tls_connection_full", CPU),
                ("resumed", "tls_connection_resumed", CPU),
            ],
        ),
        bars(
            "tls-memory",
            "Memory per idle connection over TLS, KiB",
            &[("", "tls_idle", figure::CONNECTION_KIB)],
        ),
        bars(
            "memory",
            "Memory per idle connection, KiB",
            &[("", "idle_connections", figure::CONNECTION_KIB)],
        ),
    ]
}

/// A few lines, first those of a shop. The article's anonymous GET is the exception. `summary.md` has
/// everything.
fn lines() -> Vec<Line> {
    let line = |(text, scenario, figure)| Line { text, scenario, figure };
    let all = [
        ("purchases/s, Redis in memory", "shop_keyed", SALES),
        ("purchases/s, durable (embedded ledger)", "shop_keyed_durable", SALES),
        ("CPU per purchase, us", "shop_keyed", CPU),
        ("CPU per rejection, us", "rejections_keepalive", CPU),
        ("CPU per rejection, us", "rejections_keepalive_c64", CPU),
        ("memory per idle connection, KiB", "idle_connections", figure::CONNECTION_KIB),
    ];
    all.map(line).to_vec()
}
