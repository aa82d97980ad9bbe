//! The same server over each kind of connection that buyers use: plain, and TLS. A test that walks
//! both states once what must hold for a connection.

use std::io::{self, Read, Write};
use std::net::{SocketAddr, TcpStream};
use std::ops::{Deref, DerefMut};
use std::sync::Arc;
use std::time::Duration;

use rustls::ClientConfig;

use crate::client::{Client, Response, Stream};
use crate::secure::{Files, Secure, hello};
use crate::server::Server;

/// A server, and the kind of connection to it.
pub struct Place {
    server: Server,
    tls: Option<(Files, Arc<ClientConfig>)>,
}

impl Place {
    /// A server with these options without TLS, and then another one with TLS.
    pub fn each(options: &[&str]) -> impl Iterator<Item = Self> + use<> {
        Self::each_limited("", options)
    }

    /// The same with the shell's limits set before.
    pub fn each_limited(
        limits: &'static str,
        options: &[&str],
    ) -> impl Iterator<Item = Self> + use<> {
        let options: Vec<String> = options.iter().map(|&option| option.to_owned()).collect();
        [Self::plain, Self::secure].into_iter().map(move |start| {
            let options: Vec<&str> = options.iter().map(String::as_str).collect();
            start(limits, &options)
        })
    }

    fn plain(limits: &str, options: &[&str]) -> Self {
        println!("in the clear, with {options:?}");
        Self { server: Server::start_limited(limits, options), tls: None }
    }

    /// The operator's own requests go without TLS.
    fn secure(limits: &str, options: &[&str]) -> Self {
        println!("over TLS, with {options:?}");
        let files = Files::make(&["localhost"], 30);
        let config = files.client();
        let listen = ["--listen", "tls:127.0.0.1:0", "--listen", "127.0.0.1:0"];
        let options = [&listen, &files.options()[..], options].concat();
        Self { server: Server::start_limited(limits, &options), tls: Some((files, config)) }
    }

    /// Whether the connection uses TLS.
    pub fn is_secure(&self) -> bool {
        self.tls.is_some()
    }

    /// A client of the server.
    #[track_caller]
    pub fn client(&self) -> Client<Line> {
        self.try_client().expect("a connection")
    }

    /// The same. An error: the server does not complete the handshake.
    pub fn try_client(&self) -> io::Result<Client<Line>> {
        self.client_over(Server::connect_to(self.line_address()))
    }

    /// The first bytes of a client: its part of a handshake, or else this request.
    pub fn first_bytes(&self, request: &str) -> Vec<u8> {
        self.tls.as_ref().map_or_else(|| request.into(), |(_, config)| hello(config))
    }

    /// The server's address.
    pub fn line_address(&self) -> SocketAddr {
        if self.is_secure() { self.server.secure() } else { self.server.address() }
    }

    /// A client over this socket.
    pub fn client_over(&self, socket: TcpStream) -> io::Result<Client<Line>> {
        self.door().client_over(socket)
    }

    /// The connection's parameters, for a thread of its own.
    pub fn door(&self) -> Door {
        let tls = self.tls.as_ref().map(|(_, config)| config.clone());
        Door { address: self.line_address(), tls }
    }

    /// Sends one request on a connection of its own.
    #[track_caller]
    pub fn get(&self, path: &str) -> Response {
        self.client().ask(format!("GET {path} HTTP/1.1\r\nHost: a\r\n\r\n"))
    }

    /// Sends bytes on a connection of their own and reads all answers until the server closes it.
    #[track_caller]
    pub fn exchange(&self, bytes: &[u8]) -> Vec<Response> {
        let mut client = self.client();
        client.send(bytes);
        client.finish();
        std::iter::from_fn(|| client.next(false)).collect()
    }
}

/// How to connect to a server, whichever process it is.
pub struct Door {
    address: SocketAddr,
    tls: Option<Arc<ClientConfig>>,
}

impl Door {
    /// A client.
    #[track_caller]
    pub fn client(&self) -> Client<Line> {
        self.client_over(Server::connect_to(self.address)).expect("a connection")
    }

    fn client_over(&self, socket: TcpStream) -> io::Result<Client<Line>> {
        let line = match &self.tls {
            None => Line::Plain(socket),
            Some(config) => Line::Tls(Secure::over(socket, config, "localhost")?),
        };
        Ok(Client::over(line))
    }
}

impl Deref for Place {
    type Target = Server;

    fn deref(&self) -> &Server {
        &self.server
    }
}

impl DerefMut for Place {
    fn deref_mut(&mut self) -> &mut Server {
        &mut self.server
    }
}

/// A connection of either kind.
pub enum Line {
    Plain(TcpStream),
    Tls(Secure),
}

impl Line {
    /// Its socket.
    pub fn socket(&self) -> &TcpStream {
        match self {
            Self::Plain(socket) => socket,
            Self::Tls(secure) => &secure.socket,
        }
    }

    /// A second handle. Only one of them may write.
    pub fn try_clone(&self) -> io::Result<Self> {
        match self {
            Self::Plain(socket) => socket.try_clone().map(Self::Plain),
            Self::Tls(secure) => secure.try_clone().map(Self::Tls),
        }
    }
}

impl Read for Line {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        match self {
            Self::Plain(socket) => socket.read(buffer),
            Self::Tls(secure) => secure.read(buffer),
        }
    }
}

impl Write for Line {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        match self {
            Self::Plain(socket) => socket.write(bytes),
            Self::Tls(secure) => secure.write(bytes),
        }
    }

    fn flush(&mut self) -> io::Result<()> {
        match self {
            Self::Plain(socket) => socket.flush(),
            Self::Tls(secure) => secure.flush(),
        }
    }
}

impl Stream for Line {
    fn finish(&mut self) -> io::Result<()> {
        match self {
            Self::Plain(socket) => socket.finish(),
            Self::Tls(secure) => secure.finish(),
        }
    }

    fn patience(&self) -> io::Result<Option<Duration>> {
        self.socket().patience()
    }

    fn set_patience(&self, time: Option<Duration>) -> io::Result<()> {
        self.socket().set_patience(time)
    }
}
