//! The load generator as a program, against correct and faulty servers. It must find each fault.

use std::collections::BTreeSet;
use std::io::{BufRead, BufReader, Read, Write};
use std::net::{SocketAddr, TcpListener, TcpStream};
use std::os::unix::net::UnixListener;
use std::process::{Child, Command, Output, Stdio};
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex};
use std::thread;
use std::time::{Duration, Instant};

use bench::answer::SOLD_OUT;
use bench::secure::Certificate;
use bench::tools::{LoadReport, read_load};

const START_DEADLINE: Duration = Duration::from_secs(20);

/// A server's reaction to a request.
enum Reply {
    /// Sends this answer.
    Say(String),
    /// Sends this and closes.
    SayAndClose(String),
    /// Sends no answer for this time, then sends this one.
    Stall(Duration, String),
}

/// Called with the number of the request in the whole run, from 0, and its head.
type Answerer = dyn Fn(u64, &str) -> Reply + Send + Sync;

/// A server within the test, with a thread for each connection. It ends with the test's process.
fn serve(answer: impl Fn(u64, &str) -> Reply + Send + Sync + 'static) -> SocketAddr {
    let listener = TcpListener::bind("127.0.0.1:0").expect("a free port");
    let address = listener.local_addr().expect("its address");
    let (answer, asked): (Arc<Answerer>, _) = (Arc::new(answer), Arc::new(Mutex::new(0)));
    thread::spawn(move || {
        for stream in listener.incoming() {
            let (answer, asked) = (answer.clone(), asked.clone());
            let stream = stream.expect("a connection");
            stream.set_nodelay(true).expect("no delay");
            let reading = BufReader::new(stream.try_clone().expect("its other half"));
            thread::spawn(move || converse(reading, stream, &*answer, &asked));
        }
    });
    address
}

fn converse(
    mut reading: impl BufRead,
    mut stream: impl Write,
    answer: &Answerer,
    asked: &Mutex<u64>,
) {
    let mut head = String::new();
    while matches!(reading.read_line(&mut head), Ok(1..)) {
        if !head.ends_with("\r\n\r\n") {
            continue;
        }
        // A stalled request keeps the lock, so all others wait.
        let mut number = asked.lock().expect("no thread panicked");
        let reply = answer(*number, &head);
        *number += 1;
        head.clear();
        if let Reply::Stall(time, _) = reply {
            thread::sleep(time);
        }
        drop(number);
        let closes = matches!(reply, Reply::SayAndClose(_));
        let (Reply::Say(text) | Reply::SayAndClose(text) | Reply::Stall(_, text)) = reply;
        // In two pieces, to test partial answers.
        let (one, other) = text.as_bytes().split_at(text.len() / 2);
        for piece in [one, other] {
            if stream.write_all(piece).and_then(|()| stream.flush()).is_err() {
                return;
            }
        }
        if closes {
            return;
        }
    }
}

fn http(body: &str) -> String {
    format!("HTTP/1.1 200 OK\r\nContent-Length: {}\r\n\r\n{body}", body.len())
}

fn granted(id: u64) -> String {
    let id = format!(r#""data":{{"reservation":"ticket~{id:026}"}}"#);
    http(&format!(r#"{{"code":1,"msg":"抢票成功",{id}}}"#))
}

fn load(to: &str, options: &[&str]) -> Output {
    start(to, options).wait_with_output().expect("its end")
}

fn start(to: &str, options: &[&str]) -> Child {
    let mut command = Command::new(env!("CARGO_BIN_EXE_load"));
    command.args(["--to", to, "--cores", "0", "--json", "-"]).args(options);
    command.stdin(Stdio::null()).stdout(Stdio::piped()).stderr(Stdio::piped());
    command.spawn().expect("start the load generator")
}

fn text(bytes: &[u8]) -> String {
    String::from_utf8_lossy(bytes).into_owned()
}

/// A run without errors.
fn good(to: &str, options: &[&str]) -> LoadReport {
    let output = load(to, options);
    assert!(output.status.success(), "{options:?}: {}", text(&output.stderr));
    read_load(&text(&output.stdout)).expect("a report without complaints")
}

/// A run with errors: its complaint and its report.
fn bad(to: &str, options: &[&str]) -> (String, LoadReport) {
    let output = load(to, options);
    let errors = text(&output.stderr);
    assert_eq!(output.status.code(), Some(1), "{options:?}: {errors}");
    let json = text(&output.stdout);
    assert!(read_load(&json).is_err(), "{json}");
    (errors, serde_json::from_str(&json).expect("a report all the same"))
}

#[test]
fn a_sale_is_counted_exactly() {
    let server = serve(|number, _| match number {
        0..50 => Reply::Say(granted(number)),
        _ => Reply::Say(http(SOLD_OUT)),
    });
    let expect = ["--expect", "granted,sold_out", "--total", "50"];
    let options = [&["--requests", "300", "--connections", "20"], &expect[..]].concat();
    let report = good(&server.to_string(), &options);
    assert_eq!((report.requests, report.sent, report.unanswered), (300, 300, 0));
    assert_eq!((report.granted, report.sold_out, report.others), (50, 250, 0));
    assert_eq!((report.granted_latency_us.count, report.refused_latency_us.count), (50, 250));
    assert!(report.last_grant_s > 0.0 && report.last_grant_s <= report.last_answer_s);
    assert!(report.latency_us.p50 <= report.latency_us.max && report.latency_us.p50 > 0.0);
}

#[test]
fn duplicate_reservations_are_reported() {
    let server = serve(|number, _| Reply::Say(granted(number % 99)));
    let (errors, report) = bad(&server.to_string(), &["--requests", "100"]);
    assert!(errors.contains("given twice: 1 grants"), "{errors}");
    assert_eq!((report.granted, report.failures), (100, 0));
}

#[test]
fn overselling_is_reported() {
    let server = serve(|number, _| Reply::Say(granted(number)));
    let (errors, _) = bad(&server.to_string(), &["--requests", "6", "--total", "5"]);
    assert!(errors.contains("oversold: 6 tickets were granted of 5"), "{errors}");
}

#[test]
fn malformed_answers_are_shown() {
    let server = serve(|number, _| match number {
        3 => Reply::Say(http("<html>what?</html>")),
        5 => Reply::SayAndClose("220 mail.example ESMTP\r\n".into()),
        _ => Reply::Say(http(SOLD_OUT)),
    });
    let options = ["--requests", "20", "--connections", "1"];
    let (errors, report) = bad(&server.to_string(), &options);
    // Text that is not HTTP is reported at once, without waiting for the rest.
    assert!(errors.contains("what?") && errors.contains("220 mail"), "{errors}");
    let kinds: Vec<_> = report.failures_by_kind.iter().map(|(k, n)| (&**k, *n)).collect();
    assert_eq!(kinds, [("no_http", 1), ("not_understood", 1)]);
    assert_eq!((report.sent, report.sold_out, report.unanswered), (20, 18, 1));
}

#[test]
fn an_unexpected_answer_is_a_failure() {
    let server = serve(|_, _| Reply::Say(http(SOLD_OUT)));
    let (errors, report) = bad(&server.to_string(), &["--requests", "9", "--expect", "granted"]);
    assert!(errors.contains("unexpected_answer: sold_out"), "{errors}");
    assert_eq!((report.failures, report.sold_out), (9, 9));
}

#[test]
fn requests_lost_by_an_early_close_are_counted() {
    let server = serve(|number, _| match number % 10 {
        7 => Reply::SayAndClose("HTTP/1.1 200 OK\r\nContent-Le".into()),
        _ => Reply::Say(http(SOLD_OUT)),
    });
    let options = ["--requests", "100", "--connections", "2"];
    let (errors, report) = bad(&server.to_string(), &options);
    assert!(errors.contains("closed_early"), "{errors}");
    assert_eq!((report.sent, report.sold_out, report.unanswered), (100, 90, 10));
}

#[test]
fn a_properly_closed_connection_is_no_failure() {
    let closing = SOLD_OUT.len();
    let closing = format!(
        "HTTP/1.1 200 OK\r\nConnection: close\r\nContent-Length: {closing}\r\n\r\n{SOLD_OUT}"
    );
    let server = serve(move |number, _| match number % 10 {
        9 => Reply::SayAndClose(closing.clone()),
        _ => Reply::Say(http(SOLD_OUT)),
    });
    let report = good(&server.to_string(), &["--requests", "95", "--connections", "1"]);
    assert_eq!((report.sold_out, report.reopened), (95, 9));
}

#[test]
fn a_connection_is_renewed_after_the_set_number_of_answers() {
    let served = serve(|_, _| Reply::Say(http(SOLD_OUT)));
    let options = ["--connections", "2", "--requests", "50", "--renew-after", "10"];
    let report = good(&served.to_string(), &options);
    // No connection is opened without a request for it.
    assert_eq!((report.sold_out, report.reopened), (50, 0));
    assert!((3..=4).contains(&report.renewed), "{}", report.renewed);
}

#[test]
fn an_unanswered_request_times_out() {
    let server = serve(|number, _| match number {
        3 => Reply::Say("HTTP/1.1 200 OK\r\n".into()),
        _ => Reply::Say(http(SOLD_OUT)),
    });
    let options = ["--requests", "10", "--connections", "1", "--answer-deadline", "1"];
    let (errors, report) = bad(&server.to_string(), &options);
    assert!(errors.contains("timed_out"), "{errors}");
    assert_eq!((report.sold_out, report.unanswered), (9, 1));
}

#[test]
fn an_open_loop_reports_a_stall_in_full() {
    let stall = Duration::from_millis(200);
    let server = serve(move |number, _| match number {
        100 => Reply::Stall(stall, http(SOLD_OUT)),
        _ => Reply::Say(http(SOLD_OUT)),
    });
    let options = ["--rate", "500", "--requests", "500", "--connections", "4"];
    let report = good(&server.to_string(), &options);
    assert_eq!((report.sold_out, report.never_sent), (500, 0));
    // 100 of the 500 became due while nobody was answered, the first of them 200 ms before its end.
    // Four had a connection; in a closed loop, they would be all that saw it.
    let latency = report.latency_us;
    assert!(latency.max >= 199_000.0 && latency.p99 >= 180_000.0, "{latency:?}");
    assert!(latency.p90 >= 80_000.0, "{latency:?}");
    assert!(report.backlog_max >= 90, "{}", report.backlog_max);
}

#[test]
fn unsent_requests_count_with_their_waiting_time() {
    let server = serve(|_, _| Reply::Stall(Duration::from_millis(100), http(SOLD_OUT)));
    let options = ["--rate", "1000", "--seconds", "1", "--connections", "1"];
    let report = good(&server.to_string(), &options);
    // Ten answers a second at the most, of a thousand that were due.
    assert!(report.requests <= 11 && report.never_sent >= 985, "{report:?}");
    assert_eq!(report.latency_us.count, report.requests + report.never_sent);
    assert!(report.latency_us.p50 >= 450_000.0, "{report:?}");
}

#[test]
fn each_request_names_its_own_user() {
    let seen = Arc::new(Mutex::new(BTreeSet::new()));
    let users = seen.clone();
    let server = serve(move |_, head| {
        let user = head.lines().find_map(|line| line.strip_prefix("X-User-Id: "));
        users.lock().expect("no thread panicked").insert(user.expect("a user").to_owned());
        Reply::Say(http(SOLD_OUT))
    });
    good(&server.to_string(), &["--requests", "30", "--users", "--user-prefix", "u"]);
    let seen = seen.lock().expect("no thread panicked");
    assert_eq!(seen.len(), 30);
    assert!(seen.contains("u0000000029"), "{seen:?}");
}

#[test]
fn unix_sockets_are_reached() {
    let folder = tempfile::tempdir().expect("a temporary folder");
    let path = folder.path().join("socket");
    let listener = UnixListener::bind(&path).expect("a Unix socket");
    thread::spawn(move || {
        let asked = Arc::new(Mutex::new(0));
        for stream in listener.incoming() {
            let (stream, asked) = (stream.expect("a connection"), asked.clone());
            let reading = BufReader::new(stream.try_clone().expect("its other half"));
            let sold_out = |_: u64, _: &str| Reply::Say(http(SOLD_OUT));
            thread::spawn(move || converse(reading, stream, &sold_out, &asked));
        }
    });
    let report = good(&format!("unix:{}", path.display()), &["--requests", "500"]);
    assert_eq!(report.sold_out, 500);
}

#[test]
fn a_refused_connection_is_reported() {
    let free = TcpListener::bind("127.0.0.1:0").and_then(|listener| listener.local_addr());
    let free = free.expect("a port that was free").to_string();
    let output = load(&free, &["--requests", "1"]);
    let errors = text(&output.stderr);
    assert_eq!(output.status.code(), Some(1));
    assert!(errors.contains("refused"), "{errors}");
}

/// The floor, killed when it is dropped.
struct Floor {
    child: Child,
    address: SocketAddr,
}

impl Floor {
    fn start() -> Self {
        Self::start_with(&[])
    }

    fn start_with(options: &[String]) -> Self {
        let free = TcpListener::bind("127.0.0.1:0").and_then(|listener| listener.local_addr());
        let address = free.expect("a free port");
        let listen = address.to_string();
        let child = Command::new(env!("CARGO_BIN_EXE_floor"))
            .args(["--listen", &listen, "--cores", "0"])
            .args(options)
            .spawn()
            .expect("start the floor");
        let started = Instant::now();
        while TcpStream::connect(address).is_err() {
            assert!(started.elapsed() < START_DEADLINE, "nothing listens on {address}");
            thread::sleep(Duration::from_millis(10));
        }
        Self { child, address }
    }
}

impl Drop for Floor {
    fn drop(&mut self) {
        // Both fail only if it has ended already.
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

#[test]
fn the_floor_answers_every_request_of_every_load() {
    let floor = Floor::start();
    let to = floor.address.to_string();
    for options in [
        &["--requests", "5003"][..],
        &["--requests", "5003", "--pipeline", "16", "--connections", "7"],
        &["--requests", "503", "--connection-each"],
        &["--requests", "503", "--connection-each", "--http10", "--connections", "5"],
        &["--requests", "503", "--connection-each", "--rate", "2000"],
        &["--requests", "503", "--rate", "5000", "--arrivals", "poisson", "--spin", "50"],
        &["--requests", "3003", "--connections", "1001"],
    ] {
        let report = good(&to, &[options, &["--expect", "sold_out"]].concat());
        let asked: u64 = options[1].parse().expect("a number");
        assert_eq!((report.requests, report.sold_out, report.sent), (asked, asked, asked));
        assert_eq!((report.latency_us.count, report.unanswered), (asked, 0), "{options:?}");
    }
}

#[test]
fn tls_handshakes_and_resumptions_are_counted() {
    let folder = tempfile::tempdir().expect("a folder");
    let certificate = Certificate::make(folder.path()).expect("a certificate");
    let [file, key] = certificate.names();
    let floor = Floor::start_with(&["--tls-cert".into(), file, "--tls-key".into(), key]);
    let to = format!("https://{}", floor.address);
    for (options, handshakes, full_most) in [
        (&["--requests", "5003"][..], 64..=64, 64),
        (&["--requests", "5003", "--pipeline", "16", "--connections", "7"], 7..=7, 7),
        (&["--requests", "503", "--connection-each"], 503..=503, 503),
        (&["--requests", "503", "--connection-each", "--resume"], 503..=503, 64),
        (&["--requests", "503", "--rate", "5000"], 64..=64, 64),
    ] {
        let report = good(&to, &[options, &["--expect", "sold_out"]].concat());
        let asked: u64 = options[1].parse().expect("a number");
        assert_eq!((report.requests, report.sold_out), (asked, asked), "{options:?}");
        assert!(handshakes.contains(&report.handshakes), "{options:?}: {report:?}");
        let full = report.handshakes - report.resumed;
        assert!(full <= full_most, "{options:?}: {full} full handshakes");
        let resumes = options.contains(&"--resume");
        assert!(resumes || report.resumed == 0, "{options:?}: {}", report.resumed);
    }
}

#[test]
fn a_warm_up_is_checked_and_not_counted() {
    let asked = Arc::new(AtomicU64::new(0));
    let counter = asked.clone();
    let server = serve(move |_, _| {
        counter.fetch_add(1, Ordering::Relaxed);
        Reply::Say(http(SOLD_OUT))
    });
    let report = good(&server.to_string(), &["--warm-up", "1", "--seconds", "1"]);
    assert!(report.warm_up > 0 && report.requests > 0, "{report:?}");
    assert_eq!(report.warm_up + report.requests, asked.load(Ordering::Relaxed));
    assert_eq!(report.sent, asked.load(Ordering::Relaxed));
}

#[test]
fn ctrl_c_ends_a_run_and_prints_the_results_so_far() {
    let floor = Floor::start();
    let mut child = start(&floor.address.to_string(), &["--seconds", "600", "--progress"]);
    let mut errors = BufReader::new(child.stderr.take().expect("its stderr"));
    let mut line = String::new();
    while !line.contains("answers/s") {
        line.clear();
        let read = errors.read_line(&mut line).expect("its progress");
        assert!(read > 0, "it ended early");
    }
    let killed = Command::new("kill").args(["-INT", &child.id().to_string()]).status();
    assert!(killed.expect("kill runs").success());
    let mut rest = String::new();
    errors.read_to_string(&mut rest).expect("its summary");
    let output = child.wait_with_output().expect("its end");
    assert_eq!(output.status.code(), Some(130), "{rest}");
    let report: LoadReport = serde_json::from_slice(&output.stdout).expect("a report");
    assert!(report.interrupted && report.requests > 0 && report.requests == report.sent);
}
