//! Webhooks: every change of a reservation, sent to a receiver that need know nothing of Redis or
//! databases, by the Standard Webhooks specification (<https://www.standardwebhooks.com>).
//!
//! Two work at the same time. The orders' [worker](crate::orders::run) takes changes over from the
//! ledger into `store.rs`, which is a file of our own, and acknowledges what is durable there.
//! `deliver.rs` sends what is due in it, and notes what came of it. So a receiver that is slow or away
//! holds up neither the ledger's stream nor other receivers, and a reservation whose webhook is not
//! taken holds up no other reservation. When as many events wait as may, the stream is not read.
//!
//! Pure, and tried with a clock of their own: when an event is tried again (`schedule.rs`), what may go
//! at the same time (`desk.rs`), signatures (`secret.rs`) and bodies (`event.rs`).

mod command;
mod deliver;
mod desk;
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
