//! Repairs the findings of an audit, each piece by one script that checks again before it writes.
//!
//! A repair that takes units from nobody is always done. A repair that makes more units available
//! waits until no evidence says that somebody has them ([`doubt`]), or until the operator orders
//! it. A total below the sold units is left to people. A lost line is restored before anything is
//! counted without it.

use std::collections::HashSet;

use super::find::{Findings, UserUnits};
use super::query::RedisQuery;
use super::snapshot::text;
use crate::ledger::LedgerError;
use crate::ledger::client::Repair;
use crate::ledger::redis::keys::SaleKeys;
use crate::ledger::redis::line::number;
use crate::sale::{ID_PREFIX_TEXT_BYTES, ReservationId, TypeUnits};

const REPAIR: &str = include_str!("../lua/repair.lua");

/// The number of things that one script repairs.
const REPAIRS_PER_SCRIPT: usize = 250;

/// What was repaired and what was not: the name of the check, and the text.
#[derive(Default)]
pub(super) struct Notes {
    pub(super) done: Vec<(&'static str, String)>,
    pub(super) withheld: Vec<(&'static str, String)>,
}

/// Repairs what can be repaired at once. If it adds nothing to `done`, nothing more can be
/// repaired.
pub(super) fn repair(
    redis: &mut dyn RedisQuery,
    keys: &SaleKeys,
    found: &Findings,
    how: &Repair,
    notes: &mut Notes,
) -> Result<(), LedgerError> {
    notes.withheld.clear();
    let mut scripts = Scripts { redis, keys, repairs: found.snapshot.repairs, passed: false };
    let line = |id: &ReservationId| found.model.get(*id).map(|item| item.line(*id));
    let missing: Vec<String> = found.missing.iter().filter_map(line).collect();
    // As it was read, and as it should be.
    let edit = |(id, told): &(ReservationId, String)| Some([line(id)?, told.clone()]);
    let edited: Vec<String> = found.edited.iter().filter_map(edit).flatten().collect();
    if !missing.is_empty() || !edited.is_empty() {
        let n = scripts.each("lines", &missing, 1)?;
        note(&mut notes.done, "lines", n, "lines restored from the stream");
        let n = scripts.each("edited", &edited, 2)?;
        note(&mut notes.done, "lines", n, "lines set to their state in the stream");
        return Ok(()); // Counting goes on with what is there again.
    }
    // A line that can't be read may hold units: counting without it would sell them again.
    if found.model.unreadable.count > 0 {
        notes.withheld.push(("lines", UNREADABLE.into()));
        return Ok(());
    }
    let doubt = doubt(found, how);
    let disputed = Disputed::of(found, how);
    scripts.counts(found, doubt.as_deref(), notes)?;
    scripts.types(found, doubt.as_deref(), notes)?;

    let pairs = |list: &[(String, String)]| -> Vec<String> {
        list.iter().flat_map(|(a, b)| [a.clone(), b.clone()]).collect()
    };
    // Claims whose reservation exists only block the right ones.
    let wrong = found.claims_wrong.iter();
    let (kept, wrong): (Vec<_>, Vec<_>) =
        wrong.cloned().partition(|(claim, _)| doubt.is_some() && found.orphans.contains(claim));
    if !kept.is_empty() {
        notes.withheld.push(("claims", doubt.clone().unwrap_or_default()));
    }
    let n = scripts.each("orphans", &pairs(&wrong), 2)?;
    note(&mut notes.done, "claims", n, "claims of no reservation removed");
    let claims = found.claims_missing.iter().map(|(claim, id)| (claim.clone(), id.to_string()));
    let n = scripts.each("claims", &pairs(&claims.collect::<Vec<_>>()), 2)?;
    note(&mut notes.done, "claims", n, "claims created again");

    scripts.users(found, doubt.as_deref(), notes)?;

    let missing = found.deadlines_missing.iter();
    let (kept, missing): (Vec<_>, Vec<_>) =
        missing.cloned().partition(|member| disputed.members.contains(member));
    let n = scripts.each("deadlines", &missing, 1)?;
    note(&mut notes.done, "deadlines", n, "deadlines added");
    if !kept.is_empty() {
        notes.withheld.push(("deadlines", DISPUTED.into()));
    }
    let n = scripts.each("no_deadlines", &found.deadlines_wrong, 1)?;
    note(&mut notes.done, "deadlines", n, "members removed");

    scripts.stream(found, &disputed, notes)
}

const UNREADABLE: &str = "nothing is counted while a line can't be read; one in the stream has to be \
                          acknowledged (XACK) and deleted (XDEL) by hand";
const DISPUTED: &str = "the orders say more of some reservations than the ledger";
const OWED: &str = "the orders tell of units that the ledger knows nothing of";
const CLAIMED: &str = "claims name reservations that are not there";
const UNTOLD: &str =
    "the stream does not tell everything any more, and the orders were not looked at";

/// Why no units may be made available: evidence says that somebody has them, or the evidence was
/// not read. `None`: there is no such evidence, or the operator orders the repair.
fn doubt(found: &Findings, how: &Repair) -> Option<String> {
    let told_everything = found.snapshot.is_complete();
    let sold_is_high = found.snapshot.sold_units().is_none_or(|sold| sold > found.model.sold());
    let reason = if how.release_units {
        return None;
    } else if how.owed {
        OWED
    } else if !how.disputed.is_empty() {
        DISPUTED
    } else if !found.orphans.is_empty() && (sold_is_high || !told_everything && !how.orders_seen) {
        CLAIMED
    } else if !told_everything && !how.orders_seen {
        UNTOLD
    } else {
        return None;
    };
    Some(reason.to_owned())
}

/// Reservations whose order is ahead of the ledger: the ledger's state is not added to the stream
/// again, and they do not begin to expire.
struct Disputed {
    ids: HashSet<ReservationId>,
    /// Their members of the deadlines.
    members: HashSet<String>,
}

impl Disputed {
    fn of(found: &Findings, how: &Repair) -> Self {
        let all = if how.release_units { &[][..] } else { &how.disputed };
        let member = |id: &ReservationId| found.model.get(*id)?.deadline(*id);
        Self {
            ids: all.iter().copied().collect(),
            members: all.iter().filter_map(member).collect(),
        }
    }
}

fn note(notes: &mut Vec<(&'static str, String)>, check: &'static str, count: u64, what: &str) {
    if count > 0 {
        notes.push((check, format!("{count} {what}")));
    }
}

struct Scripts<'a> {
    redis: &'a mut dyn RedisQuery,
    keys: &'a SaleKeys,
    /// The number of repairs so far, including ours.
    repairs: u64,
    /// Somebody else repairs: our findings are outdated.
    passed: bool,
}

impl Scripts<'_> {
    fn run(&mut self, what: &str, arguments: &[String]) -> Result<u64, LedgerError> {
        if self.passed || arguments.is_empty() {
            return Ok(0);
        }
        let all = self.keys.all();
        let (count, prefix) = (all.len().to_string(), ID_PREFIX_TEXT_BYTES.to_string());
        let repairs = self.repairs.to_string();
        let mut command = vec!["EVAL", REPAIR, &count];
        command.extend(all.iter().map(String::as_str));
        command.extend([&*prefix, what, &repairs]);
        command.extend(arguments.iter().map(String::as_str));
        let command: Vec<&[u8]> = command.iter().map(|argument| argument.as_bytes()).collect();
        match text(self.redis.query(&command)?)?.as_deref().and_then(number) {
            Some(repaired) => {
                self.repairs += 1;
                Ok(repaired)
            }
            None => {
                self.passed = true;
                Ok(0)
            }
        }
    }

    /// Runs a script for a bounded number of things at a time, each with `size` arguments.
    fn each(&mut self, what: &str, arguments: &[String], size: usize) -> Result<u64, LedgerError> {
        let mut repaired = 0;
        for chunk in arguments.chunks(REPAIRS_PER_SCRIPT * size) {
            repaired += self.run(what, chunk)?;
        }
        Ok(repaired)
    }

    fn counts(
        &mut self,
        found: &Findings,
        doubt: Option<&str>,
        notes: &mut Notes,
    ) -> Result<(), LedgerError> {
        let (look, model) = (&found.snapshot, &found.model);
        // In doubt a count may only rise.
        let may =
            |is: Option<u64>, should: u64| doubt.is_none() || is.is_some_and(|is| is < should);
        let difference = |is: Option<u64>, should: u64| match is {
            Some(is) if may(Some(is), should) => (i128::from(should) - i128::from(is)).to_string(),
            _ => "0".to_owned(),
        };
        // A count that is no number stops the sale, so its sum is exact.
        let anew = |is: Option<u64>, should: u64| match is {
            None if may(None, should) => should.to_string(),
            _ => String::new(),
        };
        let (sold, held) = (look.sold_units(), look.held_units());
        let counts = [("held", held, model.held()), ("sold", sold, model.sold())];
        let wrong = counts.into_iter().filter(|&(_, is, should)| is != Some(should));
        let (right, left): (Vec<_>, Vec<_>) = wrong.partition(|&(_, is, should)| may(is, should));
        for (name, ..) in left {
            notes.withheld.push((name, doubt.unwrap_or_default().to_owned()));
        }
        if right.is_empty() {
            return Ok(());
        }
        let arguments = [
            self.keys.sold_field().to_owned(),
            difference(sold, model.sold()),
            difference(held, model.held()),
            anew(sold, model.sold()),
            anew(held, model.held()),
        ];
        if self.run("counts", &arguments)? > 0 {
            notes.done.extend(right.iter().map(|&(name, ..)| (name, "counted again".into())));
        }
        Ok(())
    }

    /// Like every count, those of the ticket types are changed by the difference.
    fn types(
        &mut self,
        found: &Findings,
        doubt: Option<&str>,
        notes: &mut Notes,
    ) -> Result<(), LedgerError> {
        let types = found.snapshot.spec().0.types;
        let should = found.model.type_units(&types);
        let is = found.snapshot.type_units();
        if types.is_empty() || is.as_ref() == Some(&should) {
            return Ok(());
        }
        let raises =
            |is: &Vec<TypeUnits>| is.iter().zip(&should).all(|(is, s)| is.sold() <= s.sold());
        // In doubt no count may fall.
        if let (Some(doubt), false) = (doubt, is.as_ref().is_some_and(raises)) {
            notes.withheld.push(("types", doubt.to_owned()));
            return Ok(());
        }
        let mut arguments = Vec::new();
        match is {
            None => arguments.push(TypeUnits::list_to_text(&should)),
            Some(is) => {
                arguments.push(String::new());
                for (is, should) in is.iter().zip(&should) {
                    for (is, should) in [(is.held, should.held), (is.confirmed, should.confirmed)] {
                        arguments.push((i128::from(should) - i128::from(is)).to_string());
                    }
                }
            }
        }
        if self.run("types", &arguments)? > 0 {
            notes.done.push(("types", "counted again".into()));
        }
        Ok(())
    }

    fn users(
        &mut self,
        found: &Findings,
        doubt: Option<&str>,
        notes: &mut Notes,
    ) -> Result<(), LedgerError> {
        let counted = |user: &UserUnits| user.found.as_deref().map_or(Some(0), number);
        let (mut moved, mut set, mut kept) = (Vec::new(), Vec::new(), 0);
        for user in &found.users {
            match counted(user) {
                is if doubt.is_some() && is.is_none_or(|is| is > user.expected) => kept += 1,
                Some(is) => {
                    let difference = i128::from(user.expected) - i128::from(is);
                    moved.extend([user.user.clone(), difference.to_string()]);
                }
                None => set.extend([user.user.clone(), user.expected.to_string()]),
            }
        }
        if kept > 0 {
            notes.withheld.push(("users", doubt.unwrap_or_default().to_owned()));
        }
        let n = self.each("users", &moved, 2)? + self.each("users_set", &set, 2)?;
        note(&mut notes.done, "users", n, "users counted again");
        Ok(())
    }

    /// Adds reservations to the stream again whose entries are lost, and notes how many entries are
    /// gone.
    fn stream(
        &mut self,
        found: &Findings,
        disputed: &Disputed,
        notes: &mut Notes,
    ) -> Result<(), LedgerError> {
        let (kept, untold): (Vec<ReservationId>, Vec<_>) =
            found.not_streamed.iter().partition(|id| disputed.ids.contains(id));
        if !kept.is_empty() {
            notes.withheld.push(("stream", DISPUTED.into()));
        }
        let untold: Vec<String> = untold.iter().map(ReservationId::to_string).collect();
        let n = self.each("stream", &untold, 1)?;
        note(&mut notes.done, "stream", n, "reservations added to the stream again");
        let gone = found.snapshot.entries_gone();
        if gone != 0 && self.run("deleted", &[gone.to_string()])? > 0 {
            notes.done.push(("stream", format!("{} entries taken as gone", gone.abs())));
        }
        Ok(())
    }
}
