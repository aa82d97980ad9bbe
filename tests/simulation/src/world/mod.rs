//! A world: servers, clients, operators and a ledger, the network between them, and what happens
//! next.
//!
//! One [`step`](World::step) takes the next event. Whatever the event does at once is part of the
//! step; everything else is another event.

mod clients;
mod cores;
mod embedded;
mod ending;
mod failover;
mod ledger;
mod servers;
mod sweeps;

use std::collections::{BTreeMap, VecDeque};
use std::hash::Hasher;

use stampede::clock;
use stampede::limits::TICK_INTERVAL_MS;
use stampede::stock::StockSetting;

use self::sweeps::Running;
use crate::call::{CallId, Told};
use crate::chance::Chance;
use crate::client::{Client, Probe, Wish};
use crate::embedded::Embedded;
use crate::gates::{Counts, STEPS, event_key};
use crate::names::{CoreId, Line, Sender};
use crate::net::Net;
use crate::operator::{self, Operators};
use crate::oracle::{self, Finding, Oracle, Settings};
use crate::plan::Plan;
use crate::redis::{Fleet, Node};
use crate::replay::history::Recording;
use crate::schedule::{Answer, Event, Schedule};
use crate::server::{Incoming, Server};
use crate::task::Turns;
use crate::time::{MS, SECOND, Us};
use crate::trace::{Digest, Telling, Trace};

/// Shortest and longest time until a client notices that a server does not answer any more.
const NOTICE_MIN: Us = 50;
/// See [`NOTICE_MIN`].
const NOTICE_MAX: Us = 20 * MS;
/// Longer than a run takes.
const FOR_EVER: Us = 1_000 * SECOND;
/// The clients begin within this time.
const BEGIN: Us = 100 * MS;

/// Which part of a run it is.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Phase {
    /// Clients buy, and there are faults.
    Busy,
    /// Clients find out what they do not know.
    Quiet,
    /// One buyer takes what is left.
    Probe,
    /// It is over.
    Over,
}

/// Who has made an attempt, and where.
struct Caller {
    client: usize,
    core: CoreId,
    wish: Wish,
}

/// See the module's header.
pub struct World {
    plan: Plan,
    phase: Phase,
    schedule: Schedule,
    net: Net,
    turns: Turns,
    servers: Vec<Server>,
    node: Node,
    /// The replica of `node`, and what the Sentinels say. `None`: there are none.
    fleet: Option<Fleet>,
    /// The embedded ledger of server 0. `None`: the ledger is `node`.
    embedded: Option<Embedded>,
    clients: Vec<Client>,
    operators: Operators,
    probe: Option<Probe>,
    /// The attempts under way.
    callers: BTreeMap<CallId, Caller>,
    calls: u64,
    /// The open connection of each core's link.
    lines: BTreeMap<CoreId, Line>,
    /// The sweeps and the operators' commands under way.
    ledger_clients: BTreeMap<Sender, Running>,
    /// Until when nothing is expected of the sweep of each server.
    hindered_until: Vec<Us>,
    /// Commands of operators.
    sessions: u32,
    seed: u64,
    /// Delays that belong to nobody.
    delays: Chance,
    oracle: Oracle,
    trace: Trace,
    digest: Digest,
    findings: Vec<String>,
    steps: u64,
    events: [u64; Event::NAMES.len()],
    faults: BTreeMap<&'static str, u64>,
}

impl World {
    /// The world of a seed, before anything has happened.
    pub fn new(seed: u64, telling: Telling) -> Self {
        let plan = Plan::draw(seed);
        let mut delays = Chance::of(seed, "delays");
        let mut schedule = Schedule::new(seed);
        match &plan.embedded {
            Some(embedded) => embedded.schedule(seed, plan.busy, &mut schedule),
            None => (0..plan.sales.len()).for_each(|sale| schedule.at(1, Event::Create(sale))),
        }
        if let Some(failovers) = plan.failovers {
            failovers.schedule(seed, plan.busy, &mut schedule);
        }
        (0..plan.servers).for_each(|server| schedule.at(0, Event::Start(server)));
        for client in 0..plan.clients {
            schedule.at(delays.between(MS, BEGIN), Event::Think(client));
        }
        let mut operators = Operators::new(seed);
        schedule.at(operators.pause(), Event::Operate);
        plan.faults.schedule(seed, (plan.servers, plan.cores), plan.busy, &mut schedule);
        schedule.at(plan.busy, Event::Quiet);
        let stock = match plan.stock {
            StockSetting::Fixed(units) => Some(units),
            StockSetting::Auto => None,
        };
        let ledger = match plan.embedded {
            Some(_) => oracle::Ledger::Embedded,
            None => oracle::Ledger::Redis,
        };
        let settings =
            Settings { ledger, deadline_ms: plan.deadline_ms, stock, ..Settings::default() };
        Self {
            phase: Phase::Busy,
            schedule,
            net: Net::new(seed, plan.servers, plan.faults.net),
            turns: Turns::default(),
            servers: (0..plan.servers).map(Server::new).collect(),
            node: first_node(seed, &plan),
            fleet: plan.failovers.map(|_| Fleet::new(seed, plan.servers)),
            embedded: plan.embedded.map(|plan| Embedded::new(seed, plan)),
            clients: (0..plan.clients).map(|number| Client::new(seed, number)).collect(),
            operators,
            probe: None,
            callers: BTreeMap::new(),
            calls: 0,
            lines: BTreeMap::new(),
            ledger_clients: BTreeMap::new(),
            hindered_until: vec![0; plan.servers],
            sessions: 0,
            seed,
            delays,
            oracle: Oracle::new(settings),
            trace: Trace::new(telling),
            digest: Digest::default(),
            findings: Vec::new(),
            steps: 0,
            events: [0; Event::NAMES.len()],
            faults: BTreeMap::new(),
            plan,
        }
    }

    /// Records from now on what the ledger carries out.
    pub fn record(&mut self) {
        self.oracle.recording = Some(Recording::default());
    }

    /// The calls that were recorded.
    pub fn calls_recorded(&self) -> usize {
        self.oracle.recording.as_ref().map_or(0, |recording| recording.events().len())
    }

    /// What the ledger has carried out, if it was recorded.
    pub fn take_recording(&mut self) -> Option<Recording> {
        self.oracle.recording.take()
    }

    /// What the run is like.
    pub fn plan(&self) -> &Plan {
        &self.plan
    }

    /// The true time.
    pub fn now(&self) -> Us {
        self.schedule.now()
    }

    /// The steps that were taken.
    pub fn steps(&self) -> u64 {
        self.steps
    }

    /// The digest of all that has happened.
    pub fn digest(&self) -> u64 {
        self.digest.finish()
    }

    /// Whether a promise was broken.
    pub fn has_found(&self) -> bool {
        !self.findings.is_empty() || !self.oracle.findings().is_empty()
    }

    /// The promises that were broken.
    pub fn findings(&self) -> Vec<String> {
        let found = self.oracle.findings().iter().map(|Finding { at, invariant, text }| {
            let (seconds, rest) = (at / SECOND, at % SECOND);
            format!("{invariant} at {seconds}.{rest:06} s: {text}")
        });
        found.chain(self.findings.iter().cloned()).collect()
    }

    /// The lines of the story that were kept.
    pub fn into_story(self) -> Vec<String> {
        self.trace.into_lines()
    }

    /// What the run has counted.
    pub fn counts(&self) -> Counts {
        let mut counts = Counts::from([(STEPS.to_owned(), self.steps)]);
        for (name, count) in Event::NAMES.into_iter().zip(self.events) {
            counts.insert(event_key(name), count);
        }
        let (late, ended) = self.net.counts();
        let faults = self.faults.iter().map(|(name, count)| (*name, *count));
        for (name, count) in faults.chain([("late message", late), ("ended connection", ended)]) {
            counts.insert(format!("fault {name}"), count);
        }
        for (name, count) in self.oracle.seen() {
            counts.insert((*name).to_owned(), *count);
        }
        counts.insert("refused earlier epoch".to_owned(), self.node.fenced);
        counts.extend(self.embedded.iter().flat_map(Embedded::counts));
        counts
    }

    /// Takes the next event. Returns whether the run goes on.
    pub fn step(&mut self) -> bool {
        if self.phase == Phase::Over {
            return false;
        }
        let Some(event) = self.schedule.pop() else {
            self.find("the run has stopped: nothing is left to happen".to_owned());
            return false;
        };
        let now = self.schedule.now();
        clock::set_now_us(now);
        // The time of a client who was answered in the meantime is no step.
        if let Event::GiveUp(call) = event
            && !self.callers.contains_key(&call)
        {
            return true;
        }
        // Nor is the time of somebody who waits for another one, nor a turn that was taken sooner.
        if let Event::Wake(sender) = event
            && self.is_stale_wake(sender)
        {
            return true;
        }
        if let Event::LedgerTurn(life, at) = event
            && self.is_stale_turn(life, at)
        {
            return true;
        }
        self.steps += 1;
        self.events[event.kind()] += 1;
        self.digest.write_u64(now);
        event.fold(&mut self.digest);
        self.take(now, event);
        true
    }

    /// Ends all servers, so that nothing of them stays in memory.
    pub fn end(&mut self) {
        for server in 0..self.servers.len() {
            self.end_server(server);
        }
        self.end_clients();
    }

    fn take(&mut self, now: Us, event: Event) {
        match event {
            Event::Think(client) => self.think(client),
            Event::Answer(answer) => {
                let Answer { call, told, place } = *answer;
                self.hear(call, &told, place.as_ref());
            }
            Event::Disconnected(call) => self.hear(call, &Told::Nothing, None),
            Event::GiveUp(call) => self.give_up(call),
            Event::Request(request) => self.request(*request),
            Event::Reset(core, call) => {
                if let Some(core) = self.core(core) {
                    core.reset(call);
                }
                self.want_round(core);
            }
            Event::Round(id) => {
                if let Some(until) = self.stalled_until(id) {
                    return self.schedule.at(until, Event::Round(id));
                }
                self.on_core(id, |core, step| core.round(step));
            }
            Event::Tick(id) => {
                if let Some(until) = self.stalled_until(id) {
                    return self.schedule.at(until, Event::Tick(id));
                }
                if self.on_core(id, |core, step| core.tick(step)) {
                    self.schedule.after(TICK_INTERVAL_MS * MS, Event::Tick(id));
                }
            }
            Event::Stall(server, core, until) => {
                if let Some(core) = self.servers[server].cores.get_mut(core) {
                    core.stalled_until = core.stalled_until.max(until);
                    self.note_fault("stall");
                }
            }
            Event::AtNode(line, ask) => {
                self.at_node(now, line, *ask);
            }
            Event::NodeTurn(line) => self.node_turn(now, line),
            Event::AtSender(line, reply) => self.at_sender(line, Incoming::Reply(*reply)),
            Event::LineEnded(line) => self.at_sender(line, Incoming::End),
            Event::Wake(sender) => self.run_client(sender),
            Event::Create(number) => {
                let group = operator::create(&self.plan.sales[number]);
                self.start_operators(&group);
            }
            Event::Operate => self.operate(now),
            Event::Start(server) => self.start(server),
            Event::Crash(server) => {
                if self.phase == Phase::Busy && self.is_alive(server) {
                    self.note_fault("crash");
                    self.crash(server);
                }
            }
            Event::Cut(server, until) => {
                self.note_fault("cut");
                self.trace.note(now, || format!("server {server} is cut off until {until} us"));
                self.net.cut(server, until);
            }
            Event::ClockJump(machine, ms) => {
                self.note_fault("clock jump");
                self.trace.note(now, || format!("the clock of {machine:?} jumps by {ms} ms"));
                let clocks = match machine {
                    None => {
                        let was_ms = self.node.clocks.wall_ms(now);
                        self.oracle.clock_jumps(now, was_ms);
                        &mut self.node.clocks
                    }
                    Some(server) => &mut self.servers[server].clocks,
                };
                clocks.jump(ms);
            }
            Event::LedgerTurn(..) => self.ledger_turn(),
            Event::DiskDone(life, ticket) => self.disk_done(life, ticket),
            Event::PowerLoss(_) => {
                if self.phase == Phase::Busy {
                    self.note_fault("power loss");
                    self.lose_power();
                }
            }
            Event::DiskFull(until) => self.disk_full(until),
            Event::Stop(server) => self.stop(server),
            Event::Failover => self.fail_over(),
            Event::Demote(epoch) => self.demote(epoch),
            Event::Hear(server, epoch) => self.hear_of(server, epoch),
            Event::Quiet => self.quiet(),
            Event::Probe => self.begin_probe(),
            Event::End => {
                self.oracle.end(now);
                self.phase = Phase::Over;
            }
        }
    }

    fn find(&mut self, what: String) {
        let now = self.now();
        self.trace.note(now, || format!("FOUND {what}"));
        self.findings.push(what);
    }

    fn note_fault(&mut self, name: &'static str) {
        *self.faults.entry(name).or_default() += 1;
    }
}

fn first_node(seed: u64, plan: &Plan) -> Node {
    let mut node = Node::new(seed, 0);
    node.log = plan.failovers.map(|_| VecDeque::new());
    node
}
