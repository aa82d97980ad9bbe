//! A, W and F: what a core counts and believes. The oracle can't see it, so the simulator shows it.

use super::Findings;
use crate::time::Us;

/// A server's fixed allowance (`--stock N`) of one sale, in units.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Allowance {
    /// N.
    pub stock: u64,
    /// What its cores have left together.
    pub left: u64,
    /// Units of purchases that wait to be sent.
    pub queued: u64,
    /// Units of purchases that were sent and are not answered.
    pub in_flight: u64,
    /// Units of purchases that were granted, whatever became of them.
    pub granted: u64,
    /// Units of purchases whose answer was lost. Nobody gives them back.
    pub unknown: u64,
}

/// Who waits on a core.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Waiters {
    /// Tickets that the batcher has.
    pub waiting: u64,
    /// Requests that wait.
    pub pending: u64,
    /// Tickets of flows that wait.
    pub flow_tickets: u64,
    /// Flows that run.
    pub flows: u64,
    /// Commands that wait to be sent.
    pub queued: u64,
}

/// Rounds of events after which a quiet core has nothing to do.
pub const QUIET_ROUNDS: u64 = 40;

/// A: what is not left of an allowance is used, and nothing else is.
pub fn check_allowance(at: Us, whose: &str, counts: &Allowance, findings: &mut Findings) {
    let used = counts.queued + counts.in_flight + counts.granted + counts.unknown;
    if counts.left + used != counts.stock {
        findings.add(at, "A allowance", format!("{whose}: {counts:?}"));
    }
}

/// W: everybody who waits is known to those who answer.
pub fn check_waiters(at: Us, core: &str, waiters: &Waiters, findings: &mut Findings) {
    if waiters.waiting != waiters.pending + waiters.flow_tickets {
        findings.add(at, "W waiters", format!("{core}: {waiters:?}"));
    }
}

/// W: on a core without requests, everybody is answered soon.
pub fn check_quiet(at: Us, core: &str, rounds: u64, waiters: &Waiters, findings: &mut Findings) {
    if rounds >= QUIET_ROUNDS && *waiters != Waiters::default() {
        findings.add(at, "W waiters", format!("{core} after {rounds} quiet rounds: {waiters:?}"));
    }
}

/// F: what a primary answered in a term that is over is not believed.
pub fn check_belief(at: Us, link: &str, term: u64, known: u64, findings: &mut Findings) {
    if term < known {
        let text = format!("{link} believed an answer of term {term}, and knew of {known}");
        findings.add(at, "F fence", text);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_allowance_that_appears_or_disappears_is_found() {
        let some = Allowance { stock: 9, left: 2, queued: 1, in_flight: 1, ..Allowance::default() };
        let right = Allowance { granted: 3, unknown: 2, ..some };
        let mut findings = Findings::new(9);
        check_allowance(1, "server 1", &right, &mut findings);
        assert_eq!(findings.names(), [""; 0]);
        for wrong in [
            Allowance { left: 3, ..right },
            Allowance { granted: 2, ..right },
            Allowance { stock: 9, left: 10, ..Allowance::default() },
        ] {
            let mut findings = Findings::new(9);
            check_allowance(1, "server 1", &wrong, &mut findings);
            assert_eq!(findings.names(), ["A allowance"], "{wrong:?}");
        }
    }

    #[test]
    fn a_waiter_that_nobody_knows_or_answers_is_found() {
        let mut findings = Findings::new(9);
        let some = Waiters { waiting: 3, pending: 2, flow_tickets: 1, flows: 1, queued: 3 };
        check_waiters(1, "core 1", &some, &mut findings);
        check_quiet(1, "core 1", QUIET_ROUNDS - 1, &some, &mut findings);
        check_quiet(1, "core 1", QUIET_ROUNDS, &Waiters::default(), &mut findings);
        assert_eq!(findings.names(), [""; 0]);
        check_waiters(1, "core 1", &Waiters { pending: 1, ..some }, &mut findings);
        check_quiet(1, "core 1", QUIET_ROUNDS, &some, &mut findings);
        assert_eq!(findings.names(), ["W waiters"; 2]);
    }

    #[test]
    fn an_answer_of_an_earlier_term_must_not_be_believed() {
        let mut findings = Findings::new(9);
        check_belief(1, "link 1", 3, 3, &mut findings);
        check_belief(1, "link 1", 4, 3, &mut findings);
        assert_eq!(findings.names(), [""; 0]);
        check_belief(1, "link 1", 2, 3, &mut findings);
        assert_eq!(findings.names(), ["F fence"]);
    }
}
