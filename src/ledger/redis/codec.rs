//! Encodes commands as Redis commands. One `EVALSHA` carries a whole run of reserve commands, or of
//! commands about single reservations, so that they share the cost of a call. Every other command
//! is one call of its own.

use std::rc::Rc;
use std::sync::Arc;

use super::keys::{KEYS, KeyTemplates, SaleKeys};
use super::read_queries;
use super::resp::{bulk, bulk_number, bulk_pieces, command};
use super::scripts::{ScriptName, Scripts};
use super::sell::{self, Names, Sale, run_of};
use crate::ledger::Group;
use crate::limits::{BATCH_MAX, MOVED_MAX, TOTAL_MAX};
use crate::planted::{self, Bug};
use crate::sale::{Command, Creation, Lines, Remaining, ReservationId, SaleId, SaleSpec, Terms};

/// Arguments that every script has before its own: time and epoch, field of the total, field of the
/// sold units.
const COMMON_ARGUMENTS: usize = 3;

/// Encodes groups of commands. Holds no connection: one codec serves any number.
#[derive(Debug, Clone)]
pub struct Codec {
    keys: KeyTemplates,
    scripts: Arc<Scripts>,
    now_ms: Option<u64>,
    epoch: Option<u64>,
    marks: bool,
}

impl Codec {
    /// A codec for sales under these keys.
    pub fn new(keys: KeyTemplates) -> Self {
        Self { keys, scripts: Arc::new(Scripts::new()), now_ms: None, epoch: None, marks: false }
    }

    /// The same for a connection made in this epoch of the Sentinels: sales that were written in a
    /// later epoch refuse its commands.
    pub fn in_epoch(&self, epoch: Option<u64>) -> Self {
        let epoch = epoch.filter(|_| !planted::is(Bug::FenceOff));
        Self { epoch, ..self.clone() }
    }

    /// The epoch of its commands.
    #[cfg(feature = "simulation")]
    pub fn epoch(&self) -> Option<u64> {
        self.epoch
    }

    /// The same, but every script that may end in a promise writes something, even if it only finds
    /// an existing reservation: the following `WAIT` covers the last write of the connection.
    pub(super) fn marking(self, marks: bool) -> Self {
        Self { marks, ..self }
    }

    /// The scripts to be loaded before anything is sent.
    pub fn scripts(&self) -> &Scripts {
        &self.scripts
    }

    /// The names of the keys.
    pub fn keys(&self) -> &KeyTemplates {
        &self.keys
    }

    /// Sets the time of every command, in ms since 1970, in place of the time of Redis: used to
    /// replay a history.
    pub fn set_now_ms(&mut self, now_ms: Option<u64>) {
        self.now_ms = now_ms;
    }

    /// Appends the Redis commands for a group and returns the number of their replies. Pass the
    /// replies to [`decode`](super::decode) together with the same group.
    pub fn encode(&self, group: &Group, out: &mut Vec<u8>) -> usize {
        debug_assert!(!group.commands.is_empty(), "a group without commands");
        let keys = self.keys.of(&group.sale);
        let mut replies = 0;
        for run in runs(&group.commands) {
            self.encode_run(&keys, run, out);
            replies += replies_to(run);
        }
        replies
    }

    /// Appends the Redis commands for several groups on the same Redis, whose purchases may share a
    /// call. Returns the number of their replies. Pass the replies to
    /// [`decode_all`](super::decode_all) together with the same groups.
    pub fn encode_all(&self, groups: &[&Group], out: &mut Vec<u8>) -> usize {
        let names = |sale: &SaleId| Rc::new(Names::new(&self.keys.of(sale)));
        sell::calls(groups).map(|call| self.encode_call(call, names, out)).sum()
    }

    /// The same for the groups of one of the [`calls`](sell::calls). `names` returns the names of a
    /// sale.
    pub(super) fn encode_call(
        &self,
        groups: &[&Group],
        names: impl Fn(&SaleId) -> Rc<Names>,
        out: &mut Vec<u8>,
    ) -> usize {
        let runs_of = groups.iter().filter_map(|group| Some((&group.sale, run_of(group)?)));
        let sales: Vec<_> = runs_of.map(|(sale, run)| Sale::new(names(sale), run)).collect();
        let mut replies = 0;
        if !sales.is_empty() {
            self.sell(&sales, out);
            replies += 1;
        }
        for group in groups {
            let mut others = runs(&group.commands).skip(run_of(group).iter().len()).peekable();
            if others.peek().is_none() {
                continue;
            }
            let keys = self.keys.of(&group.sale);
            for run in others {
                self.encode_run(&keys, run, out);
                replies += replies_to(run);
            }
        }
        replies
    }

    /// Appends the Redis command for one of a group's [`runs`].
    pub(super) fn encode_run(&self, keys: &SaleKeys, run: &[Command], out: &mut Vec<u8>) {
        match &run[0] {
            Command::Reserve(_) => self.sell(&[Sale::new(Rc::new(Names::new(keys)), run)], out),
            Command::FindClaim(..) | Command::Peek { .. } => {
                read_queries::encode(keys, run, self.now_ms, out);
            }
            one if settle_of(one).is_some() => self.settle(keys, run, out),
            one => self.one(keys, one, out),
        }
    }

    /// Encodes a command that is not part of a run.
    fn one(&self, keys: &SaleKeys, one: &Command, out: &mut Vec<u8>) {
        match one {
            Command::Reserve(_)
            | Command::FindClaim(..)
            | Command::Peek { .. }
            | Command::Confirm(_)
            | Command::ConfirmElsewhere(_)
            | Command::Cancel(_)
            | Command::Refund(_)
            | Command::Extend(..)
            | Command::CancelTo(..)
            | Command::RefundTo(..)
            | Command::ShowReservation(_) => unreachable!("these come in runs"),
            Command::Expire { batch_max } => {
                self.begin(keys, ScriptName::Expire, 1, out);
                bulk_number(out, u64::from(*batch_max));
            }
            Command::AddStock(units) => {
                self.begin(keys, ScriptName::AddStock, 1, out);
                // Any larger number is too much as well, and a Lua number must represent it
                // exactly.
                bulk_number(out, (*units).min(TOTAL_MAX + 1));
            }
            Command::TakeStock { units, at_most } => {
                self.begin(keys, ScriptName::TakeStock, 2, out);
                bulk_number(out, (*units).min(TOTAL_MAX + 1));
                bulk_number(out, (*at_most).into());
            }
            Command::ChangeTerms(terms) => self.change_terms(keys, terms, out),
            Command::Open => self.begin(keys, ScriptName::Open, 0, out),
            Command::Close => self.begin(keys, ScriptName::Close, 0, out),
            Command::Show => self.begin(keys, ScriptName::Show, 0, out),
            Command::Remove => self.begin(keys, ScriptName::Remove, 0, out),
            Command::Create(spec) => {
                debug_assert!(spec.check().is_ok(), "unchecked definition: {spec:?}");
                self.create(keys, spec, None, out);
            }
            Command::CreatePart { spec, creation } => {
                self.create(keys, spec, Some(*creation), out);
            }
            Command::Reset { total, force } => {
                self.begin(keys, ScriptName::Reset, 2, out);
                match total {
                    Some(total) => bulk_number(out, *total),
                    None => bulk(out, b""),
                }
                bulk_number(out, (*force).into());
            }
            Command::TransferOut { to, gave, units } => {
                self.begin(keys, ScriptName::TransferOut, 3, out);
                bulk_number(out, u64::from(*to));
                bulk_number(out, *gave);
                bulk_number(out, (*units).min(TOTAL_MAX));
            }
            Command::TransferIn { from, gave } => {
                self.begin(keys, ScriptName::TransferIn, 2, out);
                bulk_number(out, u64::from(*from));
                bulk_number(out, (*gave).min(MOVED_MAX));
            }
        }
    }

    /// Encodes a run of commands about single reservations: see `lua/reservation_ops.lua`.
    fn settle(&self, keys: &SaleKeys, run: &[Command], out: &mut Vec<u8>) {
        self.begin(keys, ScriptName::ReservationOps, 1 + run.len(), out);
        let mut letters = [0; BATCH_MAX];
        let commands = || run.iter().filter_map(settle_of);
        letters.iter_mut().zip(commands()).for_each(|(at, (letter, _))| *at = letter);
        bulk(out, &letters[..run.len()]);
        for (one, (_, id)) in run.iter().zip(commands()) {
            let (id, mut number) = (id.to_text(), itoa::Buffer::new());
            let lines = lines_of(one).map(Lines::to_text);
            let parameter = parameter_of(one).map(|parameter| number.format(parameter));
            let parameter = lines.as_deref().or(parameter).unwrap_or_default();
            bulk_pieces(out, &[str::from_utf8(&id).unwrap_or_default(), parameter]);
        }
    }

    /// An unchanged term is empty.
    fn change_terms(&self, keys: &SaleKeys, terms: &Terms, out: &mut Vec<u8>) {
        debug_assert!(terms.check().is_ok(), "unchecked terms: {terms:?}");
        self.begin(keys, ScriptName::ChangeTerms, 8, out);
        let mut put = |term: Option<u64>| match term {
            Some(number) => bulk_number(out, number),
            None => bulk(out, b""),
        };
        put(terms.closes_at_ms);
        put(terms.hold_ms);
        put(terms.limit_per_user.map(u64::from));
        put(terms.quantity_max.map(u64::from));
        put(terms.quantity_min.map(u64::from));
        put(terms.extend_max_ms);
        match terms.reservations_max {
            Some(None) => bulk(out, b"default"),
            Some(Some(max)) => bulk_number(out, max),
            None => bulk(out, b""),
        }
        match terms.reservations_per_user_max {
            Some(max) => bulk_number(out, max.into()),
            None => bulk(out, b""),
        }
    }

    fn create(
        &self,
        keys: &SaleKeys,
        spec: &SaleSpec,
        creation: Option<Creation>,
        out: &mut Vec<u8>,
    ) {
        self.begin(keys, ScriptName::Create, 13, out);
        bulk_number(out, spec.total);
        bulk_number(out, spec.hold_ms);
        bulk_number(out, spec.opens_at_ms);
        bulk_number(out, spec.closes_at_ms);
        bulk_number(out, u64::from(spec.limit_per_user));
        bulk_number(out, u64::from(spec.quantity_max));
        bulk(out, spec.split.to_text().unwrap_or_default().as_bytes());
        match creation {
            Some(creation) => bulk_number(out, creation.0),
            None => bulk(out, b""),
        }
        let rules = &spec.rules;
        let numbers = [
            Some(rules.extend_max_ms),
            Some(rules.quantity_min.into()),
            rules.reservations_max,
            Some(rules.reservations_per_user_max.into()),
        ];
        for number in numbers {
            match number.filter(|_| !spec.is_plain()) {
                None => bulk(out, b""),
                Some(number) => bulk_number(out, number),
            }
        }
        bulk(out, spec.types.to_text().as_bytes());
    }

    /// Encodes a run of reserve commands for each of these sales.
    fn sell(&self, sales: &[Sale<'_>], out: &mut Vec<u8>) {
        let keys = sales.iter().map(Sale::count_keys).sum::<usize>();
        let traced = sell::are_traced(sales);
        command(out, 3 + keys + 1 + sales.len() * sell::ARGUMENTS + usize::from(traced));
        bulk(out, b"EVALSHA");
        bulk(out, self.scripts.get(ScriptName::Reserve).sha.as_bytes());
        bulk_number(out, keys as u64);
        sales.iter().for_each(|sale| sale.write_keys(out));
        self.time(ScriptName::Reserve, out);
        sales.iter().for_each(|sale| sale.write_arguments(out));
        if traced {
            sell::write_traces(sales, out);
        }
    }

    /// Encodes a call up to the script's own arguments, of which there will be `own`.
    fn begin(&self, keys: &SaleKeys, name: ScriptName, own: usize, out: &mut Vec<u8>) {
        command(out, 3 + KEYS + COMMON_ARGUMENTS + own);
        bulk(out, b"EVALSHA");
        bulk(out, self.scripts.get(name).sha.as_bytes());
        bulk_number(out, KEYS as u64);
        keys.pieces().iter().for_each(|pieces| bulk_pieces(out, pieces));
        self.time(name, out);
        bulk(out, keys.total_field().as_bytes());
        bulk(out, keys.sold_field().as_bytes());
    }

    /// Encodes the argument with time, epoch and mark: see `lua/begin.lua`.
    fn time(&self, name: ScriptName, out: &mut Vec<u8>) {
        let marks = self.marks && !matches!(name, ScriptName::Show | ScriptName::Expire);
        match (self.now_ms, self.epoch) {
            (None, None) => bulk(out, if marks { b"w" } else { b"" }),
            (now_ms, epoch) => {
                let (mut time, mut number) = (itoa::Buffer::new(), itoa::Buffer::new());
                let time = now_ms.map_or("", |now_ms| time.format(now_ms));
                let at = if epoch.is_some() { "@" } else { "" };
                let epoch = epoch.map_or("", |epoch| number.format(epoch));
                bulk_pieces(out, &[time, at, epoch, if marks { "w" } else { "" }]);
            }
        }
    }
}

/// The number of replies to a run.
pub(super) fn replies_to(run: &[Command]) -> usize {
    if run[0].is_cheap() { read_queries::replies_to(run) } else { 1 }
}

/// Splits commands into runs that go to Redis together: as one command, or as several that only
/// read.
pub(super) fn runs(commands: &[Command]) -> impl Iterator<Item = &[Command]> {
    commands.chunk_by(Command::joins).flat_map(|run| run.chunks(BATCH_MAX))
}

/// The letter in `lua/reservation_ops.lua` of a command about one reservation, and the
/// reservation's id.
pub(super) fn settle_of(command: &Command) -> Option<(u8, ReservationId)> {
    match command {
        // No sale in Redis has seats.
        Command::Confirm(id) | Command::ConfirmElsewhere(id) => Some((b'c', *id)),
        Command::Cancel(id) => Some((b'x', *id)),
        Command::Refund(id) => Some((b'r', *id)),
        Command::Extend(id, _) => Some((b'e', *id)),
        Command::CancelTo(id, _) => Some((b'p', *id)),
        Command::RefundTo(id, _) => Some((b'q', *id)),
        Command::ShowReservation(id) => Some((b's', *id)),
        _ => None,
    }
}

/// The number after the id there.
fn parameter_of(command: &Command) -> Option<u64> {
    match command {
        Command::Extend(_, hold_ms) => *hold_ms,
        Command::CancelTo(_, remaining) | Command::RefundTo(_, remaining) => {
            Some(u64::from(remaining.units()))
        }
        _ => None,
    }
}

/// The lines after the id there.
fn lines_of(command: &Command) -> Option<&Lines> {
    match command {
        Command::CancelTo(_, Remaining::Lines(lines))
        | Command::RefundTo(_, Remaining::Lines(lines)) => Some(lines).filter(|l| !l.is_empty()),
        _ => None,
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::sale::{Key, Reserve, User};

    fn ask(n: u128, user: &str, key: &str) -> Command {
        Command::Reserve(Reserve {
            id: ReservationId(n),
            quantity: 1,
            user: User::new(user).ok(),
            key: Key::new(key).ok(),
            trace: None,
            details: None,
        })
    }

    /// The arguments of every command in a request.
    fn arguments(mut bytes: &[u8]) -> Vec<Vec<String>> {
        let (mut parser, mut commands) = (redis::Parser::new(), Vec::new());
        while let Ok(redis::Value::Array(list)) = parser.parse_value(&mut bytes) {
            let text = |value| match value {
                redis::Value::BulkString(bytes) => String::from_utf8_lossy(&bytes).into_owned(),
                other => panic!("{other:?}"),
            };
            commands.push(list.into_iter().map(text).collect());
        }
        commands
    }

    fn encode(commands: Vec<Command>) -> (usize, Vec<Vec<String>>) {
        let mut out = Vec::new();
        let group = Group { sale: SaleId::new("ticket").unwrap(), commands };
        let replies = Codec::new(KeyTemplates::default()).encode(&group, &mut out);
        (replies, arguments(&out))
    }

    #[test]
    fn a_run_of_reserves_is_one_command() {
        let (replies, sent) = encode(vec![ask(1, "", ""), ask(2, "", ""), Command::Show]);
        assert_eq!((replies, sent.len()), (2, 2));
        let counters = ["5", "ticket_hash_key", "{ticket_hash_key}:sale"];
        assert_eq!(sent[0][2..5], counters);
        assert_eq!(sent[0][8..11], ["", "ticket_total_nums", "ticket_sold_nums"]);
        assert_eq!(sent[0].len(), 14);
    }

    #[test]
    fn several_sales_share_one_command() {
        let group = |sale: &str, commands: &[Command]| Group {
            sale: SaleId::new(sale).unwrap(),
            commands: commands.to_vec(),
        };
        let groups = [
            group("a", &[ask(1, "", ""), Command::Show]),
            group("b", &[Command::Show]),
            group("c", &[ask(2, "ann", "k")]),
        ];
        let mut out = Vec::new();
        let codec = Codec::new(KeyTemplates::default());
        assert_eq!(codec.encode_all(&groups.each_ref(), &mut out), 3);
        let sent = arguments(&out);
        assert_eq!((sent.len(), &*sent[0][2]), (3, "12"));
        let beside = |n: usize| sent[0][n].trim_start_matches("{c_hash_key}:").to_owned();
        let keys = ["c_hash_key", "sale", "reservations", "deadlines", "stream", "claims", "users"];
        assert_eq!((8..15).map(beside).collect::<Vec<_>>(), keys);
        let [one, two] = [1, 2].map(|n| ReservationId(n).to_string());
        assert_eq!(sent[0][16..21], ["a_total_nums", "a_sold_nums", &one, "", ""]);
        assert_eq!(sent[0][21..], ["c_total_nums", "c_sold_nums", &two, "ann", "k"]);
        assert_eq!([&*sent[1][3], &*sent[2][3]], ["a_hash_key", "b_hash_key"]);
    }

    #[test]
    fn the_epoch_follows_the_time() {
        let group = Group { sale: SaleId::new("s").unwrap(), commands: vec![Command::Show] };
        let first = |codec: &Codec| {
            let mut out = Vec::new();
            codec.encode(&group, &mut out);
            arguments(&out)[0][10].clone()
        };
        let mut codec = Codec::new(KeyTemplates::default());
        assert_eq!(first(&codec.in_epoch(Some(7))), "@7");
        codec.set_now_ms(Some(12));
        assert_eq!((&*first(&codec), &*first(&codec.in_epoch(Some(7)))), ("12", "12@7"));
    }

    #[test]
    fn commands_that_may_promise_carry_a_write_mark() {
        let plain = Codec::new(KeyTemplates::default());
        let mut codec = plain.clone().marking(true);
        let first = |codec: &Codec, command: Command| {
            let group = Group { sale: SaleId::new("s").unwrap(), commands: vec![command] };
            let mut out = Vec::new();
            codec.encode(&group, &mut out);
            arguments(&out)[0][10].clone()
        };
        assert_eq!(first(&plain, Command::Open), "");
        assert_eq!(first(&codec, Command::Open), "w");
        assert_eq!(first(&codec, Command::Show), "");
        assert_eq!(first(&codec.in_epoch(Some(7)), Command::Open), "@7w");
        codec.set_now_ms(Some(12));
        assert_eq!(first(&codec, Command::Open), "12w");
    }

    #[test]
    fn a_run_about_single_reservations_is_one_command() {
        let [a, b, c] = [1, 2, 3].map(ReservationId);
        let run = [Command::Confirm(a), Command::Cancel(b), Command::ShowReservation(c)];
        let (replies, sent) = encode([&run[..], &[Command::Show], &run[..1]].concat());
        assert_eq!((replies, sent.len()), (3, 3));
        let ids = [a, b, c].map(|id| id.to_string());
        assert_eq!(sent[0][13..], ["cxs", &ids[0], &ids[1], &ids[2]]);
        assert_eq!(sent[2][13..], ["c", &ids[0]]);
    }

    #[test]
    fn a_run_is_bounded() {
        let (replies, sent) = encode((0..BATCH_MAX as u128 + 1).map(|n| ask(n, "", "")).collect());
        assert_eq!((replies, sent.len()), (2, 2));
        let one = ReservationId(BATCH_MAX as u128).to_string();
        assert_eq!(sent[1][9..], ["ticket_total_nums", "ticket_sold_nums", &one, "", ""]);
        assert!(sent[0][11].len() > 100 * one.len(), "all but one in the first");
        let confirms = (0..BATCH_MAX as u128 + 1).map(|n| Command::Confirm(ReservationId(n)));
        let (replies, sent) = encode(confirms.collect());
        assert_eq!((replies, &*sent[1][13]), (2, "c"));
    }
}
