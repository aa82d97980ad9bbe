//! A sale in the usual hand-written form: one script call per ticket. Shared by the baselines.

use std::sync::LazyLock;

use crate::error::{Because, Result, fail};
use crate::resp::{Connection, Reply, pack};

/// Checks the count, takes the claim, counts, and writes to the stream.
pub const SCRIPT: &str = include_str!("bin/one_sale.lua");
/// Field of the sold tickets in a sale's hash.
const SOLD: &str = "ticket_sold_nums";
/// The sale of programs with one sale.
static TICKET: LazyLock<Keys> = LazyLock::new(|| Keys::of("ticket"));

/// The keys of a sale: its hash, whose fields have the same names in every sale, its claims, its stream.
pub struct Keys([String; 3]);

impl Keys {
    /// The keys of the sale with this id.
    pub fn of(sale: &str) -> Self {
        Self(["hash_key", "claims", "stream"].map(|what| format!("{sale}_{what}")))
    }

    /// Creates the sale if it is missing.
    pub fn create(&self, redis: &mut Connection, total: u64) -> Result<()> {
        redis.ask(&["HSETNX", &self.0[0], "ticket_total_nums", &total.to_string()])?;
        redis.ask(&["HSETNX", &self.0[0], SOLD, "0"]).map(drop)
    }

    /// Tickets sold so far.
    pub fn sold(&self, redis: &mut Connection) -> Result<u64> {
        match redis.ask(&["HGET", &self.0[0], SOLD])? {
            Reply::Text(sold) => sold.parse().because(|| format!("{} has sold {sold}", self.0[0])),
            other => fail(format!("{} has sold {other:?}", self.0[0])),
        }
    }

    /// Claims so far.
    fn claims(&self, redis: &mut Connection) -> Result<u64> {
        match redis.ask(&["HLEN", &self.0[1]])? {
            Reply::Integer(claims) => Ok(claims.unsigned_abs()),
            other => fail(format!("HLEN answered {other:?}")),
        }
    }

    /// Appends the call that sells one ticket. Its reply is 1 (granted), 0 (sold out) or 2 (claimed
    /// before).
    pub fn pack_sale(
        &self,
        out: &mut Vec<u8>,
        sha: &str,
        reservation: &str,
        user: &str,
        claim: &str,
    ) {
        let [hash, claims, stream] = &self.0;
        pack(out, &["EVALSHA", sha, "3", hash, claims, stream, reservation, user, claim]);
    }
}

/// Creates the sale if it is missing, and loads the script. Returns its SHA.
pub fn prepare(redis: &mut Connection, total: u64) -> Result<String> {
    prepare_with(redis, total, SCRIPT)
}

/// Creates the sale if it is missing, and loads another script.
pub fn prepare_with(redis: &mut Connection, total: u64, script: &str) -> Result<String> {
    TICKET.create(redis, total)?;
    load_script(redis, script)
}

/// Loads a script; returns its SHA.
pub fn load_script(redis: &mut Connection, script: &str) -> Result<String> {
    match redis.ask(&["SCRIPT", "LOAD", script])? {
        Reply::Text(sha) => Ok(sha),
        other => fail(format!("SCRIPT LOAD answered {other:?}")),
    }
}

/// Claims of `ticket` so far.
pub fn claims(redis: &mut Connection) -> Result<u64> {
    TICKET.claims(redis)
}

/// Appends the call that sells one ticket of `ticket`: see [`Keys::pack_sale`].
pub fn pack_sale(out: &mut Vec<u8>, sha: &str, reservation: &str, user: &str, claim: &str) {
    TICKET.pack_sale(out, sha, reservation, user, claim);
}
