//! The folder `tuning/` as an operator uses it: the script on a host made of files, and the real
//! nginx, Redis and systemd reading their files.

#[allow(dead_code)]
#[path = "support/redis.rs"]
mod redis_server;
#[allow(dead_code)]
#[path = "support/server.rs"]
mod server;
#[path = "support/tuning.rs"]
mod tuning_folder;

use std::collections::BTreeMap;
use std::fs;
use std::io::{Read, Write};
use std::net::{TcpListener, TcpStream};
use std::path::PathBuf;
use std::process::{Command, Output, Stdio};
use std::thread;
use std::time::{Duration, Instant};

use redis::Value;
use redis_server::RedisConnection;
use server::Server;
use stampede::code::ErrorCode;
use stampede::engine::http::{Kind, Problem};
use stampede::limits::{
    BODY_BYTES_MAX, BODY_DEADLINE_MS, DRAIN_DEADLINE_MS, HEAD_BYTES_MAX, HEAD_DEADLINE_MS,
    IDLE_DEADLINE_MS, LEDGER_ANSWER_DEADLINE_MS, WEBHOOK_DEADLINE_MS,
};
use tempfile::TempDir;
use tuning_folder::{Running, START_DEADLINE, connect, folder, program, text};

/// A host with two cores and one network interface, as far as the script looks, in a folder.
struct Host(TempDir);

impl Host {
    fn new() -> Self {
        let host = Self(tempfile::tempdir().expect("a temporary folder"));
        for (path, text) in [
            ("proc/sys/fs/file-max", "100000"),
            ("proc/sys/fs/nr_open", "1073741816"),
            ("proc/sys/vm/max_map_count", "65530"),
            ("proc/sys/net/core/somaxconn", "4096"),
            ("proc/sys/net/ipv4/tcp_max_syn_backlog", "512"),
            ("proc/sys/net/ipv4/ip_local_port_range", "32768\t60999"),
            ("proc/sys/net/core/busy_poll", "0"),
            ("proc/interrupts", " 38:  0  9 PCI-MSIX 1-edge  virtio2-input.1"),
            ("proc/irq/38/smp_affinity_list", "0-39"),
            ("sys/devices/system/cpu/online", "0-39"),
            ("sys/devices/system/cpu/cpu0/cpufreq/scaling_governor", "powersave"),
            ("sys/class/net/eth0/device/msi_irqs/38", "msix"),
            ("sys/class/net/eth0/queues/rx-0/rps_cpus", "00,00000000"),
            ("sys/class/net/eth0/queues/tx-0/xps_cpus", "ff,ffffffff"),
            ("sys/class/net/lo/queues/rx-0/rps_cpus", "0"),
            ("sys/kernel/mm/transparent_hugepage/enabled", "[always] madvise never"),
            (
                "sys/kernel/mm/transparent_hugepage/defrag",
                "always defer defer+madvise madvise [never]",
            ),
            ("etc/security/limits.conf", "# nothing"),
            ("etc/security/limits.d/90-stampede.conf", "# somebody's own\n* hard nofile 5"),
            ("etc/systemd/system.conf", "[Manager]"),
        ] {
            host.write(path, &format!("{text}\n"));
        }
        host
    }

    fn write(&self, path: &str, text: &str) {
        let path = self.0.path().join(path);
        fs::create_dir_all(path.parent().expect("a folder")).expect("make a folder");
        fs::write(path, text).expect("write a file");
    }

    fn read(&self, path: &str) -> String {
        fs::read_to_string(self.0.path().join(path)).expect("a file of the host")
    }

    /// Runs the script on it: exit code, standard output, standard error.
    fn run(&self, arguments: &[&str]) -> (i32, String, String) {
        let Output { status, stdout, stderr } = Command::new(folder().join("host"))
            .args(arguments)
            .env("STAMPEDE_TUNING_ROOT", self.0.path())
            .env_remove("STAMPEDE_TUNING_STATE")
            .output()
            .expect("run the script");
        let text = |bytes| String::from_utf8(bytes).expect("UTF-8");
        (status.code().expect("an exit code"), text(stdout), text(stderr))
    }

    /// Every file and its content, and every folder.
    fn files(&self) -> BTreeMap<PathBuf, Option<String>> {
        let mut found = BTreeMap::new();
        let mut folders = vec![self.0.path().to_owned()];
        while let Some(folder) = folders.pop() {
            for entry in fs::read_dir(folder).expect("a folder").map(|e| e.expect("an entry")) {
                let path = entry.path();
                if path.is_dir() {
                    folders.push(path.clone());
                    // The folder of saved values may stay, empty.
                    if !path.ends_with("var") && !path.ends_with("var/lib") {
                        found.insert(path, None);
                    }
                } else {
                    let text = fs::read_to_string(&path).expect("text");
                    found.insert(path, Some(text));
                }
            }
        }
        found
    }
}

/// The line of a table about a knob.
#[track_caller]
fn line<'a>(table: &'a str, knob: &str) -> &'a str {
    let mut lines = table.lines().filter(|line| line.contains(knob));
    let line = lines.next().unwrap_or_else(|| panic!("no line about {knob}: {table}"));
    assert!(lines.next().is_none(), "two lines about {knob}: {table}");
    line
}

#[test]
fn check_prints_a_table_of_this_machine_and_changes_nothing() {
    let output = Command::new(folder().join("host"))
        .arg("check")
        .env_remove("STAMPEDE_TUNING_ROOT")
        .output()
        .expect("run the script");
    let table = String::from_utf8(output.stdout).expect("UTF-8");
    assert!(matches!(output.status.code(), Some(0 | 1)), "{table}");
    assert!(output.stderr.is_empty(), "{}", String::from_utf8_lossy(&output.stderr));
    assert!(table.starts_with("knob "), "{table}");
    let changes = table.lines().filter(|line| line.ends_with(" change")).count();
    assert_eq!(output.status.code(), Some(i32::from(changes > 0)), "{table}");
    for knob in ["fs.file-max", "net.core.somaxconn", "isolated cores"] {
        let line = line(&table, knob);
        let results = [" ok", " change", " not here", " look"];
        assert!(results.iter().any(|result| line.ends_with(result)), "{line}");
    }
}

#[test]
fn undo_restores_what_apply_changed_to_the_byte() {
    let host = Host::new();
    let before = host.files();
    let (code, table, _) = host.run(&["check", "--only", "all"]);
    assert_eq!(code, 1, "{table}");
    assert_eq!(host.files(), before, "check changes nothing");
    assert!(line(&table, "busy_read").ends_with("not here"), "{table}");
    assert!(line(&table, "fs.nr_open").ends_with("ok"), "{table}");

    let (code, said, errors) = host.run(&["apply", "--only", "all"]);
    assert_eq!((code, errors.as_str()), (0, ""), "{said}");
    assert!(line(&said, "busy_read").starts_with("not here"), "{said}");
    assert!(line(&said, "somaxconn").contains("4096 -> 65535"), "{said}");
    for (path, value) in [
        ("proc/sys/net/core/somaxconn", "65535"),
        ("proc/sys/fs/nr_open", "1073741816"),
        ("proc/sys/net/ipv4/ip_local_port_range", "10000 65535"),
        ("proc/irq/38/smp_affinity_list", "1"),
        ("sys/devices/system/cpu/cpu0/cpufreq/scaling_governor", "performance"),
        ("sys/class/net/eth0/queues/rx-0/rps_cpus", "000000ff,ffffffff"),
        ("sys/class/net/eth0/queues/tx-0/xps_cpus", "ff,ffffffff"),
        ("sys/class/net/lo/queues/rx-0/rps_cpus", "0"),
        ("sys/kernel/mm/transparent_hugepage/enabled", "always [madvise] never"),
        (
            "etc/security/limits.d/90-stampede.conf",
            "* hard nofile 1048576\nroot hard nofile 1048576",
        ),
        (
            "etc/systemd/system.conf.d/90-stampede.conf",
            "[Manager]\nDefaultLimitNOFILE=1024:1048576",
        ),
    ] {
        assert_eq!(host.read(path), format!("{value}\n"), "{path}");
    }
    let applied = host.files();
    assert_eq!(host.run(&["check", "--only", "all"]).0, 0);

    let (code, said, _) = host.run(&["apply", "--only", "all"]);
    assert_eq!(code, 0);
    assert!(said.contains("0 changed, 0 refused"), "{said}");
    assert_eq!(host.files(), applied, "applying twice is applying once");

    let (code, said, errors) = host.run(&["undo"]);
    assert_eq!((code, errors.as_str()), (0, ""), "{said}");
    assert_eq!(host.files(), before);
    let (code, said, _) = host.run(&["undo"]);
    assert!(code == 0 && said.contains("nothing to undo"), "{said}");
}

#[test]
fn sections_are_applied_and_undone_separately() {
    let host = Host::new();
    let before = host.files();
    assert_eq!(host.run(&["apply", "--only", "backlog,files"]).0, 0);
    assert_ne!(host.read("proc/sys/fs/file-max"), "100000\n");
    assert_eq!(host.read("proc/sys/net/core/somaxconn"), "65535\n");
    assert_eq!(host.read("proc/sys/vm/max_map_count"), "65530\n");
    assert_eq!(host.run(&["undo", "--only=files"]).0, 0);
    assert_eq!(host.read("proc/sys/fs/file-max"), "100000\n");
    assert_eq!(host.read("proc/sys/net/core/somaxconn"), "65535\n");
    // The first saved value counts, also after another change and another apply.
    host.write("proc/sys/net/core/somaxconn", "128\n");
    assert_eq!(host.run(&["apply", "--only", "backlog"]).0, 0);
    assert_eq!(host.run(&["undo"]).0, 0);
    assert_eq!(host.files(), before);
}

#[test]
fn a_refused_change_is_reported_and_the_rest_applied() {
    let host = Host::new();
    // A folder that cannot be created: a file has its name.
    host.write("etc/systemd/system.conf.d", "");
    let before = host.files();
    let (code, said, _) = host.run(&["apply", "--only", "files,backlog"]);
    assert_eq!(code, 1, "{said}");
    assert!(line(&said, "nofile, services").starts_with("refused"), "{said}");
    assert_eq!(host.read("proc/sys/net/core/somaxconn"), "65535\n");
    assert_eq!(host.run(&["undo"]).0, 0);
    assert_eq!(host.files(), before);
}

#[test]
fn an_empty_machine_is_no_error() {
    let host = Host(tempfile::tempdir().expect("a temporary folder"));
    let (code, table, errors) = host.run(&["check", "--only", "all"]);
    assert_eq!((code, errors.as_str()), (0, ""), "{table}");
    assert!(line(&table, "somaxconn").ends_with("not here"), "{table}");
    let (code, said, errors) = host.run(&["apply", "--only", "all"]);
    assert_eq!((code, errors.as_str()), (0, ""), "{said}");
}

#[test]
fn wrong_usage_exits_with_2_and_help_with_0() {
    let host = Host::new();
    let before = host.files();
    for wrong in [
        &[][..],
        &["tune"],
        &["check", "apply"],
        &["apply", "--only"],
        &["apply", "--only", "backlog,turbo"],
        &["check", "--all"],
    ] {
        let (code, _, errors) = host.run(wrong);
        assert_eq!(code, 2, "{wrong:?}");
        assert!(errors.starts_with("error: "), "{errors}");
    }
    assert_eq!(host.files(), before);
    let (code, help, _) = host.run(&["--help"]);
    assert_eq!(code, 0);
    for section in ["files", "backlog", "irq", "governor", "thp", "isolated", "poll", "ports"] {
        assert!(help.contains(&format!("\n  {section} ")), "{section}: {help}");
    }
}

#[test]
fn a_rolling_restart_checks_options_and_servers_first() {
    let run = |arguments: &[&str]| {
        let output = Command::new(folder().join("rolling-restart")).args(arguments).output();
        let output = output.expect("run the script");
        let text = |bytes| String::from_utf8(bytes).expect("UTF-8");
        (output.status.code(), text(output.stdout), text(output.stderr))
    };
    for (wrong, told) in [
        (&[][..], "which servers?"),
        (&["a", "a"], "given twice"),
        (&["a;reboot"], "no name of a server"),
        (&["--pause", "soon", "a"], "--pause soon: must be whole seconds"),
        (&["--start", "true", "a"], "--start must say {}"),
        (&["--turbo", "a"], "no option --turbo"),
        (&["--stop"], "--stop needs a value"),
    ] {
        let (code, _, errors) = run(wrong);
        assert_eq!(code, Some(2), "{wrong:?}: {errors}");
        assert!(errors.starts_with("error: ") && errors.contains(told), "{wrong:?}: {errors}");
    }
    let (code, help, _) = run(&["--help"]);
    assert!(
        code == Some(0) && help.contains("--ready URL") && help.contains("Exit codes:"),
        "{help}"
    );
    // A server that does not exist: no server is touched.
    let server = Server::start(&["--sale", "ticket=1"]);
    let ready = server.control().to_string();
    let options = ["--ready", "http://{}/readyz", "--stop", "false {}", "--start", "false {}"];
    let (code, said, errors) = run(&[&options[..], &[&ready, "127.0.0.1:1"]].concat());
    assert!(code == Some(1) && said.is_empty(), "{said}{errors}");
    assert!(errors.contains("error: 127.0.0.1:1: is not ready: gone"), "{errors}");
    let (code, said, errors) = run(&[&options[..], &["--dry-run", &ready]].concat());
    assert!(code == Some(0) && said.contains(&format!("would run: false {ready}")), "{errors}");
    let (code, _, errors) = run(&[&options[..], &[&ready]].concat());
    let told = format!("error: {ready}: --stop failed: false {ready}");
    assert!(code == Some(1) && errors.contains(&told), "{errors}");
}

/// How a unit sets it.
const DRAIN_DELAY: &str = "Environment=STAMPEDE_DRAIN_DELAY=";

#[test]
fn nginx_and_systemd_agree_with_our_bounds() {
    let nginx = text("nginx/stampede.conf");
    let seconds = |ms: u64| ms / 1000;
    for line in [
        format!("client_max_body_size {}k;", BODY_BYTES_MAX / 1024),
        format!("client_header_timeout {}s;", seconds(HEAD_DEADLINE_MS)),
        format!("client_body_timeout {}s;", seconds(BODY_DEADLINE_MS)),
        "keepalive_timeout 60s;".to_owned(),
        "proxy_read_timeout 5s;".to_owned(),
    ] {
        assert!(nginx.lines().any(|found| found.trim() == line), "{line}");
    }
    // nginx's own answers are those of the server.
    for kind in [
        Kind::CONTENT_TOO_LARGE,
        Kind::URI_TOO_LONG,
        ErrorCode::RateLimited.kind(),
        ErrorCode::ConfirmNotPublic.kind(),
    ] {
        let said = serde_json::to_string(&Problem::of(kind)).expect("JSON");
        assert!(nginx.contains(&format!("return {} '{said}';", kind.status.code())), "{said}");
    }
    for code in [ErrorCode::RateLimited, ErrorCode::Unknown, ErrorCode::Unavailable] {
        let buy = code.buy().expect("words for it");
        let said = format!(r#"{{"code":{},"msg":"{}"}}"#, buy.code, buy.msg);
        assert!(nginx.contains(&format!("return {} '{said}';", buy.status.code())), "{said}");
    }
    assert!(60 < seconds(IDLE_DEADLINE_MS) && seconds(LEDGER_ANSWER_DEADLINE_MS) < 5);
    // 2 KiB and one buffer of 4 KiB, and as much again for what nginx adds.
    const { assert!(HEAD_BYTES_MAX >= (2 + 4 + 2) * 1024) };
    for unit in [
        "systemd/stampede.service",
        "systemd/stampede-orders.service",
        "systemd/stampede-webhooks.service",
    ] {
        let unit = text(unit);
        let stop = unit.lines().find_map(|line| line.strip_prefix("TimeoutStopSec="));
        let stop: u64 = stop.and_then(|s| s.strip_suffix('s')?.parse().ok()).expect("seconds");
        let delay = unit.lines().find_map(|line| line.strip_prefix(DRAIN_DELAY));
        let delay = delay.map_or(0, |s| s.trim_end_matches('s').parse().expect("seconds"));
        assert!(stop > delay + seconds(DRAIN_DEADLINE_MS));
        assert!(stop > 2 * seconds(WEBHOOK_DEADLINE_MS));
        assert!(unit.contains("KillSignal=SIGTERM\n"));
    }
}

#[test]
fn systemd_accepts_the_units() {
    let folder = tempfile::tempdir().expect("a temporary folder");
    let as_it_is: &[&str] = &[];
    for (unit, switched_on) in [
        ("stampede.service", as_it_is),
        // Each way to the keys of TLS.
        ("stampede.service", &["#SupplementaryGroups="]),
        ("stampede.service", &["#LoadCredential=", "#Environment="]),
        // A Unix socket for nginx.
        ("stampede.service", &["#Group=", "#RuntimeDirectory="]),
        ("stampede.socket", as_it_is),
        ("stampede-orders.service", as_it_is),
        ("stampede-webhooks.service", as_it_is),
        ("stampede-announce.service", as_it_is),
    ] {
        // The programs are not installed here.
        let announce = self::folder().join("ospf/announce").display().to_string();
        let mut text = text(&format!("systemd/{unit}"));
        for line in switched_on {
            assert!(text.contains(&format!("\n{line}")), "{line}");
            text = text.replace(&format!("\n{line}"), &format!("\n{}", &line[1..]));
        }
        let text = text
            .replace("/usr/local/bin/stampede", env!("CARGO_BIN_EXE_stampede"))
            .replace("/usr/local/lib/stampede/announce", &announce);
        let file = folder.path().join(unit);
        fs::write(&file, text).expect("write a file");
        let output = program("systemd-analyze").args(["verify", "--man=no"]).arg(&file).output();
        let output = output.expect("this test needs systemd-analyze: apt-get install systemd");
        let said = String::from_utf8_lossy(&output.stderr).into_owned();
        let ours: Vec<_> = said.lines().filter(|line| line.contains(unit)).collect();
        assert!(output.status.success() && ours.is_empty(), "{said}");
    }
}

/// Starts Redis with these arguments, which begin with a file of ours, and compares settings.
fn redis_takes(arguments: &[&str], settings: &[(&str, &str)]) {
    let folder = tempfile::tempdir().expect("a temporary folder");
    let socket = folder.path().join("socket");
    let child = program("redis-server")
        .args(arguments)
        .arg("--dir")
        .arg(folder.path())
        .arg("--unixsocket")
        .arg(&socket)
        .stdout(Stdio::null())
        .spawn();
    let _running = Running(child.expect("start Redis"));
    for (name, value) in settings {
        let mut stream = connect(&socket);
        stream.write_all(format!("CONFIG GET {name}\r\nQUIT\r\n").as_bytes()).expect("ask Redis");
        let mut answer = String::new();
        stream.read_to_string(&mut answer).expect("an answer");
        let want = format!("${}\r\n{value}\r\n+OK\r\n", value.len());
        assert!(answer.ends_with(&want), "{name}: {answer:?}");
    }
}

#[test]
fn redis_accepts_its_configuration() {
    let file = folder().join("redis/redis.conf");
    let arguments = [file.to_str().expect("a path"), "--port", "0"];
    let ours = [
        ("appendonly", "yes"),
        ("appendfsync", "always"),
        ("save", ""),
        ("maxmemory-policy", "noeviction"),
        ("auto-aof-rewrite-percentage", "0"),
    ];
    redis_takes(&arguments, &ours);
}

#[test]
fn redis_accepts_the_configuration_of_a_cluster() {
    let [base, ours] = ["redis/redis.conf", "redis/cluster.conf"].map(|file| folder().join(file));
    // Its port for the other nodes is 10,000 higher, and must be a valid port too.
    let free = |port: &u16| {
        [*port, port + 10_000].iter().all(|port| TcpListener::bind(("127.0.0.1", *port)).is_ok())
    };
    let port = (20_000..30_000).find(free).expect("a free port").to_string();
    let path = |path: &PathBuf| path.to_str().expect("a path").to_owned();
    let arguments = [&path(&base), "--port", &port, "--include", &path(&ours)];
    let ours = [
        ("appendonly", "yes"),
        ("cluster-enabled", "yes"),
        ("cluster-node-timeout", "5000"),
        ("cluster-require-full-coverage", "no"),
    ];
    redis_takes(&arguments, &ours);
}

/// `tuning/ospf/announce` with these arguments: exit code, standard output, errors.
fn announce(arguments: &[&str]) -> (i32, String, String) {
    let output = Command::new(folder().join("ospf/announce")).args(arguments).output();
    let output = output.expect("run announce");
    let text = |bytes: &[u8]| String::from_utf8_lossy(bytes).into_owned();
    (output.status.code().expect("no signal"), text(&output.stdout), text(&output.stderr))
}

#[test]
fn announce_refuses_wrong_usage_before_it_does_anything() {
    for wrong in [
        &[][..],
        &["192.0.2.80/32"],
        &["192.0.2"],
        &["192.0.2.256"],
        &["192.0.2.80.1"],
        &["127.0.0.1"],
        &["shop"],
        &["::1"],
        &["192.0.2.80", "192.0.2.81"],
        &["--rate", "0", "192.0.2.80"],
        &["--rate", "51", "192.0.2.80"],
        &["--good", "08", "192.0.2.80"],
        &["--timeout", "1s", "192.0.2.80"],
        &["--misses"],
        &["--check", "ftp://127.0.0.1/", "192.0.2.80"],
        &["--check", "http://127.0.0.1/\noutput=x", "192.0.2.80"],
        &["--device", "", "192.0.2.80"],
        &["--twice", "192.0.2.80"],
    ] {
        let (code, said, errors) = announce(wrong);
        assert_eq!((code, said.as_str()), (2, ""), "{wrong:?}");
        assert!(errors.starts_with("error: ") && errors.lines().count() == 1, "{errors}");
    }
    let (code, help, _) = announce(&["--help"]);
    assert_eq!(code, 0);
    for option in ["--check", "--rate", "--timeout", "--misses", "--good", "--linger", "--device"] {
        assert!(help.contains(&format!("\n  {option} ")), "{option}: {help}");
    }
}

#[test]
fn edge_and_router_configurations_agree() {
    let (edge, router) = (text("ospf/edge/frr.conf"), text("ospf/router/frr.conf"));
    // OSPF accepts no neighbour with other timers or another key; BFD would take the slower ones.
    for same in ["ip ospf ", "timers ", "detect-", "receive-", "transmit-", "no zebra nexthop"] {
        let lines = |text: &str| {
            let lines = text.lines().map(str::trim).filter(|line| line.starts_with(same));
            lines.map(str::to_owned).collect::<std::collections::BTreeSet<_>>()
        };
        assert!(!lines(&edge).is_empty(), "{same}");
        assert_eq!(lines(&edge), lines(&router), "{same}");
    }
    // The router accepts what the edge announces.
    assert!(edge.contains("network 192.0.2.80/32 area 0\n"), "{edge}");
    assert!(router.contains("permit 192.0.2.80/32\n"), "{router}");
}

/// Runs the script of a real server on a network of its own, as root there and unprivileged here.
/// Returns the output and exit codes of these shell commands.
fn real_server(commands: &[&str]) -> Vec<(i32, String)> {
    let state = tempfile::tempdir().expect("a temporary folder");
    let mut script = "ip link set lo up\n".to_owned();
    for command in commands {
        script += &format!("{command}; echo \"= $?\"\n");
    }
    let output = program("unshare")
        .args(["--user", "--map-root-user", "--net", "sh", "-c", &script])
        .env("STAMPEDE_TUNING_STATE", state.path().join("saved"))
        .env("SCRIPT", folder().join("lvs/real-server"))
        .output()
        .expect("run unshare");
    let (out, err) =
        (String::from_utf8_lossy(&output.stdout), String::from_utf8_lossy(&output.stderr));
    assert!(output.status.success() && err.is_empty(), "{out}{err}");
    assert!(!state.path().join("saved").exists(), "undo leaves nothing: {out}");
    let mut told = Vec::new();
    let mut text = String::new();
    for line in out.lines() {
        match line.strip_prefix("= ") {
            Some(code) => told.push((code.parse().expect("a code"), std::mem::take(&mut text))),
            None => text += &format!("{line}\n"),
        }
    }
    told
}

#[test]
fn an_lvs_real_server_is_applied_checked_and_undone() {
    let look = "ip -4 -oneline address show dev lo | awk '{ print $4 }'; cat \
                /proc/sys/net/ipv4/conf/all/arp_ignore /proc/sys/net/ipv4/conf/all/arp_announce";
    let before = "echo 1 >/proc/sys/net/ipv4/conf/all/arp_announce";
    let check = "\"$SCRIPT\" check 203.0.113.1 203.0.113.2";
    let apply = "\"$SCRIPT\" apply 203.0.113.1 203.0.113.2";
    let undo = "\"$SCRIPT\" undo";
    let commands = [
        "ip address add 203.0.113.2/32 dev lo",
        before,
        look,
        check,
        apply,
        check,
        apply,
        look,
        undo,
        look,
        undo,
    ];
    let told = real_server(&commands);
    let codes: Vec<i32> = told.iter().map(|(code, _)| *code).collect();
    assert_eq!(codes, [0, 0, 0, 1, 0, 0, 0, 0, 0, 0, 0], "{told:?}");
    let (check, apply, again, undone) = (&told[3].1, &told[4].1, &told[6].1, &told[8].1);
    assert!(line(check, "arp_ignore").ends_with(" change"), "{check}");
    assert!(line(check, "203.0.113.2 on lo").ends_with(" ok"), "{check}");
    assert!(line(check, "to change: ").starts_with("3 "), "{check}");
    assert!(line(apply, "arp_announce").ends_with("1 -> 2"), "{apply}");
    assert!(apply.contains("3 changed, 0 refused"), "{apply}");
    assert!(again.contains("0 changed, 0 refused"), "{again}");
    assert!(told[7].1.contains("203.0.113.1/32") && told[7].1.ends_with("1\n2\n"), "{told:?}");
    // The address goes first: without the settings the network would hear of it.
    let places = ["203.0.113.1 on lo", "arp_announce", "arp_ignore"];
    let places = places.map(|knob| undone.find(knob).expect("undone"));
    assert!(places.is_sorted(), "{undone}");
    assert!(!undone.contains("203.0.113.2"), "it was there before: {undone}");
    assert_eq!(told[9], told[2], "as it was");
    assert!(told[10].1.contains("nothing to undo"), "{told:?}");
}

#[test]
fn the_real_server_script_explains_wrong_usage() {
    for (arguments, wrong) in [
        (&[][..], "no command"),
        (&["check"], "takes the service's addresses"),
        (&["undo", "203.0.113.1"], "takes no address"),
        (&["apply", "2001:db8::1"], "no IPv4 address"),
        (&["set"], "unknown command set"),
    ] {
        let script = Command::new(folder().join("lvs/real-server")).args(arguments).output();
        let output = script.expect("run the script");
        let err = String::from_utf8_lossy(&output.stderr);
        assert_eq!(output.status.code(), Some(2), "{err}");
        assert!(err.contains(wrong) && err.contains("--help"), "{err}");
    }
}

#[test]
fn tls_forwarders_time_out_later_than_the_server() {
    for (file, bounds) in [
        ("nginx/stampede-stream.conf", &["proxy_timeout "][..]),
        ("haproxy/stampede.cfg", &["timeout client ", "timeout server "]),
    ] {
        let text = text(file);
        for bound in bounds {
            let value = text.lines().find_map(|line| line.trim().strip_prefix(bound));
            let value = value.map(|value| value.trim_end_matches(';').trim_end_matches('s'));
            let seconds: u64 = value.and_then(|value| value.parse().ok()).expect("seconds");
            assert!(seconds * 1000 > IDLE_DEADLINE_MS + LEDGER_ANSWER_DEADLINE_MS, "{file}");
        }
    }
    assert!(text("haproxy/stampede.cfg").contains("send-proxy-v2 check port 3006 "));
}

#[test]
fn keepalived_agrees_with_our_bounds() {
    for file in ["lvs/keepalived-nat.conf", "lvs/keepalived-dr.conf"] {
        let text = text(file);
        let timeout = text.lines().find_map(|line| line.trim().strip_prefix("lvs_timeouts tcp "));
        let seconds: u64 =
            timeout.and_then(|t| t.split(' ').next()?.parse().ok()).expect("seconds");
        // An entry that ends before its connection would lose the connection.
        assert!(seconds * 1000 > IDLE_DEADLINE_MS + LEDGER_ANSWER_DEADLINE_MS);
        assert!(seconds * 1000 > HEAD_DEADLINE_MS + BODY_DEADLINE_MS);
        assert_eq!(text.matches("include check.conf").count(), 4);
    }
    assert!(text("lvs/check.conf").contains("connect_port 3006\n"));
}

/// A Redis with replicas, and the Sentinel that watches it, each as its user.
#[test]
fn redis_and_sentinel_accept_their_configurations_together() {
    let folder = tempfile::tempdir().expect("a temporary folder");
    let file = |name: &str, text: &str| {
        let path = folder.path().join(name);
        fs::write(&path, text).expect("write a file");
        path
    };
    let port = || {
        let free = TcpListener::bind("127.0.0.1:0").expect("a free port");
        free.local_addr().expect("its address").port()
    };
    let (redis, sentinel) = (port(), port());
    let dir = format!("dir {}", folder.path().display());
    let users = file("users.acl", &text("redis/users.acl"));
    let own = |name: &str| self::folder().join("redis").join(name).display().to_string();
    let conf = file(
        "redis.conf",
        &format!(
            "include {}\ninclude {}\nbind 127.0.0.1\nport {redis}\n{dir}\naclfile {}\n",
            own("redis.conf"),
            own("replicas.conf"),
            users.display()
        ),
    );
    let start = |arguments: &[&std::ffi::OsStr]| {
        let child = program("redis-server").args(arguments).stdout(Stdio::null()).spawn();
        Running(child.expect("start Redis"))
    };
    let _redis = start(&[conf.as_os_str()]);
    let watch = text("redis/sentinel.conf")
        .replace("dir /var/lib/redis", &dir)
        .replace("port 26379", &format!("port {sentinel}"))
        .replace("10.0.0.5 6379", &format!("127.0.0.1 {redis}"));
    let conf = file("sentinel.conf", &watch);
    let _sentinel = start(&[conf.as_os_str(), "--sentinel".as_ref()]);
    let until = Instant::now() + START_DEADLINE;
    let connect = |port: u16| loop {
        match TcpStream::connect(("127.0.0.1", port)) {
            Ok(stream) => break RedisConnection::new(stream),
            Err(error) => assert!(Instant::now() < until, "{error}"),
        }
        thread::sleep(Duration::from_millis(10));
    };
    // It can only know this if it may ask Redis.
    let knows =
        |state: Vec<String>| state.chunks(2).any(|pair| pair[0] == "runid" && pair[1].len() == 40);
    while !knows(connect(sentinel).list("SENTINEL MASTER stampede")) {
        assert!(Instant::now() < until, "{:?}", connect(sentinel).list("SENTINEL MASTER stampede"));
        thread::sleep(Duration::from_millis(50));
    }
    let said = |answer: Value| match answer {
        Value::ServerError(error) => error.code().to_owned(),
        other => format!("{other:?}"),
    };
    let mut redis = connect(redis);
    assert_eq!(said(redis.ask("PING")), "NOAUTH");
    assert_eq!(redis.text("AUTH stampede CHANGE-ME-STAMPEDE"), "OK");
    // It has no replicas.
    assert_eq!(said(redis.ask("HSET a_hash_key a 1")), "NOREPLICAS");
}
