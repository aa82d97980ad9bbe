//! Assembles the Lua scripts and names them by their SHA.
//!
//! Code that several scripts need (the state of the sale, of one reservation) is a file of its own
//! that precedes theirs, and the bounds of `limits.rs` precede everything, so that nothing is
//! written twice. The scripts are the twin of `sale/machine.rs`, outcome for outcome.

use crate::ledger::format::{
    FORMAT, FORMAT_DETAILS, FORMAT_PLAIN_MAX, FORMAT_REFUNDED, FORMAT_RULES, FORMATS_MAX,
};
use crate::limits::{
    BATCH_MAX, CREATION_MAX, EPOCH_MAX, EXTEND_MAX_MS_DEFAULT, HOLD_MS_DEFAULT, HOLD_MS_MAX,
    LEASE_MS, LIMIT_COUNT_LINES_MAX, LIMIT_COUNT_UNITS_MAX, MEMBERS_MAX, MOVED_MAX, QUANTITY_MAX,
    QUANTITY_MAX_DEFAULT, RETURNED_MAX_DEFAULT, RETURNED_PER_UNIT_DEFAULT, SPLITS_MAX, TIME_MS_MAX,
    TOTAL_MAX,
};
use crate::sale::{ID_PREFIX_TEXT_BYTES, RESERVATION_ID_TEXT_BYTES};

/// The number of reservations after which a run of the expiry ends, at most one batch later: a script
/// blocks all other clients.
const EXPIRE_MAX: usize = 2 * BATCH_MAX;

// The ids and values of a run go to `unpack`, whose stack holds 8,000 entries in the Lua of Redis.
// So do two counts per user of a run of purchases, with the users' names.
const _: () = assert!(4 * BATCH_MAX < 7_000);
const _: () = assert!(2 * (EXPIRE_MAX + BATCH_MAX) < 7_000);

const CALL: &str = include_str!("lua/call.lua");
const BEGIN: &str = include_str!("lua/begin.lua");
const SALE: &str = concat!(include_str!("lua/types.lua"), include_str!("lua/sale.lua"));
const TYPES: &str = include_str!("lua/types.lua");
const GROUPS: &str = include_str!("lua/groups.lua");
const VIEW: &str = include_str!("lua/view.lua");
const ROW: &str = include_str!("lua/row.lua");
const CHANGE: &str = include_str!("lua/change.lua");

/// The advice of a script for a sale whose counts were set by hand.
const REPAIR: &str = "`stampede audit --repair` counts it from the reservations and the sale goes on, \
    `stampede sale reset` begins the sale anew";

/// The placeholder of the bounds in `lua/reserve_fast.lua`.
const BOUNDS: &str = "--[[bounds]]";

/// A script, by what it does.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[repr(usize)]
pub enum ScriptName {
    /// Carries out a run of reserve commands for each of one or several sales.
    Reserve,
    /// Carries out a run of commands about single reservations: confirm, cancel, refund, show.
    ReservationOps,
    /// Returns expired units to stock.
    Expire,
    /// Adds units to the total.
    AddStock,
    /// Takes free units out of the total.
    TakeStock,
    /// Changes hold time, limit, closing time, maximum quantity.
    ChangeTerms,
    /// Opens the sale.
    Open,
    /// Closes the sale.
    Close,
    /// Creates the sale.
    Create,
    /// Shows the sale.
    Show,
    /// Removes the sale.
    Remove,
    /// Sends units to another place of a split sale.
    TransferOut,
    /// Receives units that another place of a split sale has sent.
    TransferIn,
    /// Begins the sale anew.
    Reset,
    /// Renews a member's lease, ends it, or lists all leases. Of no sale.
    Members,
    /// Finds the commands that the user may not run. Of no sale.
    Rights,
}

/// One script.
#[derive(Debug, Clone)]
pub struct Script {
    /// Its source.
    pub code: String,
    /// The SHA-1 of its source, 40 hexadecimal digits in lower case.
    pub sha: String,
}

/// Every script.
#[derive(Debug, Clone)]
pub struct Scripts {
    /// In the order of [`ScriptName`].
    list: Vec<Script>,
}

impl Default for Scripts {
    fn default() -> Self {
        Self::new()
    }
}

impl Scripts {
    /// Assembles the scripts.
    pub fn new() -> Self {
        let bounds = bounds();
        let parts: [&[&str]; 13] = [
            &[SALE, ROW, CHANGE, include_str!("lua/reservation_ops.lua")],
            &[SALE, ROW, CHANGE, include_str!("lua/expire.lua")],
            &[SALE, VIEW, include_str!("lua/add_stock.lua")],
            &[SALE, VIEW, include_str!("lua/take_stock.lua")],
            &[SALE, ROW, CHANGE, VIEW, include_str!("lua/change_terms.lua")],
            &[SALE, VIEW, include_str!("lua/open.lua")],
            &[SALE, VIEW, include_str!("lua/close.lua")],
            &[SALE, VIEW, include_str!("lua/create.lua")],
            &[SALE, VIEW, include_str!("lua/show.lua")],
            &[SALE, GROUPS, include_str!("lua/remove.lua")],
            &[SALE, include_str!("lua/transfer_out.lua")],
            &[SALE, include_str!("lua/transfer_in.lua")],
            &[TYPES, VIEW, GROUPS, include_str!("lua/reset.lua")],
        ];
        let of_sales = parts
            .iter()
            .map(|parts| Script::new([&*bounds, CALL, BEGIN, &parts.concat()].concat()));
        let members = format!("local LEASE_MS, MEMBERS_MAX = {LEASE_MS}, {MEMBERS_MAX}\n")
            + include_str!("lua/members.lua");
        let rights = include_str!("lua/rights.lua").to_owned();
        let others = [members, rights].map(Script::new);
        Self {
            list: std::iter::once(Script::new(reserve(&bounds)))
                .chain(of_sales)
                .chain(others)
                .collect(),
        }
    }

    /// One of them.
    pub fn get(&self, name: ScriptName) -> &Script {
        &self.list[name as usize]
    }

    /// All of them, to be loaded.
    pub fn iter(&self) -> impl Iterator<Item = &Script> {
        self.list.iter()
    }
}

impl Script {
    fn new(code: String) -> Self {
        let sha = redis::Script::new(&code).get_hash().to_owned();
        Self { code, sha }
    }
}

/// The script that sells. The cost of a call is in what it creates anew, so the general part
/// creates nothing before it is needed: `sell_any` even has its own copy of the bounds.
fn reserve(bounds: &str) -> String {
    let plain = include_str!("lua/reserve_fast.lua");
    debug_assert!(plain.contains(BOUNDS), "no place for the bounds");
    [
        &*plain.replace(BOUNDS, bounds),
        "local function sell_any(KEYS, ARGV)\n",
        bounds,
        CALL,
        BEGIN,
        SALE,
        ROW,
        include_str!("lua/reserve.lua"),
        "end\n",
        include_str!("lua/sell.lua"),
    ]
    .concat()
}

/// The bounds of `limits.rs` that the scripts need.
fn bounds() -> String {
    format!(
        "local PREFIX, ID_BYTES, EPOCH_MAX = \
         {ID_PREFIX_TEXT_BYTES}, {RESERVATION_ID_TEXT_BYTES}, {EPOCH_MAX}\n\
         local TIME_MS_MAX_TEXT = '{TIME_MS_MAX}'\n\
         local TOTAL_MAX, TIME_MS_MAX, LIMIT_MAX, EXPIRE_MAX = \
         {TOTAL_MAX}, {TIME_MS_MAX}, {}, {EXPIRE_MAX}\n\
         local HOLD_MS_DEFAULT, HOLD_MS_MAX = {HOLD_MS_DEFAULT}, {HOLD_MS_MAX}\n\
         local QUANTITY_MAX_DEFAULT, QUANTITY_MAX = {QUANTITY_MAX_DEFAULT}, {QUANTITY_MAX}\n\
         local SPLITS_MAX, MOVED_MAX = {SPLITS_MAX}, {MOVED_MAX}\n\
         local LIMIT_COUNT_UNITS_MAX, LIMIT_COUNT_LINES_MAX = \
         {LIMIT_COUNT_UNITS_MAX}, {LIMIT_COUNT_LINES_MAX}\n\
         local CREATION_MAX, REPAIR = {CREATION_MAX}, '{REPAIR}'\n\
         local EXTEND_MAX_MS_DEFAULT = {EXTEND_MAX_MS_DEFAULT}\n\
         local RETURNED_MAX, RETURNED_PER_UNIT = {RETURNED_MAX_DEFAULT}, {RETURNED_PER_UNIT_DEFAULT}\n\
         local FORMAT, FORMAT_REFUNDED, FORMAT_DETAILS, FORMAT_RULES, FORMATS_MAX, VERSION = \
         {FORMAT}, {FORMAT_REFUNDED}, {FORMAT_DETAILS}, {FORMAT_RULES}, {FORMATS_MAX}, '{}'\n\
         local FORMAT_PLAIN_MAX = {FORMAT_PLAIN_MAX}\n",
        u32::MAX,
        env!("CARGO_PKG_VERSION")
    )
}
