//! Repairing what an audit found: each piece by one script that looks once more before it writes.
//!
//! What takes units from nobody is always done. What raises what can be sold waits until nothing
//! tells of somebody who has them ([`doubt`]), or until the operator says that it is to be done. A
//! total below what is sold is left to people. A lost line comes back before anything is counted
//! without it.

use std::collections::HashSet;

use super::ask::Ask;
use super::find::{Found, UserUnits};
use super::look::text;
use crate::ledger::LedgerError;
use crate::ledger::client::Repair;
use crate::ledger::redis::keys::SaleKeys;
use crate::ledger::redis::line::number;
use crate::sale::{ID_PREFIX_TEXT_BYTES, ReservationId, TypeUnits};

const REPAIR: &str = include_str!("../lua/repair.lua");

/// Things that one script repairs.
const REPAIRS_PER_SCRIPT: usize = 250;

/// What was done and what was not: the check's name, and in words.
#[derive(Default)]
pub(super) struct Notes {
    pub(super) done: Vec<(&'static str, String)>,
    pub(super) withheld: Vec<(&'static str, String)>,
}

/// Repairs what can be repaired at once. If that adds nothing to what was done, nothing can be.
pub(super) fn repair(
    redis: &mut dyn Ask,
    keys: &SaleKeys,
    found: &Found,
    how: &Repair,
    notes: &mut Notes,
) -> Result<(), LedgerError> {
    notes.withheld.clear();
    let mut scripts = Scripts { redis, keys, repairs: found.look.repairs, passed: false };
    let line = |id: &ReservationId| found.model.get(*id).map(|item| item.line(*id));
    let missing: Vec<String> = found.missing.iter().filter_map(line).collect();
    // As it was seen, and as it should be.
    let edit = |(id, told): &(ReservationId, String)| Some([line(id)?, told.clone()]);
    let edited: Vec<String> = found.edited.iter().filter_map(edit).flatten().collect();
    if !missing.is_empty() || !edited.is_empty() {
        let n = scripts.each("lines", &missing, 1)?;
        note(&mut notes.done, "lines", n, "lines put back as the stream tells them");
        let n = scripts.each("edited", &edited, 2)?;
        note(&mut notes.done, "lines", n, "lines set to what the stream tells");
        return Ok(()); // Counting goes on with what is there again.
    }
    // A line that can't be read may hold units: to count without it would sell them again.
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
    // Those whose reservation is there are only in the way of the right ones.
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
    note(&mut notes.done, "claims", n, "claims made anew");

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

/// Why nothing may be put up for sale that is not for sale now: something tells of somebody who has
/// it, or who could tell was not asked. `None`: nothing does, or it is to be done all the same.
fn doubt(found: &Found, how: &Repair) -> Option<String> {
    let told_everything = found.look.tells_everything();
    let sold_is_high = found.look.sold_units().is_none_or(|sold| sold > found.model.sold());
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

/// Reservations of which the orders say more than the ledger: what the ledger says of them is not
/// told again, and they do not begin to expire.
struct Disputed {
    ids: HashSet<ReservationId>,
    /// Their members of the deadlines.
    members: HashSet<String>,
}

impl Disputed {
    fn of(found: &Found, how: &Repair) -> Self {
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
    redis: &'a mut dyn Ask,
    keys: &'a SaleKeys,
    /// How many repairs there have been, ours included.
    repairs: u64,
    /// Somebody else repairs: what we know is old.
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
        match text(self.redis.ask(&command)?)?.as_deref().and_then(number) {
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

    /// Runs a script for as many as it takes at a time, each of `size` arguments.
    fn each(&mut self, what: &str, arguments: &[String], size: usize) -> Result<u64, LedgerError> {
        let mut repaired = 0;
        for chunk in arguments.chunks(REPAIRS_PER_SCRIPT * size) {
            repaired += self.run(what, chunk)?;
        }
        Ok(repaired)
    }

    fn counts(
        &mut self,
        found: &Found,
        doubt: Option<&str>,
        notes: &mut Notes,
    ) -> Result<(), LedgerError> {
        let (look, model) = (&found.look, &found.model);
        // In doubt a count only rises.
        let may =
            |is: Option<u64>, should: u64| doubt.is_none() || is.is_some_and(|is| is < should);
        let difference = |is: Option<u64>, should: u64| match is {
            Some(is) if may(Some(is), should) => (i128::from(should) - i128::from(is)).to_string(),
            _ => "0".to_owned(),
        };
        // A count that is no number stops the sale, so that its sum is known exactly.
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
            notes.done.extend(right.iter().map(|&(name, ..)| (name, "counted anew".into())));
        }
        Ok(())
    }

    /// Like every count, those of the ticket types are moved by what was wrong with them.
    fn types(
        &mut self,
        found: &Found,
        doubt: Option<&str>,
        notes: &mut Notes,
    ) -> Result<(), LedgerError> {
        let types = found.look.spec().0.types;
        let should = found.model.type_units(&types);
        let is = found.look.type_units();
        if types.is_empty() || is.as_ref() == Some(&should) {
            return Ok(());
        }
        let raises =
            |is: &Vec<TypeUnits>| is.iter().zip(&should).all(|(is, s)| is.sold() <= s.sold());
        // In doubt no count falls.
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
            notes.done.push(("types", "counted anew".into()));
        }
        Ok(())
    }

    fn users(
        &mut self,
        found: &Found,
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
        note(&mut notes.done, "users", n, "users counted anew");
        Ok(())
    }

    /// Tells once more what the stream no longer tells, and takes note of the entries that are gone.
    fn stream(
        &mut self,
        found: &Found,
        disputed: &Disputed,
        notes: &mut Notes,
    ) -> Result<(), LedgerError> {
        let (kept, untold): (Vec<ReservationId>, Vec<_>) =
            found.untold.iter().partition(|id| disputed.ids.contains(id));
        if !kept.is_empty() {
            notes.withheld.push(("stream", DISPUTED.into()));
        }
        let untold: Vec<String> = untold.iter().map(ReservationId::to_string).collect();
        let n = self.each("stream", &untold, 1)?;
        note(&mut notes.done, "stream", n, "reservations told once more");
        let gone = found.look.entries_gone();
        if gone != 0 && self.run("deleted", &[gone.to_string()])? > 0 {
            notes.done.push(("stream", format!("{} entries taken as gone", gone.abs())));
        }
        Ok(())
    }
}
