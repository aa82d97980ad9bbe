//! Commands to bytes. One `EVALSHA` carries a whole run of reserve commands, or of commands about
//! single reservations, so that Redis' cost of a call is shared by all of them; every other command
//! is one of its own.

use super::keys::{KEYS, KeyTemplates, SaleKeys};
use super::line::OWNER_SEPARATOR;
use super::resp::{bulk, bulk_number, bulk_pieces, command};
use super::scripts::{ScriptName, Scripts};
use crate::ledger::Group;
use crate::limits::{BATCH_MAX, TOTAL_MAX};
use crate::sale::{Command, ID_PREFIX_BITS, Key, ReservationId, Reserve, SaleSpec, User};

/// Arguments of every script before its own: time, field of the total, field of what is sold.
const COMMON_ARGUMENTS: usize = 3;
/// Arguments of the reserve script before its columns.
const RESERVE_ARGUMENTS: usize = COMMON_ARGUMENTS + 6;

/// Writes groups of commands as Redis commands. Holds no connection: one serves any number.
#[derive(Debug, Clone)]
pub struct Codec {
    keys: KeyTemplates,
    scripts: Scripts,
    now_ms: Option<u64>,
}

impl Codec {
    /// A codec for sales that stand under these keys.
    pub fn new(keys: KeyTemplates) -> Self {
        Self { keys, scripts: Scripts::new(), now_ms: None }
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
            match &run[0] {
                Command::Reserve(_) => self.reserve(&keys, run, out),
                one if settle_of(one).is_some() => self.settle(&keys, run, out),
                one => self.one(&keys, one, out),
            }
            replies += 1;
        }
        replies
    }

    /// A command that comes in no run.
    fn one(&self, keys: &SaleKeys, one: &Command, out: &mut Vec<u8>) {
        match one {
            Command::Reserve(_)
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
            Command::Create(spec) => self.create(keys, spec, out),
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

    fn create(&self, keys: &SaleKeys, spec: &SaleSpec, out: &mut Vec<u8>) {
        debug_assert!(spec.check().is_ok(), "unchecked definition: {spec:?}");
        self.begin(keys, ScriptName::Create, 6, out);
        bulk_number(out, spec.total);
        bulk_number(out, spec.hold_ms);
        bulk_number(out, spec.opens_at_ms);
        bulk_number(out, spec.closes_at_ms);
        bulk_number(out, u64::from(spec.limit_per_user));
        bulk_number(out, u64::from(spec.quantity_max));
    }

    /// A run of reserve commands. Columns that nobody needs are left out: see `lua/reserve.lua`.
    fn reserve(&self, keys: &SaleKeys, run: &[Command], out: &mut Vec<u8>) {
        let requests = || run.iter().filter_map(reserve_of);
        debug_assert!(requests().all(|r| r.quantity > 0), "a reservation of nothing");
        let has_claims = requests().any(|r| r.key.is_some());
        let has_users = requests().any(|r| r.user.is_some() && r.key.is_none());
        let has_quantities = requests().any(|r| r.quantity != 1);
        let has_claim_only = requests().any(|r| r.claim_only);

        let count = run.len();
        let mut end = RESERVE_ARGUMENTS + count;
        let mut column = |present: bool| {
            let start = if present { end } else { 0 };
            end += if present { count } else { 0 };
            start as u64
        };
        let starts = [column(has_claims), column(has_users), column(has_quantities)];
        self.begin(keys, ScriptName::Reserve, end - COMMON_ARGUMENTS, out);
        bulk_number(out, count as u64);
        starts.iter().for_each(|&start| bulk_number(out, start));
        let mut mask = [0; BATCH_MAX];
        let mask = if has_claim_only { &mut mask[..count] } else { &mut [] };
        mask.iter_mut().zip(requests()).for_each(|(bit, r)| *bit = b'0' + u8::from(r.claim_only));
        bulk(out, mask);
        let prefix = |r: &Reserve| r.id.0 >> (u128::BITS - ID_PREFIX_BITS);
        let mut stretches = String::new();
        let pairs = requests().zip(requests().skip(1)).zip(2..);
        for (_, n) in pairs.filter(|((a, b), _)| prefix(a) != prefix(b)) {
            stretches.push_str(itoa::Buffer::new().format(n));
            stretches.push(' ');
        }
        bulk(out, stretches.as_bytes());

        requests().for_each(|r| bulk(out, &r.id.to_text()));
        if has_claims {
            requests().for_each(|r| claim(out, r));
        }
        if has_users {
            let alone = |r: &Reserve| r.key.is_none();
            requests().for_each(|r| bulk(out, if alone(r) { user_of(r) } else { "" }.as_bytes()));
        }
        if has_quantities {
            requests().for_each(|r| bulk_number(out, u64::from(r.quantity)));
        }
    }

    /// Everything up to a script's own arguments, of which there will be `own`.
    fn begin(&self, keys: &SaleKeys, name: ScriptName, own: usize, out: &mut Vec<u8>) {
        command(out, 3 + KEYS + COMMON_ARGUMENTS + own);
        bulk(out, b"EVALSHA");
        bulk(out, self.scripts.get(name).sha.as_bytes());
        bulk_number(out, KEYS as u64);
        keys.pieces().for_each(|pieces| bulk_pieces(out, &pieces));
        match self.now_ms {
            None => bulk(out, b""),
            Some(now_ms) => bulk_number(out, now_ms),
        }
        bulk(out, keys.total_field().as_bytes());
        bulk(out, keys.sold_field().as_bytes());
    }
}

/// The commands in the pieces that are one Redis command each.
pub(super) fn runs(commands: &[Command]) -> impl Iterator<Item = &[Command]> {
    let both = |a: &Command, b: &Command| {
        reserve_of(a).is_some() && reserve_of(b).is_some()
            || settle_of(a).is_some() && settle_of(b).is_some()
    };
    commands.chunk_by(both).flat_map(|run| run.chunks(BATCH_MAX))
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
        Some(key) => bulk_pieces(out, &[user_of(reserve), OWNER_SEPARATOR, key]),
        None => bulk(out, b""),
    }
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
            claim_only: false,
        })
    }

    /// The arguments of every command in a request.
    fn arguments(bytes: &[u8]) -> Vec<Vec<String>> {
        let text = String::from_utf8(bytes.to_vec()).unwrap();
        let mut commands = Vec::new();
        for command in text.split('*').skip(1) {
            let (count, rest) = command.split_once("\r\n").unwrap();
            let list: Vec<_> = rest.split("\r\n").skip(1).step_by(2).map(str::to_owned).collect();
            assert_eq!(list.len(), count.parse::<usize>().unwrap());
            commands.push(list);
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
        let counters = ["7", "ticket_hash_key", "{ticket_hash_key}:sale"];
        assert_eq!(sent[0][2..5], counters);
        assert_eq!(sent[0][10..13], ["", "ticket_total_nums", "ticket_sold_nums"]);
        let ids = [1, 2].map(|n| ReservationId(n).to_string());
        assert_eq!(sent[0][13..], ["2", "0", "0", "0", "", "", &ids[0], &ids[1]]);
    }

    #[test]
    fn columns_are_there_for_all_or_for_none() {
        let (_, sent) = encode(vec![ask(1, "ann", "k"), ask(2, "", "k"), ask(3, "bob", "")]);
        let own = &sent[0][13..];
        assert_eq!(own[..6], ["3", "12", "15", "0", "", ""]);
        assert_eq!(own[9..], ["ann\tk", "\tk", "", "", "", "bob"]);
        let (_, sent) = encode(vec![ask(1, "ann", "k"), ask(2, "", "k")]);
        assert_eq!(sent[0][13..16], ["2", "11", "0"], "no column of users without need");
    }

    #[test]
    fn where_ids_begin_anew_is_said() {
        let ids = [1, 2, 1 << 100, 2 << 100, 3 << 100 | 1, 3 << 100];
        let (_, sent) = encode(ids.map(|n| ask(n, "", "")).to_vec());
        assert_eq!(sent[0][18], "3 4 5 ");
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
        assert_eq!((replies, &*sent[1][13]), (2, "1"));
        let confirms = (0..BATCH_MAX as u128 + 1).map(|n| Command::Confirm(ReservationId(n)));
        let (replies, sent) = encode(confirms.collect());
        assert_eq!((replies, &*sent[1][13]), (2, "c"));
    }
}
