//! Which node of a Cluster has which slot, and what a node says when it has not.
//!
//! Architecture invariant: no I/O. What is here is learned by `discover` and by redirections.

use std::sync::{Arc, PoisonError, RwLock};

use redis::{ServerError, Value};

use super::super::decode_error::error_text;
use super::super::hash_slot::SLOTS;
use super::super::settings::Endpoint;
use super::super::value::text;

/// The slots as a process knows them, shared by its cores and clients. It may be behind: then the
/// node that is asked says so.
#[derive(Default)]
pub(crate) struct Slots(RwLock<Known>);

#[derive(Default)]
struct Known {
    /// The primary of each slot. Empty: nothing is known yet.
    nodes: Vec<Option<Arc<Endpoint>>>,
    primaries: Vec<Arc<Endpoint>>,
}

/// Slots from one number to another, and their primary.
pub(super) type Range = (u16, u16, Endpoint);

impl Slots {
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

    /// A slot of each primary that has one.
    pub(crate) fn one_of_each(&self) -> Vec<u16> {
        self.read(|known| {
            let of = |primary: &Arc<Endpoint>| {
                let at = known.nodes.iter().position(|node| node.as_ref() == Some(primary))?;
                u16::try_from(at).ok()
            };
            known.primaries.iter().filter_map(of).collect()
        })
    }

    /// Whether a node is among them.
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

    /// Takes what a node says of all slots. `true`: it is not what was known.
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

/// Reads the answer to `CLUSTER SLOTS` of a node that was reached at `asked`. `None`: it is none.
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

/// A node as another names it. Without a host it is where that one is; `?` is nobody knows where.
fn endpoint(host: &str, port: u16, asked: &Endpoint) -> Option<Endpoint> {
    match host {
        "?" => None,
        "" => Some(Endpoint { host: asked.host.clone(), port }),
        host => Some(Endpoint { host: host.to_owned(), port }),
    }
}

/// What an error says that a node gives instead of carrying out a command. None of it was.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum Redirection {
    /// The slot is this node's from now on.
    Moved(u16, Endpoint),
    /// The slot is on its way to this node, and the command's keys are there (or nowhere): it, and no
    /// other, is to be asked there.
    Ask(Endpoint),
    /// Not now: the keys of the slot are on their way one by one, or a replica is yet to take over.
    Later,
}

impl Redirection {
    /// Reads an error of the node that was reached at `asked`. `None`: it is another.
    pub(crate) fn of(error: &ServerError, asked: &Endpoint) -> Option<Self> {
        let named = || {
            let (slot, address) = error.details()?.split_once(' ')?;
            let (host, port) = address.rsplit_once(':')?;
            let node = endpoint(host, port.parse().ok()?, asked)?;
            Some((slot.parse().ok().filter(|slot| *slot < SLOTS)?, node))
        };
        let code = error.code();
        if error_text(error).contains("script: ") {
            // Of a script's own call: what came before it was done.
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
    fn a_slot_that_moves_is_noted() {
        let slots = Slots::default();
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
    fn errors_say_where_to_go() {
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
    fn the_answer_to_cluster_slots_is_read() {
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
