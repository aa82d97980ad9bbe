//! Which commands of Redis we need, and whether its user may run them.
//!
//! The check runs when a connection is made, so that a missing right is an error at the start and
//! not a failing purchase. Rights can also be taken away later: each script checks again
//! (`lua/call.lua`).

use redis::Value;

use super::handshake_error::HandshakeError;
use super::warning::Warning;

/// The purpose of a connection to Redis.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Purpose {
    /// Sells: a server.
    Serve,
    /// Writes orders: a worker.
    Orders,
}

/// What is checked when a connection is made.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Needs {
    /// The purpose of the connection.
    pub purpose: Purpose,
    /// The key of the index, which every connection reads and writes.
    pub index: String,
    /// The keys of known sales, the counters' key first.
    pub sales: Vec<Vec<String>>,
}

/// The warning if rights can't be checked.
pub(super) const UNASKED: &str = "the rights of the user of Redis can't be checked";

/// Selling, and returning expired units.
const SELLING: &[&str] = &[
    "TIME",
    "EXISTS @",
    "HGET @ a",
    "HMGET @ a",
    "HSET @ a b",
    "HDEL @ a",
    "ZADD @ 0 a",
    "ZREM @ a",
    "ZRANGE @ 0 0",
    "ZRANGEBYSCORE @ 0 0",
    "XLEN @",
    "XADD @ * a b",
    "SADD @ a",
    "SCARD @",
    "SSCAN @ 0",
];

/// The audit, the list of members and the removal of a sale. Only these fail without the rights.
const TENDING: &[&str] = &[
    "EVAL a 0",
    "HGETALL @",
    "HSCAN @ 0",
    "HSETNX @ a b",
    "HINCRBY @ a 1",
    "SMEMBERS @",
    "SREM @ a",
    "UNLINK @",
    "XINFO GROUPS @",
    "XINFO STREAM @",
    "XPENDING @ a",
    "XRANGE @ - +",
    "ZSCAN @ 0",
    "ZSCORE @ a",
];

/// Reading the streams.
const READING: &[&str] = &[
    "TIME",
    "SADD @ a",
    "SCARD @",
    "SMEMBERS @",
    "SSCAN @ 0",
    "XACK @ a 0-0",
    "XAUTOCLAIM @ a b 0 0",
    "XGROUP CREATE @ a 0",
    "XREADGROUP GROUP a b STREAMS @ >",
];

/// Trimming the streams, removing dead workers from the group, and measuring the lag of other
/// groups.
const TRIMMING: &[&str] = &[
    "EXISTS @",
    "HLEN @",
    "HINCRBY @ a 1",
    "XGROUP DELCONSUMER @ a b",
    "XINFO CONSUMERS @ a",
    "XINFO GROUPS @",
    "XLEN @",
    "XPENDING @ a",
    "XRANGE @ - +",
    "XTRIM @ MAXLEN 1",
];

impl Purpose {
    /// The purpose needs all of these.
    fn needed(self) -> &'static [&'static str] {
        match self {
            Self::Serve => SELLING,
            Self::Orders => READING,
        }
    }

    /// Without these, part of the purpose fails.
    fn wanted(self) -> &'static [&'static str] {
        match self {
            Self::Serve => TENDING,
            Self::Orders => TRIMMING,
        }
    }

    fn lost(self) -> &'static str {
        match self {
            Self::Serve => {
                "audits, the list of instances, the removal or a change of sales will fail"
            }
            Self::Orders => "streams will not be trimmed, or what waits not be counted",
        }
    }
}

impl Needs {
    /// The arguments of `lua/rights.lua`.
    pub(super) fn arguments(&self) -> Vec<String> {
        let commands = self.purpose.needed().iter().chain(self.purpose.wanted()).copied();
        let commands = std::iter::once(&*self.index).chain(commands).map(str::to_owned);
        let keys = |keys: &Vec<String>| format!("EVALSHA a {} {}", keys.len(), keys.join(" "));
        commands.chain(self.sales.iter().map(keys)).collect()
    }

    /// Judges the script's reply. Returns a warning if one is due.
    ///
    /// # Errors
    /// A needed right is missing; the error names the user and what to add.
    pub(super) fn judge(
        &self,
        user: Option<&str>,
        reply: &Value,
    ) -> Result<Option<Warning>, HandshakeError> {
        let Value::Array(wrong) = reply else {
            let detail =
                "it has no redis.acl_check_cmd: one that is missing shows when it is needed";
            return Ok(Some(Warning::new(UNASKED, detail)));
        };
        let wrong: Vec<i64> = wrong
            .iter()
            .filter_map(|place| if let Value::Int(place) = place { Some(*place) } else { None })
            .collect();
        let user = user.unwrap_or("default");
        let needed = self.purpose.needed();
        let all = needed.iter().chain(self.purpose.wanted());
        let keyed = needed.iter().filter(|command| command.contains('@')).count();
        let (mut cant, mut poorer, mut none) = (Vec::new(), Vec::new(), Vec::new());
        for (place, command) in (1..).zip(all) {
            let list = if (place as usize) <= needed.len() { &mut cant } else { &mut poorer };
            if wrong.contains(&-place) {
                none.push(name(command));
            } else if wrong.contains(&place) {
                list.push(name(command));
            }
        }
        if !none.is_empty() {
            return Err(HandshakeError::Fatal(format!(
                "it has no {}: is that renamed or switched off?",
                none.join(", ")
            )));
        }
        if cant.len() >= keyed {
            return Err(HandshakeError::Fatal(format!(
                "the user {user} may not use the key {}, and it needs all that begin with stampede: \
                 and those of the sales, as in tuning/redis/users.acl",
                self.index
            )));
        }
        let first_sale = needed.len() + self.purpose.wanted().len() + 1;
        let may_not = |(at, _): &(usize, _)| wrong.contains(&(*at as i64));
        if let Some((_, keys)) = (first_sale..).zip(&self.sales).find(may_not) {
            let (counters, sale) = (&keys[0], keys.last().map_or("", String::as_str));
            let beside = sale.rsplit_once(':').map_or(sale, |(begin, _)| begin);
            return Err(HandshakeError::Fatal(format!(
                "the user {user} may not use the keys of a sale: ACL SETUSER {user} ~{counters} \
                 ~{beside}:*"
            )));
        }
        let add = |list: &[String]| {
            let rights = list.iter().map(|name| format!(" +{}", name.to_lowercase()));
            format!(
                "the user {user} may not run {}: ACL SETUSER {user}{} (tuning/redis/users.acl has \
                 all rights that are needed)",
                list.join(", "),
                rights.collect::<String>()
            )
        };
        match (cant.is_empty(), poorer.is_empty()) {
            (false, _) => Err(HandshakeError::Fatal(add(&cant))),
            (true, false) => {
                let detail = format!("{}; {}", add(&poorer), self.purpose.lost());
                Ok(Some(Warning::new("the user of Redis lacks rights", detail)))
            }
            (true, true) => Ok(None),
        }
    }
}

/// The command's name as the ACL has it: `XINFO|GROUPS`.
fn name(command: &str) -> String {
    let mut words = command.split(' ');
    let first = words.next().unwrap_or_default();
    match (first, words.next()) {
        ("XINFO" | "XGROUP", Some(second)) => format!("{first}|{second}"),
        _ => first.to_owned(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn judged(purpose: Purpose, wrong: &[i64]) -> Result<Option<Warning>, HandshakeError> {
        let needs = Needs { purpose, index: "stampede:sales:x".to_owned(), sales: Vec::new() };
        let reply = Value::Array(wrong.iter().copied().map(Value::Int).collect());
        needs.judge(Some("shop"), &reply)
    }

    fn place(list: &[&str], command: &str) -> i64 {
        let at = list.iter().position(|one| one.starts_with(command)).unwrap();
        i64::try_from(at + 1).unwrap()
    }

    #[test]
    fn missing_rights_are_named_with_the_command_to_grant_them() {
        assert!(matches!(judged(Purpose::Serve, &[]), Ok(None)));
        let (xadd, sscan) = (place(SELLING, "XADD"), place(SELLING, "SSCAN"));
        let error = judged(Purpose::Serve, &[xadd, sscan]).unwrap_err();
        assert!(error.is_fatal());
        let told = "the user shop may not run XADD, SSCAN: ACL SETUSER shop +xadd +sscan";
        assert!(error.to_string().contains(told), "{error}");
        let groups = READING.len() as i64 + place(TRIMMING, "XINFO GROUPS");
        let warning = judged(Purpose::Orders, &[groups]).unwrap().unwrap().detail;
        assert!(warning.contains("+xinfo|groups") && warning.contains("trimmed"), "{warning}");
        let error = judged(Purpose::Serve, &[-xadd]).unwrap_err();
        assert!(error.to_string().contains("has no XADD"), "{error}");
    }

    #[test]
    fn a_forbidden_key_is_distinguished_from_forbidden_commands() {
        let all: Vec<i64> = (2..=SELLING.len() as i64).collect();
        let error = judged(Purpose::Serve, &all).unwrap_err();
        assert!(error.to_string().contains("may not use the key stampede:sales:x"), "{error}");
    }

    /// Redis ends itself if a command of a fixed number of arguments is asked about with fewer.
    #[test]
    fn every_command_is_checked_with_its_argument_count() {
        for command in [SELLING, TENDING, READING, TRIMMING].concat() {
            let words = command.split(' ').count();
            let fixed = match name(command).as_str() {
                "TIME" => 1,
                "XLEN" | "SCARD" | "HGETALL" | "SMEMBERS" | "HLEN" => 2,
                "HGET" | "ZSCORE" | "XINFO|GROUPS" => 3,
                "HSETNX" | "HINCRBY" => 4,
                _ => continue,
            };
            assert_eq!(words, fixed, "{command}");
        }
    }
}
