//! Mending what an audit found: each piece by one script that looks once more before it writes.
//!
//! Nothing is mended in the direction of selling too much: a count becomes what the reservations come
//! to, never less; a total below what is sold is left to people. A lost line comes back before
//! anything is counted without it.

use super::Ask;
use super::find::Found;
use super::look::text;
use crate::ledger::LedgerError;
use crate::ledger::redis::SaleKeys;
use crate::ledger::redis::line::number;
use crate::sale::{ID_PREFIX_TEXT_BYTES, ReservationId};

const REPAIR: &str = include_str!("../lua/repair.lua");

/// Things that one script mends.
const REPAIRS_PER_SCRIPT: usize = 250;

/// What was done: the check's name, and in words.
pub(super) type Notes = Vec<(&'static str, String)>;

/// Mends what can be mended at once. What it did is in `notes`; nothing: nothing can be done.
pub(super) fn repair(
    redis: &mut dyn Ask,
    keys: &SaleKeys,
    found: &Found,
    notes: &mut Notes,
) -> Result<(), LedgerError> {
    let mut scripts = Scripts { redis, keys, repairs: found.look.repairs, passed: false };
    let line = |id: &ReservationId| found.model.get(*id).map(|item| item.line(*id));
    let missing: Vec<String> = found.missing.iter().filter_map(line).collect();
    if !missing.is_empty() {
        let n = scripts.each("lines", &missing, 1)?;
        note(notes, "lines", n, "lines put back as the stream tells them");
        return Ok(()); // Counting goes on with what is there again.
    }
    // A line that can't be read may hold units: to count without it would sell them again.
    if found.model.unreadable.count > 0 {
        return Ok(());
    }
    scripts.counts(found, notes)?;

    let pairs = |list: &[(String, String)]| -> Vec<String> {
        list.iter().flat_map(|(a, b)| [a.clone(), b.clone()]).collect()
    };
    let n = scripts.each("orphans", &pairs(&found.claims_wrong), 2)?;
    note(notes, "claims", n, "claims of no reservation removed");
    let claims = found.claims_missing.iter().map(|(claim, id)| (claim.clone(), id.to_string()));
    let n = scripts.each("claims", &pairs(&claims.collect::<Vec<_>>()), 2)?;
    note(notes, "claims", n, "claims made anew");

    scripts.users(found, notes)?;

    let n = scripts.each("deadlines", &found.deadlines_missing, 1)?;
    note(notes, "deadlines", n, "deadlines added");
    let n = scripts.each("no_deadlines", &found.deadlines_wrong, 1)?;
    note(notes, "deadlines", n, "members removed");

    scripts.stream(found, notes)
}

fn note(notes: &mut Notes, check: &'static str, count: u64, what: &str) {
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
            Some(mended) => {
                self.repairs += 1;
                Ok(mended)
            }
            None => {
                self.passed = true;
                Ok(0)
            }
        }
    }

    /// Runs a script for as many as it takes at a time, each of `size` arguments.
    fn each(&mut self, what: &str, arguments: &[String], size: usize) -> Result<u64, LedgerError> {
        let mut mended = 0;
        for chunk in arguments.chunks(REPAIRS_PER_SCRIPT * size) {
            mended += self.run(what, chunk)?;
        }
        Ok(mended)
    }

    fn counts(&mut self, found: &Found, notes: &mut Notes) -> Result<(), LedgerError> {
        let (look, model) = (&found.look, &found.model);
        let difference = |is: Option<u64>, should: u64| {
            is.map_or(0, |is| i128::from(should) - i128::from(is)).to_string()
        };
        // A count that is no number stops the sale, so that its sum is known exactly.
        let anew = |is: Option<u64>, should: u64| match is {
            Some(_) => String::new(),
            None => should.to_string(),
        };
        let (sold, held) = (look.sold_units(), look.held_units());
        if (sold, held) == (Some(model.sold()), Some(model.held())) {
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
            for (name, is, should) in [("held", held, model.held()), ("sold", sold, model.sold())] {
                if is != Some(should) {
                    notes.push((name, "counted anew".into()));
                }
            }
        }
        Ok(())
    }

    fn users(&mut self, found: &Found, notes: &mut Notes) -> Result<(), LedgerError> {
        let (mut moved, mut set) = (Vec::new(), Vec::new());
        for user in &found.users {
            match user.found.as_deref().map_or(Some(0), number) {
                Some(is) => {
                    let difference = i128::from(user.expected) - i128::from(is);
                    moved.extend([user.user.clone(), difference.to_string()]);
                }
                None => set.extend([user.user.clone(), user.expected.to_string()]),
            }
        }
        let n = self.each("users", &moved, 2)? + self.each("users_set", &set, 2)?;
        note(notes, "users", n, "users counted anew");
        Ok(())
    }

    /// Tells once more what the stream no longer tells, and takes note of the entries that are gone.
    fn stream(&mut self, found: &Found, notes: &mut Notes) -> Result<(), LedgerError> {
        let untold: Vec<String> = found.untold.iter().map(ReservationId::to_string).collect();
        let n = self.each("stream", &untold, 1)?;
        note(notes, "stream", n, "reservations told once more");
        let gone = found.look.entries_gone();
        if gone != 0 && self.run("deleted", &[gone.to_string()])? > 0 {
            notes.push(("stream", format!("{} entries taken as gone", gone.abs())));
        }
        Ok(())
    }
}
