//! The ledger as Redis: a node that carries out the commands of each connection by the rules of the
//! model.
//!
//! What it stands for is Redis with our scripts. It does not run them, and messages to it are
//! commands, not bytes: the scripts and their encoding are compared with the model elsewhere.
//!
//! In some runs Sentinels watch a primary and its replica: see [`Fleet`]. Nodes of a Cluster, which
//! get the groups of a batch one by one, are not here yet.

mod apply;
mod fleet;
mod node;

use stampede::ledger::redis::EntryId;
use stampede::ledger::{Group, GroupReply, LedgerError};
use stampede::sale::SaleId;
use stampede::sweep::News;

pub use apply::{Now, Place, Places, apply, is_fenced};
pub use fleet::{Failovers, Fleet, Logged};
pub use node::{Node, Turn};

/// What is sent to a node.
#[derive(Debug, Clone)]
pub enum Ask {
    /// The first message of a connection.
    Hello,
    /// Commands that are sent at once.
    Pipeline(Pipeline),
}

/// Groups of commands, and then commands about the index of sales.
#[derive(Debug, Clone, Default)]
pub struct Pipeline {
    /// The epoch of the sender, if there are Sentinels.
    pub epoch: Option<u64>,
    /// Groups of commands.
    pub groups: Vec<Group>,
    /// Does each of these sales exist?
    pub exists: Vec<SaleId>,
    /// Sales to be added to the index.
    pub add: Vec<SaleId>,
    /// Sales to be announced to all sweeps.
    pub announce: Vec<SaleId>,
    /// Sales to be removed from the index.
    pub remove: Vec<SaleId>,
    /// How many sales are in the index, and which were announced after this entry?
    pub news: Option<EntryId>,
    /// Which sales are in the index?
    pub list: bool,
}

impl Pipeline {
    /// Whether nothing would be sent.
    pub fn is_empty(&self) -> bool {
        self.groups.is_empty()
            && self.exists.is_empty()
            && self.add.is_empty()
            && self.announce.is_empty()
            && self.remove.is_empty()
            && self.news.is_none()
            && !self.list
    }
}

/// The answer to one [`Ask`].
#[derive(Debug, Clone)]
pub enum Reply {
    /// To [`Ask::Hello`].
    Welcome,
    /// To [`Ask::Pipeline`].
    Pipeline(PipelineReply),
}

/// See [`Pipeline`].
#[derive(Debug, Clone)]
pub struct PipelineReply {
    /// The replies to the groups, in order.
    pub groups: Vec<Result<GroupReply, LedgerError>>,
    /// The answers to the questions whether a sale exists, in order.
    pub found: Vec<bool>,
    /// The answer to the question for news.
    pub news: Option<(u64, Option<News>)>,
    /// The sales in the index, if somebody asked for them.
    pub sales: Vec<SaleId>,
    /// The time of the node at the end, in ms since 1970.
    pub now_ms: u64,
    /// The connection has ended within the answer: only the first replies to the groups are there.
    pub is_cut: bool,
}
