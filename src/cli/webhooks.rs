//! The options of serve for webhooks from an embedded ledger.

use clap::Args;

/// See the module's header.
#[derive(Debug, Clone, Default, Args)]
pub struct WebhookFiles {
    /// With --orders https://…: the file with what is still to be delivered [default: none]
    ///
    /// A SQLite file, made if it is missing, of this server only. `stampede orders --state FILE
    /// --dead-letters` lists what nobody took.
    #[arg(long, value_name = "FILE", help_heading = "Ledger")]
    pub webhook_state: Option<String>,

    /// With --orders https://…: the file with the secrets that sign, one whsec_… per line [default: none]
    ///
    /// `echo whsec_$(openssl rand -base64 32)` makes one. Every line signs, and the file is read again
    /// when it changes.
    #[arg(long, value_name = "FILE", help_heading = "Ledger")]
    pub webhook_secret_file: Option<String>,

    /// With --orders https://…: trust the authorities in this PEM file [default: the system's]
    #[arg(long, value_name = "FILE", help_heading = "Ledger")]
    pub webhook_ca: Option<String>,
}
