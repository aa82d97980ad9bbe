//! The call that sells: a run of reserve commands for each of one or several sales in one
//! `EVALSHA`. `lua/reserve_fast.lua` describes its arguments, `lua/sell.lua` its reply.
//!
//! A call costs Redis some 50,000 instructions before it does anything, and a sale with one
//! purchase some 100,000 more. So many sales with one purchase each share a call. An error of one
//! sale is reported for that sale alone. A script blocks all other clients, hence the bounds.

use std::rc::Rc;

use hashbrown::HashSet;

use super::columns;
use super::keys::SaleKeys;
use super::line::{self, claim_of};
use super::resp::{bulk, bulk_pieces};
use crate::ledger::Group;
use crate::limits::BATCH_MAX;
use crate::sale::{
    Command, ID_PREFIX_BITS, ID_PREFIX_TEXT_BYTES, RESERVATION_ID_TEXT_BYTES, Reserve,
};
use crate::trace::Trace;

/// The maximum number of sales in one call. The call then takes about as long as one that sells a
/// batch from one sale; more sales would save at most a thirtieth of the cost of a call.
const SALES_MAX: usize = 32;

/// Arguments of a call per sale.
pub(super) const ARGUMENTS: usize = 5;

/// Appends the traces of the requests of these sales, if there are any: see `lua/reserve_fast.lua`.
pub(super) fn write_traces(sales: &[Sale<'_>], out: &mut Vec<u8>) {
    let mut columns = Vec::new();
    for (number, sale) in (0..).zip(sales) {
        let mut lines = Vec::new();
        for (reserve, trace) in sale.run.traced() {
            lines.extend_from_slice(&reserve.id.to_text());
            for text in [trace.request_id(), trace.parent()] {
                lines.push(b' ');
                lines.extend_from_slice(text.unwrap_or_default().as_bytes());
            }
            lines.push(b'\n');
        }
        if !lines.is_empty() {
            columns::number(&mut columns, number);
            columns::text(&mut columns, &[&lines]);
        }
    }
    bulk(out, &columns);
}

/// Whether a request of one of these sales has a trace.
pub(super) fn are_traced(sales: &[Sale<'_>]) -> bool {
    sales.iter().any(|sale| sale.run.traced().next().is_some())
}

/// The approximate size of a request in the columns.
const REQUEST_BYTES: usize = 48;

/// The length by which `lua/reserve_fast.lua` recognises an id.
const ID_BYTES: usize = RESERVATION_ID_TEXT_BYTES;

/// The names of a sale, encoded for a call. Where many sales share a call, the names are most of
/// what is written per purchase, so links cache them.
pub(super) struct Names {
    /// The keys, those of claims and users last; then the fields of the counters.
    bytes: Box<[u8]>,
    claims_at: usize,
    users_at: usize,
    fields_at: usize,
}

/// Purchases from one sale.
pub(super) struct Sale<'a> {
    names: Rc<Names>,
    run: Run<'a>,
}

/// The reserve commands of a run, at least one.
#[derive(Clone, Copy)]
struct Run<'a>(&'a [Command]);

/// Splits the groups of a batch into pieces whose purchases are one call each.
pub(super) fn calls<'a>(groups: &'a [&'a Group]) -> impl Iterator<Item = &'a [&'a Group]> {
    let mut rest = groups;
    std::iter::from_fn(move || {
        let (mut sales, mut purchases) = (0, 0);
        let mut fits = |group: &&&Group| {
            let more = run_of(group).map_or(0, |run| run.len());
            sales += usize::from(more > 0);
            purchases += more;
            sales <= SALES_MAX && purchases <= BATCH_MAX
        };
        // The first one fits in any case.
        let count = rest.iter().take_while(|group| fits(group)).count();
        let (call, others) = rest.split_at(count.max(1).min(rest.len()));
        rest = others;
        (!call.is_empty()).then_some(call)
    })
}

/// The purchases at the start of a group.
pub(super) fn run_of(group: &Group) -> Option<&[Command]> {
    let is_reserve = |command: &&Command| matches!(command, Command::Reserve(_));
    let count = group.commands.iter().take(BATCH_MAX).take_while(is_reserve).count();
    (count > 0).then(|| &group.commands[..count])
}

impl Names {
    pub(super) fn new(keys: &SaleKeys) -> Self {
        let [counters, sale, reservations, claims, users, deadlines, stream] = keys.pieces();
        let mut out = Vec::new();
        for pieces in [counters, sale, reservations, deadlines, stream] {
            bulk_pieces(&mut out, &pieces);
        }
        let claims_at = out.len();
        bulk_pieces(&mut out, &claims);
        let users_at = out.len();
        bulk_pieces(&mut out, &users);
        let fields_at = out.len();
        bulk(&mut out, keys.total_field().as_bytes());
        bulk(&mut out, keys.sold_field().as_bytes());
        Self { bytes: out.into(), claims_at, users_at, fields_at }
    }
}

impl<'a> Sale<'a> {
    pub(super) fn new(names: Rc<Names>, run: &'a [Command]) -> Self {
        let run = Run(run);
        debug_assert!(run.requests().count() == run.0.len(), "a run of something else");
        debug_assert!(run.requests().all(|r| r.quantity > 0), "a reservation of nothing");
        Self { names, run }
    }

    /// The number of its keys in the call.
    pub(super) fn count_keys(&self) -> usize {
        5 + usize::from(self.run.has_keys()) + usize::from(self.run.has_users())
    }

    /// Appends its keys.
    pub(super) fn write_keys(&self, out: &mut Vec<u8>) {
        let Names { bytes, claims_at, users_at, fields_at } = &*self.names;
        let behind_claims = if self.run.has_keys() { *users_at } else { *claims_at };
        out.extend_from_slice(&bytes[..behind_claims]);
        if self.run.has_users() {
            out.extend_from_slice(&bytes[*users_at..*fields_at]);
        }
    }

    /// Appends its arguments.
    pub(super) fn write_arguments(&self, out: &mut Vec<u8>) {
        out.extend_from_slice(&self.names.bytes[self.names.fields_at..]);
        match self.run.single() {
            Some(one) => {
                bulk(out, &one.id.to_text());
                bulk(out, one.user_text().as_bytes());
                bulk(out, one.key_text().as_bytes());
            }
            None => {
                let mut columns = Vec::with_capacity(self.run.0.len() * REQUEST_BYTES + 32);
                for column in [Run::asked, Run::users, Run::claims] {
                    columns.clear();
                    column(self.run, &mut columns);
                    bulk(out, &columns);
                }
            }
        }
    }
}

impl<'a> Run<'a> {
    fn requests(self) -> impl Iterator<Item = &'a Reserve> + Clone {
        self.0.iter().filter_map(|command| match command {
            Command::Reserve(reserve) => Some(reserve),
            _ => None,
        })
    }

    fn traced(self) -> impl Iterator<Item = (&'a Reserve, &'a Trace)> {
        self.requests().filter_map(|reserve| Some((reserve, reserve.trace.as_deref()?)))
    }

    fn has_keys(self) -> bool {
        self.requests().any(|r| r.key.is_some())
    }

    fn has_users(self) -> bool {
        self.requests().any(|r| r.user.is_some())
    }

    /// The request of a run that needs no columns.
    fn single(self) -> Option<&'a Reserve> {
        let one = self.requests().next().filter(|r| r.quantity == 1 && r.details.is_none());
        one.filter(|_| self.0.len() == 1)
    }

    /// The parts of the run whose ids share a prefix: each part is one field of the reservations.
    fn parts(self) -> impl Iterator<Item = Self> {
        let prefix = |command: &Command| match command {
            Command::Reserve(r) => r.id.0 >> (u128::BITS - ID_PREFIX_BITS),
            _ => 0,
        };
        self.0.chunk_by(move |a, b| prefix(a) == prefix(b)).map(Self)
    }

    /// Encodes the requested quantities.
    fn asked(self, out: &mut Vec<u8>) {
        let begin = out.len();
        columns::wide_number(out, self.0.len() as u32);
        // At most BATCH_MAX times QUANTITY_MAX.
        columns::number(out, self.requests().map(|r| r.quantity).sum());
        columns::number(out, self.requests().map(|r| r.quantity).max().unwrap_or(0));
        columns::number(out, self.twice());
        columns::array(out, self.parts().count());
        for part in self.parts() {
            let first = part.requests().next().map_or([0; ID_BYTES], |r| r.id.to_text());
            columns::text(out, &[&first[..ID_PREFIX_TEXT_BYTES]]);
        }
        columns::array(out, self.parts().count());
        if self.requests().all(|r| r.key.is_some() && r.quantity == 1 && r.details.is_none()) {
            let mut last = 0;
            for part in self.parts() {
                last += part.0.len() as u32;
                columns::number(out, last);
            }
        } else {
            self.parts().for_each(|part| part.lines(out));
        }
        debug_assert!(out.len() - begin > ID_BYTES, "columns that may be taken for an id");
    }

    /// The lines of the run's reservations in pieces; the deadline goes between them.
    fn lines(self, out: &mut Vec<u8>) {
        let mut quantity = itoa::Buffer::new();
        columns::array(out, self.0.len() + 1);
        let mut before = None;
        for r in self.requests() {
            let details = before.and_then(details_of);
            let [a, b, c, d, e, f, g] = end_of_line(before, details.as_deref());
            let id = r.id.to_text();
            let quantity = quantity.format(r.quantity).as_bytes();
            columns::text(out, &[a, b, c, d, e, f, g, &id, b" held ", quantity, b" "]);
            before = Some(r);
        }
        let details = before.and_then(details_of);
        columns::text(out, &end_of_line(before, details.as_deref()));
    }

    /// The user of each request, if any request names one.
    fn users(self, out: &mut Vec<u8>) {
        if self.has_users() {
            self.requests().for_each(|r| columns::text(out, &[r.user_text().as_bytes()]));
        }
    }

    /// The claims of the requests, each with the id of its reservation.
    fn claims(self, out: &mut Vec<u8>) {
        for r in self.requests().filter(|r| r.key.is_some()) {
            let claim = claim_of(r);
            columns::text(out, &claim.map(str::as_bytes));
            columns::text(out, &[&r.id.to_text()]);
        }
    }

    /// 2 if a claim occurs twice, or if a request has details, for which the sale's format is
    /// checked: the fast path handles neither. Otherwise 1 if a user occurs twice, else 0.
    fn twice(self) -> u32 {
        if self.requests().any(|r| r.details.is_some()) {
            return 2;
        }
        let mut users = HashSet::with_capacity(self.0.len());
        // A key without a user is compared with other keys without a user.
        let mut named = self.requests().filter(|r| r.user.is_some() || r.key.is_some());
        if named.all(|r| users.insert(r.user_text())) {
            return 0;
        }
        let mut claims = HashSet::with_capacity(self.0.len());
        let mut keyed = self.requests().filter(|r| r.key.is_some());
        if keyed.all(|r| claims.insert((r.user_text(), r.key_text()))) { 1 } else { 2 }
    }
}

/// The details that few requests have, as text for the line.
fn details_of(reserve: &Reserve) -> Option<String> {
    reserve.details.as_ref().map(|details| details.to_text())
}

/// The text after the deadline in the line of a request; empty before the first one.
fn end_of_line<'a>(reserve: Option<&'a Reserve>, details: Option<&'a str>) -> [&'a [u8]; 7] {
    let Some(reserve) = reserve else { return [b""; 7] };
    let (user, key) = (reserve.user_text(), reserve.key_text());
    let [blank, user, tab, key, second_tab, details] =
        line::end_of_line(user, key, details.unwrap_or_default());
    [blank, user, tab, key, second_tab, details, "\n"].map(str::as_bytes)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::sale::{Key, ReservationId, SaleId, User};

    fn ask(n: u128, quantity: u32, user: &str, key: &str) -> Command {
        let (user, key) = (User::new(user).ok(), Key::new(key).ok());
        Command::Reserve(Reserve {
            id: ReservationId(n),
            quantity,
            user,
            key,
            trace: None,
            details: None,
        })
    }

    fn column<'a>(write: fn(Run<'a>, &mut Vec<u8>), run: &'a [Command]) -> Vec<u8> {
        let mut out = Vec::new();
        write(Run(run), &mut out);
        out
    }

    fn texts(texts: &[&str]) -> Vec<u8> {
        let mut out = Vec::new();
        texts.iter().for_each(|text| columns::text(&mut out, &[text.as_bytes()]));
        out
    }

    #[test]
    fn lines_are_split_around_the_deadline() {
        let run = [ask(1, 1, "ann", "k"), ask(2, 3, "", ""), ask(1 << 100, 1, "bob", "")];
        let [a, b, c] = [1, 2, 1 << 100].map(|n| ReservationId(n).to_string());
        let numbers = [0xce, 0, 0, 0, 3, 5, 3, 0, 0xdd, 0, 0, 0, 2];
        let names = [&a[..10], &c[..10]].map(|name| [&[0xaa], name.as_bytes()].concat()).concat();
        let first = [format!("{a} held 1 "), format!(" ann\tk\n{b} held 3 "), "\n".to_owned()];
        let second = [format!("{c} held 1 "), " bob\n".to_owned()];
        let lines = [
            vec![0xdd, 0, 0, 0, 2, 0xdd, 0, 0, 0, 3],
            texts(&first.each_ref().map(String::as_str)),
            vec![0xdd, 0, 0, 0, 2],
            texts(&second.each_ref().map(String::as_str)),
        ];
        assert_eq!(column(Run::asked, &run), [&numbers[..], &names, &lines.concat()].concat());
        assert_eq!(column(Run::users, &run), texts(&["ann", "", "bob"]));
        assert_eq!(column(Run::claims, &run), texts(&["ann\tk", &a]));
    }

    #[test]
    fn no_line_is_sent_if_all_requests_have_keys() {
        let run = [ask(1, 1, "ann", "k"), ask(2, 1, "", "k")];
        let [a, b] = [1, 2].map(|n| ReservationId(n).to_string());
        let asked = [
            &[0xce, 0, 0, 0, 2, 2, 1, 0, 0xdd, 0, 0, 0, 1, 0xaa],
            &a.as_bytes()[..10],
            &[0xdd, 0, 0, 0, 1, 2],
        ];
        assert_eq!(column(Run::asked, &run), asked.concat());
        assert_eq!(column(Run::claims, &run), texts(&["ann\tk", &a, "\tk", &b]));
        let anonymous = [ask(1, 1, "", ""), ask(2, 1, "", "")];
        assert!(column(Run::users, &anonymous).is_empty());
        assert!(column(Run::claims, &anonymous).is_empty());
    }

    #[test]
    fn repeated_users_and_claims_are_flagged() {
        let twice = |run: &[Command]| Run(run).twice();
        assert_eq!(twice(&[ask(1, 1, "", ""), ask(2, 1, "", "")]), 0);
        assert_eq!(twice(&[ask(1, 1, "ann", "k"), ask(2, 1, "bob", "k"), ask(3, 1, "", "k")]), 0);
        assert_eq!(twice(&[ask(1, 1, "ann", "k"), ask(2, 1, "ann", "")]), 1);
        assert_eq!(twice(&[ask(1, 1, "", "k"), ask(2, 1, "", "l")]), 1);
        assert_eq!(twice(&[ask(1, 1, "ann", "k"), ask(2, 1, "ann", "k")]), 2);
        assert_eq!(twice(&[ask(1, 1, "", "k"), ask(2, 1, "", "k")]), 2);
    }

    #[test]
    fn columns_are_never_as_long_as_an_id() {
        // Those of one or two requests with keys come close.
        for run in [vec![ask(1, 1, "", "k"); 2], vec![ask(1, 2, "", "")]] {
            assert!(column(Run::asked, &run).len() > ID_BYTES);
            assert!(Run(&run).single().is_none());
        }
        assert!(Run(&[ask(1, 1, "ann", "k")]).single().is_some());
    }

    #[test]
    fn a_call_is_bounded() {
        let group = |commands| Group { sale: SaleId::new("s").unwrap(), commands };
        let buys = |count: usize| vec![ask(1, 1, "", ""); count];
        let counts = |groups: &[Group]| {
            let groups: Vec<_> = groups.iter().collect();
            calls(&groups).map(<[_]>::len).collect::<Vec<_>>()
        };
        assert!(counts(&[]).is_empty());
        assert_eq!(counts(&vec![group(buys(1)); SALES_MAX + 1]), [SALES_MAX, 1]);
        assert_eq!(counts(&vec![group(vec![Command::Show]); SALES_MAX + 1]), [SALES_MAX + 1]);
        let mixed =
            [buys(BATCH_MAX - 1), vec![Command::Show], buys(1), buys(1), buys(2 * BATCH_MAX)];
        assert_eq!(counts(&mixed.map(group)), [3, 1, 1]);
    }
}
