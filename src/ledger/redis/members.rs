//! The members of a fleet in Redis: one hash beside the index of sales, and one script that renews a
//! lease, ends it, or only looks. Leases end by Redis' own clock.

use redis::Value;

use super::reply::{classify, error_text};
use super::{Pipeline, RedisClient, ScriptName, text};
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
        let key = self.codec().keys().members();
        let script = self.codec().scripts().get(ScriptName::Members).clone();
        let mut ask = Pipeline::new();
        let call: [&[u8]; 4] = [b"EVALSHA", script.sha.as_bytes(), b"1", key.as_bytes()];
        ask.add(&[&call[..], arguments].concat());
        let mut reply = self.pipeline(&ask)?.remove(0);
        if matches!(&reply, Value::ServerError(error) if error.code() == "NOSCRIPT") {
            // Redis has been restarted or flushed. What it did not know it did not do.
            self.command(&[b"SCRIPT", b"LOAD", script.code.as_bytes()])?;
            reply = self.pipeline(&ask)?.remove(0);
        }
        if let Value::ServerError(error) = &reply {
            let told = error_text(error);
            // Redis 7.0 has no code for what a script's own call is not permitted.
            let not_permitted = told.contains("user executing the script can't");
            return Err(match error.code() {
                "WRONGTYPE" => LedgerError::Refused(format!(
                    "the list of members, {key}, is no hash: delete or rename it ({told})"
                )),
                code if code == "NOPERM" || not_permitted => LedgerError::Refused(format!(
                    "this user may not keep the list of members: it needs EVALSHA, TIME, HGETALL, \
                     HSET and HDEL on {key} ({told})"
                )),
                _ => classify(error).into(),
            });
        }
        decode(&reply).ok_or_else(|| LedgerError::Lost("not a list of members".to_owned()))
    }
}

/// Reads the reply of `lua/members.lua`. What another version says and we can't read is a member
/// all the same.
fn decode(reply: &Value) -> Option<Roll> {
    let Value::Array(list) = reply else { return None };
    let number = |value: &Value| match value {
        Value::Int(number) => u64::try_from(*number).ok(),
        _ => None,
    };
    let (head, leases) = list.split_at_checked(2)?;
    let mut roll = Roll {
        now_ms: number(&head[0])?,
        is_new: number(&head[1])? != 0,
        leases: Vec::with_capacity(leases.len() / 4),
    };
    for lease in leases.chunks(4) {
        let [id, left, since, says] = lease else { return None };
        // Somebody's own field in our hash has no lease for long.
        let Some(id) = text(id).and_then(MemberId::from_text) else { continue };
        let member = text(says).and_then(|says| serde_json::from_str(says).ok());
        roll.leases.push(Lease {
            id,
            member: member.unwrap_or_default(),
            since_ms: number(since)?,
            left_ms: number(left)?,
        });
    }
    roll.leases.sort_by(|a, b| (&a.member.name, a.id).cmp(&(&b.member.name, b.id)));
    Some(roll)
}
