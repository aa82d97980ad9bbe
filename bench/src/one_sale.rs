//! A sale as people write it by hand: one script call a ticket. What the baselines share.

use crate::error::{Result, fail};
use crate::resp::{Connection, Reply, pack};

const SCRIPT: &str = include_str!("bin/one_sale.lua");
const SALE: &str = "ticket_hash_key";
const CLAIMS: &str = "ticket_claims";
const STREAM: &str = "ticket_stream";

/// Makes the sale if it is missing and loads the script; returns its SHA.
pub fn prepare(redis: &mut Connection, total: u64) -> Result<String> {
    prepare_with(redis, total, SCRIPT)
}

/// The same with another script.
pub fn prepare_with(redis: &mut Connection, total: u64, script: &str) -> Result<String> {
    redis.ask(&["HSETNX", SALE, "ticket_total_nums", &total.to_string()])?;
    redis.ask(&["HSETNX", SALE, "ticket_sold_nums", "0"])?;
    match redis.ask(&["SCRIPT", "LOAD", script])? {
        Reply::Text(sha) => Ok(sha),
        other => fail(format!("SCRIPT LOAD answered {other:?}")),
    }
}

/// Claims so far.
pub fn claims(redis: &mut Connection) -> Result<u64> {
    match redis.ask(&["HLEN", CLAIMS])? {
        Reply::Integer(claims) => Ok(claims.unsigned_abs()),
        other => fail(format!("HLEN answered {other:?}")),
    }
}

/// Appends the call that sells one ticket. Its reply is 1 (granted), 0 (sold out) or 2 (claimed
/// before).
pub fn pack_sale(out: &mut Vec<u8>, sha: &str, reservation: &str, user: &str, claim: &str) {
    pack(out, &["EVALSHA", sha, "3", SALE, CLAIMS, STREAM, reservation, user, claim]);
}
