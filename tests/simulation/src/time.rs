//! Time: the true time of a run, and the clocks that machines show.

/// True time since the start of the run, in microseconds.
pub type Us = u64;

/// One millisecond.
pub const MS: Us = 1_000;
/// One second.
pub const SECOND: Us = 1_000_000;

/// What a true wall clock shows at the start of each run, in ms since 1970.
const BEGIN_MS: u64 = 1_700_000_000_000;
/// How far a wall clock may be from the true time, in ms. It keeps every clock after 1970.
const JUMP_MS_MAX: i64 = 1_000_000_000;

/// The clocks of one machine, and of the process on it.
#[derive(Debug, Clone)]
pub struct Clocks {
    /// When the process began: its monotonic clock shows 0.
    began_at: Us,
    /// The wall clock minus the true one.
    wall_ahead_ms: i64,
}

impl Clocks {
    /// The clocks of a process that begins now, on a machine whose wall clock is right.
    pub fn new(now: Us) -> Self {
        Self { began_at: now, wall_ahead_ms: 0 }
    }

    /// Another process begins on the machine.
    pub fn begin_process(&mut self, now: Us) {
        self.began_at = now;
    }

    /// Milliseconds on the monotonic clock.
    pub fn monotonic_ms(&self, at: Us) -> u64 {
        at.saturating_sub(self.began_at) / MS
    }

    /// Milliseconds since 1970.
    pub fn wall_ms(&self, at: Us) -> u64 {
        (BEGIN_MS + at / MS).saturating_add_signed(self.wall_ahead_ms)
    }

    /// Microseconds since 1970.
    pub fn wall_us(&self, at: Us) -> u64 {
        self.wall_ms(at) * MS + at % MS
    }

    /// The true time at which the monotonic clock began to show this.
    pub fn true_time_of(&self, monotonic_ms: u64) -> Us {
        self.began_at + monotonic_ms * MS
    }

    /// Somebody sets the wall clock.
    pub fn jump(&mut self, ms: i64) {
        self.wall_ahead_ms = self.wall_ahead_ms.saturating_add(ms).clamp(-JUMP_MS_MAX, JUMP_MS_MAX);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_jump_moves_only_the_wall_clock() {
        let mut clocks = Clocks::new(5 * MS + 1);
        assert_eq!((clocks.monotonic_ms(8 * MS), clocks.wall_ms(8 * MS)), (2, BEGIN_MS + 8));
        clocks.jump(-3);
        assert_eq!((clocks.monotonic_ms(8 * MS), clocks.wall_ms(8 * MS)), (2, BEGIN_MS + 5));
        assert_eq!(clocks.true_time_of(2), 7 * MS + 1);
        clocks.begin_process(8 * MS);
        assert_eq!((clocks.monotonic_ms(9 * MS), clocks.wall_ms(9 * MS)), (1, BEGIN_MS + 6));
        clocks.jump(i64::MIN);
        assert_eq!(clocks.wall_ms(0), BEGIN_MS - JUMP_MS_MAX as u64);
    }
}
