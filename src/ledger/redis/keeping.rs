//! Which acknowledged data a Redis may lose, judged by its own settings: evicted keys, and data
//! that is in no file.
//!
//! Architecture invariant: no I/O. Reports nothing about a setting that it does not know.

use redis::Value;

use super::value::text;
use super::warning::Warning;

/// Judges the replies to `INFO memory persistence` and `CONFIG GET save`, either of which may be an
/// error. `replicated`: replicas have all acknowledged data.
pub(super) fn judge(info: &Value, save: &Value, replicated: bool) -> Vec<Warning> {
    let info = match info {
        Value::VerbatimString { text, .. } => text,
        other => text(other).unwrap_or_default(),
    };
    let field = |name: &str| {
        info.lines().find_map(|line| line.strip_prefix(name)?.strip_prefix(':').map(str::trim))
    };
    let mut warnings = Vec::new();
    let limit = field("maxmemory").filter(|bytes| *bytes != "0");
    let policy = field("maxmemory_policy").filter(|policy| *policy != "noeviction");
    if let (Some(limit), Some(policy)) = (limit, policy) {
        let detail = format!(
            "maxmemory-policy is {policy}: at its {limit} bytes Redis deletes keys of sales, and what \
             was sold is forgotten; set it to noeviction"
        );
        warnings.push(Warning::new("Redis may evict the keys of sales", detail));
    }
    if field("aof_enabled") == Some("0") && !replicated {
        let lost = match snapshots(save) {
            Some(false) => "appendonly is no and save is empty: if Redis ends, every sale is lost",
            Some(true) => {
                "appendonly is no: if Redis ends, what was sold since its last snapshot is lost"
            }
            None => {
                "appendonly is no: if Redis ends, what was sold since its last snapshot is lost, and \
                 everything if it makes none"
            }
        };
        let detail = format!("{lost}; set appendonly yes, as in tuning/redis/redis.conf");
        warnings.push(Warning::new("Redis keeps no append-only file", detail));
    }
    warnings
}

/// Whether Redis makes snapshots by itself, as far as it said.
fn snapshots(save: &Value) -> Option<bool> {
    let value = match save {
        Value::Array(pair) => pair.get(1)?,
        Value::Map(map) => &map.first()?.1,
        _ => return None,
    };
    text(value).map(|points| !points.is_empty())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn bulk(text: &str) -> Value {
        Value::BulkString(text.as_bytes().to_vec())
    }

    fn judged(info: &str, save: &Value, replicated: bool) -> Vec<String> {
        let warnings = judge(&bulk(info), save, replicated);
        warnings.into_iter().map(|warning| warning.detail).collect()
    }

    #[test]
    fn settings_that_can_lose_sales_are_warned_about() {
        let evicts = "maxmemory:100\r\nmaxmemory_policy:allkeys-random\r\naof_enabled:1\r\n";
        let said = judged(evicts, &Value::Nil, false);
        assert!(said.len() == 1 && said[0].contains("allkeys-random"), "{said:?}");
        let off = "maxmemory:0\r\nmaxmemory_policy:allkeys-lru\r\naof_enabled:0\r\n";
        let save = |points| Value::Array(vec![bulk("save"), bulk(points)]);
        for (save, told) in [
            (save(""), "every sale is lost"),
            (save("3600 1"), "since its last snapshot is lost;"),
            (Value::Nil, "everything if it makes none"),
        ] {
            let said = judged(off, &save, false);
            assert!(said.len() == 1 && said[0].contains(told), "{said:?}");
            assert!(judged(off, &save, true).is_empty());
        }
        let safe = "maxmemory:100\r\nmaxmemory_policy:noeviction\r\naof_enabled:1\r\n";
        assert!(judged(safe, &save(""), false).is_empty());
        assert!(judged("", &Value::Nil, false).is_empty());
    }
}
