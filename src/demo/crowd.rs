//! The crowd: buyers who arrive at a steady rate and share some connections.
//!
//! Each connection has a thread and its own buyers, so that no lock is shared. A thread has one request
//! under way at a time, so a slow server slows the crowd down.

use std::cmp::Reverse;
use std::collections::BinaryHeap;
use std::io;
use std::net::SocketAddr;
use std::sync::Arc;
use std::thread::{self, JoinHandle};
use std::time::{Duration, Instant};

use super::buyer::{Next, Step};
use super::http_client::HttpClient;
use super::plan::Plan;
use super::shared::{Shared, State};
use crate::sync::lock;

/// Stack of a thread of the crowd.
const STACK_BYTES: usize = 256 * 1024;

/// See the module's header.
pub struct Crowd {
    threads: Vec<JoinHandle<()>>,
}

impl Crowd {
    /// Starts the threads. The first buyer arrives at `begins`.
    ///
    /// # Errors
    /// The system refuses a thread.
    pub fn start(
        plan: &Plan,
        address: SocketAddr,
        begins: Instant,
        shared: &Arc<Shared>,
    ) -> io::Result<Self> {
        let start = |index: usize| {
            let mut part = ConnectionBuyers {
                arrivals: Arrivals::of(plan, begins, index as u64),
                hold_ms: plan.hold_ms,
                later: BinaryHeap::new(),
                client: HttpClient::new(address),
                shared: shared.clone(),
            };
            let thread = thread::Builder::new().name("crowd".into()).stack_size(STACK_BYTES);
            thread.spawn(move || part.run())
        };
        Ok(Self { threads: (0..plan.connections).map(start).collect::<io::Result<_>>()? })
    }

    /// Whether all buyers are done.
    pub fn is_over(&self) -> bool {
        self.threads.iter().all(JoinHandle::is_finished)
    }
}

/// The arrivals of one connection: every `step`th buyer of the crowd.
struct Arrivals {
    next: u64,
    step: u64,
    buyers: u64,
    begins: Instant,
    over_ms: u64,
}

impl Arrivals {
    fn of(plan: &Plan, begins: Instant, first: u64) -> Self {
        let (step, buyers, over_ms) = (plan.connections as u64, plan.buyers, plan.over_ms);
        Self { next: first, step, buyers, begins, over_ms }
    }

    /// When the next buyer arrives. `None`: all have arrived.
    fn at(&self) -> Option<Instant> {
        let passed_us = (u128::from(self.over_ms) * 1_000 * u128::from(self.next))
            .checked_div(u128::from(self.buyers));
        let passed_us = passed_us.filter(|_| self.next < self.buyers)?;
        Some(self.begins + Duration::from_micros(passed_us as u64))
    }

    fn take(&mut self) -> Step {
        let buyer = self.next;
        self.next += self.step;
        Step::Ask { buyer, attempt: 1 }
    }
}

/// A step and its time.
#[derive(PartialEq, Eq)]
struct Due {
    at: Instant,
    step: Step,
}

impl Ord for Due {
    fn cmp(&self, other: &Self) -> std::cmp::Ordering {
        (self.at, self.step.buyer()).cmp(&(other.at, other.step.buyer()))
    }
}

impl PartialOrd for Due {
    fn partial_cmp(&self, other: &Self) -> Option<std::cmp::Ordering> {
        Some(self.cmp(other))
    }
}

/// One connection and its buyers.
struct ConnectionBuyers {
    arrivals: Arrivals,
    hold_ms: u64,
    later: BinaryHeap<Reverse<Due>>,
    client: HttpClient,
    shared: Arc<Shared>,
}

impl ConnectionBuyers {
    fn run(&mut self) {
        let mut state = self.shared.state();
        while !state.stopped {
            if state.all_paid {
                self.later.retain(|Reverse(due)| !due.step.was_refused());
            }
            let Some(at) = self.next_at() else { return };
            if at > Instant::now() {
                state = self.shared.sleep_until(at, state);
                continue;
            }
            self.act(state);
            state = self.shared.state();
        }
    }

    fn next_at(&self) -> Option<Instant> {
        let later = self.later.peek().map(|Reverse(due)| due.at);
        self.arrivals.at().into_iter().chain(later).min()
    }

    /// Takes the step that is due first.
    fn act(&mut self, state: State) {
        let later = self.later.peek().map(|Reverse(due)| due.at);
        let arrives = self.arrivals.at().is_some_and(|at| later.is_none_or(|later| at <= later));
        let step = match arrives {
            true => self.arrivals.take(),
            false => match self.later.pop() {
                Some(Reverse(due)) => due.step,
                None => return,
            },
        };
        let begins = Instant::now();
        let answer = self.client.take(&step);
        let now = Instant::now();
        {
            let mut tally = lock(&self.shared.tally);
            tally.buyers += u64::from(arrives);
            tally.note(&step, &answer, now - begins);
        }
        if let Next::After(ms, step) = step.next(&answer, self.hold_ms)
            && !(state.all_paid && step.was_refused())
        {
            self.later.push(Reverse(Due { at: now + Duration::from_millis(ms), step }));
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::cli::DemoOptions;

    #[test]
    fn every_buyer_arrives_once_and_in_time() {
        let text = |text: &str| Some(text.to_owned());
        let options = DemoOptions {
            buyers: text("1000"),
            connections: text("7"),
            over: text("2s"),
            ..DemoOptions::default()
        };
        let (plan, begins) = (Plan::of(&options).unwrap(), Instant::now());
        let mut came = Vec::new();
        for index in 0..7 {
            let mut arrivals = Arrivals::of(&plan, begins, index);
            let mut last = begins;
            while let Some(at) = arrivals.at() {
                assert!(last <= at && at < begins + Duration::from_secs(2));
                last = at;
                came.push(arrivals.take().buyer());
            }
        }
        came.sort_unstable();
        assert_eq!(came, (0..1000).collect::<Vec<_>>());
    }

    #[test]
    fn an_empty_crowd_is_finished_at_once() {
        let options = DemoOptions { buyers: Some("0".to_owned()), ..DemoOptions::default() };
        let plan = Plan::of(&options).unwrap();
        assert_eq!(Arrivals::of(&plan, Instant::now(), 0).at(), None);
    }
}
