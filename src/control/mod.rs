//! The control port: how operators and the machinery around a server look at it and change sales.
//!
//! `may_minihttp` reads and writes (`service`, `guard`), on the cores. There a request is only
//! taken apart; what it asks is done by one *control thread*, which has a blocking client of the
//! ledger and carries out one request after the other ([`api`]). A core is thus held for some
//! microseconds, and never waits. The same [`Api`] serves commands that go straight to a
//! ledger, so that both ways give the same answers.
//!
//! Architecture invariant: knows no connection of a buyer and nothing that a core owns. It learns of
//! the cores through atomics in `status::Status`; they learn of what it changes from the ledger.

pub mod access;
pub mod api;
mod body;
mod guard;
mod instances;
mod job;
pub mod problem;
pub mod request;
mod service;
mod snapshot;
mod split;

use std::io;
use std::net::{SocketAddr, TcpListener};
use std::os::linux::net::SocketAddrExt;
use std::os::unix::net::{SocketAddr as UnixAddress, UnixListener};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::mpsc::{Receiver, RecvTimeoutError, SyncSender, sync_channel};
use std::thread;
use std::time::{Duration, Instant};

use may::coroutine::JoinHandle;
use may_minihttp::HttpServiceFactory;

use self::access::Access;
use self::api::Api;
use self::guard::Guard;
use self::job::Job;
use self::problem::Problem;
use self::request::{Reply, Request};
use self::service::Factory;
use crate::config::ControlSetting;
use crate::http::Code;
use crate::ledger::client::Client;
use crate::limits::{CONTROL_STOP_MS, CONTROL_SWEEP_INTERVAL_MS, CONTROL_WAITING_MAX};
use crate::members::Instance;
use crate::status::Status;

const SWEEP_INTERVAL: Duration = Duration::from_millis(CONTROL_SWEEP_INTERVAL_MS);
/// Attempts to get a free port where the setting names none.
const FREE_PORT_ATTEMPTS: usize = 32;

/// A running control port.
pub struct Control {
    address: SocketAddr,
    jobs: SyncSender<Job>,
    closing: Arc<AtomicBool>,
}

impl Control {
    /// Listens and starts the control thread. Needs the cores to run.
    pub fn start(
        setting: &ControlSetting,
        status: Arc<Status>,
        client: Box<dyn Client>,
        instance: Arc<Instance>,
    ) -> io::Result<Self> {
        let (jobs, waiting) = sync_channel(CONTROL_WAITING_MAX);
        let closing = Arc::new(AtomicBool::new(false));
        let api =
            Api::new(client).with_orders(status.config.orders.clone()).with_instance(instance);
        let factory = Factory {
            access: Arc::new(Access::new(setting.token.clone())),
            jobs: jobs.clone(),
            guard: Arc::new(Guard::default()),
            status,
            closing: closing.clone(),
        };
        let (address, acceptor, claimed) = listen(setting.address, &factory)?;
        let mut control = ControlThread { address, factory, acceptor, api, _claimed: claimed };
        thread::Builder::new().name("control".into()).spawn(move || control.run(&waiting))?;
        Ok(Self { address, jobs, closing })
    }

    /// Where it listens.
    pub fn address(&self) -> SocketAddr {
        self.address
    }

    /// Takes no more requests and waits, for a moment, until those before are done.
    pub fn stop(self) {
        self.closing.store(true, Ordering::SeqCst);
        let until = Instant::now() + Duration::from_millis(CONTROL_STOP_MS);
        let (done, heard) = sync_channel(1);
        // The queue is only full for as long as one request takes.
        if self.jobs.try_send(Job::Stop(done)).is_ok() {
            let _ = heard.recv_timeout(until.saturating_duration_since(Instant::now()));
        }
    }
}

/// Starts the acceptor, once the port is ours. `may_minihttp` does not tell its port, so where the
/// setting names none a free one is looked for first.
fn listen(
    address: SocketAddr,
    factory: &Factory,
) -> io::Result<(SocketAddr, JoinHandle<()>, UnixListener)> {
    let mut attempts = 0;
    loop {
        attempts += 1;
        let again = address.port() == 0 && attempts < FREE_PORT_ATTEMPTS;
        let taken = claim(address)
            .and_then(|(address, claimed)| Ok((address, factory.clone().start(address)?, claimed)));
        match taken {
            // Somebody else was given it meanwhile.
            Err(error) if error.kind() == io::ErrorKind::AddrInUse && again => {}
            taken => return taken,
        }
    }
}

/// Makes sure that nobody else has the port, since `may` listens with `SO_REUSEPORT`: two servers
/// would share it, and a command would reach either. Other programs are found by trying to listen,
/// other servers, also one that starts in the same moment, by a name in the kernel's table of local
/// sockets, which is there as long as the process.
fn claim(address: SocketAddr) -> io::Result<(SocketAddr, UnixListener)> {
    let probe = TcpListener::bind(address)?;
    let address = probe.local_addr()?;
    let name = format!("stampede-control-{address}");
    let claimed = UnixListener::bind_addr(&UnixAddress::from_abstract_name(name)?)?;
    Ok((address, claimed))
}

struct ControlThread {
    address: SocketAddr,
    factory: Factory,
    acceptor: JoinHandle<()>,
    api: Api,
    /// Nobody else's as long as it is here.
    _claimed: UnixListener,
}

impl ControlThread {
    fn run(&mut self, waiting: &Receiver<Job>) {
        let mut next_sweep = Instant::now() + SWEEP_INTERVAL;
        loop {
            match waiting.recv_timeout(next_sweep.saturating_duration_since(Instant::now())) {
                Ok(Job::Ask(request, coroutine)) => {
                    // Its client may be gone.
                    let _ = coroutine.send(self.answer(&request));
                }
                Ok(Job::Stop(done)) => {
                    let _ = done.send(());
                    return;
                }
                Err(RecvTimeoutError::Timeout) => {}
                Err(RecvTimeoutError::Disconnected) => return,
            }
            if Instant::now() >= next_sweep {
                self.sweep();
                next_sweep = Instant::now() + SWEEP_INTERVAL;
            }
        }
    }

    /// A panic costs the one request.
    fn answer(&mut self, request: &Request) -> Reply {
        let api = &mut self.api;
        let answered =
            std::panic::catch_unwind(std::panic::AssertUnwindSafe(|| api.answer(request)));
        answered.unwrap_or_else(|_| Problem::of(Code::Internal).into())
    }

    fn sweep(&mut self) {
        self.factory.guard.sweep(Instant::now());
        self.api.forget_old_snapshot(Instant::now());
        // The acceptor panics when it can't have a stack for a connection.
        if self.acceptor.is_done() {
            match self.factory.clone().start(self.address) {
                Ok(acceptor) => self.acceptor = acceptor,
                Err(error) => tracing::error!(%error, "the control port can't listen again"),
            }
        }
    }
}
