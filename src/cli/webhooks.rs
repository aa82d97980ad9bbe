//! Options of serve: webhooks from an embedded ledger.

use clap::Args;

/// See the module's header.
#[derive(Debug, Clone, Default, Args)]
pub struct WebhookFiles {
    /// With --orders https://…: keep undelivered webhooks in this file [default: none]
    ///
    /// A SQLite file of this server only, created if it is missing. `stampede orders --state FILE
    /// --dead-letters` lists webhooks that no receiver accepted.
    #[arg(long, value_name = "FILE", help_heading = "Ledger")]
    pub webhook_state: Option<String>,

    /// With --orders https://…: sign with the secrets in this file, one whsec_… per line [default:
    /// none]
    ///
    /// `echo whsec_$(openssl rand -base64 32)` prints a secret. Every line signs. A change of the
    /// file takes effect at once.
    #[arg(long, value_name = "FILE", help_heading = "Ledger")]
    pub webhook_secret_file: Option<String>,

    /// With --orders https://…: trust the authorities in this PEM file [default: the system's]
    #[arg(long, value_name = "FILE", help_heading = "Ledger")]
    pub webhook_ca: Option<String>,
}
