//! A Unix socket beside TCP: the same server behind a file.

use std::collections::BTreeMap;
use std::fs;
use std::io::{Read, Write};
use std::net::Shutdown;
use std::os::unix::fs::FileTypeExt;
use std::os::unix::net::{UnixListener, UnixStream};
use std::path::{Path, PathBuf};
use std::process::{Command, Output, Stdio};
use std::thread;
use std::time::{Duration, Instant};

use rustix::process::Signal;
use tempfile::TempDir;

use crate::client::{assert_sells, reserve, sold};
use crate::server::{ANSWER_DEADLINE, Server};

const BUY: &str = "GET /buy/ticket HTTP/1.1\r\nHost: a\r\n\r\n";

/// A folder, and a path in it for a socket.
fn place() -> (TempDir, PathBuf) {
    let folder = tempfile::tempdir().expect("a temporary folder");
    let path = folder.path().join("stampede.sock");
    (folder, path)
}

fn setting(path: &Path) -> String {
    format!("unix:{}", path.display())
}

/// A server on this socket and on a port.
fn start(path: &Path, options: &[&str]) -> Server {
    let unix = setting(path);
    Server::start(&[&["--listen", "127.0.0.1:0", "--listen", &unix], options].concat())
}

fn connect(path: &Path) -> UnixStream {
    let stream = UnixStream::connect(path).expect("connect to the socket");
    stream.set_read_timeout(Some(ANSWER_DEADLINE)).expect("a deadline");
    stream.set_write_timeout(Some(ANSWER_DEADLINE)).expect("a deadline");
    stream
}

fn send(stream: &mut UnixStream, text: &str) {
    stream.write_all(text.as_bytes()).expect("send");
}

/// One answer with a JSON body, as far as its end is easy to find.
fn answer(stream: &mut UnixStream) -> String {
    let mut text = Vec::new();
    while !text.ends_with(b"}") {
        let mut piece = [0; 4096];
        let count = stream.read(&mut piece).expect("read");
        assert!(count > 0, "half an answer: {}", String::from_utf8_lossy(&text));
        text.extend_from_slice(&piece[..count]);
    }
    String::from_utf8(text).expect("UTF-8")
}

/// Everything until the server closes.
fn rest(stream: &mut UnixStream) -> String {
    let mut text = String::new();
    stream.read_to_string(&mut text).expect("read to the end");
    text
}

fn granted(text: &str) -> usize {
    text.matches(r#"{"code":1,"#).count()
}

fn curl(path: &Path, arguments: &[&str]) -> String {
    let mut command = Command::new("curl");
    command.args(["-sS", "--max-time", "20", "--unix-socket"]).arg(path).args(arguments);
    let output = command.output().expect("curl runs");
    assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
    String::from_utf8(output.stdout).expect("UTF-8")
}

/// A server that must end by itself.
fn refused(path: &Path) -> Output {
    let folder = tempfile::tempdir().expect("a temporary folder");
    let ledger = format!("embedded:{}/data", folder.path().display());
    let mut command = Command::new(env!("CARGO_BIN_EXE_stampede"));
    command.args(["serve", "--listen", &setting(path), "--control", "off", "--ledger", &ledger]);
    let mut child = command
        .stdin(Stdio::null())
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .spawn()
        .expect("start the server");
    let until = Instant::now() + ANSWER_DEADLINE;
    while child.try_wait().expect("wait for the server").is_none() {
        if Instant::now() > until {
            child.kill().expect("kill the server");
        }
        thread::sleep(Duration::from_millis(10));
    }
    child.wait_with_output().expect("what it said")
}

#[test]
fn a_purchase_over_a_unix_socket() {
    let (_folder, path) = place();
    let mut server = start(&path, &["--sale", "ticket=150"]);
    let url = "http://localhost/buy/ticket";
    let key = ["-H", "Idempotency-Key: my-first"];
    let first = curl(&path, &[&key[..], &[url]].concat());
    assert_eq!(granted(&first), 1, "{first}");
    assert_eq!(curl(&path, &[&key[..], &[url]].concat()), first);
    // The second transfer of one curl opens no new connection.
    let kept = curl(&path, &["-w", " %{num_connects}\n", url, url]);
    let connects: Vec<_> = kept.lines().map(|l| l.rsplit(' ').next().unwrap()).collect();
    assert_eq!((granted(&kept), &connects[..]), (2, &["1", "0"][..]), "{kept}");
    assert_sells(&server);
    assert_eq!(sold(&server), 4);
    let log = server.log();
    assert!(log.contains(&format!(" {}\n", setting(&path))), "{log}");
    assert_eq!(server.terminate(), 0);
    assert!(!path.exists(), "removed at an orderly end");
}

#[test]
fn a_server_can_listen_only_on_a_unix_socket() {
    let (_folder, path) = place();
    let mut server = Server::start(&["--listen", &setting(&path), "--sale", "ticket=5"]);
    let log = server.log();
    assert!(log.contains(&format!("listening  {}\n", setting(&path))), "{log}");
    let command = format!("--unix-socket '{}' http://localhost/buy/ticket", path.display());
    thread::sleep(Duration::from_millis(50));
    assert!(server.log().contains(&command), "{}", server.log());
    assert_eq!(granted(&curl(&path, &["http://localhost/buy/ticket"])), 1);
    assert_eq!(server.terminate(), 0);
}

#[test]
fn sixteen_pipelined_requests_are_answered_in_order() {
    let (_folder, path) = place();
    let _server = start(&path, &["--sale", "ticket=10"]);
    let mut stream = connect(&path);
    send(&mut stream, &BUY.repeat(16));
    stream.shutdown(Shutdown::Write).expect("half-close");
    let text = rest(&mut stream);
    assert_eq!(text.matches("HTTP/1.1 200 OK").count(), 16, "{text}");
    assert_eq!((granted(&text), text.matches(r#"{"code":-1,"#).count()), (10, 6), "{text}");
    let last_granted = text.rfind(r#"{"code":1,"#).expect("granted");
    assert!(text.find(r#"{"code":-1,"#).expect("refused") > last_granted);
}

#[test]
fn a_client_that_reads_late_gets_every_answer() {
    let (_folder, path) = place();
    let _server = start(&path, &["--sale", "ticket=10"]);
    let mut stream = connect(&path);
    let mut writer = stream.try_clone().expect("a second handle");
    let requests = 20_000;
    let sender = thread::spawn(move || {
        send(&mut writer, &"GET /plaintext HTTP/1.1\r\nHost: a\r\n\r\n".repeat(requests));
        writer.shutdown(Shutdown::Write).expect("half-close");
    });
    thread::sleep(Duration::from_millis(300));
    let text = rest(&mut stream);
    sender.join().expect("all was sent");
    assert_eq!(text.matches("HTTP/1.1 200 OK").count(), requests);
}

/// Descriptors in each epoll instance of a server, by the instance's own descriptor.
fn watched(server: &Server) -> BTreeMap<PathBuf, usize> {
    let infos = fs::read_dir(format!("/proc/{}/fdinfo", server.pid())).expect("its descriptors");
    let paths = infos.filter_map(|entry| Some(entry.ok()?.path()));
    let texts = paths.filter_map(|path| Some((fs::read_to_string(&path).ok()?, path)));
    texts
        .map(|(text, path)| (path, text.lines().filter(|line| line.starts_with("tfd:")).count()))
        .filter(|(_, count)| *count > 0)
        .collect()
}

#[test]
fn unix_connections_are_spread_over_both_cores() {
    let (_folder, path) = place();
    let server = start(&path, &["--sale", "ticket=150", "--cores", "0,1"]);
    let buyers = |count: usize| {
        let mut streams: Vec<UnixStream> = (0..count).map(|_| connect(&path)).collect();
        for stream in &mut streams {
            send(stream, BUY);
            assert_eq!(granted(&answer(stream)), 1);
        }
        streams
    };
    // A connection is watched once it is answered, maybe a moment after its answer is here.
    let settled = || {
        let mut last = watched(&server);
        loop {
            thread::sleep(Duration::from_millis(200));
            let now = watched(&server);
            if now == last {
                return now;
            }
            last = now;
        }
    };
    let _first = buyers(2);
    let before = settled();
    let _streams = buyers(64);
    let after = settled();
    let grown: Vec<usize> = after
        .iter()
        .map(|(instance, count)| count - before.get(instance).unwrap_or(&0))
        .filter(|more| *more > 0)
        .collect();
    assert_eq!(grown, [32, 32], "{before:?} {after:?}");
}

#[test]
fn a_drain_finishes_requests_under_way() {
    for cores in ["0", "0,1"] {
        let (_folder, path) = place();
        let mut server = start(&path, &["--sale", "ticket=150", "--cores", cores]);
        let mut idle: Vec<UnixStream> = (0..20).map(|_| connect(&path)).collect();
        for stream in idle.iter_mut().skip(10) {
            send(stream, BUY);
            assert_eq!(granted(&answer(stream)), 1);
        }
        let request = reserve("", r#"{"user":"u"}"#);
        let (start, end) = request.split_at(request.len() - 5);
        let mut slow = [connect(&path), connect(&path), connect(&path)];
        for stream in &mut slow {
            send(stream, start);
        }
        thread::sleep(Duration::from_millis(200));
        server.signal(Signal::TERM);
        let until = Instant::now() + ANSWER_DEADLINE;
        while path.exists() {
            assert!(Instant::now() < until, "its file is still there");
            thread::sleep(Duration::from_millis(10));
        }
        for stream in &mut idle {
            assert_eq!(rest(stream), "");
        }
        // The next server can begin while this one ends.
        let next = start_next(&path);
        for stream in &mut slow {
            send(stream, end);
            let text = rest(stream);
            assert!(text.starts_with("HTTP/1.1 201 ") && text.contains("close"), "{text}");
        }
        assert_eq!(server.wait(), 0);
        assert!(server.log().contains("drained"), "{}", server.log());
        assert_eq!(granted(&curl(&path, &["http://localhost/buy/ticket"])), 1, "the next one's");
        drop(next);
        server.restart();
        assert_eq!(sold(&server), 13, "all that was acknowledged, no more");
    }
}

fn start_next(path: &Path) -> Server {
    start(path, &["--sale", "ticket=150"])
}

#[test]
fn connections_made_as_a_drain_begins_are_answered_or_refused() {
    let (_folder, path) = place();
    let mut server = start(&path, &["--sale", "ticket=100000", "--cores", "0,1"]);
    let buyers: Vec<_> = (0..4)
        .map(|_| {
            let path = path.clone();
            thread::spawn(move || {
                let mut bought = 0;
                while let Ok(mut stream) = UnixStream::connect(&path) {
                    stream.set_read_timeout(Some(ANSWER_DEADLINE)).expect("a deadline");
                    if stream.write_all(BUY.as_bytes()).is_err() {
                        break;
                    }
                    let mut text = [0; 4096];
                    match stream.read(&mut text) {
                        Ok(count @ 1..) => {
                            bought += granted(&String::from_utf8_lossy(&text[..count]))
                        }
                        _ => break,
                    }
                }
                bought
            })
        })
        .collect();
    thread::sleep(Duration::from_millis(500));
    assert_eq!(server.terminate(), 0);
    let bought: usize = buyers.into_iter().map(|buyer| buyer.join().expect("a buyer")).sum();
    assert!(server.log().contains("drained"), "{}", server.log());
    server.restart();
    let sold = sold(&server) as usize;
    assert!((bought..=bought + 4).contains(&sold), "{bought} {sold}");
}

#[test]
fn the_socket_of_a_killed_server_is_taken_over() {
    let (_folder, path) = place();
    let mut server = start(&path, &["--sale", "ticket=150"]);
    assert_eq!(granted(&curl(&path, &["http://localhost/buy/ticket"])), 1);
    server.kill();
    let left = fs::symlink_metadata(&path).expect("its file is left");
    assert!(left.file_type().is_socket());
    server.restart();
    assert_eq!(granted(&curl(&path, &["http://localhost/buy/ticket"])), 1);
    assert_eq!(sold(&server), 2);
    assert_eq!(server.terminate(), 0);
    assert!(!path.exists());
}

#[test]
fn a_restart_waits_for_a_port_that_is_taken_meanwhile() {
    let (_folder, path) = place();
    let mut server = start(&path, &["--sale", "ticket=150"]);
    let port = server.address();
    server.kill();
    let taken = std::net::TcpListener::bind(port).expect("the port is free");
    std::thread::scope(|scope| {
        let restarted = scope.spawn(|| server.restart());
        std::thread::sleep(std::time::Duration::from_millis(300));
        drop(taken);
        restarted.join().expect("it starts");
    });
    assert_eq!(granted(&curl(&path, &["http://localhost/buy/ticket"])), 1);
}

#[test]
fn the_socket_of_a_running_server_is_not_taken_over() {
    let (_folder, path) = place();
    let mut server = start(&path, &["--sale", "ticket=150"]);
    let output = refused(&path);
    let said = String::from_utf8_lossy(&output.stderr);
    assert_eq!(output.status.code(), Some(1), "{said}");
    let named = format!("--listen {}: ", setting(&path));
    assert!(said.contains(&named) && said.contains("another server listens there"), "{said}");
    assert_eq!(granted(&curl(&path, &["http://localhost/buy/ticket"])), 1);
    // Nor does it remove a file that another process has put in its place meanwhile.
    fs::remove_file(&path).expect("remove");
    let _other = UnixListener::bind(&path).expect("bind");
    assert_eq!(server.terminate(), 0);
    assert!(path.exists());
}

#[test]
fn a_file_that_is_no_socket_is_left_alone() {
    let (_folder, path) = place();
    fs::write(&path, "precious").expect("write");
    let output = refused(&path);
    let said = String::from_utf8_lossy(&output.stderr);
    assert_eq!(output.status.code(), Some(2), "{said}");
    let named = format!("--listen {}: ", setting(&path));
    assert!(said.contains(&named) && said.contains("is no socket"), "{said}");
    assert_eq!(fs::read(&path).expect("read"), b"precious");
}

#[test]
fn a_server_that_cannot_start_leaves_no_socket() {
    let (folder, path) = place();
    let server = Server::start(&["--sale", "ticket=5"]);
    let ledger = format!("embedded:{}/data", folder.path().display());
    let taken = server.address().to_string();
    let output = Command::new(env!("CARGO_BIN_EXE_stampede"))
        .args(["serve", "--listen", &setting(&path), "--listen", &taken, "--ledger", &ledger])
        .output()
        .expect("start the server");
    assert_eq!(output.status.code(), Some(1));
    assert!(!path.exists());
}
