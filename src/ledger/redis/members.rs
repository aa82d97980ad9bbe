//! The members of a fleet in Redis: a sorted set with their leases and a hash with what they
//! publish, both beside the index of sales and in its slot, and one script that renews a lease,
//! ends it, or only reads. Leases end by the clock of Redis.

use std::collections::HashMap;

use redis::Value;

use super::client::RedisClient;
use super::decode_error::{classify, error_text};
use super::pipeline::Pipeline;
use super::scripts::ScriptName;
use crate::ledger::LedgerError;
use crate::ledger::members::{Lease, Member, MemberId, MemberList};

impl RedisClient {
    /// Registers a member, or renews its lease: `since_ms` is when it joined, from an earlier
    /// reply.
    ///
    /// # Errors
    /// Also if there are [`MEMBERS_MAX`](crate::limits::MEMBERS_MAX) others.
    pub fn renew_lease(
        &mut self,
        id: MemberId,
        since_ms: Option<u64>,
        member: &Member,
    ) -> Result<MemberList, LedgerError> {
        let since = since_ms.map(|ms| ms.to_string()).unwrap_or_default();
        let says = serde_json::to_vec(member)
            .map_err(|error| LedgerError::Refused(format!("what it says of itself: {error}")))?;
        let id = id.to_string();
        self.members_script(&[b"renew", id.as_bytes(), since.as_bytes(), &says])
    }

    /// Ends a member's lease. Returns the remaining members.
    pub fn end_lease(&mut self, id: MemberId) -> Result<MemberList, LedgerError> {
        self.members_script(&[b"leave", id.to_string().as_bytes()])
    }

    /// The current members.
    pub fn member_list(&mut self) -> Result<MemberList, LedgerError> {
        self.members_script(&[b"look", b""])
    }

    fn members_script(&mut self, arguments: &[&[u8]]) -> Result<MemberList, LedgerError> {
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
            // Redis was restarted or flushed. Calls of unknown scripts had no effect.
            self.load_scripts()?;
            replies = self.pipeline(&ask)?;
        }
        for reply in &replies {
            judge(reply, &leases, &members)?;
        }
        decode(replies).ok_or_else(|| LedgerError::Lost("not a list of members".to_owned()))
    }
}

/// Checks that a command was carried out. The error says how to repair it.
fn judge(reply: &Value, leases: &str, members: &str) -> Result<(), LedgerError> {
    let Value::ServerError(error) = reply else { return Ok(()) };
    let told = error_text(error);
    // Redis 7.0 has no code for a forbidden call of a script.
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

/// Reads the replies: of `lua/members.lua`, then the leases, then what members publish. A member
/// whose published text is missing or unreadable still counts as a member.
fn decode(replies: Vec<Value>) -> Option<MemberList> {
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
    // An entry that somebody else put there is skipped until its lease is over.
    let mut leases: Vec<Lease> = leases.into_iter().filter_map(lease).collect();
    leases.sort_by(|a, b| (&a.member.name, a.id).cmp(&(&b.member.name, b.id)));
    Some(MemberList { now_ms, is_new, leases })
}
