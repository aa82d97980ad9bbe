//! Webhooks: every change of a reservation, sent to a receiver that need not know Redis or
//! databases, by the Standard Webhooks specification (<https://www.standardwebhooks.com>).
//!
//! Two halves work at the same time. The orders' [worker](crate::orders::run) takes changes over
//! from the ledger into `store.rs`, a file of our own, and acknowledges what is durable there.
//! `deliver.rs` sends the due events in it, and records the outcomes. So a receiver that is slow or
//! away delays neither the ledger's stream nor other receivers, and a reservation whose webhook is
//! not accepted delays no other reservation. When the maximum number of events is waiting, the
//! stream is not read.
//!
//! Pure, and tested with a clock of their own: when an event is tried again (`schedule.rs`), which
//! events may be in flight together (`delivery_slots.rs`), signatures (`secret.rs`) and bodies
//! (`event.rs`).

mod command;
mod deliver;
mod delivery_slots;
mod event;
mod file;
mod letters;
mod receiver;
mod schedule;
mod secret;
mod shared;
mod status;
mod store;
#[cfg(test)]
mod store_tests;

pub use command::{WebhookOptions, WebhooksError, deliver, deliver_embedded, open_state, position};
pub use letters::{LettersError, Which, discard, list, replay};
pub use receiver::WebhookUrl;
pub use schedule::Schedule;
pub use secret::{SecretFile, Secrets};
pub use status::status;
