//! Advisory locks on files, which end with the process that holds them.

use std::fs::{File, TryLockError};
use std::thread;
use std::time::{Duration, Instant};

/// Time to wait for a lock that nobody should hold for long: its holder may be about to end. A child
/// process of the holder shares the lock from its fork to its exec.
pub const PATIENCE: Duration = Duration::from_millis(500);
const PAUSE: Duration = Duration::from_millis(10);

/// Takes the lock of a file. `WouldBlock`: another process held it all the time.
pub fn lock(file: &File, patience: Duration) -> Result<(), TryLockError> {
    let until = Instant::now() + patience;
    loop {
        match file.try_lock() {
            Err(TryLockError::WouldBlock) if Instant::now() < until => thread::sleep(PAUSE),
            result => return result,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_lock_that_is_released_soon_is_waited_for() {
        let file = tempfile::NamedTempFile::new().unwrap();
        let (holder, other) = (file.reopen().unwrap(), file.reopen().unwrap());
        lock(&holder, Duration::ZERO).unwrap();
        assert!(matches!(lock(&other, Duration::ZERO), Err(TryLockError::WouldBlock)));
        let waits = thread::spawn(move || lock(&other, Duration::from_secs(60)));
        drop(holder);
        waits.join().unwrap().unwrap();
    }
}
