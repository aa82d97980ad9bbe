//! A journal instead of Redis, like the embedded ledger's. One thread writes the batches that all
//! cores have sent since the last write, with one fdatasync, and answers. The records have the length
//! of the ledger's own records and an arbitrary content.

use std::fs;
use std::io::{ErrorKind, Read, Write};
use std::os::fd::{AsRawFd, RawFd};
use std::path::Path;
use std::sync::mpsc::{Receiver, Sender, channel};
use std::sync::{Arc, Mutex, PoisonError};

use bench::append::{Appended, filling};
use bench::error::{Because, Result, fail};
use bench::floor::Epoll;
use bench::journal::Lengths;
use rustix::event::{EventfdFlags, eventfd};
use stampede::ledger::ids::IdSource;
use stampede::limits::BATCH_MAX;
use stampede::sale::ReservationId;

use crate::counts::Counts;
use crate::ledger::{Asked, Ledger, Seat};

/// A core's handle of the writer thread.
#[derive(Clone)]
pub struct Disk(Sender<Job>);

/// A batch, and the core that waits for it.
struct Job {
    asked: Vec<Asked>,
    core: Arc<Core>,
}

/// The place where a core finds its decided batch.
struct Core {
    /// The batch, and the number of its first requests that have a ticket.
    decided: Mutex<Option<(Vec<Asked>, usize)>>,
    wake: fs::File,
}

impl Disk {
    /// Starts the thread. Creates the file `floor_sales` and a ledger, which shows the record length,
    /// in this folder.
    pub fn start(folder: &Path, total: u64) -> Result<Self> {
        fs::create_dir_all(folder).because(|| format!("creating {}", folder.display()))?;
        let lengths = Lengths::measure(&folder.join("lengths"))?;
        let file = Appended::create(&folder.join("floor_sales"), false)?;
        let (sender, jobs) = channel();
        let write = move || {
            if let Err(failure) = write(&jobs, file, lengths, total) {
                eprintln!("floor_sales: {failure}");
                std::process::exit(1);
            }
        };
        std::thread::Builder::new().name("disk".into()).spawn(write)?;
        Ok(Self(sender))
    }
}

/// The thread: one write for all waiting batches.
fn write(jobs: &Receiver<Job>, mut file: Appended, lengths: Lengths, total: u64) -> Result<()> {
    let (mut left, mut bytes) = (total as usize, Vec::new());
    let mut taken = Vec::new();
    while let Ok(first) = jobs.recv() {
        let all = std::iter::once(first).chain(std::iter::from_fn(|| jobs.try_recv().ok()));
        taken.extend(all.map(|job| {
            let granted = job.asked.len().min(left);
            left -= granted;
            (job, granted)
        }));
        let granted = taken.iter().map(|(_, granted)| granted).sum();
        if granted > 0 {
            let length = lengths.of(granted);
            if bytes.len() < length {
                bytes = filling(length);
            }
            file.append(&bytes[..length])?;
        }
        for (Job { asked, core }, granted) in taken.drain(..) {
            *core.decided.lock().unwrap_or_else(PoisonError::into_inner) = Some((asked, granted));
            (&core.wake).write_all(&1_u64.to_ne_bytes()).because(|| "waking a core".into())?;
        }
    }
    Ok(())
}

/// A core's connection to the disk, with one batch in flight.
pub struct Mailbox {
    disk: Disk,
    core: Arc<Core>,
    ids: IdSource,
    sent: u64,
    under_way: bool,
    open: Vec<Asked>,
    /// The last batch, whose memory the next one reuses.
    spare: Vec<Asked>,
}

impl Mailbox {
    /// Opens the mailbox of a core.
    pub fn open(disk: Disk) -> Result<Self> {
        let flags = EventfdFlags::CLOEXEC | EventfdFlags::NONBLOCK;
        let wake = eventfd(0, flags).because(|| "creating an eventfd".into())?.into();
        let core = Arc::new(Core { decided: Mutex::default(), wake });
        let (ids, open, spare) = (IdSource::default(), Vec::new(), Vec::new());
        Ok(Self { disk, core, ids, sent: 0, under_way: false, open, spare })
    }
}

impl Ledger for Mailbox {
    fn fd(&self) -> RawFd {
        self.core.wake.as_raw_fd()
    }

    fn join(&mut self, seat: Seat) {
        self.open.push((seat, self.ids.next_id(self.sent)));
    }

    fn leave(&mut self, _: &Epoll, counts: &Counts) -> Result<()> {
        if self.open.is_empty() || self.under_way {
            return Ok(());
        }
        let count = self.open.len().min(BATCH_MAX);
        let mut asked = std::mem::take(&mut self.spare);
        asked.extend(self.open.drain(..count));
        (self.under_way, self.sent) = (true, self.sent + 1);
        counts.add_batches(1, count as u64);
        match self.disk.0.send(Job { asked, core: self.core.clone() }) {
            Ok(()) => Ok(()),
            Err(_) => fail("the writer thread has ended"),
        }
    }

    fn turn(
        &mut self,
        _: u32,
        _: &Epoll,
        decided: &mut Vec<(Seat, Option<ReservationId>)>,
    ) -> Result<()> {
        match (&self.core.wake).read(&mut [0; 8]) {
            Err(error) if error.kind() == ErrorKind::WouldBlock => return Ok(()),
            read => read.because(|| "reading an eventfd".into())?,
        };
        let batch = self.core.decided.lock().unwrap_or_else(PoisonError::into_inner).take();
        let Some((mut asked, granted)) = batch else { return Ok(()) };
        let tickets = asked.drain(..).enumerate();
        decided.extend(tickets.map(|(at, (seat, id))| (seat, (at < granted).then_some(id))));
        (self.spare, self.under_way) = (asked, false);
        Ok(())
    }
}
