//! Redis Cluster: sales are on different nodes, and move between them while they are sold.
//!
//! A sale is one slot, so each of its commands has one node. [`slots`] has the map of slots, as far
//! as this process knows it, and parses the errors by which a node names another one (`MOVED`,
//! `ASK`) or asks to retry (`TRYAGAIN`, `CLUSTERDOWN`). Each of them means that nothing was carried
//! out, so the command can be sent elsewhere. `discover` queries the nodes when something is wrong;
//! [`link`] is a core's access to the nodes, [`nodes`] a blocking client's.
//!
//! A command that was sent to a node and not answered is `unknown` here as everywhere else: it is
//! never sent again automatically.

pub(super) mod discover;
mod lane;
mod link;
mod nodes;
mod slots;
mod work;

pub(super) use link::run;
pub(super) use nodes::Nodes;
#[cfg(feature = "simulation")]
pub use work::{Run, Work, WorkKind, WorkQueue};
