//! Webhooks to a receiver that fails and goes away, by a worker that is killed: each change of each
//! reservation arrives, in order.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::thread;
use std::time::{Duration, Instant};

use crate::chance::Chance;
use crate::lab::Lab;
use crate::process::{Around, Member};
use crate::receiver::{Got, Receiver, Reply, SECRET};
use crate::rows::Rows;
use crate::tally::Tally;

/// Time for the worker to send what is left.
const DEADLINE: Duration = Duration::from_secs(60);
/// How often the receiver fails for one event: the pauses grow with each failure.
const FAILURES_MAX: u32 = 2;

/// By reservation: version and status of each event, in order.
type Arrived = BTreeMap<String, Vec<(u64, String)>>;

/// A receiver with its worker.
pub struct Hooks {
    worker: Member,
    receiver: Receiver,
}

impl Hooks {
    /// A worker that reads from this Redis, and a receiver that fails at each fourth attempt.
    pub fn start(lab: &Arc<Lab>, from: &str, mut chance: Chance) -> Self {
        let mut failed: BTreeMap<String, u32> = BTreeMap::new();
        let receiver = Receiver::plain(move |got: &Got| {
            let failed = failed.entry(got.id.clone()).or_default();
            if *failed >= FAILURES_MAX || chance.below(4) > 0 {
                return Reply::Status(200);
            }
            *failed += 1;
            match chance.below(3) {
                0 => Reply::Status(500),
                1 => Reply::Reset,
                _ => Reply::Half,
            }
        });
        let secret = lab.file("webhook-secret", SECRET).display().to_string();
        let state = lab.folder().join("webhooks.db").display().to_string();
        let (from, to) = (from.to_owned(), receiver.url());
        let build = move || {
            let mut command = Around::Here.command(env!("CARGO_BIN_EXE_stampede"));
            command.args(["orders", "--from", &from, "--to", &to, "--state", &state]);
            command.args(["--webhook-secret-file", &secret, "--webhook-retry", "10ms"]);
            command.args(["--webhook-attempts", "100", "--webhook-deadline", "1s"]);
            command.args(["--webhook-parallel", "8", "--batch", "40"]);
            command
        };
        let worker = Member::start(lab, "webhooks", "", Box::new(build));
        Self { worker, receiver }
    }

    /// Kills the worker, and starts it again after this time.
    pub fn kill_worker(&mut self, after: Duration) {
        self.worker.kill();
        thread::sleep(after);
        self.worker.restart();
    }

    /// Has the receiver be away for this time, with every connection cut.
    pub fn stop_receiver(&mut self, time: Duration) {
        self.receiver.stop();
        thread::sleep(time);
        self.receiver.start_again();
    }

    /// Waits until the last event of each reservation is its status, and finds what is different.
    /// Events out of order, and requests with a fault, are panics.
    pub fn check(&mut self, rows: &Rows, tally: &mut Tally) {
        let wanted: BTreeMap<&str, &str> =
            rows.iter().map(|(id, row)| (id.as_str(), row.status.as_str())).collect();
        let since = Instant::now();
        let arrived = loop {
            let arrived = self.receiver.in_order();
            let last = |id: &str| arrived.get(id).and_then(|events| events.last());
            let is_there = |id: &str, status: &str| last(id).is_some_and(|(_, is)| is == status);
            if wanted.iter().all(|(&id, &status)| is_there(id, status))
                || since.elapsed() > DEADLINE
            {
                break arrived;
            }
            thread::sleep(Duration::from_millis(100));
        };
        compare(&wanted, &arrived, tally);
    }

    /// What the logs of the worker say that they must not.
    pub fn faults(&self) -> impl Iterator<Item = &String> {
        self.worker.faults().iter()
    }
}

/// Finds what is different: `wanted` is the last status of each reservation.
fn compare(wanted: &BTreeMap<&str, &str>, arrived: &Arrived, tally: &mut Tally) {
    for (id, status) in wanted {
        match arrived.get(*id).map(Vec::as_slice) {
            None | Some([]) => tally.lost(format!("{id}: no webhook arrived")),
            Some([(_, first), ..]) if first != "held" => {
                tally.lost(format!("{id}: its first webhook says {first}"));
            }
            Some([.., (_, last)]) if last != status => {
                tally.lost(format!("{id}: its last webhook says {last}, not {status}"));
            }
            Some(_) => {}
        }
    }
    // Other sales than these have reservations of nobody.
    for id in arrived.keys().filter(|id| !wanted.contains_key(id.as_str())) {
        tally.wrong(format!("{id}: a webhook of a reservation that is not there"));
    }
}

/// Shows that the comparison finds what it is for: run before the scenarios.
pub fn try_out() {
    let found = |arrived: &[(&str, &[&str])]| {
        let events = |statuses: &[&str]| {
            (1..).zip(statuses).map(|(version, status)| (version, (*status).to_owned())).collect()
        };
        let arrived = arrived.iter().map(|(id, all)| ((*id).to_owned(), events(all))).collect();
        let wanted = BTreeMap::from([("1", "held"), ("2", "confirmed")]);
        let mut tally = Tally::quiet();
        compare(&wanted, &arrived, &mut tally);
        (tally.lost, tally.wrong)
    };
    let (one, two): ((_, &[&str]), (_, &[&str])) =
        (("1", &["held"]), ("2", &["held", "confirmed"]));
    assert_eq!(found(&[one, two]), (0, 0));
    assert_eq!(found(&[one]), (1, 0));
    // The last one is missing, or the first one.
    assert_eq!(found(&[one, ("2", &["held"])]), (1, 0));
    assert_eq!(found(&[one, ("2", &["confirmed"])]), (1, 0));
    assert_eq!(found(&[one, two, ("3", &["held"])]), (0, 1));
}
