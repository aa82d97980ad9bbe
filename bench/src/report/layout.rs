//! Which pictures and which lines of the README a run makes, by the names of its scenarios. What was
//! not measured is left out, so one layout serves every command.

use crate::rows::figure;

/// The servers that do the least there is to do: the first that was measured in a scenario is the
/// one to compare with.
pub const FLOORS: [&str; 2] = ["floor", "floor_sales"];

/// What a report shows.
#[derive(Debug, Clone)]
pub struct Layout {
    /// The pictures, in the order in which they stand in `summary.md`.
    pub charts: Vec<Chart>,
    /// The lines of the README's table.
    pub lines: Vec<Line>,
}

/// One picture.
#[derive(Debug, Clone)]
pub struct Chart {
    /// The file's name, without `.svg`.
    pub name: &'static str,
    /// What it shows, with the unit.
    pub title: &'static str,
    /// How.
    pub kind: Kind,
}

/// How a picture shows its figures: always the median, with whiskers for the quartiles.
#[derive(Debug, Clone)]
pub enum Kind {
    /// A bar a server, in groups. If the longest is more than 20 times the shortest, the scale is
    /// logarithmic, and says so.
    Bars(Vec<Group>),
    /// Latency by percentile, a panel a load (its label and scenario), for these servers.
    Percentiles {
        /// Label and scenario.
        loads: Vec<(&'static str, &'static str)>,
        /// Whom to show.
        servers: Vec<&'static str>,
    },
    /// A line a server over a number that differs by scenario.
    Lines {
        /// The figure.
        figure: &'static str,
        /// What the number is.
        along: &'static str,
        /// The number, and the scenario in which it was so.
        points: Vec<(f64, &'static str)>,
    },
}

/// Bars that belong together: every server that has a figure in a scenario.
#[derive(Debug, Clone)]
pub struct Group {
    /// What stands above them, if anything.
    pub label: &'static str,
    /// The scenario.
    pub scenario: &'static str,
    /// The figure.
    pub figure: &'static str,
}

/// A line of the README's table.
#[derive(Debug, Clone)]
pub struct Line {
    /// What it is, with the unit.
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

/// `quick` names its scenarios by the connections; a run has the one name or the other.
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
            "CPU per rejection, 16 requests at a time, us",
            &[("", "rejections_pipelined16", CPU)],
        ),
        bars(
            "rejections-connection-each",
            "CPU per rejection, a connection each, us",
            &[("", "rejections_connection_each", CPU), ("", "rejections_connection_each_c64", CPU)],
        ),
        bars(
            "sales",
            "Sales per second, by ledger",
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
            "A sale from the first request on, s",
            &[
                ("until the last ticket was sold", "headline", figure::LAST_GRANT_S),
                ("until everybody had an answer", "headline", figure::LAST_ANSWER_S),
            ],
        ),
        Chart {
            name: "latency",
            title: "Latency by percentile, open loop, us",
            kind: Kind::Percentiles {
                loads: vec![
                    ("50 % of the most", "open_50"),
                    ("70 % of the most", "open_70"),
                    ("90 % of the most", "open_90"),
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
            "CPU per rejection over TLS, a connection each, us",
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

fn lines() -> Vec<Line> {
    let line = |(text, scenario, figure)| Line { text, scenario, figure };
    let all = [
        // What a shop sends comes first: the article's anonymous GET is the exception.
        ("purchases/s by POST with user, key, limit 1; Redis in memory", "shop_keyed", SALES),
        ("the same, synced always (embedded ledger)", "shop_keyed_durable", SALES),
        ("CPU per such purchase, Redis in memory, us", "shop_keyed", CPU),
        ("the same of Redis", "shop_keyed", figure::REDIS_CPU_US),
        ("p99 of such a purchase, us", "shop_keyed", figure::LATENCY_P99_US),
        ("CPU per anonymous purchase by GET, us", "shop_get", CPU),
        ("CPU per refusal with a new key, 64 connections, us", "refused_keyed_c64", CPU),
        ("the same without a key", "refused_user_c64", CPU),
        ("CPU per purchase of 1,000 hot sales, us", "hot_1000_c64", CPU),
        ("the same of Redis", "hot_1000_c64", figure::REDIS_CPU_US),
        ("a crowd with keys: last ticket sold after, s", "headline_keyed", figure::LAST_GRANT_S),
        ("the same: everybody answered after, s", "headline_keyed", figure::LAST_ANSWER_S),
        ("CPU per rejection, kept connections, us", "rejections_keepalive", CPU),
        ("CPU per rejection, kept connections, us", "rejections_keepalive_c64", CPU),
        ("the same, 16 requests at a time", "rejections_pipelined16", CPU),
        ("the same, a connection each", "rejections_connection_each", CPU),
        ("the same, a connection each", "rejections_connection_each_c64", CPU),
        ("sales/s, Redis in memory", "sales_redis_memory", SALES),
        ("sales/s, Redis in memory", "sales_redis_c64", SALES),
        ("sales/s, Redis synced each second", "sales_redis_everysec", SALES),
        ("sales/s, Redis synced always", "sales_redis_always", SALES),
        ("sales/s, embedded ledger, synced always", "sales_embedded", SALES),
        ("sales/s, embedded ledger, synced always", "sales_embedded_c64", SALES),
        ("an anonymous crowd: last ticket sold after, s", "headline", figure::LAST_GRANT_S),
        ("the same: everybody answered after, s", "headline", figure::LAST_ANSWER_S),
        ("p99.9 at 70 % of the most load, us", "open_70", figure::LATENCY_P999_US),
        ("memory per idle connection, KiB", "idle_connections", figure::CONNECTION_KIB),
    ];
    all.map(line).to_vec()
}
