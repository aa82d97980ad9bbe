//! A TCP port for a server that a test starts, which no other test takes meanwhile, also not one of
//! another process: else two servers may be told the same one, and both tests would speak to whichever
//! came first.

use std::io;
use std::net::{Ipv4Addr, TcpListener};
use std::os::linux::net::SocketAddrExt;
use std::os::unix::net::{SocketAddr, UnixListener};

/// A port on 127.0.0.1, for as long as this is kept.
pub struct Port {
    number: u16,
    /// Names that one process has at a time, and that go with it.
    _claims: Vec<UnixListener>,
}

impl Port {
    /// One that nobody has at the moment: no server, no client, no other test.
    #[allow(dead_code)]
    pub fn free() -> Self {
        Self::find(|_| Some(Vec::new()))
    }

    /// The same for a server that also takes the port that is so much higher.
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

/// Nothing if another test has it.
fn claim(number: u16) -> Option<UnixListener> {
    let name = format!("stampede-test-port-{number}");
    let name = SocketAddr::from_abstract_name(name).expect("a name");
    UnixListener::bind_addr(&name).ok()
}
