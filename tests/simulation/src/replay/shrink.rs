//! Makes a history shorter that shows a difference, so that people can read it.

use std::collections::BTreeSet;
use std::time::{Duration, Instant};

use stampede::ledger::Group;

use super::history::{Call, History, Step, What};

/// A command, or a fault, of a history: the step, the group in it, the command in it.
type Piece = (usize, usize, usize);

/// Shortens a history as long as it fails, in this time. `fails` says at which step it does.
pub fn shrink(
    history: &History,
    time: Duration,
    mut fails: impl FnMut(&History) -> Option<usize>,
) -> History {
    let until = Instant::now() + time;
    let mut best = history.clone();
    // What comes after the difference is not needed for it.
    while let Some(at) = fails(&best) {
        let had = best.steps.len();
        best.steps.truncate(at + 1);
        if best.steps.len() == had {
            break;
        }
    }
    let mut size = pieces(&best).len().div_ceil(2);
    while size > 0 && Instant::now() < until {
        let mut from = 0;
        let mut is_shorter = false;
        loop {
            let all = pieces(&best);
            if from >= all.len() || Instant::now() >= until {
                break;
            }
            let dropped: BTreeSet<Piece> = all.iter().skip(from).take(size).copied().collect();
            let mut shorter = without(&best, &dropped);
            match fails(&shorter) {
                Some(at) => {
                    shorter.steps.truncate(at + 1);
                    best = shorter;
                    is_shorter = true;
                }
                None => from += size,
            }
        }
        size = match (size, is_shorter) {
            // Until no single piece can be dropped.
            (1, true) => 1,
            (size, _) => size / 2,
        };
    }
    best
}

fn pieces(history: &History) -> Vec<Piece> {
    let of_step = |(at, step): (usize, &Step)| match &step.what {
        What::Fault(_) => vec![(at, 0, 0)],
        What::Call(call) => {
            let groups = call.groups.iter().enumerate();
            let commands = groups.flat_map(|(number, group)| {
                (0..group.commands.len()).map(move |command| (at, number, command))
            });
            commands.collect()
        }
    };
    history.steps.iter().enumerate().flat_map(of_step).collect()
}

fn without(history: &History, dropped: &BTreeSet<Piece>) -> History {
    let keep = |(at, step): (usize, &Step)| {
        let what = match &step.what {
            What::Fault(fault) => {
                (!dropped.contains(&(at, 0, 0))).then(|| What::Fault(fault.clone()))
            }
            What::Call(call) => {
                let groups = call.groups.iter().enumerate().filter_map(|(number, group)| {
                    let commands = group.commands.iter().enumerate();
                    let kept = commands.filter(|(n, _)| !dropped.contains(&(at, number, *n)));
                    let commands: Vec<_> = kept.map(|(_, command)| command.clone()).collect();
                    let sale = group.sale.clone();
                    (!commands.is_empty()).then_some(Group { sale, commands })
                });
                let groups: Vec<Group> = groups.collect();
                (!groups.is_empty()).then(|| What::Call(Call { groups, ..call.clone() }))
            }
        };
        what.map(|what| Step { number: step.number, what })
    };
    let steps = history.steps.iter().enumerate().filter_map(keep).collect();
    History { seed: history.seed, steps }
}

#[cfg(test)]
mod tests {
    use stampede::sale::{Command, SaleId};

    use super::super::history::Fault;
    use super::super::reference::now;
    use super::*;

    fn history() -> History {
        let call = |n: u64| {
            let sale = SaleId::new("s").unwrap();
            let commands = vec![Command::Show, Command::AddStock(n), Command::Open];
            let groups = vec![Group { sale, commands }];
            What::Call(Call { now: now(n), epoch: None, groups, is_unread: false })
        };
        let steps = (0..200).map(|n| match n % 10 {
            9 => What::Fault(Fault::Killed),
            _ => call(n),
        });
        History::new(1, steps)
    }

    /// It fails at the second of two commands.
    fn fails(history: &History) -> Option<usize> {
        let mut has_first = false;
        history.steps.iter().position(|step| {
            let What::Call(call) = &step.what else { return false };
            let commands = &call.groups[0].commands;
            has_first |= commands.contains(&Command::AddStock(31));
            has_first && commands.contains(&Command::AddStock(150))
        })
    }

    #[test]
    fn only_what_is_needed_is_left() {
        let mut tries = 0;
        let short = shrink(&history(), Duration::from_secs(60), |history| {
            tries += 1;
            fails(history)
        });
        assert_eq!(short.steps.len(), 2);
        assert_eq!(pieces(&short).len(), 2);
        assert_eq!(short.steps[1].number, 150);
        assert!(tries < 200, "{tries}");
    }

    #[test]
    fn without_time_only_the_rest_is_dropped() {
        let short = shrink(&history(), Duration::ZERO, fails);
        assert_eq!(short.steps.len(), 151);
    }
}
