//! What the control thread is given to do.

use std::sync::mpsc::SyncSender;

use super::request::{Reply, Request};

/// What the control thread is given.
pub(super) enum Job {
    /// A request, and where its coroutine waits for the reply. Dropped, the coroutine learns of it.
    Ask(Request, may::sync::mpsc::Sender<Reply>),
    /// The server ends: say so once what came before is done.
    Stop(SyncSender<()>),
}
