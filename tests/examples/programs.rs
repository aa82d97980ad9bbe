//! Runs the examples, each in its own language.

use std::io::{BufRead, BufReader, Read};
use std::path::{Path, PathBuf};
use std::process::{Child, ChildStderr, Command, Output, Stdio};
use std::sync::OnceLock;

use serde_json::Value;
use tempfile::TempDir;

use crate::client::Client;
use crate::server::Server;

/// The buyers, which all do the same.
pub const BUYERS: [&str; 4] = ["buyer.sh", "buyer.mjs", "buyer.py", "buyer.go"];

/// The variables that they read. A test's own must not come through.
const VARIABLES: [&str; 9] = [
    "SERVER",
    "BUYER",
    "TOKEN",
    "QUANTITY",
    "KEY",
    "PATIENCE_S",
    "CART",
    "http_proxy",
    "HTTP_PROXY",
];

pub fn folder() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("examples")
}

/// The text of one of its files.
pub fn text(name: &str) -> String {
    std::fs::read_to_string(folder().join(name)).unwrap_or_else(|error| panic!("{name}: {error}"))
}

/// The program of `buyer.go`, built once.
fn built_from_go() -> PathBuf {
    static BUILT: OnceLock<TempDir> = OnceLock::new();
    let place = BUILT.get_or_init(|| {
        let place = tempfile::tempdir().expect("a folder");
        let mut go = Command::new("go");
        go.args(["build", "-o"]).arg(place.path().join("buyer")).arg(folder().join("buyer.go"));
        let built = go.output().expect("this test needs go: apt-get install golang-go");
        assert!(built.status.success(), "{}", String::from_utf8_lossy(&built.stderr));
        place
    });
    place.path().join("buyer")
}

/// An example with these arguments, run by a client of this server.
pub fn example(name: &str, server: &str, words: &[&str]) -> Command {
    let (_, language) = name.rsplit_once('.').expect("a language");
    let mut command = match language {
        "sh" => Command::new("bash"),
        "mjs" => Command::new("node"),
        "py" => Command::new("python3"),
        _ => Command::new(built_from_go()),
    };
    if language != "go" {
        command.arg(folder().join(name));
    }
    set_up(&mut command, server);
    command.args(words);
    command
}

/// Runs it against this server, with nothing else in its environment; it must leave no files.
pub fn set_up<'a>(command: &'a mut Command, server: &str) -> &'a mut Command {
    for variable in VARIABLES {
        command.env_remove(variable);
    }
    command.env("SERVER", server).env("PYTHONDONTWRITEBYTECODE", "1");
    command.stdin(Stdio::null()).stdout(Stdio::piped()).stderr(Stdio::piped())
}

/// The URL of a server.
pub fn url(server: &Server) -> String {
    format!("http://{}", server.address())
}

/// The output of a program that has ended.
#[derive(Debug)]
pub struct Said {
    pub code: Option<i32>,
    /// The first word in the last line of its standard output.
    pub outcome: String,
    /// The remaining words of that line.
    members: Vec<String>,
    pub errors: String,
}

impl Said {
    fn of(output: &Output) -> Self {
        let out = String::from_utf8_lossy(&output.stdout);
        let mut words = out.lines().last().unwrap_or_default().split("; ").map(str::to_owned);
        let outcome = words.next().unwrap_or_default();
        let errors = String::from_utf8_lossy(&output.stderr).into_owned();
        Self { code: output.status.code(), outcome, members: words.collect(), errors }
    }

    /// The members of this name.
    pub fn all(&self, name: &str) -> Vec<&str> {
        let begin = format!("{name} ");
        self.members.iter().filter_map(|member| member.strip_prefix(&begin)).collect()
    }

    /// The member with this name, which must exist.
    #[track_caller]
    pub fn member(&self, name: &str) -> String {
        self.all(name).first().unwrap_or_else(|| panic!("no {name}: {self:?}")).to_string()
    }

    /// Panics unless it is done, with this outcome.
    #[track_caller]
    pub fn assert_done(&self, outcome: &str) {
        assert_eq!((self.code, self.outcome.as_str()), (Some(0), outcome), "{self:?}");
    }

    /// Panics unless it is not done, for this reason.
    #[track_caller]
    pub fn assert_refused(&self, outcome: &str) {
        assert_eq!((self.code, self.outcome.as_str()), (Some(1), outcome), "{self:?}");
    }
}

/// Runs a program to its end.
#[track_caller]
pub fn run(command: &mut Command) -> Said {
    let program = command.get_program().to_owned();
    let output = command.output();
    Said::of(&output.unwrap_or_else(|error| panic!("this test needs {program:?}: {error}")))
}

/// A running program, killed on drop.
pub struct Running {
    child: Option<Child>,
    errors: BufReader<ChildStderr>,
    read: String,
}

impl Running {
    pub fn start(command: &mut Command) -> Self {
        let mut child = command.spawn().expect("start it");
        let errors = BufReader::new(child.stderr.take().expect("its standard error"));
        Self { child: Some(child), errors, read: String::new() }
    }

    /// Its process.
    pub fn child(&mut self) -> &mut Child {
        self.child.as_mut().expect("it runs")
    }

    /// Waits until standard error has this text.
    #[track_caller]
    pub fn wait_for(&mut self, text: &str) {
        while !self.read.contains(text) {
            let count = self.errors.read_line(&mut self.read).expect("its standard error");
            assert!(count > 0, "it has ended without saying {text}: {}", self.read);
        }
    }

    /// Waits for its end.
    pub fn end(mut self) -> Said {
        let output = self.child.take().expect("it runs").wait_with_output().expect("its end");
        let mut said = Said::of(&output);
        self.errors.read_to_string(&mut self.read).expect("its standard error");
        said.errors = std::mem::take(&mut self.read);
        said
    }
}

impl Drop for Running {
    fn drop(&mut self) {
        if let Some(mut child) = self.child.take() {
            let _ = child.kill();
            let _ = child.wait();
        }
    }
}

/// What the control port shows.
#[track_caller]
pub fn look(server: &Server, path: &str) -> Value {
    let answer =
        Client::control(server).ask(format!("GET {path} HTTP/1.1\r\nHost: localhost\r\n\r\n"));
    assert_eq!(answer.status(), 200, "{path}: {}", answer.text());
    answer.json()
}

/// Panics unless the ledger has exactly these numbers of units free, held and confirmed.
#[track_caller]
pub fn assert_units(server: &Server, sale: &str, units: [u64; 3]) {
    let found = look(server, &format!("/v1/sales/{sale}"));
    let found = ["free", "held", "confirmed"].map(|name| found[name].as_u64().expect("units"));
    assert_eq!(found, units, "free, held, confirmed of {sale}");
}

/// Panics unless the ledger has exactly this reservation.
#[track_caller]
pub fn assert_stands(server: &Server, id: &str, user: &str, quantity: u64, status: &str) {
    let found = look(server, &format!("/v1/reservations/{id}"));
    let found = (&found["user"], &found["quantity"], &found["status"]);
    assert_eq!(found, (&user.into(), &quantity.into(), &status.into()), "{id}");
}
