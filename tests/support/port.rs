//! A TCP port for a server of a test. No other test takes it meanwhile, in this process or another
//! one: otherwise two servers may get the same port, and both tests would talk to the first one.

use std::io;
use std::net::{Ipv4Addr, TcpListener};
use std::os::linux::net::SocketAddrExt;
use std::os::unix::net::{SocketAddr, UnixListener};

/// A port on 127.0.0.1, reserved until this is dropped.
pub struct Port {
    number: u16,
    /// Names that one process can hold at a time, and that go with the process.
    _claims: Vec<UnixListener>,
}

impl Port {
    /// A port without a server, a client or another test at the moment.
    #[allow(dead_code)]
    pub fn free() -> Self {
        Self::find(|_| Some(Vec::new()))
    }

    /// The same for a server that also uses the port this far above it.
    #[allow(dead_code)]
    pub fn free_with(above: u16) -> Self {
        Self::find(|number| {
            let second = number.checked_add(above)?;
            // A client that is gone keeps its port for a minute.
            listen(second).ok()?;
            Some(vec![claim(second)?])
        })
    }

    fn find(more: impl Fn(u16) -> Option<Vec<UnixListener>>) -> Self {
        loop {
            let listener = listen(0).expect("a free port");
            let number = listener.local_addr().expect("its address").port();
            if let (Some(claim), Some(mut claims)) = (claim(number), more(number)) {
                claims.push(claim);
                return Self { number, _claims: claims };
            }
        }
    }

    /// Its number.
    pub fn number(&self) -> u16 {
        self.number
    }
}

fn listen(number: u16) -> io::Result<TcpListener> {
    TcpListener::bind((Ipv4Addr::LOCALHOST, number))
}

/// `None` if another test has it.
fn claim(number: u16) -> Option<UnixListener> {
    let name = format!("stampede-test-port-{number}");
    let name = SocketAddr::from_abstract_name(name).expect("a name");
    UnixListener::bind_addr(&name).ok()
}
