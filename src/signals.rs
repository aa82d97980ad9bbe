//! Signal handling.
//!
//! SIGTERM and SIGINT end the process; the second one at once, whatever is stuck, since the thread
//! that receives them never waits. SIGHUP reloads the settings and SIGUSR2 hands over to a new
//! process, if the command is a server. SIGQUIT and SIGUSR1 are sent by log rotation, closed
//! terminals and scripts for other servers. They would kill the process by default, perhaps in the
//! middle of a sale, so they are logged and ignored. SIGABRT still leaves a core dump.

use std::io;
use std::sync::Mutex;
use std::thread;
use std::time::Duration;

use signal_hook::consts::{SIGHUP, SIGINT, SIGQUIT, SIGTERM, SIGUSR1, SIGUSR2};
use signal_hook::iterator::Signals;

use crate::limits::SECOND_SIGNAL_MS;
use crate::logging;
use crate::sync::lock;

/// The handler of SIGHUP.
static AT_HANG_UP: Mutex<Option<Box<dyn Fn() + Send>>> = Mutex::new(None);

/// The handler of SIGUSR2.
static AT_HAND_OVER: Mutex<Option<Box<dyn Fn() + Send>>> = Mutex::new(None);

/// Exit code of a forced end.
const FORCED: u8 = 1;

/// Logs and ignores signals without a handler.
pub fn ignore_others() -> io::Result<()> {
    let mut signals = Signals::new([SIGHUP, SIGQUIT, SIGUSR1, SIGUSR2])?;
    thread::Builder::new().name("signals".into()).spawn(move || {
        for signal in signals.forever() {
            if signal == SIGHUP
                && let Some(read_again) = &*lock(&AT_HANG_UP)
            {
                read_again();
                continue;
            }
            if signal == SIGUSR2
                && let Some(hand_over) = &*lock(&AT_HAND_OVER)
            {
                hand_over();
                continue;
            }
            let (signal, instead) = match signal {
                SIGHUP => ("SIGHUP", "this command reads its settings at the start only"),
                SIGQUIT => ("SIGQUIT", "SIGTERM drains; SIGABRT leaves a core dump"),
                SIGUSR1 => ("SIGUSR1", "no log file to open again"),
                _ => ("SIGUSR2", "nothing to hand over"),
            };
            tracing::info!(signal, instead, "signal ignored");
        }
    })?;
    Ok(())
}

/// Calls `read_again` at each SIGHUP. It must not block.
pub fn at_hang_up(read_again: impl Fn() + Send + 'static) {
    *lock(&AT_HANG_UP) = Some(Box::new(read_again));
}

/// Calls `hand_over` at each SIGUSR2. It must not block.
pub fn at_hand_over(hand_over: impl Fn() + Send + 'static) {
    *lock(&AT_HAND_OVER) = Some(Box::new(hand_over));
}

/// Calls `end` at each SIGTERM and SIGINT. After the second one the process has
/// [`SECOND_SIGNAL_MS`] to end by itself; a third ends it at once.
pub fn on_end(mut end: impl FnMut() + Send + 'static) -> io::Result<()> {
    let mut signals = Signals::new([SIGTERM, SIGINT])?;
    thread::Builder::new().name("end-signals".into()).spawn(move || {
        for (before, _) in signals.forever().enumerate() {
            match before {
                0 => end(),
                1 => {
                    end();
                    let time = Duration::from_millis(SECOND_SIGNAL_MS);
                    let forced = move || {
                        thread::sleep(time);
                        force();
                    };
                    if thread::Builder::new().name("end".into()).spawn(forced).is_err() {
                        force();
                    }
                }
                _ => force(),
            }
        }
    })?;
    Ok(())
}

fn force() -> ! {
    logging::end(
        FORCED,
        "error: ended by a second signal, without waiting for what was under way\n",
    )
}
