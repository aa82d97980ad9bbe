//! The members of a fleet in Redis: a sorted set with their leases and a hash with what they say of
//! themselves, both beside the index of sales and in its slot, and one script that renews a lease,
//! ends it, or only looks. Leases end by Redis' own clock.

use std::collections::HashMap;

use redis::Value;

use super::client::RedisClient;
use super::decode_error::{classify, error_text};
use super::pipeline::Pipeline;
use super::scripts::ScriptName;
use crate::ledger::LedgerError;
use crate::ledger::members::{Lease, Member, MemberId, Roll};

impl RedisClient {
    /// Registers a member, or renews its lease: `since_ms` is when it came, as an earlier roll told.
    ///
    /// # Errors
    /// Also if there are [`MEMBERS_MAX`](crate::limits::MEMBERS_MAX) others.
    pub fn renew_lease(
        &mut self,
        id: MemberId,
        since_ms: Option<u64>,
        member: &Member,
    ) -> Result<Roll, LedgerError> {
        let since = since_ms.map(|ms| ms.to_string()).unwrap_or_default();
        let says = serde_json::to_vec(member)
            .map_err(|error| LedgerError::Refused(format!("what it says of itself: {error}")))?;
        let id = id.to_string();
        self.members_script(&[b"renew", id.as_bytes(), since.as_bytes(), &says])
    }

    /// Ends a member's lease. Those who are left.
    pub fn end_lease(&mut self, id: MemberId) -> Result<Roll, LedgerError> {
        self.members_script(&[b"leave", id.to_string().as_bytes()])
    }

    /// The members now.
    pub fn roll(&mut self) -> Result<Roll, LedgerError> {
        self.members_script(&[b"look", b""])
    }

    fn members_script(&mut self, arguments: &[&[u8]]) -> Result<Roll, LedgerError> {
        let keys = self.codec().keys();
        let (leases, members) = (keys.leases(), keys.members());
        let sha = self.codec().scripts().get(ScriptName::Members).sha.clone();
        let mut ask = Pipeline::new();
        let call = ["EVALSHA", &sha, "2", &leases, &members].map(str::as_bytes);
        ask.add(&[&call[..], arguments].concat());
        ask.add(&[b"ZRANGE", leases.as_bytes(), b"0", b"-1", b"WITHSCORES"]);
        ask.add(&[b"HGETALL", members.as_bytes()]);
        let mut replies = self.pipeline(&ask)?;
        if matches!(&replies[0], Value::ServerError(error) if error.code() == "NOSCRIPT") {
            // Redis has been restarted or flushed. What it did not know it did not do.
            self.load_scripts()?;
            replies = self.pipeline(&ask)?;
        }
        for reply in &replies {
            judge(reply, &leases, &members)?;
        }
        decode(replies).ok_or_else(|| LedgerError::Lost("not a list of members".to_owned()))
    }
}

/// Whether a command was carried out. An error says what to do about it.
fn judge(reply: &Value, leases: &str, members: &str) -> Result<(), LedgerError> {
    let Value::ServerError(error) = reply else { return Ok(()) };
    let told = error_text(error);
    // Redis 7.0 has no code for what a script's own call is not permitted.
    let not_permitted = told.contains("user executing the script can't");
    Err(match error.code() {
        "WRONGTYPE" => LedgerError::Refused(format!(
            "{leases} must be a sorted set and {members} a hash: delete or rename what is none \
             ({told})"
        )),
        code if code == "NOPERM" || not_permitted => LedgerError::Refused(format!(
            "this user may not keep the list of members: it needs EVALSHA, TIME, HGET, HGETALL, \
             HSET, HDEL, ZADD, ZRANGE, ZRANGEBYSCORE and ZREM on {leases} and {members} ({told})"
        )),
        _ => classify(error).into(),
    })
}

/// Reads the replies: of `lua/members.lua`, then the leases, then what members say. One of which we
/// can't read what it says, or that says nothing, is a member all the same.
fn decode(replies: Vec<Value>) -> Option<Roll> {
    let mut replies = replies.into_iter();
    let (now_ms, is_new): (u64, bool) = redis::from_redis_value(replies.next()?).ok()?;
    let leases: Vec<(String, u64)> = redis::from_redis_value(replies.next()?).ok()?;
    let says: HashMap<String, Vec<u8>> = redis::from_redis_value(replies.next()?).ok()?;
    let lease = |(id, ends_ms): (String, u64)| {
        let said = says.get(&id).and_then(|said| std::str::from_utf8(said).ok()?.split_once(' '));
        let (since, said) = said.unwrap_or_default();
        Some(Lease {
            id: MemberId::from_text(&id)?,
            member: serde_json::from_str(said).unwrap_or_default(),
            since_ms: since.parse().unwrap_or(now_ms),
            left_ms: ends_ms.saturating_sub(now_ms),
        })
    };
    // What somebody else put there is in nobody's way until its lease is over.
    let mut leases: Vec<Lease> = leases.into_iter().filter_map(lease).collect();
    leases.sort_by(|a, b| (&a.member.name, a.id).cmp(&(&b.member.name, b.id)));
    Some(Roll { now_ms, is_new, leases })
}
