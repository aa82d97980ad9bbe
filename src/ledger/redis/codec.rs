//! Commands to bytes. One `EVALSHA` carries a whole run of reserve commands, or of commands about
//! single reservations, so that Redis' cost of a call is shared by all of them; every other command
//! is one of its own.

use std::sync::Arc;

use super::claims;
use super::columns;
use super::keys::{KEYS, KeyTemplates, SaleKeys};
use super::line::OWNER_SEPARATOR;
use super::resp::{bulk, bulk_number, bulk_pieces, command};
use super::scripts::{ScriptName, Scripts};
use crate::ledger::Group;
use crate::limits::{BATCH_MAX, MOVED_MAX, TOTAL_MAX};
use crate::sale::{Command, Creation, ID_PREFIX_BITS, Key, ReservationId, Reserve, SaleSpec, User};

/// Arguments of every script before its own: time and epoch, field of the total, field of what is
/// sold.
const COMMON_ARGUMENTS: usize = 3;

/// About what a request without a user takes in a run's columns.
const REQUEST_BYTES: usize = 28;

/// Writes groups of commands as Redis commands. Holds no connection: one serves any number.
#[derive(Debug, Clone)]
pub struct Codec {
    keys: KeyTemplates,
    scripts: Arc<Scripts>,
    now_ms: Option<u64>,
    epoch: Option<u64>,
    marks: bool,
}

impl Codec {
    /// A codec for sales that stand under these keys.
    pub fn new(keys: KeyTemplates) -> Self {
        Self { keys, scripts: Arc::new(Scripts::new()), now_ms: None, epoch: None, marks: false }
    }

    /// The same for a connection made in this epoch of the Sentinels: a sale that was written in a
    /// later one takes nothing from it.
    pub fn in_epoch(&self, epoch: Option<u64>) -> Self {
        Self { epoch, ..self.clone() }
    }

    /// The same, with something written by every script that may end in a promise, also by one that
    /// only finds what is there: `WAIT` behind it measures what the connection wrote last.
    pub(super) fn marking(self, marks: bool) -> Self {
        Self { marks, ..self }
    }

    /// The scripts that must be loaded before anything is sent.
    pub fn scripts(&self) -> &Scripts {
        &self.scripts
    }

    /// The names of the keys.
    pub fn keys(&self) -> &KeyTemplates {
        &self.keys
    }

    /// Gives every command this time in ms since 1970 in place of Redis' own: to replay a history.
    pub fn set_now_ms(&mut self, now_ms: Option<u64>) {
        self.now_ms = now_ms;
    }

    /// Appends the Redis commands for a group and returns how many replies they will have. The
    /// replies go to [`decode`](super::decode) together with the same group.
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

    /// Appends the Redis command for one of a group's [`runs`].
    pub(super) fn encode_run(&self, keys: &SaleKeys, run: &[Command], out: &mut Vec<u8>) {
        match &run[0] {
            Command::Reserve(_) => self.reserve(keys, run, out),
            Command::FindClaim(_) => claims::encode(keys, run, self.now_ms, out),
            one if settle_of(one).is_some() => self.settle(keys, run, out),
            one => self.one(keys, one, out),
        }
    }

    /// A command that comes in no run.
    fn one(&self, keys: &SaleKeys, one: &Command, out: &mut Vec<u8>) {
        match one {
            Command::Reserve(_)
            | Command::FindClaim(_)
            | Command::Confirm(_)
            | Command::Cancel(_)
            | Command::ShowReservation(_) => unreachable!("these come in runs"),
            Command::Expire { batch_max } => {
                self.begin(keys, ScriptName::Expire, 1, out);
                bulk_number(out, u64::from(*batch_max));
            }
            Command::AddStock(units) => {
                self.begin(keys, ScriptName::AddStock, 1, out);
                // Any more is too much as well, and a Lua number must hold it exactly.
                bulk_number(out, (*units).min(TOTAL_MAX + 1));
            }
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
            Command::Give { to, gave, units } => {
                self.begin(keys, ScriptName::Give, 3, out);
                bulk_number(out, u64::from(*to));
                bulk_number(out, *gave);
                bulk_number(out, (*units).min(TOTAL_MAX));
            }
            Command::Take { from, gave } => {
                self.begin(keys, ScriptName::Take, 2, out);
                bulk_number(out, u64::from(*from));
                bulk_number(out, (*gave).min(MOVED_MAX));
            }
        }
    }

    /// A run of commands about single reservations: see `lua/settle.lua`.
    fn settle(&self, keys: &SaleKeys, run: &[Command], out: &mut Vec<u8>) {
        self.begin(keys, ScriptName::Settle, 1 + run.len(), out);
        let mut letters = [0; BATCH_MAX];
        let commands = || run.iter().filter_map(settle_of);
        letters.iter_mut().zip(commands()).for_each(|(at, (letter, _))| *at = letter);
        bulk(out, &letters[..run.len()]);
        commands().for_each(|(_, id)| bulk(out, &id.to_text()));
    }

    fn create(
        &self,
        keys: &SaleKeys,
        spec: &SaleSpec,
        creation: Option<Creation>,
        out: &mut Vec<u8>,
    ) {
        self.begin(keys, ScriptName::Create, 8, out);
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
    }

    /// A run of reserve commands. Columns that nobody needs are left out: see `lua/plain.lua`.
    fn reserve(&self, keys: &SaleKeys, run: &[Command], out: &mut Vec<u8>) {
        let requests = || run.iter().filter_map(reserve_of);
        debug_assert!(requests().all(|r| r.quantity > 0), "a reservation of nothing");
        let mut columns = Vec::with_capacity(run.len() * REQUEST_BYTES + 32);
        columns::array(&mut columns, run.len());
        requests().for_each(|r| columns::text(&mut columns, &[&r.id.to_text()]));
        let prefix = |r: &Reserve| r.id.0 >> (u128::BITS - ID_PREFIX_BITS);
        let pairs = || requests().zip(requests().skip(1)).zip(2..);
        let begins = || pairs().filter(|((a, b), _)| prefix(a) != prefix(b)).map(|(_, n)| n);
        columns::array(&mut columns, 1 + begins().count());
        std::iter::once(1).chain(begins()).for_each(|n| columns::number(&mut columns, n));

        let mut column = |present: &dyn Fn(&Reserve) -> bool, put: fn(&mut Vec<u8>, &Reserve)| {
            if requests().any(present) {
                columns::array(&mut columns, run.len());
                requests().for_each(|r| put(&mut columns, r));
            } else {
                columns::nil(&mut columns);
            }
        };
        column(&|r| r.key.is_some(), claim);
        column(&|r| r.user.is_some() && r.key.is_none(), user_alone);
        column(&|r| r.quantity != 1, |out, r| columns::number(out, r.quantity));
        self.begin(keys, ScriptName::Reserve, 1, out);
        bulk(out, &columns);
    }

    /// Everything up to a script's own arguments, of which there will be `own`.
    fn begin(&self, keys: &SaleKeys, name: ScriptName, own: usize, out: &mut Vec<u8>) {
        command(out, 3 + KEYS + COMMON_ARGUMENTS + own);
        bulk(out, b"EVALSHA");
        bulk(out, self.scripts.get(name).sha.as_bytes());
        bulk_number(out, KEYS as u64);
        keys.each().iter().for_each(|pieces| bulk_pieces(out, pieces));
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
        bulk(out, keys.total_field().as_bytes());
        bulk(out, keys.sold_field().as_bytes());
    }
}

/// How many replies a run has.
pub(super) fn replies_to(run: &[Command]) -> usize {
    if claims::is_run(run) { claims::REPLIES } else { 1 }
}

/// The commands in the pieces that go to Redis together: as one command each, or as some that only look.
pub(super) fn runs(commands: &[Command]) -> impl Iterator<Item = &[Command]> {
    commands.chunk_by(Command::joins).flat_map(|run| run.chunks(BATCH_MAX))
}

fn reserve_of(command: &Command) -> Option<&Reserve> {
    match command {
        Command::Reserve(reserve) => Some(reserve),
        _ => None,
    }
}

/// The letter of a command about one reservation in `lua/settle.lua`, and whose it is.
pub(super) fn settle_of(command: &Command) -> Option<(u8, ReservationId)> {
    match command {
        Command::Confirm(id) => Some((b'c', *id)),
        Command::Cancel(id) => Some((b'x', *id)),
        Command::ShowReservation(id) => Some((b's', *id)),
        _ => None,
    }
}

fn user_of(reserve: &Reserve) -> &str {
    reserve.user.as_ref().map_or("", User::as_str)
}

/// User, tab, key: neither has a control character. Without a key there is no claim.
fn claim(out: &mut Vec<u8>, reserve: &Reserve) {
    match reserve.key.as_ref().map(Key::as_str) {
        Some(key) => {
            let pieces = [user_of(reserve), OWNER_SEPARATOR, key];
            columns::text(out, &pieces.map(str::as_bytes));
        }
        None => columns::text(out, &[]),
    }
}

/// The user where there is no claim, which names them already.
fn user_alone(out: &mut Vec<u8>, reserve: &Reserve) {
    let user = if reserve.key.is_none() { user_of(reserve) } else { "" };
    columns::text(out, &[user.as_bytes()]);
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::sale::SaleId;

    fn ask(n: u128, user: &str, key: &str) -> Command {
        Command::Reserve(Reserve {
            id: ReservationId(n),
            quantity: 1,
            user: User::new(user).ok(),
            key: Key::new(key).ok(),
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

    /// What a run of requests is encoded as.
    fn columns_of(commands: &[Command]) -> Vec<u8> {
        let mut out = Vec::new();
        let codec = Codec::new(KeyTemplates::default());
        codec.reserve(&codec.keys.of(&SaleId::new("ticket").unwrap()), commands, &mut out);
        let redis::Value::Array(list) = redis::parse_redis_value(&out).unwrap() else {
            panic!("no array");
        };
        match list.last() {
            Some(redis::Value::BulkString(bytes)) => bytes.clone(),
            other => panic!("{other:?}"),
        }
    }

    /// Columns: of the ids and where they begin anew, and what follows.
    fn expected(ids: &[u128], begins: &[u8], rest: &[u8]) -> Vec<u8> {
        let mut out = vec![0xdd, 0, 0, 0, ids.len() as u8];
        for id in ids {
            out.push(0xa0 | 26);
            out.extend_from_slice(&ReservationId(*id).to_text());
        }
        out.extend_from_slice(&[0xdd, 0, 0, 0, begins.len() as u8]);
        [&out, begins, rest].concat()
    }

    #[test]
    fn a_run_of_reserves_is_one_command() {
        let (replies, sent) = encode(vec![ask(1, "", ""), ask(2, "", ""), Command::Show]);
        assert_eq!((replies, sent.len()), (2, 2));
        let counters = ["7", "ticket_hash_key", "{ticket_hash_key}:sale"];
        assert_eq!(sent[0][2..5], counters);
        assert_eq!(sent[0][10..13], ["", "ticket_total_nums", "ticket_sold_nums"]);
        assert_eq!(sent[0].len(), 14);
        let columns = columns_of(&[ask(1, "", ""), ask(2, "", "")]);
        assert_eq!(columns, expected(&[1, 2], &[1], &[0xc0; 3]));
    }

    #[test]
    fn an_epoch_stands_behind_the_time() {
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
    fn a_mark_stands_behind_all_for_what_may_be_a_promise() {
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
    fn columns_are_there_for_all_or_for_none() {
        let columns = columns_of(&[ask(1, "ann", "k"), ask(2, "", "k"), ask(3, "bob", "")]);
        let rest = b"\xdd\0\0\0\x03\xa5ann\tk\xa2\tk\xa0\xdd\0\0\0\x03\xa0\xa0\xa3bob\xc0";
        assert_eq!(columns, expected(&[1, 2, 3], &[1], rest));
        let columns = columns_of(&[ask(1, "ann", "k"), ask(2, "", "k")]);
        let rest = b"\xdd\0\0\0\x02\xa5ann\tk\xa2\tk\xc0\xc0";
        assert_eq!(columns, expected(&[1, 2], &[1], rest), "no column of users without need");
    }

    #[test]
    fn where_ids_begin_anew_is_said() {
        let ids = [1, 2, 1 << 100, 2 << 100, 3 << 100 | 1, 3 << 100];
        let columns = columns_of(&ids.map(|n| ask(n, "", "")));
        assert_eq!(columns, expected(&ids, &[1, 3, 4, 5], &[0xc0; 3]));
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
        assert!(sent[0][13].len() > 100 * sent[1][13].len().min(200), "all but one in the first");
        let confirms = (0..BATCH_MAX as u128 + 1).map(|n| Command::Confirm(ReservationId(n)));
        let (replies, sent) = encode(confirms.collect());
        assert_eq!((replies, &*sent[1][13]), (2, "c"));
    }
}
