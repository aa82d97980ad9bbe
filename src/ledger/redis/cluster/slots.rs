//! Which node of a Cluster has which slot, and the errors of a node that does not have it.
//!
//! Architecture invariant: no I/O. `discover` and redirections update the map.

use std::sync::{Arc, PoisonError, RwLock};

use redis::{ServerError, Value};

use super::super::decode_error::error_text;
use super::super::hash_slot::SLOTS;
use super::super::settings::Endpoint;
use super::super::value::text;

/// The map of slots, shared by a process's cores and clients. It may be outdated: then the node
/// that is asked redirects.
#[derive(Default)]
pub(crate) struct SlotMap(RwLock<Known>);

#[derive(Default)]
struct Known {
    /// The primary of each slot. Empty: nothing is known yet.
    nodes: Vec<Option<Arc<Endpoint>>>,
    primaries: Vec<Arc<Endpoint>>,
}

/// A range of slots, first and last, and its primary.
pub(super) type Range = (u16, u16, Endpoint);

impl SlotMap {
    /// The primary of a slot. `None`: it has none, or nothing is known yet.
    pub(crate) fn node(&self, slot: u16) -> Option<Arc<Endpoint>> {
        self.read(|known| known.nodes.get(usize::from(slot))?.clone())
    }

    /// Whether nothing is known yet.
    pub(crate) fn is_empty(&self) -> bool {
        self.read(|known| known.primaries.is_empty())
    }

    /// Every primary that has slots, and those that redirections have named since.
    pub(crate) fn primaries(&self) -> Vec<Arc<Endpoint>> {
        self.read(|known| known.primaries.clone())
    }

    /// One slot of each primary that has one.
    pub(crate) fn one_of_each(&self) -> Vec<u16> {
        self.read(|known| {
            let of = |primary: &Arc<Endpoint>| {
                let at = known.nodes.iter().position(|node| node.as_ref() == Some(primary))?;
                u16::try_from(at).ok()
            };
            known.primaries.iter().filter_map(of).collect()
        })
    }

    /// Whether a node is one of the primaries.
    pub(crate) fn has(&self, node: &Endpoint) -> bool {
        self.read(|known| known.primaries.iter().any(|primary| **primary == *node))
    }

    /// Notes that a slot has moved.
    pub(crate) fn moved(&self, slot: u16, node: Endpoint) {
        let mut known = self.0.write().unwrap_or_else(PoisonError::into_inner);
        let Some(of_slot) = known.nodes.get(usize::from(slot)) else { return };
        if of_slot.as_deref() == Some(&node) {
            return;
        }
        let there = known.primaries.iter().find(|primary| ***primary == node).cloned();
        let node = there.unwrap_or_else(|| {
            let node = Arc::new(node);
            known.primaries.push(node.clone());
            node
        });
        known.nodes[usize::from(slot)] = Some(node);
    }

    /// Replaces the map by a node's answer. Returns whether it has changed.
    pub(super) fn replace(&self, ranges: Vec<Range>) -> bool {
        let mut new = Known { nodes: vec![None; usize::from(SLOTS)], primaries: Vec::new() };
        for (first, last, node) in ranges {
            let there = new.primaries.iter().find(|primary| ***primary == node).cloned();
            let node = there.unwrap_or_else(|| {
                new.primaries.push(Arc::new(node));
                new.primaries[new.primaries.len() - 1].clone()
            });
            new.nodes[usize::from(first)..=usize::from(last)].fill(Some(node));
        }
        let mut known = self.0.write().unwrap_or_else(PoisonError::into_inner);
        let news = known.nodes != new.nodes;
        *known = new;
        news
    }

    fn read<T>(&self, look: impl FnOnce(&Known) -> T) -> T {
        look(&self.0.read().unwrap_or_else(PoisonError::into_inner))
    }
}

/// Parses the answer to `CLUSTER SLOTS` of a node that was reached at `asked`. `None`: it can't be
/// parsed.
pub(super) fn ranges(answer: &Value, asked: &Endpoint) -> Option<Vec<Range>> {
    let Value::Array(list) = answer else { return None };
    let range = |entry: &Value| {
        let Value::Array(parts) = entry else { return None };
        let [Value::Int(first), Value::Int(last), Value::Array(primary), ..] = &parts[..] else {
            return None;
        };
        let [host, Value::Int(port), ..] = &primary[..] else { return None };
        let host = match host {
            Value::Nil => "",
            host => text(host)?,
        };
        let (first, last) = (u16::try_from(*first).ok()?, u16::try_from(*last).ok()?);
        let node = endpoint(host, u16::try_from(*port).ok()?, asked)?;
        (first <= last && last < SLOTS).then_some((first, last, node))
    };
    list.iter().map(range).collect()
}

/// The address of a node in another node's answer. Without a host it is the other node's host; `?`
/// means unknown.
fn endpoint(host: &str, port: u16, asked: &Endpoint) -> Option<Endpoint> {
    match host {
        "?" => None,
        "" => Some(Endpoint { host: asked.host.clone(), port }),
        host => Some(Endpoint { host: host.to_owned(), port }),
    }
}

/// The meaning of a node's error in place of a result. Nothing was carried out.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum Redirection {
    /// The slot belongs to this node from now on.
    Moved(u16, Endpoint),
    /// The slot is moving to this node, and the command's keys are there (or nowhere): send this
    /// command there, and no other.
    Ask(Endpoint),
    /// Retry later: the keys of the slot are moving one by one, or a replica has not taken over
    /// yet.
    Later,
}

impl Redirection {
    /// Parses an error of the node that was reached at `asked`. `None`: it is no redirection.
    pub(crate) fn of(error: &ServerError, asked: &Endpoint) -> Option<Self> {
        let named = || {
            let (slot, address) = error.details()?.split_once(' ')?;
            let (host, port) = address.rsplit_once(':')?;
            let node = endpoint(host, port.parse().ok()?, asked)?;
            Some((slot.parse().ok().filter(|slot| *slot < SLOTS)?, node))
        };
        let code = error.code();
        if error_text(error).contains("script: ") {
            // From a call within a script: the calls before it were carried out.
            return None;
        }
        match code {
            "MOVED" => Some(named().map_or(Self::Later, |(slot, node)| Self::Moved(slot, node))),
            "ASK" => Some(named().map_or(Self::Later, |(_, node)| Self::Ask(node))),
            "TRYAGAIN" | "CLUSTERDOWN" | "MASTERDOWN" | "LOADING" | "READONLY" => Some(Self::Later),
            _ => None,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn at(host: &str, port: u16) -> Endpoint {
        Endpoint { host: host.to_owned(), port }
    }

    #[test]
    fn a_moved_slot_is_recorded() {
        let slots = SlotMap::default();
        slots.moved(1, at("a", 1));
        assert!(slots.is_empty() && slots.node(1).is_none());
        let ranges = vec![(0, 8191, at("a", 1)), (8192, 16_000, at("b", 1))];
        assert!(slots.replace(ranges.clone()) && !slots.replace(ranges));
        assert_eq!(slots.node(8191).as_deref(), Some(&at("a", 1)));
        assert_eq!(slots.node(16_001), None);
        slots.moved(8191, at("b", 1));
        slots.moved(16_383, at("c", 1));
        assert_eq!(slots.node(8191).as_deref(), Some(&at("b", 1)));
        assert_eq!(slots.primaries().len(), 3);
        assert!(slots.has(&at("c", 1)) && !slots.has(&at("c", 2)));
    }

    #[test]
    fn errors_are_parsed_into_redirections() {
        let read = |resp: &str| match redis::parse_redis_value(resp.as_bytes()) {
            Ok(Value::ServerError(error)) => Redirection::of(&error, &at("asked", 7)),
            other => panic!("{other:?}"),
        };
        use Redirection::{Ask, Later, Moved};
        for (resp, want) in [
            ("-MOVED 3999 127.0.0.1:6381\r\n", Some(Moved(3999, at("127.0.0.1", 6381)))),
            ("-MOVED 3999 ::1:6381\r\n", Some(Moved(3999, at("::1", 6381)))),
            ("-MOVED 3999 :6381\r\n", Some(Moved(3999, at("asked", 6381)))),
            ("-MOVED 3999 ?:6381\r\n", Some(Later)),
            ("-MOVED 99999 a:1\r\n", Some(Later)),
            ("-ASK 3999 a.example:6381\r\n", Some(Ask(at("a.example", 6381)))),
            ("-TRYAGAIN Multiple keys request during rehashing of slot\r\n", Some(Later)),
            ("-CLUSTERDOWN Hash slot not served\r\n", Some(Later)),
            ("-MOVED 1 a:1 script: 9, on @user_script:3.\r\n", None),
            ("-OOM command not allowed\r\n", None),
            ("-NOSCRIPT No matching script.\r\n", None),
        ] {
            assert_eq!(read(resp), want, "{resp}");
        }
    }

    #[test]
    fn the_cluster_slots_reply_is_parsed() {
        let read = |resp: &str| {
            let answer = redis::parse_redis_value(resp.as_bytes()).unwrap();
            ranges(&answer, &at("asked", 7))
        };
        let resp = "*2\r\n*4\r\n:0\r\n:100\r\n*4\r\n$1\r\na\r\n:1\r\n$2\r\nid\r\n*0\r\n\
                    *3\r\n$1\r\nr\r\n:2\r\n$2\r\nid\r\n*3\r\n:101\r\n:16383\r\n*2\r\n$-1\r\n:9\r\n";
        let want = vec![(0, 100, at("a", 1)), (101, 16_383, at("asked", 9))];
        assert_eq!(read(resp), Some(want));
        assert_eq!(read("*0\r\n"), Some(vec![]));
        for bad in [
            "+OK\r\n",
            "*1\r\n*2\r\n:0\r\n:1\r\n",
            "*1\r\n*3\r\n:0\r\n:16384\r\n*2\r\n$1\r\na\r\n:1\r\n",
        ] {
            assert_eq!(read(bad), None, "{bad}");
        }
    }
}
