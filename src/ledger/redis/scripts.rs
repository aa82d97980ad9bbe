//! The Lua scripts, put together and named by their SHA.
//!
//! What several scripts need (the sale as it stands, one reservation as it stands) is a file of its
//! own that stands before theirs, and the bounds of `limits.rs` stand before everything, so that
//! none is written twice. The scripts are the twin of `sale/machine.rs`: outcome for outcome.

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

/// Most reservations that one run of the expiry looks at, plus one batch: a script holds up
/// everyone else.
const EXPIRE_MAX: usize = 2 * BATCH_MAX;

// A run's ids and values go to `unpack`, whose stack holds 8,000 in Redis' Lua; so do two counts of each
// user of a run of purchases, with their names.
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

/// What a script says of a sale whose counts were set by hand.
const REPAIR: &str = "`stampede audit --repair` counts it from the reservations and the sale goes on, \
    `stampede sale reset` begins the sale anew";

/// What stands in `lua/plain.lua` for the bounds.
const BOUNDS: &str = "--[[bounds]]";

/// A script, by what it does.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[repr(usize)]
pub enum ScriptName {
    /// A run of reserve commands for each of one or several sales.
    Reserve,
    /// A run of commands about single reservations: confirm, cancel, refund, show.
    Settle,
    /// Return what is past its deadline.
    Expire,
    /// Add units to the total.
    AddStock,
    /// Take free units out of the total.
    TakeStock,
    /// Change hold time, limit, closing time, maximum quantity.
    ChangeTerms,
    /// Open the sale.
    Open,
    /// Close the sale.
    Close,
    /// Define the sale.
    Create,
    /// Show the sale.
    Show,
    /// Forget the sale.
    Remove,
    /// Give units to another place of a split sale.
    Give,
    /// Take units that another place of a split sale gave.
    Take,
    /// Begin the sale anew.
    Reset,
    /// Renew a member's lease, end it, or look at all of them. Of no sale.
    Members,
    /// Find which commands the user may not run. Of no sale.
    Rights,
}

/// One script as Redis knows it.
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
    /// Puts the scripts together.
    pub fn new() -> Self {
        let bounds = bounds();
        let parts: [&[&str]; 13] = [
            &[SALE, ROW, CHANGE, include_str!("lua/settle.lua")],
            &[SALE, ROW, CHANGE, include_str!("lua/expire.lua")],
            &[SALE, VIEW, include_str!("lua/add_stock.lua")],
            &[SALE, VIEW, include_str!("lua/take_stock.lua")],
            &[SALE, ROW, CHANGE, VIEW, include_str!("lua/change_terms.lua")],
            &[SALE, VIEW, include_str!("lua/open.lua")],
            &[SALE, VIEW, include_str!("lua/close.lua")],
            &[SALE, VIEW, include_str!("lua/create.lua")],
            &[SALE, VIEW, include_str!("lua/show.lua")],
            &[SALE, GROUPS, include_str!("lua/remove.lua")],
            &[SALE, include_str!("lua/give.lua")],
            &[SALE, include_str!("lua/take.lua")],
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

/// The script that sells. What makes a call expensive is what is made anew in it, so nothing of the
/// part that decides everything is there before it is needed: `sell_any` has even its own bounds.
fn reserve(bounds: &str) -> String {
    let plain = include_str!("lua/plain.lua");
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

/// `limits.rs`, as far as the scripts need it.
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
