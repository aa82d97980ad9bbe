//! Honest clients beside strangers: endless heads at the control port, silent connections that take
//! every free place, and clients that pipeline and never read.

use std::net::SocketAddr;
use std::sync::atomic::{AtomicBool, Ordering};
use std::thread;
use std::time::Duration;

use serde::de::DeserializeOwned;
use stampede::limits::strangers_bytes_max;

use crate::answer::{Answer, Content};
use crate::error::{Because, Failure, Result, fail};
use crate::full::measure::{Measured, serve_sold_out, under_load, warm_up};
use crate::lab::{Lab, Served, free_address};
use crate::pin;
use crate::process::{CommandLine, Running};
use crate::rows::figure;
use crate::scenarios::Figures;
use crate::servers::Server;
use crate::strangers::{flood, hold, probe, silent};
use crate::tools::{LoadPlan, LoadReport};

/// Honest connections held before, of a server with 20,000 descriptors.
const HONEST: u64 = 15_000;
/// Addresses of the honest connections.
const HONEST_ADDRESSES: u8 = 50;
/// Silent connections that one address attempts on the same server.
const SILENT: u64 = 19_900;
/// Address of the silent connections, used by no honest client.
const SILENT_FROM: &str = "127.0.9.9";
/// Descriptors that `stranger` reserves.
const DESCRIPTORS_LEFT: u64 = 64;
/// Connections with endless heads.
const HEADS: u32 = 8;
/// Clients that pipeline and never read.
const PIPELINERS: u32 = 500;
/// Requests per second of the honest clients: a twentieth of a core's capacity.
const HONEST_RATE: f64 = 5_000.0;
/// Time between the start of the attack and the load.
const LEAD: Duration = Duration::from_millis(300);
/// Interval of the checks of the server's memory.
const LOOK_INTERVAL: Duration = Duration::from_millis(10);
/// All loads must fit into the 75 s for which honest connections may be idle.
const SECONDS_MAX: u64 = 10;
/// Interval of the requests for `/livez`.
const LIVEZ_EVERY_MS: u64 = 10;
const HOLD_DEADLINE: Duration = Duration::from_secs(90);
const END_DEADLINE: Duration = Duration::from_secs(30);
const POLL: Duration = Duration::from_millis(20);
/// More than the buyers can buy.
const HOT: &str = "hot=100000000";
const HOT_TARGET: &str = "POST /v1/sales/hot/reservations";
/// A sale that is sold out before.
const GONE: &str = "ticket=1";

/// Figures during an attack, and the attack's reports.
struct Attacked {
    load: LoadReport,
    /// CPU of all threads of the server.
    server_us: f64,
    livez: probe::Report,
    heads: flood::Report,
    silent: silent::Report,
    /// Largest growth of the server's resident memory.
    grown_kib: u64,
}

/// The attacked addresses.
#[derive(Clone, Copy)]
struct Front {
    /// Target of the heads.
    control: SocketAddr,
    /// Target of the silent connections.
    public: SocketAddr,
}

/// Measures sales while strangers attack the server, and while they attack a program that only reads.
/// Returns both figures. `sink_first`: the order of the two.
pub fn attacked(
    lab: &mut Lab,
    sink_first: bool,
    plan: &LoadPlan<'_>,
) -> Result<(Figures, Figures)> {
    let limit = pin::raise_descriptor_limit()?;
    let (honest, wanted) =
        (HONEST.min(limit / 4 * 3), SILENT.min(limit.saturating_sub(DESCRIPTORS_LEFT)));
    let both = [lab.server_core, lab.load_core];
    let ours = Front { control: free_address()?, public: free_address()? };
    let control = ours.control.to_string();
    let line = lab.programs.stampede_serve(
        &both,
        &ours.public.to_string(),
        &lab.fresh_ledger(),
        &["--sale", GONE, "--sale", HOT, "--control", &control],
    );
    let served = lab.serve_line("stampede", &line, ours.public)?;
    served.expect(Answer::SoldOut)?;
    let sink = Front { control: free_address()?, public: free_address()? };
    // One sink per port, because a server has separate threads for its ports.
    let mut drain = |address: SocketAddr| {
        let line = lab.programs.stranger(&both, &["sink", "--listen", &address.to_string()]);
        lab.serve_line("stranger-sink", &line, address)
    };
    let _sinks = (drain(sink.control)?, drain(sink.public)?);

    let mut crowd = hold(lab, served.address, honest)?;
    let plan = LoadPlan { seconds: plan.seconds.min(SECONDS_MAX), ..*plan };
    let gone = LoadPlan { target: Content::SoldOut.target(), expect: "sold_out", ..plan };
    let selling = LoadPlan { target: HOT_TARGET, expect: "granted", ..plan };
    // Sales take memory too, so memory is watched without sales.
    warm_up(lab, &served, &gone)?;
    let weighed = under_attack(lab, &served, ours, ours, wanted, &gone)?;
    warm_up(lab, &served, &selling)?;
    let mut sell = |front| under_attack(lab, &served, front, ours, wanted, &selling);
    let (against_us, against_sink) = if sink_first {
        let against_sink = sell(sink)?;
        (sell(ours)?, against_sink)
    } else {
        (sell(ours)?, sell(sink)?)
    };
    crowd.say("once more")?;
    let survived = last_line::<hold::Report>("hold", &crowd.finish(HOLD_DEADLINE)?)?;

    let bound_kib = strangers_bytes_max(wanted as usize) / 1024;
    let mut figures = figures(&against_us);
    figures.extend([
        (figure::CONNECTIONS, survived.held as f64),
        (figure::SURVIVED, survived.survived as f64),
        (figure::GROWN_KIB, weighed.grown_kib as f64),
        (figure::GROWN_BOUND_KIB, bound_kib as f64),
    ]);
    Ok((figures, self::figures(&against_sink)))
}

fn figures(attacked: &Attacked) -> Figures {
    let Attacked { load, server_us, livez, heads, silent, .. } = attacked;
    let mut figures = vec![
        (figure::SALES, load.granted as f64),
        (figure::SALES_PER_S, load.granted as f64 / load.seconds),
        (figure::SERVER_CPU_US, server_us / load.granted.max(1) as f64),
        (figure::LATENCY_P50_US, load.latency_us.p50),
        (figure::LATENCY_P99_US, load.latency_us.p99),
        (figure::STRANGERS_ATTEMPTS, silent.attempts as f64),
        (figure::STRANGERS_OPEN, silent.open_max as f64),
        (figure::HEADS_OPENED, heads.opened as f64),
        (figure::FLOOD_MIB, mib(heads.bytes)),
    ];
    figures.extend(livez_figures(livez));
    figures
}

fn livez_figures(livez: &probe::Report) -> Figures {
    vec![
        (figure::LIVEZ_P50_US, livez.p50_us as f64),
        (figure::LIVEZ_P99_US, livez.p99_us as f64),
        (figure::LIVEZ_MAX_US, livez.max_us as f64),
        (figure::LIVEZ_FAILURES, livez.failures as f64),
    ]
}

fn mib(bytes: u64) -> f64 {
    bytes as f64 / f64::from(1 << 20)
}

/// Opens the honest connections. All are open when this returns.
fn hold(lab: &mut Lab, to: SocketAddr, connections: u64) -> Result<Running> {
    let words = [
        "hold",
        "--to",
        &to.to_string(),
        "--addresses",
        &HONEST_ADDRESSES.to_string(),
        "--connections",
        &connections.to_string(),
    ];
    let line = lab.programs.stranger(&[lab.load_core], &words);
    let mut crowd = lab.background_with_input("stranger-hold", &line)?;
    let wanted = format!("held {connections}\n");
    loop {
        lab.check_interrupted()?;
        crowd.check_alive()?;
        let said = crowd.output()?;
        if said == wanted {
            return Ok(crowd);
        }
        if said.ends_with('\n') {
            return fail(format!(
                "{connections} honest connections were requested, but `stranger` printed: {said}"
            ));
        }
        thread::sleep(POLL);
    }
}

/// Loads the server while strangers attack these addresses. `wanted` silent connections are attempted
/// during the load, even if they are closed, so every attacked program has the same work.
fn under_attack(
    lab: &mut Lab,
    served: &Served,
    attacked: Front,
    ours: Front,
    wanted: u64,
    plan: &LoadPlan<'_>,
) -> Result<Attacked> {
    let before_kib = served.process.memory()?.resident_kib;
    let both = [lab.server_core, lab.load_core];
    let (control, public) = (attacked.control.to_string(), attacked.public.to_string());
    let connections = HEADS.to_string();
    let heads = ["heads", "--to", &control, "--connections", &connections];
    let heads = lab.background("stranger-heads", &lab.programs.stranger(&both, &heads))?;
    let (attempts, rate) = (wanted.to_string(), (wanted / plan.seconds).to_string());
    let silent = ["silent", "--to", &public, "--from", SILENT_FROM];
    let silent = silent.into_iter().chain(["--attempts", &attempts, "--rate", &rate]);
    let silent = lab.programs.stranger(&both, &silent.collect::<Vec<_>>());
    let silent = lab.background("stranger-silent", &silent)?;
    lab.settle(LEAD)?;

    let livez = probe(lab, ours.control, plan.seconds)?;
    let over = AtomicBool::new(false);
    let (load, most_kib) = thread::scope(|scope| {
        let watching = scope.spawn(|| {
            let mut most_kib = 0;
            while !over.load(Ordering::Relaxed) {
                most_kib = served.process.memory()?.resident_kib.max(most_kib);
                thread::sleep(LOOK_INTERVAL);
            }
            Ok::<u64, Failure>(most_kib)
        });
        // A new client is served, too.
        let load = under_load(lab, served, plan)
            .and_then(|load| served.expect(Answer::SoldOut).map(|()| load));
        over.store(true, Ordering::Relaxed);
        (load, watching.join())
    });
    let Measured { load, server_us, .. } = load?;
    let Ok(most_kib) = most_kib else { return fail("the watching thread panicked") };
    let grown_kib = most_kib?.saturating_sub(before_kib);
    let livez = last_line("probe", &livez.finish(END_DEADLINE)?)?;
    let (heads, silent) = (end("heads", heads)?, end("silent", silent)?);
    Ok(Attacked { load, server_us, livez, heads, silent, grown_kib })
}

fn probe(lab: &mut Lab, control: SocketAddr, seconds: u64) -> Result<Running> {
    let (to, every) = (control.to_string(), LIVEZ_EVERY_MS.to_string());
    let (both, seconds) = ([lab.server_core, lab.load_core], seconds.to_string());
    let words =
        ["probe", "--to", &to, "--path", "/livez", "--every-ms", &every, "--seconds", &seconds];
    lab.background("stranger-probe", &lab.programs.stranger(&both, &words))
}

/// Stops a stranger and reads its report.
fn end<T: DeserializeOwned>(name: &str, stranger: Running) -> Result<T> {
    stranger.signal(libc::SIGTERM)?;
    last_line(name, &stranger.finish(END_DEADLINE)?)
}

fn last_line<T: DeserializeOwned>(name: &str, output: &str) -> Result<T> {
    let line = output.lines().last().unwrap_or_default();
    serde_json::from_str(line).because(|| format!("stranger {name} printed {line}"))
}

/// `/livez` while every core is busy with rejections.
pub fn livez_busy(lab: &mut Lab, plan: &LoadPlan<'_>) -> Result<Figures> {
    let (both, control) = ([lab.server_core, lab.load_core], free_address()?);
    let options = ["--sale", GONE, "--control", &control.to_string()];
    let served = lab.stampede(&both, &lab.fresh_ledger(), &options)?;
    served.expect(Answer::SoldOut)?;
    let connections = plan.connections * both.len() as u32;
    let (target, expect) = (Content::SoldOut.target(), "sold_out");
    let plan = LoadPlan { cores: &both, connections, target, expect, ..*plan };
    warm_up(lab, &served, &plan)?;
    let livez = probe(lab, control, plan.seconds)?;
    let mut figures = under_load(lab, &served, &plan)?.figures();
    figures.extend(livez_figures(&last_line("probe", &livez.finish(END_DEADLINE)?)?));
    Ok(figures)
}

/// Measures rejections at a modest rate, alone or beside clients that pipeline and never read.
pub fn pipeliners(lab: &mut Lab, beside: bool, plan: &LoadPlan<'_>) -> Result<Figures> {
    let cores = [lab.server_core];
    let (served, _) = serve_sold_out(lab, Server::Stampede, Content::SoldOut, &cores)?;
    let (target, expect) = (Content::SoldOut.target(), "sold_out");
    let plan = LoadPlan { rate: Some(HONEST_RATE), target, expect, ..*plan };
    warm_up(lab, &served, &plan)?;
    let greedy = beside.then(|| pipeline(lab, served.address)).transpose()?;
    lab.settle(LEAD)?;
    let mut figures = under_load(lab, &served, &plan)?.figures();
    if let Some(greedy) = greedy {
        let greedy: flood::Report = end_idle(lab, "pipeline", greedy)?;
        figures.push((figure::FLOOD_MIB, mib(greedy.bytes)));
    }
    Ok(figures)
}

fn pipeline(lab: &mut Lab, to: SocketAddr) -> Result<Running> {
    let (to, connections) = (to.to_string(), PIPELINERS.to_string());
    begin_idle(lab, "pipeline", &["pipeline", "--to", &to, "--connections", &connections])
}

/// Starts strangers on the honest clients' core with the lowest priority. The measurement shows how
/// the server shares its core.
pub(crate) fn begin_idle(lab: &mut Lab, name: &str, words: &[&str]) -> Result<Running> {
    let line: CommandLine = lab.programs.stranger(&[lab.load_core], words);
    let line = line.through(["chrt", "--idle", "0"].map(str::to_owned));
    lab.background(&format!("stranger-{name}"), &line)
}

/// Gives running strangers the lowest priority.
pub(crate) fn make_idle(lab: &mut Lab, stranger: &Running) -> Result<()> {
    schedule(lab, "--idle", stranger)
}

fn schedule(lab: &mut Lab, policy: &str, stranger: &Running) -> Result<()> {
    let pid = stranger.id().to_string();
    let words = ["chrt", policy, "--pid", "0", &pid];
    lab.load(&CommandLine::on_core(lab.load_core, words), 1).map(drop)
}

/// Stops these strangers and reads their reports.
pub(crate) fn end_idle<T: DeserializeOwned>(
    lab: &mut Lab,
    name: &str,
    stranger: Running,
) -> Result<T> {
    // At the lowest priority, a stranger would end only when nothing else runs.
    schedule(lab, "--other", &stranger)?;
    end(name, stranger)
}
