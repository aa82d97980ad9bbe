//! Live pages of a server in Chromium. Each page has its own window, so none is hidden.

use std::fs;
use std::net::SocketAddr;
use std::path::Path;
use std::time::{Duration, Instant};

use crate::error::{Because, Result, fail};
use crate::lab::Lab;
use crate::process::{CommandLine, Running};

/// Debian's Chromium.
const PROGRAM: &str = "/usr/bin/chromium";
/// Number of open pages.
const COUNT: usize = 3;
/// Time for all pages to connect, and for a browser to end.
const DEADLINE: Duration = Duration::from_secs(60);
/// The state of an open connection in `/proc/net/tcp`.
const ESTABLISHED: &str = "01";

/// Open pages.
pub(super) struct Pages {
    browsers: Vec<Running>,
    control: SocketAddr,
}

/// Whether a Chromium is installed.
pub(super) fn can_be_opened() -> bool {
    Path::new(PROGRAM).is_file()
}

impl Pages {
    /// Opens the pages, and waits until each has connected to the control port.
    pub(super) fn open(lab: &mut Lab, control: SocketAddr) -> Result<Self> {
        let mut pages = Self { browsers: Vec::new(), control };
        for number in 1..=COUNT {
            let profile = lab.fresh_folder(&format!("chromium-{number}"));
            let words = [
                PROGRAM.to_owned(),
                "--headless=new".to_owned(),
                "--no-sandbox".to_owned(),
                "--disable-gpu".to_owned(),
                "--disable-dev-shm-usage".to_owned(),
                "--no-first-run".to_owned(),
                "--disable-background-networking".to_owned(),
                "--disable-component-update".to_owned(),
                "--disable-sync".to_owned(),
                "--disable-quic".to_owned(),
                "--remote-debugging-port=0".to_owned(),
                format!("--user-data-dir={}", profile.display()),
                format!("http://{control}/"),
            ];
            let line = CommandLine::on_core(lab.load_core, words);
            pages.browsers.push(lab.background(&format!("chromium-{number}"), &line)?);
        }
        let until = Instant::now() + DEADLINE;
        while pages.looking()? < COUNT {
            if Instant::now() > until {
                return fail(format!("of {COUNT} pages {} look", pages.looking()?));
            }
            lab.settle(Duration::from_millis(100))?;
        }
        Ok(pages)
    }

    /// Connections of the control port. Each page keeps one, and sends a request per second over it.
    fn looking(&self) -> Result<usize> {
        let table =
            fs::read_to_string("/proc/net/tcp").because(|| "reading /proc/net/tcp".into())?;
        let port = format!(":{:04X}", self.control.port());
        let is_one = |line: &&str| {
            let mut words = line.split_whitespace().skip(1);
            let (own, state) = (words.next(), words.nth(1));
            own.is_some_and(|own| own.ends_with(&port)) && state == Some(ESTABLISHED)
        };
        Ok(table.lines().filter(is_one).count())
    }

    /// Closes the pages. Fails if one has lost its connection before.
    pub(super) fn close(self) -> Result<()> {
        let looking = self.looking()?;
        for browser in self.browsers {
            browser.end(libc::SIGTERM, DEADLINE)?;
        }
        if looking < COUNT {
            return fail(format!("of {COUNT} pages {looking} looked to the end"));
        }
        Ok(())
    }
}
