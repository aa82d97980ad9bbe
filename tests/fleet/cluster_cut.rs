//! A node forgets its scripts and closes the connection in the middle of its answer about that.
//! Everything that it had not done is done in the end, and no request waits in vain.

use std::io::{Read, Write};
use std::net::{Ipv4Addr, Shutdown, TcpListener, TcpStream};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::thread;
use std::time::Duration;

use crate::crowd::Crowd;
use crate::lab::until;
use crate::redis_server::RedisServer;
use crate::server::Server;
use crate::table::Line;

const TOTAL: usize = 5_000;
const BUYERS: usize = 16;
const CUTS: usize = 5;
const PATIENCE: Duration = Duration::from_secs(60);
/// The name of a core's connection.
const CORE: &[u8] = b"stampede-core-";
const NO_SCRIPT: &[u8] = b"-NOSCRIPT";

/// Runs it.
pub fn run() -> Vec<Line> {
    let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).expect("a port");
    let port = listener.local_addr().expect("an address").port();
    let announced = port.to_string();
    let node =
        RedisServer::start(&["--cluster-enabled", "yes", "--cluster-announce-port", &announced]);
    let mut redis = node.connect();
    assert_eq!(redis.text("CLUSTER ADDSLOTSRANGE 0 16383"), "OK");
    until("the Cluster is made", PATIENCE, || {
        redis.text("CLUSTER INFO").contains("cluster_state:ok")
    });
    let cuts = Arc::new(AtomicUsize::new(0));
    let (seen, behind) = (cuts.clone(), node.port());
    thread::spawn(move || {
        for client in listener.incoming() {
            pass(client.expect("a connection"), behind, &seen);
        }
    });

    let url = format!("redis-cluster://127.0.0.1:{port}");
    let core = core_affinity::get_core_ids().expect("processors")[0].id.to_string();
    let sales = ["one", "two"];
    let options = sales.map(|sale| format!("{sale}={TOTAL}"));
    let [one, two] = &options;
    let server = Server::start(&["--ledger", &url, "--cores", &core, "--sale", one, "--sale", two]);
    let crowds = sales.map(|sale| Crowd::new(sale, &[server.address()]));
    thread::scope(|scope| {
        crowds.iter().for_each(|crowd| crowd.buy(scope, BUYERS));
        while crowds.iter().all(|crowd| crowd.granted() < TOTAL) {
            if cuts.load(Ordering::Relaxed) < CUTS {
                assert_eq!(redis.text("SCRIPT FLUSH"), "OK");
            }
            thread::sleep(Duration::from_millis(50));
        }
    });
    let cuts = cuts.load(Ordering::Relaxed);
    assert!(cuts > 0, "no batch of two sales met a node without scripts");
    let waits = crowds.iter().map(Crowd::longest_wait).max().unwrap_or_default();
    for (crowd, sale) in crowds.iter().zip(sales) {
        let sold = redis.text(&format!("HGET {sale}_hash_key {sale}_sold_nums"));
        assert_eq!((sold, crowd.granted()), (TOTAL.to_string(), TOTAL));
    }
    assert!(waits < Duration::from_secs(5), "somebody was not answered: {waits:?}");
    vec![Line::new(
        "connection ends after NOSCRIPT for a part of a batch: times; longest wait of a buyer",
        "none unanswered",
        format!("{cuts}; {} ms", waits.as_millis()),
    )]
}

/// Passes a client's bytes on to the node, and the node's bytes back.
fn pass(client: TcpStream, port: u16, cuts: &Arc<AtomicUsize>) {
    let node = TcpStream::connect((Ipv4Addr::LOCALHOST, port)).expect("the node");
    let is_core = Arc::new(AtomicBool::new(false));
    for stream in [&client, &node] {
        stream.set_nodelay(true).expect("TCP_NODELAY");
    }
    let (from, to, found) = (copy(&client), copy(&node), is_core.clone());
    thread::spawn(move || {
        each(from, to, |bytes| {
            if contains(bytes, CORE) {
                found.store(true, Ordering::Relaxed);
            }
            (bytes.len(), true)
        });
    });
    let cuts = cuts.clone();
    thread::spawn(move || {
        each(node, client, |bytes| {
            let line = bytes.iter().position(|byte| *byte == b'\n').map_or(0, |at| at + 1);
            let cut = is_core.load(Ordering::Relaxed)
                && bytes.starts_with(NO_SCRIPT)
                && bytes[line..].starts_with(NO_SCRIPT)
                && cuts.load(Ordering::Relaxed) < CUTS;
            if !cut {
                return (bytes.len(), true);
            }
            cuts.fetch_add(1, Ordering::Relaxed);
            (line, false)
        });
    });
}

fn copy(stream: &TcpStream) -> TcpStream {
    stream.try_clone().expect("a descriptor")
}

fn contains(bytes: &[u8], word: &[u8]) -> bool {
    bytes.windows(word.len()).any(|part| part == word)
}

/// Passes on as many bytes as `look` says, until `look` reports the end.
fn each(mut from: TcpStream, mut to: TcpStream, look: impl Fn(&[u8]) -> (usize, bool)) {
    let mut buffer = vec![0; 64 << 10];
    while let Ok(length @ 1..) = from.read(&mut buffer) {
        let (length, more) = look(&buffer[..length]);
        if to.write_all(&buffer[..length]).is_err() || !more {
            break;
        }
    }
    // One side has ended, so the other is closed too.
    let _ = (from.shutdown(Shutdown::Both), to.shutdown(Shutdown::Both));
}
