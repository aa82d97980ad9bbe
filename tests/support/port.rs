//! A TCP port for a server that a test starts, which no other test takes meanwhile, also not one of
//! another process: else two servers may be told the same one, and both tests would speak to whichever
//! came first.

use std::net::{Ipv4Addr, TcpListener};
use std::os::linux::net::SocketAddrExt;
use std::os::unix::net::{SocketAddr, UnixListener};

/// A port on 127.0.0.1, for as long as this is kept.
pub struct Port {
    number: u16,
    /// A name that one process has at a time, and that goes with it.
    _claim: UnixListener,
}

impl Port {
    /// One that nobody listens at, at the moment, and no test has.
    pub fn free() -> Self {
        loop {
            let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).expect("a free port");
            let number = listener.local_addr().expect("its address").port();
            let name = format!("stampede-test-port-{number}");
            let name = SocketAddr::from_abstract_name(name).expect("a name");
            if let Ok(claim) = UnixListener::bind_addr(&name) {
                return Self { number, _claim: claim };
            }
        }
    }

    /// Its number.
    pub fn number(&self) -> u16 {
        self.number
    }
}
