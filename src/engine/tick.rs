//! The two coroutines beside the leader: one does a core's periodic work, one runs the messages of
//! other threads.
//!
//! One timer per core drives everything that has a deadline, so that no request needs a timer.

use std::sync::atomic::Ordering;

use rustix::time::{
    ClockId, Itimerspec, TimerfdClockId, TimerfdFlags, TimerfdTimerFlags, Timespec, clock_gettime,
    timerfd_create, timerfd_settime,
};

use super::connection;
use super::core::{Core, Event, Service};
use crate::limits::TICK_INTERVAL_MS;

/// Runs a core's tick for ever.
pub fn run(core: &'static Core, service: &impl Service) {
    let interval = Timespec { tv_sec: 0, tv_nsec: TICK_INTERVAL_MS as i64 * 1_000_000 };
    let flags = TimerfdFlags::NONBLOCK | TimerfdFlags::CLOEXEC;
    let prepared = timerfd_create(TimerfdClockId::Monotonic, flags).and_then(|timer| {
        let every = Itimerspec { it_interval: interval, it_value: interval };
        timerfd_settime(&timer, TimerfdTimerFlags::empty(), &every)?;
        Ok(timer)
    });
    let watched = prepared
        .map_err(std::io::Error::from)
        .and_then(|timer| Ok((core.reactor.watch_urgent(&timer)?, timer)));
    let (notify, timer) = match watched {
        Ok(watched) => watched,
        Err(error) => {
            core.engine.report(Event::Failed(error));
            return;
        }
    };
    let mut told_drained = false;
    loop {
        let _ = notify.wait(|| core.clock.now_ms(), u64::MAX);
        core.assert_here();
        let _ = rustix::io::read(&timer, &mut [0u8; 8]);
        core.refresh_clock();
        core.engine.ticks[core.index].fetch_add(1, Ordering::Relaxed);
        let used = clock_gettime(ClockId::ThreadCPUTime);
        core.counts.cpu_us.set(used.tv_sec as u64 * 1_000_000 + used.tv_nsec as u64 / 1_000);
        core.reactor.wake_overdue(core.clock.now_ms());
        connection::sweep(core);
        service.tick();
        // Checks first that no connection can come any more, then that none is left.
        let drained = !told_drained
            && core.engine.handover.is_over()
            && core.listeners.closed()
            && core.connections.borrow().count() == 0;
        if drained {
            service.finish();
            core.engine.report(Event::Drained);
            told_drained = true;
        }
    }
}

/// Runs a core's mailbox for ever.
pub fn run_mailbox(core: &'static Core) {
    let mailbox = &core.engine.mailboxes[core.index];
    let notify = match core.reactor.watch_urgent(&mailbox.waker) {
        Ok(notify) => notify,
        Err(error) => {
            core.engine.report(Event::Failed(error));
            return;
        }
    };
    loop {
        let _ = notify.wait(|| core.clock.now_ms(), u64::MAX);
        core.assert_here();
        for message in mailbox.take() {
            message(core);
        }
    }
}
