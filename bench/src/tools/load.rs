//! The bench's own load generator as a tool: its command line, and its JSON.

pub use crate::load::report::{LoadReport, Percentiles};

use crate::answer::TARGET;
use crate::error::{Because, Result, fail};
use crate::process::CommandLine;
use crate::servers::Programs;

/// The settings of a load.
#[derive(Debug, Clone, Copy)]
pub struct LoadPlan<'a> {
    /// Cores, with one thread per core.
    pub cores: &'a [usize],
    /// Connections of all threads together.
    pub connections: u32,
    /// Duration, without `requests`.
    pub seconds: u64,
    /// Seconds of load before the measurement.
    pub warm_up: u64,
    /// Requests to send, instead of a duration.
    pub requests: Option<u64>,
    /// Open loop: requests per second.
    pub rate: Option<f64>,
    /// Requests in flight per connection.
    pub pipeline: u32,
    /// Whether each request has its own connection.
    pub connection_each: bool,
    /// Expected answers: `any`, or kinds separated by commas.
    pub expect: &'a str,
    /// Tickets of the sale.
    pub total: Option<u64>,
    /// The target.
    pub target: &'a str,
    /// Microseconds before a due time at which to poll instead of sleeping.
    pub spin_us: u64,
    /// Deadline of an answer in seconds.
    pub answer_deadline: u64,
    /// The server's process, whose CPU the report has.
    pub watch: Option<u32>,
    /// A second target, for one in this number of requests.
    pub also: Option<(&'a str, u64)>,
    /// Prefix of the user names. Each request names a new user.
    pub users: Option<&'a str>,
    /// Whether each user has an idempotency key.
    pub keys: bool,
    /// Number of sales to choose from at random.
    pub sales: Option<u32>,
    /// Text to post in turn with GET, with its length and in a chunk.
    pub and_post: Option<&'a str>,
    /// Answers after which the client replaces a connection.
    pub renew_after: Option<u32>,
    /// TLS: whether connections resume sessions.
    pub resume: bool,
}

impl Default for LoadPlan<'_> {
    fn default() -> Self {
        Self {
            cores: &[1],
            connections: 64,
            seconds: 2,
            warm_up: 0,
            requests: None,
            rate: None,
            pipeline: 1,
            connection_each: false,
            expect: "any",
            total: None,
            target: TARGET,
            spin_us: 0,
            answer_deadline: 10,
            watch: None,
            also: None,
            users: None,
            keys: false,
            sales: None,
            and_post: None,
            renew_after: None,
            resume: false,
        }
    }
}

impl Programs {
    /// The command of this load on a server, `host:port`, `https://host:port` or `unix:PATH`. It
    /// prints JSON.
    pub fn load(&self, plan: &LoadPlan<'_>, to: &str) -> CommandLine {
        let program = self.folder.join("load").to_string_lossy().into_owned();
        let cores = plan.cores.iter().map(usize::to_string).collect::<Vec<_>>().join(",");
        let mut words = vec![program];
        let mut option = |name: &str, value: String| words.extend([name.to_owned(), value]);
        option("--to", to.into());
        option("--target", plan.target.into());
        option("--cores", cores.clone());
        option("--connections", plan.connections.to_string());
        match plan.requests {
            Some(requests) => option("--requests", requests.to_string()),
            None => option("--seconds", plan.seconds.to_string()),
        }
        if plan.warm_up > 0 {
            option("--warm-up", plan.warm_up.to_string());
        }
        if let Some(rate) = plan.rate {
            option("--rate", rate.to_string());
            option("--spin", plan.spin_us.to_string());
        }
        if let Some((target, every)) = plan.also {
            option("--also", target.into());
            option("--also-every", every.to_string());
        }
        if let Some(text) = plan.and_post {
            option("--and-post", text.into());
        }
        if let Some(answers) = plan.renew_after {
            option("--renew-after", answers.to_string());
        }
        option("--answer-deadline", plan.answer_deadline.to_string());
        if let Some(pid) = plan.watch {
            option("--watch", pid.to_string());
        }
        if plan.pipeline != 1 {
            option("--pipeline", plan.pipeline.to_string());
        }
        if let Some(total) = plan.total {
            option("--total", total.to_string());
        }
        option("--expect", plan.expect.into());
        option("--json", "-".into());
        if let Some(prefix) = plan.users {
            option("--user-prefix", prefix.into());
        }
        if let Some(sales) = plan.sales {
            option("--sales", sales.to_string());
        }
        let flags = [
            ("--connection-each", plan.connection_each),
            ("--users", plan.users.is_some()),
            ("--keys", plan.keys),
            ("--resume", plan.resume),
        ];
        words.extend(flags.iter().filter(|(_, set)| *set).map(|(name, _)| (*name).to_owned()));
        CommandLine::on_cores(&cores, words)
    }
}

/// Parses its JSON. An `Err` if an answer was unexpected or a rule was broken.
pub fn read_load(text: &str) -> Result<LoadReport> {
    let report: LoadReport = serde_json::from_str(text)
        .because(|| format!("load printed something unexpected: {text}"))?;
    match report.complaint() {
        Some(complaint) => fail(format!("load saw {complaint}")),
        None if report.interrupted => fail("load was interrupted"),
        None => Ok(report),
    }
}

#[cfg(test)]
mod tests {
    use clap::Parser;

    use super::*;
    use crate::load::settings::{Plan, Settings};

    #[test]
    fn the_load_generator_accepts_every_planned_command_line() {
        let programs = Programs { folder: "target/shipped".into(), stampede: "stampede".into() };
        let plans = [
            LoadPlan::default(),
            LoadPlan {
                pipeline: 16,
                target: "/plaintext",
                expect: "plaintext",
                ..LoadPlan::default()
            },
            LoadPlan { and_post: Some("20"), renew_after: Some(10), ..LoadPlan::default() },
            LoadPlan { connection_each: true, requests: Some(9), ..LoadPlan::default() },
            LoadPlan {
                cores: &[0, 1],
                rate: Some(1_500.5),
                users: Some("usr"),
                keys: true,
                sales: Some(1_000),
                target: "POST /v1/sales/hot-{sale}/reservations",
                total: Some(7),
                expect: "granted,sold_out",
                ..LoadPlan::default()
            },
        ];
        for plan in plans {
            let CommandLine(words) = programs.load(&plan, "127.0.0.1:80");
            let program = words.iter().position(|word| word == "target/shipped/load");
            let words = &words[program.expect("the program's name")..];
            let settings = Settings::try_parse_from(words).expect("legal words");
            Plan::new(&settings).expect("a legal plan");
            assert_eq!((settings.rate, settings.total), (plan.rate, plan.total));
            assert_eq!(
                (settings.and_post.as_deref(), settings.renew_after),
                (plan.and_post, plan.renew_after)
            );
            assert_eq!((settings.requests, &*settings.expect), (plan.requests, plan.expect));
            assert_eq!(settings.users.is_some(), plan.users.is_some());
            assert_eq!((settings.keys, settings.sales), (plan.keys, plan.sales.map(u64::from)));
        }
    }

    #[test]
    fn a_load_report_is_read_and_failures_are_errors() {
        let good = LoadReport { requests: 3, granted: 1, rate: Some(0.1), ..LoadReport::default() };
        let text = |report: &LoadReport| serde_json::to_string(report).expect("JSON");
        assert_eq!(read_load(&text(&good)).expect("a good run"), good);
        let failed = LoadReport { failures: 1, ..good.clone() };
        assert!(read_load(&text(&failed)).is_err());
        let sentence = "oversold: 3 of 2".to_owned();
        let oversold = LoadReport { broken_rules: vec![sentence.clone()], ..good.clone() };
        let error = read_load(&text(&oversold)).expect_err("a broken rule").to_string();
        assert!(error.contains(&sentence), "{error}");
        assert!(read_load(&text(&LoadReport { interrupted: true, ..good })).is_err());
        assert!(read_load("").is_err() && read_load("{}").is_err());
    }
}
