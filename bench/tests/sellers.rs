//! Checks that sellers sell exactly their stock, and that bare clients report what they did.

use std::collections::HashSet;
use std::io::{Read, Write};
use std::net::{SocketAddr, TcpStream};
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::sync::atomic::AtomicBool;
use std::time::{Duration, Instant};

use bench::answer::{self, Answer, TARGET, text_field};
use bench::client::Client;
use bench::fill::Filler;
use bench::hot;
use bench::journal::{self, Lengths};
use bench::lab::free_address;
use bench::one_sale::Keys;
use bench::process::{CommandLine, Running, run};
use bench::resp::Connection;
use bench::sellers::{self, Batches, Bytes, Calls, Source};
use bench::servers::Programs;
use tempfile::TempDir;

// The server's tests use all of these helpers.
#[allow(dead_code)]
#[path = "../../tests/support/redis.rs"]
mod redis_server;

use redis_server::RedisServer;

const TOTAL: u64 = 50;
const CONNECTIONS: usize = 20;
const REQUESTS_EACH: usize = 15;
const START_DEADLINE: Duration = Duration::from_secs(20);
const END_DEADLINE: Duration = Duration::from_secs(20);

/// Our programs, where Cargo has built them.
fn programs() -> Programs {
    let folder = Path::new(env!("CARGO_BIN_EXE_floor_sales")).parent().expect("a folder");
    Programs { folder: folder.to_owned(), stampede: PathBuf::new() }
}

fn address_of(redis: &RedisServer) -> SocketAddr {
    SocketAddr::from(([127, 0, 0, 1], redis.port()))
}

fn sold(redis: &RedisServer) -> u64 {
    let sold = redis.connect().text("HGET ticket_hash_key ticket_sold_nums");
    sold.parse().expect("a number")
}

/// A seller that listens.
fn start(name: &str, line: &CommandLine, address: SocketAddr, folder: &TempDir) -> Running {
    let mut process =
        Running::start(name, line, &folder.path().join("log")).expect("it can be started");
    let started = Instant::now();
    while TcpStream::connect(address).is_err() {
        process.check_alive().expect("it runs");
        assert!(started.elapsed() < START_DEADLINE, "nothing listens on {address}");
        std::thread::sleep(Duration::from_millis(5));
    }
    process
}

/// The answers to a crowd: the reservations of the grants (empty if unnamed), and the number of
/// rejections.
fn crowd(address: SocketAddr) -> (Vec<String>, usize) {
    let buyer = || {
        let (mut granted, mut sold_out) = (Vec::new(), 0);
        let mut client = Client::connect(address).expect("a connection");
        for _ in 0..REQUESTS_EACH {
            let response = client.get(TARGET).expect("an answer");
            match answer::read(&response) {
                Some(Answer::Granted) => {
                    let id = text_field(&response.body, "reservation").unwrap_or_default();
                    granted.push(id.to_owned());
                }
                Some(Answer::SoldOut) => sold_out += 1,
                None => panic!("{response:?}"),
            }
        }
        (granted, sold_out)
    };
    std::thread::scope(|scope| {
        let buyers: Vec<_> = (0..CONNECTIONS).map(|_| scope.spawn(buyer)).collect();
        let told = buyers.into_iter().map(|buyer| buyer.join().expect("a buyer"));
        told.fold((Vec::new(), 0), |(mut all, refused), (granted, sold_out)| {
            all.extend(granted);
            (all, refused + sold_out)
        })
    })
}

/// Three requests at once, the last of which closes: three answers in order, and the end.
fn pipelined(address: SocketAddr) -> String {
    let mut stream = TcpStream::connect(address).expect("a connection");
    stream.set_read_timeout(Some(END_DEADLINE)).expect("a time-out");
    let request = format!("GET {TARGET} HTTP/1.1\r\nHost: a\r\n\r\n");
    let last = format!("GET {TARGET} HTTP/1.1\r\nHost: a\r\nConnection: close\r\n\r\n");
    stream.write_all([&*request, &request, &last].concat().as_bytes()).expect("sent");
    let mut text = String::new();
    stream.read_to_string(&mut text).expect("all answers, then the end");
    text
}

#[test]
fn the_article_sells_exactly_the_total() {
    let folder = tempfile::tempdir().expect("a folder");
    let source = Path::new(env!("CARGO_MANIFEST_DIR")).join("peers/article");
    let cache = Path::new(env!("CARGO_TARGET_TMPDIR")).join("go");
    let program = folder.path().join("article");
    sellers::build_article(&source, &program, &cache).expect("it builds");
    let programs = Programs { folder: folder.path().to_owned(), stampede: PathBuf::new() };

    let mut redis = RedisServer::start(&[]);
    let address = free_address().expect("a port");
    let line = sellers::article(&programs, &[0], address, address_of(&redis), TOTAL);
    let seller = start("article", &line, address, &folder);
    let (granted, sold_out) = crowd(address);
    assert_eq!((granted.len() as u64, sold(&redis)), (TOTAL, TOTAL));
    assert_eq!(sold_out, CONNECTIONS * REQUESTS_EACH - TOTAL as usize);

    // Redis refuses what exceeds the total, and a refused purchase uses up nothing.
    drop(seller);
    redis.connect().ask("HINCRBY ticket_hash_key ticket_total_nums 1");
    let address = free_address().expect("a port");
    let line = sellers::article(&programs, &[0], address, address_of(&redis), TOTAL);
    let _seller = start("article", &line, address, &folder);
    let (granted, _) = crowd(address);
    assert_eq!((granted.len(), sold(&redis)), (1, TOTAL + 1));
    redis.connect().ask("HINCRBY ticket_hash_key ticket_total_nums 2");
    // A script that Redis has forgotten is sent again.
    redis.connect().ask("SCRIPT FLUSH");
    assert_eq!((crowd(address).0.len(), sold(&redis)), (2, TOTAL + 3));

    // Without Redis, the answer must not be "sold out".
    redis.kill();
    let response = Client::connect(address).and_then(|mut client| client.get(TARGET));
    assert_eq!(response.expect("an answer").status, 503);
}

/// Sells the whole stock with different ids. Returns the batches and requests of its ledger.
fn floor_sells_exactly(from: Source<'_>, folder: &TempDir) -> (u64, u64) {
    let address = free_address().expect("a port");
    let line = sellers::floor_sales(&programs(), &[0, 1], address, from, TOTAL);
    let process = start("floor_sales", &line, address, folder);

    let text = pipelined(address);
    assert_eq!(text.matches("抢票成功").count(), 3, "{text}");
    let (granted, sold_out) = crowd(address);
    assert_eq!(granted.len() as u64 + 3, TOTAL);
    assert_eq!(sold_out + granted.len(), CONNECTIONS * REQUESTS_EACH);
    let distinct: HashSet<_> = granted.iter().collect();
    assert_eq!(distinct.len(), granted.len(), "two grants name the same reservation");
    assert_eq!(pipelined(address).matches("已售罄").count(), 3);

    process.end(libc::SIGTERM, END_DEADLINE).expect("it ends");
    let log = std::fs::read_to_string(folder.path().join("log")).expect("its log");
    let (batches, requests) = sellers::read_floor_sales(&log).expect("what it put to its ledger");
    assert!((TOTAL..=6 + (CONNECTIONS * REQUESTS_EACH) as u64).contains(&requests), "{log}");
    (batches, requests)
}

#[test]
fn the_sale_floor_sells_exactly_the_total_in_batches() {
    let folder = tempfile::tempdir().expect("a folder");
    let redis = RedisServer::start(&[]);
    let at = address_of(&redis);
    let (batches, requests) = floor_sells_exactly(Source::Redis(at), &folder);
    assert!((1..=requests).contains(&batches) && sold(&redis) == TOTAL);
    let mut filler = Filler::open(at, "ticket").expect("a connection");
    let sizes = filler.batch_sizes(1_000).expect("the stream's entries");
    assert_eq!(sizes.iter().sum::<usize>() as u64, TOTAL);
}

#[test]
fn the_sale_floor_sells_exactly_the_total_ticket_by_ticket() {
    let folder = tempfile::tempdir().expect("a folder");
    let redis = RedisServer::start(&[]);
    let from = Source::RedisPerTicket(address_of(&redis));
    let (batches, requests) = floor_sells_exactly(from, &folder);
    assert!(batches == requests && sold(&redis) == TOTAL);
}

#[test]
fn the_durable_sale_floor_writes_as_much_as_a_ledger() {
    let folder = tempfile::tempdir().expect("a folder");
    let data = folder.path().join("journal");
    let (batches, _) = floor_sells_exactly(Source::Journal(&data), &folder);
    let bytes = std::fs::read(data.join("floor_sales")).expect("its file");
    // Preallocated space follows the written records.
    let written = bytes.iter().rposition(|&byte| byte != 0).expect("bytes") + 1;
    let lengths = Lengths::measure(&folder.path().join("lengths")).expect("lengths");
    let purchases = TOTAL as usize * lengths.purchase;
    let records = (written - purchases) / lengths.record;
    assert_eq!(written, purchases + records * lengths.record);
    assert!((1..=batches).contains(&(records as u64)), "{records} records of {batches} batches");
}

/// The output of a program.
fn printed(line: &CommandLine) -> String {
    run(line, END_DEADLINE, &Arc::new(AtomicBool::new(false))).expect("it ends well")
}

#[test]
fn bare_redis_reports_the_sales_that_redis_counted() {
    let redis = RedisServer::start(&[]);
    let line = sellers::bare_redis(&programs(), 0, address_of(&redis), Batches::Of(7), 1);
    let first = sellers::read_bare_redis(&printed(&line)).expect("figures");
    assert_eq!((first.sales, first.sales), (sold(&redis), 7 * first.batches));

    let folder = tempfile::tempdir().expect("a folder");
    let file = folder.path().join("batches");
    std::fs::write(&file, "3\n5\n").expect("written");
    let from_file = Batches::From(&file);
    let line = sellers::bare_redis(&programs(), 0, address_of(&redis), from_file, 1);
    let second = sellers::read_bare_redis(&printed(&line)).expect("figures");
    assert_eq!(first.sales + second.sales, sold(&redis));
    // More entries than a page of the stream, the oldest first.
    let mut filler = Filler::open(address_of(&redis), "ticket").expect("a connection");
    let all = filler.batch_sizes(usize::MAX).expect("the stream's entries");
    assert_eq!(all.len() as u64, first.batches + second.batches);
    let (sevens, others) = all.split_at(first.batches as usize);
    assert!(sevens.iter().all(|&size| size == 7));
    let cycle = [3, 5].iter().cycle();
    assert!(others.iter().zip(cycle).all(|(size, wanted)| size == wanted));
    assert_eq!(filler.batch_sizes(2).expect("the last two").len(), 2);

    std::fs::write(&file, "0").expect("written");
    let error = run(&line, END_DEADLINE, &Arc::new(AtomicBool::new(false)));
    assert!(error.is_err_and(|error| error.0.contains("1 to 512")));
}

#[test]
fn the_plain_design_reports_the_sales_that_redis_counted() {
    let redis = RedisServer::start(&[]);
    let at = address_of(&redis);
    let mut told = 0;
    for (first, calls) in [(0, Calls::Each), (1_000_000_000, Calls::Pipelined)] {
        let line = sellers::many_evalsha(&programs(), 0, at, (3, calls), (first, 1));
        told += sellers::read_many_evalsha(&printed(&line)).expect("figures").0;
    }
    let mut connection = Connection::open(at).expect("a connection");
    let mut sold = |number| Keys::of(&hot::id(number)).sold(&mut connection).expect("a count");
    let each = [0, 1, 2].map(&mut sold);
    assert_eq!(each.iter().sum::<u64>(), told);
    // At random, so none is left out.
    assert!(each.iter().all(|&count| count > told / 4), "{each:?}");
    // A user has one ticket: a second purchase gets this answer and does not count.
    let again = sellers::many_evalsha(&programs(), 0, at, (1, Calls::Each), (0, 1));
    let error = run(&again, END_DEADLINE, &Arc::new(AtomicBool::new(false)));
    assert!(error.is_err_and(|error| error.0.contains("did not grant a purchase: Integer(2)")));
}

#[test]
fn the_bare_writer_reports_its_bytes_and_repeats_a_ledger() {
    let folder = tempfile::tempdir().expect("a folder");
    let written = || std::fs::metadata(folder.path().join("bare_append")).expect("a file").len();
    let line = sellers::bare_append(&programs(), 0, folder.path(), Bytes::Of(100), 1);
    let appended = sellers::read_bare_append(&printed(&line)).expect("figures");
    assert_eq!((appended.bytes, written()), (100 * appended.batches, appended.bytes));

    let data = folder.path().join("ledger");
    journal::write(&data, &[1, 30, 200]).expect("a ledger");
    let records = journal::record_bytes(&data).expect("its records");
    // The sale, three commits, and the record of a closed ledger.
    assert_eq!(records.len(), 5);
    assert_eq!(records[3] - records[2], 170 * (records[2] - records[1]) / 29);
    let lengths = Lengths::measure(&folder.path().join("lengths")).expect("lengths");
    assert_eq!([1, 30, 200].map(|count| lengths.of(count)), records[1..4]);
    let journal = std::fs::read_dir(&data).expect("its files").filter_map(|file| {
        let file = file.expect("a file");
        file.file_name().to_string_lossy().starts_with("journal-").then_some(file)
    });
    let bytes: u64 = journal.map(|file| file.metadata().expect("its length").len()).sum();
    assert_eq!(records.iter().sum::<usize>() as u64, bytes - 52, "all but the file's header");

    let line = sellers::bare_append(&programs(), 0, folder.path(), Bytes::Like(&data), 1);
    let appended = sellers::read_bare_append(&printed(&line)).expect("figures");
    let cycle = records.iter().cycle().take(appended.batches as usize);
    assert_eq!((cycle.sum::<usize>() as u64, written()), (appended.bytes, appended.bytes));
}
