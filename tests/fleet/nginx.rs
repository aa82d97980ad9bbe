//! nginx in front of four servers, by `tuning/nginx`: shares by weight, TLS and bounds, and a
//! server that dies under load.

use std::collections::{HashMap, HashSet};
use std::io::{Read, Write};
use std::net::TcpListener;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::thread;
use std::time::Duration;

use crate::Scenario;
use crate::buyer::Bought;
use crate::lab::{Program, until};
use crate::shop::{DOOR, START, STREET, Shop, adapted, buyer, server_address};
use crate::table::Line;

/// nginx alone.
pub const SCENARIO: Scenario = Scenario {
    name: "nginx",
    shows: "weights, TLS and bounds, and retries that never buy twice when a server is killed",
    in_ci: true,
    needs: &[
        ("nginx", "nginx"),
        ("redis-server", "redis-server"),
        ("ab", "apache2-utils"),
        ("curl", "curl"),
        ("openssl", "openssl"),
        ("ip", "iproute2"),
    ],
    run,
};

/// The article's weights.
const WEIGHTED: [(u8, u32); 4] = [(1, 1), (2, 2), (3, 3), (4, 4)];

fn run() -> Vec<Line> {
    let mut shop = Shop::open();
    let options = ["--sale", "ticket=100000", "--cores", "0"];
    let mut servers = WEIGHTED.map(|(number, _)| shop.serve(number, &options));
    let mut lines = weights(&mut shop);
    lines.extend(edge(&mut shop));
    lines.push(forwarded(&mut shop));
    lines.extend(killed(&mut shop, &mut servers));
    lines
}

/// 1000 purchases by weight, with one worker and with four.
fn weights(shop: &mut Shop) -> Vec<Line> {
    let wanted = "100/200/300/400";
    let with_zone = shop.site(&WEIGHTED);
    let without = with_zone.replace("    zone stampede 128k;\n", "");
    assert_ne!(with_zone, without);
    let mut lines = Vec::new();
    for workers in [1, 4] {
        shop.nginx(workers, &with_zone);
        let seen = shares(shop);
        assert_eq!(seen, wanted, "{workers} workers");
        let what = format!("nginx, weights 1:2:3:4, {workers} worker(s): purchases per server");
        lines.push(Line::new(what, wanted, seen));
    }
    // Each worker has a turn of its own. Shown only: it is right even if one of them takes all.
    let what = "the same without `zone`, 4 workers, three times";
    let seen = [(); 3].map(|()| {
        shop.nginx(4, &without);
        shares(shop)
    });
    lines.push(Line::new(what, "(a few off)", seen.join(", ")));
    lines
}

/// Buys 1000 with `ab`. Returns how many each server has answered, by its own count.
fn shares(shop: &Shop) -> String {
    let counts = || WEIGHTED.map(|(number, _)| shop.served(number));
    let before = counts();
    let url = format!("http://{DOOR}/buy/ticket");
    let said = shop.street.run(&["ab", "-q", "-n", "1000", "-c", "100", &url]);
    let says = |name: &str, number: &str| {
        let line = said.lines().find(|line| line.starts_with(name));
        line.is_some_and(|line| line.split_whitespace().any(|word| word == number))
    };
    assert!(says("Complete requests:", "1000") && says("Failed requests:", "0"), "{said}");
    assert!(!said.contains("Non-2xx"), "{said}");
    let all = || counts().iter().sum::<usize>() - before.iter().sum::<usize>();
    until("all are in the servers' stat logs", START, || all() == 1000);
    let after = counts();
    let of = |place: usize| (after[place] - before[place]).to_string();
    [of(0), of(1), of(2), of(3)].join("/")
}

/// curl's exit code for a failed handshake.
const CURL_NO_TLS: i32 = 35;

/// TLS as a client meets it, and the bounds, with the files unchanged.
fn edge(shop: &mut Shop) -> Vec<Line> {
    let site = with_tls(shop, &shop.site(&WEIGHTED));
    shop.nginx(2, &site);
    let url = format!("https://{DOOR}/v1/sales/ticket");
    let ask = |options: &[&str], url: &str| {
        let mut curl = shop.street.command("curl");
        curl.args(["--silent", "--insecure", "--max-time", "10", "--output", "/dev/null"]);
        curl.args(["--write-out", "%{http_version} %{http_code} %{content_type}"]);
        let done = curl.args(options).arg(url).output().expect("run curl");
        let said = String::from_utf8_lossy(&done.stdout).into_owned();
        if done.status.code() == Some(CURL_NO_TLS) { "refused".to_owned() } else { said }
    };
    let mut lines = Vec::new();
    let mut shows = |what: &str, wanted: &str, seen: String| {
        assert_eq!(seen, wanted, "{what}");
        lines.push(Line::new(format!("nginx: {what}"), wanted, seen));
    };
    shows("TLS, a client of HTTP/2", "2 200 application/json", ask(&[], &url));
    let http1 = ask(&["--http1.1", "--tls-max", "1.2"], &url);
    shows("TLS 1.2, a client of HTTP/1.1", "1.1 200 application/json", http1);
    let old = ask(&["--tls-max", "1.1", "--ciphers", "DEFAULT:@SECLEVEL=0"], &url);
    shows("TLS 1.1", "refused", old);
    let plain = ask(&["--head"], &format!("http://{DOOR}/buy/ticket"));
    shows("without TLS", "1.1 308 text/html", plain);
    let problem = |status: u16| format!("1.1 {status} application/problem+json");
    let long = format!("X-Long: {}", "x".repeat(5000));
    let head = ask(&["--http1.1", "--header", &long], &url);
    shows("a header line of 5,000 bytes", &problem(431), head);
    let line = ask(&["--http1.1"], &format!("{url}?{}", "x".repeat(5000)));
    shows("a request line of 5,000 bytes", &problem(414), line);
    let body = "x".repeat(16 * 1024 + 1);
    let body = ask(&["--http1.1", "--data", &body], &format!("{url}/reservations"));
    shows("a body of 16 KiB and a byte", &problem(413), body);
    for version in ["-tls1_2", "-tls1_3"] {
        let resumed = is_resumed(shop, version).to_string();
        shows(&format!("a session is resumed with {version}"), "true", resumed);
    }
    lines
}

/// The site with `stampede-tls.conf` in it, and a certificate.
fn with_tls(shop: &Shop, site: &str) -> String {
    let at = shop.lab.folder().display();
    let (certificate, key) = (format!("{at}/tls.pem"), format!("{at}/tls.key"));
    let subject = ["-subj", "/CN=shop", "-days", "2", "-nodes"];
    let kind = ["-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:P-256"];
    let made = ["openssl", "req", "-x509", "-keyout", &key, "-out", &certificate];
    shop.inside.run(&[&made[..], &subject, &kind].concat());
    let tls = adapted(
        "nginx/stampede-tls.conf",
        &[
            ("/etc/stampede/tls.pem;", &format!("{certificate};")),
            ("/etc/stampede/tls.key;", &format!("{key};")),
        ],
    );
    let file = shop.lab.file("stampede-tls.conf", &tls);
    let include = "# include snippets/stampede-tls.conf;";
    assert_eq!(site.matches(include).count(), 1);
    site.replace(include, &format!("include {};", file.display()))
}

/// Whether a second connection resumes the session.
fn is_resumed(shop: &Shop, version: &str) -> bool {
    let session = shop.lab.folder().join(format!("session{version}"));
    let session = session.to_str().expect("a path in UTF-8");
    let connect = |file: &str| {
        // It ends by itself with the answer: a TLS 1.3 session comes after the handshake.
        let script = format!(
            "printf 'GET /v1/sales/ticket HTTP/1.1\\r\\nHost: shop\\r\\nConnection: close\\r\\n\\r\\n' |
             openssl s_client -connect {DOOR}:443 {version} -ign_eof {file} {session} 2>&1"
        );
        shop.street.run(&["sh", "-c", &script])
    };
    assert!(connect("-sess_out").contains("\nNew, "));
    connect("-sess_in").contains("\nReused, ")
}

/// What nginx sends to a server: recorded by a listener in the server's place.
fn forwarded(shop: &mut Shop) -> Line {
    let listener = shop.inside.within(|| TcpListener::bind((server_address(9), 3005)));
    let listener = listener.expect("an address of loopback");
    let site = shop.site(&[(9, 1)]);
    shop.nginx(1, &site);
    let head = thread::scope(|scope| {
        let seen = scope.spawn(|| answer_once(&listener, "HTTP/1.1 204 No Content\r\n\r\n"));
        let request = [("X-Forwarded-For", "6.6.6.6"), ("Cookie", "a=b"), ("Connection", "close")];
        let told = shop.street.within(|| buyer().request("GET", "/v1/sales/x?y=%2f", &request, ""));
        assert!(told.is_err(), "204 has no length");
        seen.join().expect("the request")
    });
    let has = |line: &str| head.lines().any(|found| found.eq_ignore_ascii_case(line));
    assert!(head.starts_with("GET /v1/sales/x?y=%2f HTTP/1.1\r\n"), "{head}");
    assert!(has(&format!("X-Forwarded-For: {STREET}")) && has("X-Forwarded-Proto: http"), "{head}");
    let lower = head.to_ascii_lowercase();
    assert!(!lower.contains("\ncookie:") && !lower.contains("\nconnection:"), "{head}");
    Line::new("nginx: X-Forwarded-For, whatever the client says", STREET.to_string(), "so")
}

/// Accepts one connection, reads the head of its request, and answers.
fn answer_once(listener: &TcpListener, answer: &str) -> String {
    let (mut stream, _) = listener.accept().expect("a connection of nginx");
    let mut head = Vec::new();
    let mut byte = [0];
    while !head.ends_with(b"\r\n\r\n") {
        stream.read_exact(&mut byte).expect("a head");
        head.extend(byte);
    }
    stream.write_all(answer.as_bytes()).expect("answer");
    String::from_utf8(head).expect("a head in ASCII")
}

const BUYERS: usize = 48;
const PURCHASES: usize = 60;

/// The outcome of a purchase, and its owner: the user, with a tab and the key if there was one.
type Told = (String, Bought);

/// A server is killed with -9 while 48 buyers buy: a third each by `/v1` with a key, by
/// `/buy/ticket` with a key, and by `/buy/ticket` without one.
fn killed(shop: &mut Shop, servers: &mut [Program; 4]) -> Vec<Line> {
    shop.redis().text("FLUSHALL");
    shop.redis().text("HMSET ticket_hash_key ticket_total_nums 100000 ticket_sold_nums 0");
    let site = shop.site(&WEIGHTED);
    shop.nginx(2, &site);
    let done = AtomicUsize::new(0);
    let told: Vec<Told> = thread::scope(|scope| {
        let load = scope.spawn(|| shop.street.within(|| load(&done)));
        until("a third is bought", START, || {
            done.load(Ordering::Relaxed) >= BUYERS * PURCHASES / 3
        });
        servers[3].kill();
        load.join().expect("the buyers")
    });
    let mut there: HashMap<String, String> = HashMap::new();
    for row in shop.audited() {
        let other = there.insert(row.owner.clone(), row.id);
        assert!(other.is_none(), "{} has two reservations", row.owner);
    }
    let (keyed, unkeyed): (Vec<Told>, Vec<Told>) =
        told.into_iter().partition(|(owner, _)| owner.contains('\t'));
    for (owner, bought) in &keyed {
        let id = there.get(owner).cloned();
        assert_eq!(Some(bought.clone()), id.map(Bought::Granted), "{owner}");
    }
    let mut count = HashMap::from([("granted", 0), ("unknown, sold", 0), ("unknown, not", 0)]);
    for (owner, bought) in &unkeyed {
        let outcome = match (bought, there.get(owner)) {
            (Bought::Granted(told), Some(id)) if told == id => "granted",
            (Bought::Refused(code), Some(_)) if code == "unknown" => "unknown, sold",
            (Bought::Refused(code), None) if code == "unknown" => "unknown, not",
            (bought, id) => panic!("{owner} was told {bought:?}, and has {id:?}"),
        };
        *count.get_mut(outcome).expect("counted") += 1;
    }
    let sold = keyed.len() + count["granted"] + count["unknown, sold"];
    assert_eq!(there.len(), sold, "nothing was sold that nobody asked for");
    let distinct: HashSet<&String> = there.values().collect();
    assert_eq!(distinct.len(), sold);
    let of = |what: &str| format!("{} {what}", count[what]);
    let seen = [of("granted"), of("unknown, sold"), of("unknown, not")].join("; ");
    let (keyed, back) = (keyed.len().to_string(), back(shop, &mut servers[3]));
    vec![
        Line::new("nginx, one of four servers killed with -9: granted with a key", &keyed, &keyed),
        Line::new("the same: without a key", "granted or `unknown`, none twice", seen),
        Line::new("the same: sold, as the audit finds", format!("{sold}"), there.len().to_string()),
        Line::new("the same: started again, it sells after", "2 s, its fail_timeout", back),
    ]
}

/// Starts a killed server. Returns the time from its start to the first purchase that it gets.
fn back(shop: &Shop, server: &mut Program) -> String {
    let before = shop.served(4);
    *server = shop.serve(4, &["--cores", "0"]);
    let sells = || {
        buyer().buy().expect("an answer of nginx").granted().expect("a ticket");
        shop.served(4) > before
    };
    let took = shop.street.within(|| until("nginx sends purchases again", START, sells));
    format!("{:.1} s", took.as_secs_f64())
}

/// All purchases of all buyers.
fn load(done: &AtomicUsize) -> Vec<Told> {
    let buys = |number: usize| {
        let mut buyer = buyer();
        let mut told = Vec::new();
        for turn in 0..PURCHASES {
            let user = format!("u{number}-{turn}");
            let key = format!("k{turn}");
            let named = ("X-User-Id", user.as_str());
            let bought = match number % 3 {
                0 => buyer.reserve("ticket", &user, 1, &key).map(|answer| answer.bought()),
                1 => buyer.buy_as(&[named, ("Idempotency-Key", &key)]),
                _ => buyer.buy_as(&[named]),
            };
            let owner = if number % 3 == 2 { user } else { format!("{user}\t{key}") };
            told.push((owner, bought.expect("an answer of nginx")));
            done.fetch_add(1, Ordering::Relaxed);
            thread::sleep(Duration::from_millis(2));
        }
        told
    };
    thread::scope(|scope| {
        let threads: Vec<_> = (0..BUYERS).map(|number| scope.spawn(move || buys(number))).collect();
        threads.into_iter().flat_map(|thread| thread.join().expect("a buyer")).collect()
    })
}
