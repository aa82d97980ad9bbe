//! What a core does at regular times, and its mailbox: the two coroutines that keep house.
//!
//! One timer a core drives everything that has a deadline, so that no request needs one of its own.

use std::sync::atomic::Ordering;

use rustix::time::{
    Itimerspec, TimerfdClockId, TimerfdFlags, TimerfdTimerFlags, Timespec, timerfd_create,
    timerfd_settime,
};

use crate::connection;
use crate::core::Core;
use crate::limits::TICK_INTERVAL_MS;
use crate::server::Event;

/// The life of a core's tick.
pub fn run(core: &'static Core) {
    let interval = Timespec { tv_sec: 0, tv_nsec: TICK_INTERVAL_MS as i64 * 1_000_000 };
    let flags = TimerfdFlags::NONBLOCK | TimerfdFlags::CLOEXEC;
    let prepared = timerfd_create(TimerfdClockId::Monotonic, flags).and_then(|timer| {
        let every = Itimerspec { it_interval: interval, it_value: interval };
        timerfd_settime(&timer, TimerfdTimerFlags::empty(), &every)?;
        Ok(timer)
    });
    let watched = prepared
        .map_err(std::io::Error::from)
        .and_then(|timer| Ok((core.gate.watch_urgent(&timer)?, timer)));
    let (source, timer) = match watched {
        Ok(watched) => watched,
        Err(error) => {
            let _ = core.shared.events.send(Event::Failed(error));
            return;
        }
    };
    let mut last_ms = 0;
    let mut told_drained = false;
    loop {
        let _ = source.wait(|| core.clock.now_ms(), u64::MAX);
        core.assert_here();
        let _ = rustix::io::read(&timer, &mut [0u8; 8]);
        core.refresh_clock();
        core.shared.ticks[core.index].fetch_add(1, Ordering::Relaxed);
        let now_ms = core.clock.now_ms();
        core.gate.wake_overdue(now_ms);
        // By the last tick's time: a link whose own wait was overdue then has had its turn since. If
        // the ledger is silent, what waits behind it is told so, and not that it is busy.
        core.batcher.fail_overdue(last_ms);
        last_ms = now_ms;
        core.sales.refresh(core);
        core.dismiss_spare();
        if let Some(log) = core.stat_log.borrow_mut().as_mut() {
            log.flush();
        }
        connection::sweep(core);
        if core.draining() {
            // Nothing is handed over once the drain has begun, so none is missed.
            let drained = core.connections.borrow().count() == 0
                && core.listeners.closed()
                && core.shared.handed.load(Ordering::SeqCst) == 0;
            if drained && !told_drained {
                // Its last lines go to the writer as it is dropped.
                drop(core.stat_log.borrow_mut().take());
                told_drained = core.shared.events.send(Event::Drained).is_ok();
            }
        }
        core.batcher.kick();
        if core.batcher.has_answered() {
            core.gate.hurry();
        }
    }
}

/// The life of a core's mailbox.
pub fn run_mailbox(core: &'static Core) {
    let mailbox = &core.shared.mailboxes[core.index];
    let source = match core.gate.watch_urgent(&mailbox.wakeup) {
        Ok(source) => source,
        Err(error) => {
            let _ = core.shared.events.send(Event::Failed(error));
            return;
        }
    };
    loop {
        let _ = source.wait(|| core.clock.now_ms(), u64::MAX);
        core.assert_here();
        for message in mailbox.take() {
            message(core);
        }
    }
}
