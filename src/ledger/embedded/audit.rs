//! The audit of a sale: counts its rows anew and compares them with everything that is kept beside
//! them.
//!
//! The ledger must not stop for it. So the rows are copied in steps of a millisecond, then those
//! that changed meanwhile, and so on until few are left; the last step takes these and everything
//! else at one point in time. The comparison runs on the copy.
//!
//! All compared data is built from the rows when the ledger starts: a difference is a fault of the
//! program or of the memory, and a restart repairs it.

use std::collections::{HashMap, HashSet};

use super::state::LedgerState;
use super::store::Store;
use crate::ledger::LedgerError;
use crate::ledger::client::{Check, EXAMPLES_MAX, Relation, SaleAudit};
use crate::ledger::gaps::Gaps;
use crate::sale::{ReservationId, Row, SaleId, SaleView, Status, TypeUnits, count_by_type};

/// Rows that one step copies.
const STEP_ROWS_MAX: usize = 8192;
/// Rows that one step reads.
const STEP_LOOKS_MAX: usize = 100_000;
/// Rows left at which the last step takes them all.
const LAST_STEP_ROWS: usize = 2 * STEP_ROWS_MAX;
/// Rounds after which the last step begins however many rows are left: the sale is faster than the
/// audit.
const ROUNDS_MAX: usize = 10;

/// Access to a store.
pub(super) trait StoreQuery {
    /// Runs a query on the store and returns its result.
    fn query<T: Send + 'static>(
        &mut self,
        look: impl FnOnce(&mut Store) -> T + Send + 'static,
    ) -> Result<T, LedgerError>;
}

/// Sets the position of a database. A later position from the reader of changes is kept.
pub(super) fn orders_have(ask: &mut impl StoreQuery, version: u64) -> Result<(), LedgerError> {
    ask.query(move |store| {
        let known = store.orders_position().unwrap_or(0);
        store.set_orders_position(known.max(version));
    })
}

/// Every sale, in the order of their ids.
pub(super) fn sales(ask: &mut impl StoreQuery) -> Result<Vec<SaleId>, LedgerError> {
    let mut sales = ask.query(|store| {
        let state = store.state_for_reading()?;
        Ok::<_, LedgerError>(state.sales.iter().map(|(id, _)| id.detached()).collect::<Vec<_>>())
    })??;
    sales.sort_unstable();
    Ok(sales)
}

/// The version up to which orders of a missing sale may belong to a removed one: the ledger never
/// loses a single sale, so a sale of a version that it has reached was removed.
pub(super) fn removed_at(
    ask: &mut impl StoreQuery,
    id: &SaleId,
) -> Result<Option<u64>, LedgerError> {
    let id = id.detached();
    ask.query(move |store| {
        let version = store.version();
        let state = store.state_for_reading()?;
        Ok(state.sales.number(&id).is_none().then_some(version))
    })?
}

/// The versions without a record.
pub(super) fn gaps(ask: &mut impl StoreQuery) -> Result<Gaps, LedgerError> {
    ask.query(|store| Ok(store.state_for_reading()?.gaps.clone()))?
}

/// Where a sale was moved to.
pub(super) fn moved_to(
    ask: &mut impl StoreQuery,
    id: &SaleId,
) -> Result<Option<String>, LedgerError> {
    let id = id.detached();
    ask.query(move |store| {
        let to = store.state_for_reading()?.departed.to(&id).map(str::to_owned);
        Ok(to)
    })?
}

/// Compares everything that the ledger has of a sale.
pub(super) fn audit(
    ask: &mut impl StoreQuery,
    id: &SaleId,
) -> Result<Option<SaleAudit>, LedgerError> {
    let own_id = id.detached();
    let number = ask.query(move |store| {
        let state = store.state_for_reading()?;
        Ok::<_, LedgerError>(state.sales.number(&own_id))
    })??;
    let Some(number) = number else { return Ok(None) };
    let mut copy = RowsCopy { number, rows: Vec::new(), lost: HashSet::new() };
    let mut after = 0;
    for _ in 0..ROUNDS_MAX {
        let Some((version, copied)) = copy.round(ask, after)? else { return Ok(None) };
        after = version;
        if copied <= LAST_STEP_ROWS {
            break;
        }
    }
    let Some(last) = copy.last_step(ask, after)? else { return Ok(None) };
    Ok(Some(copy.compare(id, last)))
}

/// The copied rows of a sale.
struct RowsCopy {
    number: u32,
    rows: Vec<Row>,
    /// Rows that their id or claim does not lead to.
    lost: HashSet<usize>,
}

/// Rows with their numbers, and whether they are found.
type CopiedRows = Vec<(usize, Row, bool)>;

/// The data that is read at one point in time.
struct FinalStep {
    part: CopiedRows,
    view: SaleView,
    users: Users,
    /// The number of reservations made for each.
    made: Users,
    deadlines: Vec<u32>,
    version: u64,
    undelivered_from: Option<u64>,
    has_orders: bool,
}

/// A number per user, copied with two allocations and without hashing: the ledger waits for it.
#[derive(Default)]
struct Users {
    names: String,
    /// Bytes of the name, and the number.
    numbers: Vec<(u8, u32)>,
}

impl Users {
    fn of<'a>(users: impl Iterator<Item = (&'a str, u32)>) -> Self {
        let mut copy = Self::default();
        for (user, number) in users {
            copy.names.push_str(user);
            copy.numbers.push((user.len() as u8, number));
        }
        copy
    }

    fn by_user(&self) -> HashMap<Box<str>, u64> {
        let mut names = self.names.as_str();
        let each = self.numbers.iter().map(|&(bytes, number)| {
            let (name, rest) = names.split_at(bytes.into());
            names = rest;
            (name.into(), number.into())
        });
        each.collect()
    }
}

impl RowsCopy {
    /// Copies the rows that changed after a version. Returns the last version before it began, and
    /// the number of copied rows. `None`: the sale was removed.
    fn round(
        &mut self,
        ask: &mut impl StoreQuery,
        after: u64,
    ) -> Result<Option<(u64, usize)>, LedgerError> {
        let (mut from, mut began_at, mut copied) = (0, None, 0);
        loop {
            let number = self.number;
            let step = ask.query(move |store| {
                let version = store.version();
                let state = store.state_for_reading()?;
                let part = changed(state, number, after, from, STEP_ROWS_MAX, STEP_LOOKS_MAX);
                Ok::<_, LedgerError>(part.map(|(part, next)| (part, next, version)))
            })??;
            let Some((part, next, version)) = step else { return Ok(None) };
            let began_at = *began_at.get_or_insert(version);
            copied += part.len();
            self.take(part);
            match next {
                Some(next) => from = next,
                None => return Ok(Some((began_at, copied))),
            }
        }
    }

    fn last_step(
        &self,
        ask: &mut impl StoreQuery,
        after: u64,
    ) -> Result<Option<FinalStep>, LedgerError> {
        let number = self.number;
        ask.query(move |store| {
            let version = store.version();
            let undelivered_from = store.orders_position().map(|position| position + 1);
            let has_orders = undelivered_from.is_some() && store.orders_have_rows();
            let state = store.state_for_reading()?;
            let Some((part, _)) = changed(state, number, after, 0, usize::MAX, usize::MAX) else {
                return Ok(None);
            };
            let Some((_, machine)) = state.sales.get(number) else { return Ok(None) };
            Ok(Some(FinalStep {
                part,
                view: SaleView { now_ms: state.now_ms, ..machine.view() },
                users: Users::of(machine.units_by_user()),
                made: Users::of(machine.made_by_user()),
                deadlines: machine.deadlines().collect(),
                version,
                undelivered_from,
                has_orders,
            }))
        })?
    }

    fn take(&mut self, part: CopiedRows) {
        for (number, row, is_found) in part {
            if is_found {
                self.lost.remove(&number);
            } else {
                self.lost.insert(number);
            }
            if number < self.rows.len() {
                self.rows[number] = row;
            } else {
                debug_assert_eq!(number, self.rows.len(), "rows come in order");
                self.rows.push(row);
            }
        }
    }

    fn compare(mut self, id: &SaleId, mut last: FinalStep) -> SaleAudit {
        self.take(std::mem::take(&mut last.part));
        let units = |status: Status| -> u64 {
            let rows = self.rows.iter().filter(|row| row.status == status);
            rows.map(|row| u64::from(row.quantity)).sum()
        };
        let (held, confirmed) = (units(Status::Held), units(Status::Confirmed));
        let mut checks = vec![
            numbers("held units", held, last.view.held),
            numbers("confirmed units", confirmed, last.view.confirmed),
            self.total(&last.view, held + confirmed),
            self.found(),
            self.deadlines(&last.deadlines),
        ];
        if !last.view.spec.types.is_empty() {
            checks.push(self.types(&last.view));
        }
        if last.view.spec.limit_per_user > 0 {
            let units = |row: &Row| if row.status.has_units() { row.quantity.into() } else { 0 };
            checks.push(self.users("users' units", units, &last.users.by_user()));
        }
        if last.view.spec.rules.reservations_per_user_max > 0 {
            checks.push(self.users("users' reservations", |_| 1, &last.made.by_user()));
        }
        for check in checks.iter_mut().filter(|check| check.differences > 0) {
            check.examples.truncate(EXAMPLES_MAX - 1);
            check.examples.push("a restart of the ledger rebuilds it".into());
        }
        let (mut rows, id) = (self.rows, id.detached());
        rows.sort_unstable_by_key(|row| row.id);
        let reservations = rows.into_iter().map(|row| row.to_change(&id)).collect();
        let FinalStep { view, version, undelivered_from, has_orders, .. } = last;
        SaleAudit {
            view,
            checks,
            reservations,
            version,
            streamed_from: 0,
            undelivered_from,
            has_orders,
        }
    }

    fn total(&self, view: &SaleView, sold: u64) -> Check {
        let over = sold.saturating_sub(view.spec.total);
        Check {
            name: "sold",
            expected: view.spec.total.into(),
            relation: Relation::AtMost,
            found: sold.into(),
            differences: over,
            ..Check::default()
        }
    }

    fn types(&self, view: &SaleView) -> Check {
        let types = &view.spec.types;
        let counted = count_by_type(types, self.rows.iter().map(Row::to_reservation));
        let odd = counted.as_ref().err().map(ReservationId::to_string);
        let expected = counted.unwrap_or_default();
        let pairs = types.iter().zip(expected.iter().zip(&view.by_type));
        let wrong = pairs.filter(|((_, cap), (expected, is))| expected != is || is.sold() > *cap);
        let wrong: Vec<String> = wrong.map(|((name, _), _)| name.to_string()).chain(odd).collect();
        let [expected, found] =
            [&expected, &view.by_type].map(|list| TypeUnits::list_to_text(list));
        let differences = wrong.len() as u64;
        let (expected, found) = (expected.as_str().into(), found.as_str().into());
        Check { name: "types", expected, found, differences, examples: wrong, ..Check::default() }
    }

    fn found(&self) -> Check {
        let lost = self.lost.iter().map(|&number| self.rows[number].id.to_string());
        let rows = self.rows.len();
        list("ids and claims", rows, rows - self.lost.len(), lost.collect())
    }

    fn deadlines(&self, deadlines: &[u32]) -> Check {
        let queued: HashSet<u32> = deadlines.iter().copied().collect();
        let held = self.rows.iter().enumerate().filter(|(_, row)| row.status == Status::Held);
        let (mut count, mut missing) = (0, Vec::new());
        for (number, row) in held {
            count += 1;
            if !queued.contains(&(number as u32)) {
                missing.push(row.id.to_string());
            }
        }
        list("deadlines", count, count - missing.len(), missing)
    }

    /// Compares a number per user with the sum of `of` over the rows. A user without any is not
    /// counted.
    fn users(
        &self,
        name: &'static str,
        of: impl Fn(&Row) -> u64,
        found: &HashMap<Box<str>, u64>,
    ) -> Check {
        let mut expected: HashMap<&str, u64> = HashMap::new();
        for row in self.rows.iter().filter(|row| row.user_bytes > 0 && of(row) > 0) {
            *expected.entry(row.user()).or_default() += of(row);
        }
        let differs = |(user, number): (&&str, &u64)| found.get(*user) != Some(number);
        let mut wrong: Vec<String> = (expected.iter())
            .filter(|&(user, number)| differs((user, number)))
            .map(|(user, _)| (*user).to_owned())
            .collect();
        wrong.extend(
            found
                .keys()
                .filter(|user| !expected.contains_key(&***user))
                .map(|user| (**user).into()),
        );
        list(name, expected.len(), found.len(), wrong)
    }
}

/// At most `max` rows that changed after a version, from row `from` on, reading at most
/// `looks_max`, and the row from which there may be more. `None`: there is no such sale.
fn changed(
    state: &LedgerState,
    number: u32,
    after: u64,
    from: usize,
    max: usize,
    looks_max: usize,
) -> Option<(CopiedRows, Option<usize>)> {
    let (_, machine) = state.sales.get(number)?;
    let rows = machine.rows();
    let mut part = Vec::new();
    let (mut next, mut looks) = (rows.skip_unchanged(from, after), 0);
    while next < rows.len() {
        looks += 1;
        if part.len() >= max || looks > looks_max {
            return Some((part, Some(next)));
        }
        if rows[next].version > after {
            part.push((next, rows[next].clone(), machine.is_findable(next)));
        }
        next = rows.skip_unchanged(next + 1, after);
    }
    Some((part, None))
}

fn numbers(name: &'static str, expected: u64, found: u64) -> Check {
    let differences = expected.abs_diff(found);
    let (expected, found) = (expected.into(), found.into());
    Check { name, expected, found, differences, ..Check::default() }
}

fn list(name: &'static str, expected: usize, found: usize, mut wrong: Vec<String>) -> Check {
    let differences = wrong.len() as u64;
    wrong.sort_unstable();
    wrong.truncate(EXAMPLES_MAX);
    let (expected, found) = ((expected as u64).into(), (found as u64).into());
    Check { name, expected, found, differences, examples: wrong, ..Check::default() }
}
