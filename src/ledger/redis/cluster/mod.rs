//! Redis Cluster: sales are on different nodes, and move between them while they are sold.
//!
//! A sale is one slot, so each of its commands has one node: [`slots`] says which, as far as this
//! process knows, and reads the errors by which a node says that it is another (`MOVED`, `ASK`) or
//! that now is not the time (`TRYAGAIN`, `CLUSTERDOWN`). All of these mean that nothing was carried
//! out, so a command simply goes where it belongs. `discover` asks the nodes anew when something is
//! wrong; [`link`] is a core's way to the nodes, [`nodes`] a blocking client's.
//!
//! What was sent to a node and not answered is unknown here as everywhere else: it is never sent
//! again by itself.

pub(super) mod discover;
mod lane;
mod link;
mod nodes;
mod slots;
mod work;

pub(super) use link::run;
pub(super) use nodes::Nodes;
