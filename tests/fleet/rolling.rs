//! A rolling restart of every server behind nginx, by `tuning/rolling-restart`, while buyers buy:
//! no buyer notices.

use std::collections::{BTreeMap, HashSet};
use std::io;
use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::sync::Mutex;
use std::sync::atomic::{AtomicBool, Ordering};
use std::thread;
use std::time::Duration;

use crate::Scenario;
use crate::buyer::{Bought, Buyer};
use crate::lab::output;
use crate::shop::{LEDGER, Shop, buyer, server_address, tuning};
use crate::table::Line;

/// The script.
pub const SCENARIO: Scenario = Scenario {
    name: "rolling",
    shows: "a rolling restart of all servers behind nginx under load: no failed request",
    in_ci: false,
    needs: &[
        ("nginx", "nginx"),
        ("redis-server", "redis-server"),
        ("curl", "curl"),
        ("ip", "iproute2"),
    ],
    run,
};

const SERVERS: u8 = 4;
/// Time between two requests of a buyer.
const PACE: Duration = Duration::from_millis(8);

fn run() -> Vec<Line> {
    let mut shop = Shop::open();
    let start = starter(&shop, "--drain-delay 2s");
    for number in 1..=SERVERS {
        output(shop.inside.command("sh").arg(&start).arg(server_address(number).to_string()));
    }
    let site = shop.site(&[(1, 1), (2, 1), (3, 1), (4, 1)]);
    let ready = restart(&shop, &start, &["--pause", "0", "--dry-run"]);
    until_ready(ready);
    shop.nginx(2, &site);
    let ended = AtomicBool::new(false);
    let (said, tally) = thread::scope(|scope| {
        let load = scope.spawn(|| shop.street.within(|| load(&ended)));
        thread::sleep(Duration::from_millis(500));
        let said = restart(&shop, &start, &["--pause", "3"]).output();
        thread::sleep(Duration::from_millis(500));
        ended.store(true, Ordering::Relaxed);
        (said.expect("run the script"), load.join().expect("the buyers"))
    });
    let (out, err) = (String::from_utf8_lossy(&said.stdout), String::from_utf8_lossy(&said.stderr));
    assert!(said.status.success(), "{out}{err}");
    assert_eq!(out.matches("ready after").count(), usize::from(SERVERS), "{out}");
    print!("{out}");
    let mut lines = sums(&shop, &tally);
    lines.push(stops(&shop, &start));
    lines
}

/// Panics unless no buyer failed and exactly the acknowledged units are sold.
fn sums(shop: &Shop, tally: &Tally) -> Vec<Line> {
    let sold: HashSet<String> = shop.audited().into_iter().map(|row| row.id).collect();
    let granted: HashSet<String> = tally.granted.iter().cloned().collect();
    assert_eq!(granted.len(), tally.granted.len(), "one reservation for two buyers");
    let failed: usize = tally.failed.values().sum();
    let requests: Vec<String> =
        tally.requests.iter().map(|(kind, count)| format!("{count} {kind}")).collect();
    assert_eq!(failed, 0, "{:?} of {}", tally.failed, requests.join(", "));
    assert_eq!(granted, sold);
    let what = format!("rolling restart of {SERVERS} servers behind nginx: failed requests");
    let seen = format!("0 of {}", requests.join(", "));
    let exact = granted.len().to_string();
    vec![
        Line::new(what, "0", seen),
        Line::new(
            "the same: acknowledged, and sold as the audit finds",
            exact,
            sold.len().to_string(),
        ),
    ]
}

/// A server that does not come back ends the script, and the other servers are not touched.
fn stops(shop: &Shop, start: &Path) -> Line {
    let mut command = restart(shop, start, &["--timeout", "5", "--start", "true {}"]);
    let said = command.output().expect("run the script");
    let err = String::from_utf8_lossy(&said.stderr).into_owned();
    assert_eq!(said.status.code(), Some(1), "{err}");
    let first = server_address(1);
    assert!(
        err.contains(&format!("error: {first}: is not ready 5 s after its start: gone")),
        "{err}"
    );
    let rest: Vec<_> = (2..=SERVERS).map(|number| server_address(number).to_string()).collect();
    assert!(err.contains(&format!("not touched: {}", rest.join(" "))), "{err}");
    let mut command = restart(shop, start, &[]);
    let said = command.output().expect("run the script");
    let err = String::from_utf8_lossy(&said.stderr).into_owned();
    assert_eq!(said.status.code(), Some(1), "{err}");
    assert!(err.contains(&format!("error: {first}: is not ready: gone")), "{err}");
    for number in 2..=SERVERS {
        let control = format!("http://{}:3006/readyz", server_address(number));
        shop.inside.run(&["curl", "--silent", "--fail", &control]);
    }
    let wanted = "it stops, the rest is left alone";
    Line::new("rolling restart: a server that does not come back", wanted, "so")
}

/// A script that starts the server of an address and writes its process id to a file.
fn starter(shop: &Shop, options: &str) -> PathBuf {
    let (program, at) = (env!("CARGO_BIN_EXE_stampede"), shop.lab.folder().display().to_string());
    let text = format!(
        "setsid {program} serve --listen $1:3005 --control $1:3006 --ledger {LEDGER} --cores 0 \\
             --sale ticket=1000000 {options} >>{at}/$1.log 2>&1 </dev/null &
         echo $! >{at}/$1.pid\n"
    );
    let file = shop.lab.file("start", &text);
    std::fs::set_permissions(&file, std::fs::Permissions::from_mode(0o755)).expect("its mode");
    file
}

/// The script of `tuning/` for all servers, with these additional options.
fn restart(shop: &Shop, start: &Path, options: &[&str]) -> Command {
    let mut command = shop.inside.command("bash");
    command.arg(tuning("rolling-restart"));
    command.args(["--start", &format!("sh {} {{}}", start.display())]);
    let pid_file = shop.lab.folder().join("{}.pid");
    command.args(["--stop", &format!("kill -TERM $(cat {})", pid_file.display())]);
    command.args(options).args((1..=SERVERS).map(|number| server_address(number).to_string()));
    command
}

/// The results of all buyers.
#[derive(Default)]
struct Tally {
    /// By kind.
    requests: BTreeMap<&'static str, usize>,
    /// Ids of the granted reservations.
    granted: Vec<String>,
    /// The other answers, with the number of each.
    failed: BTreeMap<String, usize>,
}

/// What one buyer does, again and again.
#[derive(Clone, Copy)]
enum Kind {
    Keyed,
    Looking,
    Unkeyed,
    /// With a new connection per purchase.
    Fresh,
}

impl Kind {
    fn name(self) -> &'static str {
        match self {
            Self::Keyed => "purchases with a key",
            Self::Looking => "looks at the sale",
            Self::Unkeyed => "purchases without",
            Self::Fresh => "purchases without on connections of their own",
        }
    }

    /// One request: the id that was granted, or the other answer.
    fn ask(self, buyer: &mut Buyer, name: &str) -> io::Result<Result<Option<String>, String>> {
        let bought = match self {
            Self::Looking => {
                let answer = buyer.request("GET", "/v1/sales/ticket", &[], "")?;
                let good = answer.status == 200 && answer.json()["total"] == 1_000_000;
                return Ok(if good { Ok(None) } else { Err(answer.body) });
            }
            Self::Keyed => buyer.reserve("ticket", name, 1, name)?.bought(),
            Self::Unkeyed => buyer.buy_as(&[("X-User-Id", name)])?,
            Self::Fresh => buyer.buy_as(&[("X-User-Id", name), ("Connection", "close")])?,
        };
        Ok(match bought {
            Bought::Granted(id) => Ok(Some(id)),
            Bought::Refused(code) => Err(code),
        })
    }
}

/// All buyers at once, until the restart is over.
fn load(ended: &AtomicBool) -> Tally {
    let tally = Mutex::new(Tally::default());
    let kinds = [(Kind::Keyed, 6), (Kind::Looking, 4), (Kind::Unkeyed, 6), (Kind::Fresh, 4)];
    thread::scope(|scope| {
        for (kind, count) in kinds {
            for number in 0..count {
                let tally = &tally;
                scope.spawn(move || buy_until(ended, kind, number, tally));
            }
        }
    });
    tally.into_inner().expect("the tally")
}

fn buy_until(ended: &AtomicBool, kind: Kind, number: usize, tally: &Mutex<Tally>) {
    let mut connection = buyer();
    for turn in 0.. {
        if ended.load(Ordering::Relaxed) {
            return;
        }
        let name = format!("{}-{number}-{turn}", kind as usize);
        let told = kind.ask(&mut connection, &name);
        let mut tally = tally.lock().expect("the tally");
        *tally.requests.entry(kind.name()).or_default() += 1;
        let failed = match told {
            Ok(Ok(id)) => {
                tally.granted.extend(id);
                None
            }
            Ok(Err(code)) => Some(code),
            Err(error) => {
                connection = buyer();
                Some(error.to_string())
            }
        };
        if let Some(failed) = failed {
            *tally.failed.entry(format!("{}: {failed}", kind.name())).or_default() += 1;
        }
        drop(tally);
        thread::sleep(PACE);
    }
}

/// Waits until all servers are ready, as the script sees them.
fn until_ready(mut command: Command) {
    crate::lab::until("all servers are ready", crate::shop::START, || {
        command.output().expect("run the script").status.success()
    });
}
