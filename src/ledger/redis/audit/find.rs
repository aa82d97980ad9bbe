//! One pass over a sale: reads its data and finds the differences.

use std::collections::{HashMap, HashSet};

use super::model::{Item, Model, Problems, shown};
use super::query::RedisQuery;
use super::snapshot::{Snapshot, StreamEntry, entries, page};
use crate::ledger::LedgerError;
use crate::ledger::redis::entry_id::EntryId;
use crate::ledger::redis::keys::SaleKeys;
use crate::ledger::redis::line::{MADE_FOR, number};
use crate::sale::{ID_PREFIX_TEXT_BYTES, ReservationId, SaleSpec};

const LOOK: &str = include_str!("../lua/audit_snapshot.lua");

/// The maximum number of passes that fail because the stream lost entries before they were read.
const PASSES_MAX: usize = 5;
/// Entries of the stream that one command reads: each has up to a batch of lines.
const ENTRIES_PER_READ: usize = 64;
/// Fields that one step of a scan requests, at first and at most.
const SCAN_COUNT_MIN: usize = 16;
/// See [`SCAN_COUNT_MIN`].
const SCAN_COUNT_MAX: usize = 1024;
/// A step of a scan that returns fewer bytes doubles the number of fields of the next step; one that
/// returns more than four times as many halves it.
const SCAN_BYTES: usize = 64 * 1024;
/// Steps of a scan after which the stream is read further, so that no trimming overtakes the audit.
const STEPS_PER_READ: usize = 256;
/// Claims, users or deadlines that one script reads.
const LOOK_MAX: usize = 500;

/// The expected and the found number of things.
#[derive(Default)]
pub(super) struct Tally {
    pub(super) reservations: u64,
    pub(super) users_expected: u64,
    pub(super) users_found: u64,
    pub(super) claims_expected: u64,
    pub(super) claims_found: u64,
    pub(super) deadlines_expected: u64,
    pub(super) deadlines_found: u64,
}

/// A count of a user, under its name in the ledger, that differs from the reservations.
pub(super) struct UserUnits {
    pub(super) user: String,
    pub(super) expected: u64,
    pub(super) found: Option<String>,
}

/// A sale at one point in time, and its differences.
pub(super) struct Findings {
    pub(super) model: Model,
    pub(super) snapshot: Snapshot,
    pub(super) tally: Tally,
    /// In the stream, and not stored.
    pub(super) missing: Vec<ReservationId>,
    /// Stored, and with another last state in the stream or none.
    pub(super) not_streamed: Vec<ReservationId>,
    /// Stored with a state that no change can have produced, with the line that the stream has.
    pub(super) edited: Vec<(ReservationId, String)>,
    /// Claims that are missing, with the reservation of each.
    pub(super) claims_missing: Vec<(String, ReservationId)>,
    /// Claims of a reservation that is missing or was made with another key, with its id.
    pub(super) claims_wrong: Vec<(String, String)>,
    /// Those of them that belong to no reservation: somebody may have the units.
    pub(super) orphans: HashSet<String>,
    pub(super) users: Vec<UserUnits>,
    /// Members that are missing, or have another score.
    pub(super) deadlines_missing: Vec<String>,
    /// Members that name no field and deadline.
    pub(super) deadlines_wrong: Vec<String>,
}

/// Reads a sale and finds its differences. `None`: there is no such sale.
pub(super) fn find(
    redis: &mut dyn RedisQuery,
    keys: &SaleKeys,
) -> Result<Option<Findings>, LedgerError> {
    for _ in 0..PASSES_MAX {
        let mut pass = match Pass::begin(redis, keys)? {
            Some(pass) => pass,
            None => return Ok(None),
        };
        match pass.run() {
            Ok(suspects) => match pass.judge(suspects) {
                Ok(found) => return Ok(Some(found)),
                Err(Stop::Again) => {}
                Err(Stop::Failed(error)) => return Err(error),
            },
            Err(Stop::Again) => {}
            Err(Stop::Failed(error)) => return Err(error),
        }
    }
    Err(LedgerError::Refused(format!(
        "entries vanish from {} while it is read, {PASSES_MAX} times in a row: does somebody trim it?",
        keys.stream()
    )))
}

/// Why a pass ends early.
enum Stop {
    /// The stream lost entries that were not read: begin again.
    Again,
    Failed(LedgerError),
}

impl From<LedgerError> for Stop {
    fn from(error: LedgerError) -> Self {
        Self::Failed(error)
    }
}

/// Differences between pieces that were read at different times, to be checked again.
#[derive(Default)]
struct Suspects {
    /// Claims, and the reservation that each should have, if a reservation says so.
    claims: Vec<(String, Option<ReservationId>)>,
    users: Vec<String>,
    /// Members of the deadlines, and the reservations that need them.
    deadlines: HashMap<String, Vec<ReservationId>>,
    deadlines_wrong: Vec<String>,
}

struct Pass<'a> {
    redis: &'a mut dyn RedisQuery,
    keys: Vec<String>,
    fields: [String; 2],
    model: Model,
    /// The stream was read up to here.
    cursor: EntryId,
    /// The snapshot at the beginning of the pass.
    first: Snapshot,
    /// Entries read that were added since.
    live: u64,
    tally: Tally,
}

impl<'a> Pass<'a> {
    fn begin(redis: &'a mut dyn RedisQuery, keys: &SaleKeys) -> Result<Option<Self>, LedgerError> {
        let fields = [keys.total_field().to_owned(), keys.sold_field().to_owned()];
        let keys = keys.all();
        let first = look(redis, &keys, &fields, &[], &[], &[])?;
        if !first.exists {
            return Ok(None);
        }
        let model = Model::new(first.last.version(), &first.spec().0);
        let (cursor, tally) = (EntryId::default(), Tally::default());
        Ok(Some(Self { redis, keys, fields, model, cursor, first, live: 0, tally }))
    }

    /// Reads everything once.
    fn run(&mut self) -> Result<Suspects, Stop> {
        self.read_stream(None)?;
        self.scan("HSCAN", 2, &mut |model, name, lines| model.stored(name, lines))?;

        let mut suspects = Suspects::default();
        let mut claims = 0;
        self.scan("HSCAN", 3, &mut |model, claim, id| {
            claims += 1;
            if !model.claimed(claim, id) {
                suspects.claims.push((claim.to_owned(), None));
            }
        })?;
        self.tally.claims_found = claims;

        let mut units = HashMap::new();
        let spec = self.first.spec().0;
        if spec.needs_user() {
            self.scan("HSCAN", 4, &mut |_, name, n| {
                // A name that is not counted any more may still be there.
                if counts(&spec, name) {
                    units.insert(name.to_owned(), n.to_owned());
                }
            })?;
        }
        self.tally.users_found = units.len() as u64;

        let mut members = HashSet::new();
        self.scan("ZSCAN", 5, &mut |_, member, score| match deadline_of(member) {
            // Some versions write a score far from now as 1.7e+12.
            Some(deadline) if score.parse() == Ok(deadline as f64) => {
                members.insert(member.to_owned());
            }
            Some(_) => {}
            None => suspects.deadlines_wrong.push(member.to_owned()),
        })?;
        self.tally.deadlines_found = members.len() as u64;

        let now = look(self.redis, &self.keys, &self.fields, &[], &[], &[])?;
        self.advance(&now)?;
        suspects
            .claims
            .extend(self.model.unclaimed().map(|(id, claim)| (claim.to_owned(), Some(id))));
        for (user, expected) in self.model.users() {
            let found = units.remove(user);
            if found.as_deref().map_or(Some(0), number) != Some(expected) {
                suspects.users.push(user.to_owned());
            }
        }
        suspects.users.extend(units.into_keys());
        for (id, item) in self.model.stored_items() {
            if let Some(member) = item.deadline(id).filter(|member| !members.contains(member)) {
                suspects.deadlines.entry(member).or_default().push(id);
            }
        }
        Ok(suspects)
    }

    /// Reads the suspects again, each time together with the current snapshot of the sale.
    fn judge(mut self, suspects: Suspects) -> Result<Findings, Stop> {
        let mut now = None;
        let (mut claims_missing, mut claims_wrong) = (Vec::new(), Vec::new());
        for chunk in suspects.claims.chunks(LOOK_MAX) {
            let claims: Vec<&str> = chunk.iter().map(|(claim, _)| &**claim).collect();
            let look = self.look_again(&claims, &[], &[])?;
            for ((claim, wanted_by), id) in chunk.iter().zip(&look.claims) {
                match (id, wanted_by) {
                    (None, Some(wanted_by)) => claims_missing.push((claim.clone(), *wanted_by)),
                    (None, None) => {}
                    (Some(id), _) if self.is_claim_of(claim, id) => {}
                    (Some(id), None) => claims_wrong.push((claim.clone(), id.clone())),
                    // The scan found it too.
                    (Some(_), Some(_)) => {}
                }
            }
            now = Some(look);
        }
        let mut users = Vec::new();
        for chunk in suspects.users.chunks(LOOK_MAX) {
            let names: Vec<&str> = chunk.iter().map(|user| &**user).collect();
            let look = self.look_again(&[], &names, &[])?;
            for (user, found) in chunk.iter().zip(&look.users) {
                let expected = self.model.count_of(user);
                if found.as_deref().map_or(Some(0), number) != Some(expected) {
                    users.push(UserUnits { user: user.clone(), expected, found: found.clone() });
                }
            }
            now = Some(look);
        }
        let mut deadlines_missing = Vec::new();
        let deadlines: Vec<_> = suspects.deadlines.into_iter().collect();
        for chunk in deadlines.chunks(LOOK_MAX) {
            let members: Vec<&str> = chunk.iter().map(|(member, _)| &**member).collect();
            let look = self.look_again(&[], &[], &members)?;
            for ((member, ids), score) in chunk.iter().zip(&look.scores) {
                let score = score.as_deref().and_then(|score| score.parse::<f64>().ok());
                let wanted = |id: &ReservationId| {
                    let item = self.model.get(*id);
                    item.and_then(|item| item.deadline(*id)).is_some_and(|wants| wants == *member)
                };
                if score != deadline_of(member).map(|ms| ms as f64) && ids.iter().any(wanted) {
                    deadlines_missing.push(member.clone());
                }
            }
            now = Some(look);
        }
        let look = match now {
            Some(look) => look,
            None => self.look_again(&[], &[], &[])?,
        };
        deadlines_missing.sort_unstable();
        claims_missing.sort_unstable();
        claims_wrong.sort_unstable();
        users.sort_unstable_by(|a, b| a.user.cmp(&b.user));
        let lost_some = look.entries_gone() != 0;
        let silent = look.trimmed == 0 || lost_some;
        let mut found = Findings {
            missing: self.model.missing(),
            not_streamed: self.model.not_streamed(silent, lost_some),
            edited: self.model.edited(lost_some),
            claims_missing,
            orphans: self.model.without_reservation(&claims_wrong),
            claims_wrong,
            users,
            deadlines_missing,
            deadlines_wrong: suspects.deadlines_wrong,
            tally: self.tally,
            model: self.model,
            snapshot: look,
        };
        found.complete_tally();
        Ok(found)
    }

    fn is_claim_of(&self, claim: &str, id: &str) -> bool {
        let item = ReservationId::from_text(id.as_bytes()).ok().and_then(|id| self.model.get(id));
        item.is_some_and(|item| item.claim() == Some(claim))
    }

    fn look_again(
        &mut self,
        claims: &[&str],
        users: &[&str],
        deadlines: &[&str],
    ) -> Result<Snapshot, Stop> {
        let look = look(self.redis, &self.keys, &self.fields, claims, users, deadlines)?;
        self.advance(&look)?;
        Ok(look)
    }

    /// Advances the model to the point in time of a snapshot.
    fn advance(&mut self, look: &Snapshot) -> Result<(), Stop> {
        self.read_stream(Some(look.last))?;
        let came = look.added.checked_sub(self.first.added);
        let same = look.exists && look.repairs == self.first.repairs && came == Some(self.live);
        if same { Ok(()) } else { Err(Stop::Again) }
    }

    /// Reads the stream further, up to an entry or to its end.
    fn read_stream(&mut self, end: Option<EntryId>) -> Result<(), Stop> {
        let end_text = end.map_or_else(|| "+".to_owned(), |end| end.to_string());
        let count = ENTRIES_PER_READ.to_string();
        while end.is_none_or(|end| self.cursor < end) {
            let from = format!("({}", self.cursor);
            let arguments = ["XRANGE", &self.keys[6], &from, &end_text, "COUNT", &count];
            let page = entries(self.redis.query(&arguments.map(str::as_bytes))?)?;
            let more = page.len() == ENTRIES_PER_READ;
            page.into_iter().for_each(|entry| self.take(entry));
            if !more {
                break;
            }
        }
        Ok(())
    }

    fn take(&mut self, entry: StreamEntry) {
        self.cursor = entry.id;
        self.live += u64::from(entry.id > self.first.last);
        match entry.lines {
            Some(lines) => self.model.streamed(entry.id.version(), entry.at_ms, &lines),
            None => self.model.unreadable.add(|| format!("no lines in the entry {}", entry.id)),
        }
    }

    /// Reads a hash or a sorted set in small steps.
    fn scan(
        &mut self,
        command: &str,
        key: usize,
        each: &mut dyn FnMut(&mut Model, &str, &str),
    ) -> Result<(), Stop> {
        let (mut cursor, mut count) = ("0".to_owned(), SCAN_COUNT_MIN);
        for step in 1.. {
            let asked = count.to_string();
            let arguments = [command, &self.keys[key], &cursor, "COUNT", &asked];
            let (next, values) = page(self.redis.query(&arguments.map(str::as_bytes))?)?;
            values.chunks_exact(2).for_each(|pair| each(&mut self.model, &pair[0], &pair[1]));
            if next == "0" {
                break;
            }
            cursor = next;
            let bytes: usize = values.iter().map(String::len).sum();
            if bytes < SCAN_BYTES {
                count = (count * 2).min(SCAN_COUNT_MAX);
            } else if bytes > 4 * SCAN_BYTES {
                count = (count / 2).max(SCAN_COUNT_MIN);
            }
            if step % STEPS_PER_READ == 0 {
                self.read_stream(None)?;
            }
        }
        Ok(())
    }
}

fn look(
    redis: &mut dyn RedisQuery,
    keys: &[String],
    fields: &[String; 2],
    claims: &[&str],
    users: &[&str],
    deadlines: &[&str],
) -> Result<Snapshot, LedgerError> {
    let counts = [keys.len(), claims.len(), users.len()].map(|n| n.to_string());
    let mut arguments = vec!["EVAL", LOOK, &counts[0]];
    arguments.extend(keys.iter().map(String::as_str));
    arguments.extend([&*fields[0], &fields[1], &counts[1], &counts[2]]);
    arguments.extend(claims.iter().chain(users).chain(deadlines));
    let arguments: Vec<&[u8]> = arguments.iter().map(|argument| argument.as_bytes()).collect();
    Snapshot::parse(redis.query(&arguments)?)
}

/// Whether this sale counts this name among its users.
fn counts(spec: &SaleSpec, name: &str) -> bool {
    match name.starts_with(MADE_FOR) {
        true => spec.rules.reservations_per_user_max > 0,
        false => spec.limit_per_user > 0,
    }
}

/// The deadline in a member of the deadlines, if it has one.
fn deadline_of(member: &str) -> Option<u64> {
    let (name, deadline) = member.split_once(':')?;
    let sound =
        name.len() >= ID_PREFIX_TEXT_BYTES && name.bytes().all(|byte| byte.is_ascii_alphanumeric());
    if sound { number(deadline) } else { None }
}

impl Findings {
    fn complete_tally(&mut self) {
        let mut members = HashSet::new();
        let tally = &mut self.tally;
        for (id, item) in self.model.stored_items() {
            tally.reservations += 1;
            tally.claims_expected += u64::from(item.claim().is_some());
            members.extend(item.deadline(id));
        }
        tally.users_expected = self.model.users().filter(|(_, units)| *units > 0).count() as u64;
        tally.deadlines_expected = members.len() as u64;
        // The scans read at other times than the stream: report what they would find now.
        let wrong = |list: usize| list as u64;
        tally.claims_found = (tally.claims_expected + wrong(self.claims_wrong.len()))
            .saturating_sub(wrong(self.claims_missing.len()));
        let lost = |user: &&UserUnits| user.found.is_none();
        let extra = |user: &&UserUnits| user.expected == 0;
        tally.users_found = (tally.users_expected + wrong(self.users.iter().filter(extra).count()))
            .saturating_sub(wrong(self.users.iter().filter(lost).count()));
        tally.deadlines_found = (tally.deadlines_expected + wrong(self.deadlines_wrong.len()))
            .saturating_sub(wrong(self.deadlines_missing.len()));
    }

    pub(super) fn users_problems(&self) -> Problems {
        Problems::of(&self.users, |UserUnits { user, expected, found }| {
            let found = found.as_deref().unwrap_or("nothing");
            match user.strip_prefix(MADE_FOR) {
                None => format!("{user} has {expected}, but {found} is counted"),
                Some(user) => {
                    format!("{expected} reservations were made for {user}, but {found} is counted")
                }
            }
        })
    }

    pub(super) fn claims_problems(&self) -> Problems {
        let missing = Problems::of(&self.claims_missing, |(claim, id)| {
            format!("{id} has no claim: {}", shown(claim))
        });
        missing.and(Problems::of(&self.claims_wrong, |(claim, id)| {
            format!("{} claims {id}, which is not so", shown(claim))
        }))
    }

    pub(super) fn deadlines_problems(&self) -> Problems {
        let missing = Problems::of(&self.deadlines_missing, |member| {
            format!("held without a deadline: {member}")
        });
        missing
            .and(Problems::of(&self.deadlines_wrong, |member| format!("no deadline: {member:?}")))
    }

    pub(super) fn stream_problems(&self) -> Problems {
        let mut problems = Problems::default();
        let look = &self.snapshot;
        let gone = look.entries_gone();
        if gone != 0 {
            problems.add(|| {
                format!(
                    "{} entries added, {} trimmed by us, {} there",
                    look.added, look.trimmed, look.length
                )
            });
            problems.count = gone.unsigned_abs();
        }
        problems.and(Problems::of(&self.not_streamed, |id| {
            let line = self.model.get(*id).map(|item: &Item| item.line(*id)).unwrap_or_default();
            format!("not in the stream as it is now: {line}")
        }))
    }

    pub(super) fn lines_problems(&self) -> Problems {
        let missing = Problems::of(&self.missing, |id| format!("in the stream only: {id}"));
        let edited = Problems::of(&self.edited, |(id, told)| {
            let line = self.model.get(*id).map(|item: &Item| item.line(*id)).unwrap_or_default();
            let told = told.split_once(' ').map_or("", |(_, rest)| rest);
            format!("{line}, but the stream has: {told}")
        });
        self.model.unreadable.clone().and(missing).and(edited)
    }
}
