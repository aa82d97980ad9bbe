//! The commands of README.md, as a newcomer copies them: in its order, each against what the one
//! before has started. Only ports are others than there, by the environment where that can be.

use std::collections::VecDeque;
use std::fs::File;
use std::net::SocketAddr;
use std::path::Path;
use std::process::{Child, Command, Stdio};

use rustix::process::{Pid, Signal, kill_process};
use tempfile::TempDir;

use crate::postgres_server::PostgresServer;
use crate::redis_server::RedisServer;
use crate::server::Server;
use crate::{eventually, own_address, run};

/// What serves until it is told to end, and what else may stand in a block.
enum Kind {
    Service,
    Command,
    /// Builds or checks the whole tree: only that it is there.
    Tree,
    Output,
}

fn kind(line: &str) -> Kind {
    let words: Vec<&str> = line.split_whitespace().collect();
    match words[..] {
        ["cargo", "run", ..] | ["stampede", "orders", ..] => Kind::Service,
        ["stampede", option, ..] if option.starts_with("--") => Kind::Service,
        ["curl" | "openssl" | "redis-cli" | "stampede", ..] => Kind::Command,
        ["tests/run"] => Kind::Tree,
        [first, ..] if first.starts_with('{') => Kind::Output,
        _ => panic!("README.md has a line of code that this test does not know: {line}"),
    }
}

/// The lines of code in README.md: four spaces at the beginning, and goes on after a `\`.
fn lines_of_code() -> VecDeque<String> {
    let path = Path::new(env!("CARGO_MANIFEST_DIR")).join("README.md");
    let text = std::fs::read_to_string(path).expect("README.md");
    let text = text.replace("\\\n", " ");
    text.lines().filter_map(|line| line.strip_prefix("    ").map(str::to_owned)).collect()
}

struct Shop {
    folder: TempDir,
    public: String,
    secure: SocketAddr,
    control: String,
    redis: RedisServer,
    postgres: PostgresServer,
    service: Option<(String, Child)>,
}

impl Shop {
    /// Bash in the shop's folder, in which a line of README.md means what it means there.
    fn bash(&self, line: &str) -> Command {
        let redis = format!("127.0.0.1:{}", self.redis.port());
        let line = line
            .replace("127.0.0.1:3005", &self.public)
            .replace("127.0.0.1:3443", &self.secure.to_string())
            .replace("IP:127.0.0.1", &format!("IP:{}", self.secure.ip()))
            .replace("127.0.0.1:6379", &redis)
            .replace("postgres://shop@127.0.0.1/shop", &self.postgres.url_of("shop"))
            .replace("cargo run --release --", "exec stampede")
            .replace("cargo run --release", "exec stampede")
            .replace("curl ", "curl --silent --show-error --fail-with-body --max-time 20 ")
            .replace("redis-cli ", &format!("redis-cli -e -p {} ", self.redis.port()));
        let program = Path::new(env!("CARGO_BIN_EXE_stampede")).parent().expect("its folder");
        let path = std::env::var("PATH").expect("a PATH");
        let mut bash = Command::new("bash");
        for (name, _) in
            std::env::vars_os().filter(|(n, _)| n.to_string_lossy().contains("STAMPEDE"))
        {
            bash.env_remove(name);
        }
        bash.env("PATH", format!("{}:{path}", program.display()))
            .env("STAMPEDE_LISTEN", &self.public)
            .env("STAMPEDE_CONTROL", &self.control)
            .current_dir(&self.folder)
            .args(["-euo", "pipefail", "-c", &line])
            .stdin(Stdio::null());
        bash
    }

    fn serve(&mut self, line: &str) {
        self.end_service();
        let log = self.folder.path().join("log");
        let file = File::create(&log).expect("a log");
        let line = line.replacen("stampede ", "exec stampede ", 1);
        let mut bash = self.bash(&line);
        bash.stdout(file.try_clone().expect("a descriptor")).stderr(file);
        let child = bash.spawn().expect("start bash");
        self.service = Some((line.clone(), child));
        let told = || std::fs::read_to_string(&log).expect("the log");
        let is_up = || told().contains("buy one") || told().contains("INFO stampede::orders");
        eventually(&format!("{line} has started"), 30, is_up);
    }

    fn end_service(&mut self) {
        let Some((line, mut child)) = self.service.take() else { return };
        kill_process(Pid::from_child(&child), Signal::TERM).expect("a signal");
        let status = child.wait().expect("its end");
        let log = std::fs::read_to_string(self.folder.path().join("log")).expect("the log");
        assert!(status.success(), "{line}: {status}\n{log}");
    }

    fn run(&self, line: &str) -> String {
        let output = self.bash(line).output().expect("run bash");
        let text = |bytes| String::from_utf8(bytes).expect("UTF-8");
        let (out, err) = (text(output.stdout), text(output.stderr));
        assert!(output.status.success(), "{line}: {}\n{out}{err}", output.status);
        out
    }
}

impl Drop for Shop {
    fn drop(&mut self) {
        if let Some((_, mut child)) = self.service.take() {
            let _ = child.kill();
            let _ = child.wait();
        }
    }
}

#[test]
fn every_command_in_it_does_what_it_says() {
    let [public, control] = [21_003, 21_004].map(|port| own_address(port).to_string());
    let mut shop = Shop {
        folder: tempfile::tempdir().expect("a temporary folder"),
        public,
        secure: own_address(21_005),
        control,
        redis: RedisServer::start(&[]),
        postgres: PostgresServer::start(),
        service: None,
    };
    let set_up = "CREATE ROLE shop LOGIN; GRANT CREATE ON SCHEMA public TO shop";
    shop.postgres.connect().batch_execute(set_up).expect("a user");
    let mut lines = lines_of_code();
    let mut count = 0;
    let mut reservation: Option<String> = None;
    while let Some(line) = lines.pop_front() {
        if line.trim().is_empty() {
            continue;
        }
        count += 1;
        match kind(&line) {
            Kind::Service => shop.serve(&line),
            Kind::Command => {
                let line = match line.contains("poster~…") {
                    // Somebody has bought it.
                    true => line.replace(
                        "poster~…",
                        reservation.get_or_insert_with(|| {
                            let body = r#"{"user":"ann"}"#;
                            let sale =
                                format!("http://{}/v1/sales/poster/reservations", shop.public);
                            let json = "Content-Type: application/json";
                            let bought = shop.run(&format!("curl -H '{json}' -d '{body}' {sale}"));
                            let bought: serde_json::Value =
                                serde_json::from_str(&bought).expect("JSON");
                            bought["id"].as_str().expect("an id").to_owned()
                        }),
                    ),
                    false => line,
                };
                let told = shop.run(&line);
                // What stands below it in README.md is its answer, but for the reservation.
                let shown = lines.iter().find(|line| !line.trim().is_empty());
                if let Some(shown) = shown.filter(|line| matches!(kind(line), Kind::Output)) {
                    let start = shown.split("ticket~").next().expect("a beginning");
                    assert!(told.contains(start), "{line}:\n{told}\nnot {shown}");
                }
            }
            Kind::Tree => {
                let root = Path::new(env!("CARGO_MANIFEST_DIR"));
                assert!(root.join(&line).is_file(), "{line}");
            }
            Kind::Output => {}
        }
    }
    shop.end_service();
    assert!(count >= 20, "only {count} lines of code found");
}

#[test]
fn the_banner_says_what_a_purchase_needs() {
    let banner = |sale: &str| Server::start(&["--sale", sale]);
    let shown = |server: &Server, text: &str| {
        let log = server.log();
        assert!(log.contains(text), "no {text}: {log}");
    };
    let server = banner("ticket=5,limit=2,opens=2090-01-01T10:00:00+08:00");
    shown(&server, "ticket: 5 for sale, opens 2090-01-01T02:00:00.000Z, at most 2 per user\n");
    shown(&server, "buy one, from 2090-01-01T02:00:00.000Z on:\n");
    shown(&banner("ticket=5,closes=2001-01-01T00:00:00Z"), "ticket: 5 for sale, closed\n");
    for sale in ["ticket=5,limit=1", "poster=5,limit=1", "poster=5"] {
        let server = banner(sale);
        eventually("all is printed", 10, || server.log().contains("  curl "));
        let log = server.log();
        let line = log.lines().find(|line| line.contains("curl -i")).expect("how to buy one");
        let bought = run("bash", "bash", &["-c", line]);
        assert!(bought.contains("\"reservation\":") || bought.contains("\"id\":"), "{bought}");
    }
}
