//! Where buyers connect: TCP addresses, and files of Unix sockets for a proxy on the same machine.

use std::fmt;
use std::fs;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr};
use std::os::unix::fs::FileTypeExt;
use std::path::{Path, PathBuf};

use super::builder::ConfigBuilder;
use super::value;
use crate::limits::{LISTEN_MAX, UNIX_PATH_BYTES_MAX};

/// Default address for buyers.
pub const LISTEN_DEFAULT: &str = "0.0.0.0:3005";

/// Prefix of the path of a Unix socket.
const UNIX_PREFIX: &str = "unix:";
/// Prefix of an address whose clients speak TLS.
const TLS_PREFIX: &str = "tls:";

/// An address that an instance listens on. Displays as in the setting.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Listen {
    /// An address of this machine.
    Tcp(SocketAddr),
    /// The same for clients that speak TLS.
    Tls(SocketAddr),
    /// The file of a Unix socket.
    Unix(PathBuf),
}

impl fmt::Display for Listen {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Tcp(address) => address.fmt(f),
            Self::Tls(address) => write!(f, "{TLS_PREFIX}{address}"),
            Self::Unix(path) => write!(f, "{UNIX_PREFIX}{}", path.display()),
        }
    }
}

impl Listen {
    /// Whether both are the same address. Port 0 is a new port each time.
    fn collides(&self, other: &Self) -> bool {
        match (self.address(), other.address()) {
            (Some(one), Some(other)) => one == other && one.port() != 0,
            _ => self == other,
        }
    }

    /// The address, unless it is a file.
    pub fn address(&self) -> Option<SocketAddr> {
        match self {
            Self::Tcp(address) | Self::Tls(address) => Some(*address),
            Self::Unix(_) => None,
        }
    }
}

/// The address as this machine reaches it: a server on all addresses is reached on loopback.
pub fn local_address(mut address: SocketAddr) -> SocketAddr {
    if address.ip().is_unspecified() {
        address.set_ip(match address.ip() {
            IpAddr::V4(_) => Ipv4Addr::LOCALHOST.into(),
            IpAddr::V6(_) => Ipv6Addr::LOCALHOST.into(),
        });
    }
    address
}

/// The addresses of a `HOST:PORT`, `tls:HOST:PORT` or `unix:PATH`.
fn parse(text: &str) -> Result<Vec<Listen>, String> {
    if let Some(path) = text.strip_prefix(UNIX_PREFIX) {
        return Ok(vec![Listen::Unix(socket_file(path)?)]);
    }
    let (text, kind): (_, fn(SocketAddr) -> Listen) = match text.strip_prefix(TLS_PREFIX) {
        Some(address) => (address, Listen::Tls),
        None => (text, Listen::Tcp),
    };
    let shape = "must be HOST:PORT, such as 0.0.0.0:3005, [::]:3005 or localhost:3005, \
                 tls:HOST:PORT, or unix:PATH";
    Ok(value::addresses(text, shape)?.into_iter().map(kind).collect())
}

/// The path of a Unix socket. Checks everything that can be checked without creating the socket. The
/// server itself finds out whether another process listens on an existing socket.
fn socket_file(text: &str) -> Result<PathBuf, String> {
    if text.is_empty() || text.ends_with('/') || text.contains('\0') {
        return Err("must be unix: and the path of a file, such as unix:/run/stampede.sock".into());
    }
    if text.starts_with('@') {
        return Err("an abstract socket is open to every user of the machine: give a path".into());
    }
    if text.len() > UNIX_PATH_BYTES_MAX {
        let length = text.len();
        return Err(format!(
            "the path of a Unix socket has at most {UNIX_PATH_BYTES_MAX} bytes, \
                            this one {length}"
        ));
    }
    let path = PathBuf::from(text);
    match fs::symlink_metadata(&path) {
        Ok(found) if !found.file_type().is_socket() => {
            return Err("exists already and is no socket; it is left alone".into());
        }
        _ => {}
    }
    let folder = match path.parent() {
        Some(parent) if parent != Path::new("") => parent,
        _ => Path::new("."),
    };
    value::may_write(folder)
        .map_err(|error| format!("can't be created in {}: {error}", folder.display()))?;
    Ok(path)
}

impl ConfigBuilder {
    pub(super) fn listen(&mut self) -> Vec<Listen> {
        let default = [LISTEN_DEFAULT.to_owned()];
        let given = self.layers.values("listen").unwrap_or(&default).to_vec();
        let mut listen: Vec<Listen> = Vec::new();
        for text in &given {
            match parse(text) {
                Ok(found) => {
                    for one in found {
                        if listen.iter().any(|other| other.collides(&one)) {
                            self.reject("listen", text, &format!("{one} is given twice"));
                        } else {
                            listen.push(one);
                        }
                    }
                }
                Err(problem) => self.reject("listen", text, &problem),
            }
        }
        if listen.len() > LISTEN_MAX {
            let problem = format!("{} addresses, at most {LISTEN_MAX}", listen.len());
            self.reject("listen", &given[given.len() - 1], &problem);
        }
        listen
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_server_on_all_addresses_is_reached_on_loopback() {
        for (listens, reached) in
            [("0.0.0.0:1", "127.0.0.1:1"), ("[::]:1", "[::1]:1"), ("192.0.2.1:1", "192.0.2.1:1")]
        {
            assert_eq!(local_address(listens.parse().unwrap()).to_string(), reached);
        }
    }

    #[test]
    fn addresses_are_parsed() {
        let address = |text: &str| vec![Listen::Tcp(text.parse().unwrap())];
        assert_eq!(parse("0.0.0.0:3005"), Ok(address("0.0.0.0:3005")));
        assert_eq!(parse("[::]:3005"), Ok(address("[::]:3005")));
        let local = parse("localhost:0").unwrap();
        assert!(local.iter().all(|l| matches!(l, Listen::Tcp(a) if a.ip().is_loopback())));
        for (bad, told) in [
            ("", "must be HOST:PORT"),
            ("3005", "must be HOST:PORT"),
            (":3005", "must be HOST:PORT"),
            ("::1:3005", "as in [::1]:3005"),
            ("http://localhost:3005", "must be HOST:PORT"),
            ("/run/stampede.sock", "or unix:PATH"),
            ("localhost:http", "the port must be a whole number from 0 to 65535"),
            ("127.0.0.1:65536", "the port must be"),
            ("no-such-name.invalid:80", "can't be resolved"),
        ] {
            let problem = parse(bad).unwrap_err();
            assert!(problem.contains(told), "{bad}: {problem}");
        }
    }

    #[test]
    fn socket_paths_are_checked() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("a socket");
        let text = format!("unix:{}", path.display());
        assert_eq!(parse(&text), Ok(vec![Listen::Unix(path.clone())]));
        assert_eq!(parse(&text).unwrap()[0].to_string(), text);
        assert!(!path.exists(), "a check creates nothing");
        assert_eq!(parse("unix:relative"), Ok(vec![Listen::Unix("relative".into())]));
        let _taken = std::os::unix::net::UnixListener::bind(&path).unwrap();
        assert!(parse(&text).is_ok(), "who listens there is the server's question");
        let in_folder = |name: &str| format!("unix:{}", folder.path().join(name).display());
        std::fs::write(folder.path().join("file"), "precious").unwrap();
        std::os::unix::fs::symlink(&path, folder.path().join("link")).unwrap();
        let room = UNIX_PATH_BYTES_MAX - folder.path().as_os_str().len() - 1;
        assert!(parse(&in_folder(&"x".repeat(room))).is_ok());
        for (bad, told) in [
            ("unix:".to_owned(), "the path of a file"),
            ("unix:/tmp/".to_owned(), "the path of a file"),
            ("unix:a\0b".to_owned(), "the path of a file"),
            ("unix:@stampede".to_owned(), "abstract"),
            (format!("unix:{}", folder.path().display()), "is no socket"),
            (in_folder("file"), "is no socket"),
            (in_folder("link"), "is no socket"),
            (in_folder("file/x"), "can't be created in"),
            (in_folder("no/x"), "can't be created in"),
            (in_folder(&"x".repeat(room + 1)), "at most 107 bytes, this one 108"),
        ] {
            let problem = parse(&bad).unwrap_err();
            assert!(problem.contains(told), "{bad}: {problem}");
        }
        assert_eq!(std::fs::read(folder.path().join("file")).unwrap(), b"precious");
    }

    #[test]
    fn equal_listeners_collide() {
        let one = |text: &str| parse(text).unwrap().remove(0);
        assert!(one("127.0.0.1:1").collides(&one("127.0.0.1:1")));
        assert!(!one("127.0.0.1:0").collides(&one("127.0.0.1:0")));
        assert!(!one("127.0.0.1:1").collides(&one("unix:x")));
        assert!(one("unix:x").collides(&one("unix:x")));
    }
}
