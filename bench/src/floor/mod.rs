//! Shared parts of the floors: settings, a listening socket per core, the end of a request, and
//! answers encoded once per second.
//!
//! A floor parses only the blank line that ends a request and the wish to close the connection. For
//! HttpArena's sums it also finds the length of a body. It adds nothing and enforces no bound: it is a
//! yardstick and no server.

use std::net::{SocketAddr, TcpListener};
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::mpsc::channel;
use std::thread;

use clap::Args;
use rustix::net::sockopt::{set_socket_reuseaddr, set_socket_reuseport, set_tcp_nodelay};
use rustix::net::{AddressFamily, SocketFlags, SocketType, bind, listen, socket_with};

use crate::answer::Content;
use crate::error::{Because, Result, fail};
use crate::pin;

mod answers;
mod buffers;
mod epoll;
mod scan;
mod secure;

pub use answers::{Answers, BLOCK_ANSWERS, Second, encode};
pub use buffers::BufferRing;
pub use epoll::Epoll;
pub use scan::{Scan, Scanner};
pub use secure::{Room, Secure};

/// Backlog of the listening socket, the same as stampede's.
const BACKLOG: i32 = 65_535;

/// Address and cores of a server.
#[derive(Debug, Clone, Args)]
pub struct Place {
    /// Address to listen on.
    #[arg(long, default_value = "127.0.0.1:3005")]
    pub listen: SocketAddr,
    /// Cores to run on, such as 0,1. Each core has its own thread and listening socket.
    #[arg(long, value_delimiter = ',', default_value = "0", value_name = "LIST")]
    pub cores: Vec<usize>,
}

/// Settings of a floor.
#[derive(Debug, Args)]
pub struct Settings {
    /// Address and cores.
    #[command(flatten)]
    pub place: Place,
    /// Answer to every request.
    #[arg(long, value_enum, default_value = "sold_out")]
    pub answer: Content,
}

impl Place {
    /// Runs `serve` on a thread per core, each with its own listening socket. Returns the error of the
    /// first one that ends.
    pub fn run<S>(&self, serve: S) -> Result<()>
    where
        S: Fn(TcpListener) -> Result<()> + Clone + Send + 'static,
    {
        pin::raise_descriptor_limit()?;
        let (ended, first) = channel();
        for &core in &self.cores {
            let (serve, ended) = (serve.clone(), ended.clone());
            let listener =
                listening(self.listen).because(|| format!("listening on {}", self.listen))?;
            let run = move || {
                let work = || pin::to_core(core).and_then(|()| serve(listener));
                let done = catch_unwind(AssertUnwindSafe(work))
                    .unwrap_or_else(|_| fail(format!("the thread of core {core} panicked")));
                // Fails only if another core has failed before.
                let _ = ended.send(done);
            };
            thread::Builder::new()
                .name(format!("core-{core}"))
                .spawn(run)
                .because(|| format!("starting a thread for core {core}"))?;
        }
        drop(ended);
        first.recv().unwrap_or_else(|_| fail("--cores names no core"))
    }
}

/// Opens one of several sockets that share a port. The kernel spreads connections over them. Accepted
/// sockets inherit `TCP_NODELAY`. The socket does not block.
fn listening(address: SocketAddr) -> std::io::Result<TcpListener> {
    let family = if address.is_ipv4() { AddressFamily::INET } else { AddressFamily::INET6 };
    let flags = SocketFlags::CLOEXEC | SocketFlags::NONBLOCK;
    let socket = socket_with(family, SocketType::STREAM, flags, None)?;
    set_socket_reuseaddr(&socket, true)?;
    set_socket_reuseport(&socket, true)?;
    set_tcp_nodelay(&socket, true)?;
    bind(&socket, &address)?;
    listen(&socket, BACKLOG)?;
    Ok(socket.into())
}
