//! Settings of webhooks: of `stampede orders --to https://…`, of a server with an embedded ledger, and of
//! the commands for dead letters.

use std::path::{Path, PathBuf};
use std::time::Duration;

use super::builder::ConfigBuilder;
use super::ledger::LedgerSetting;
use super::option_parser::OptionParser;
use super::value::{duration_within, whole_number};
use crate::cli::OrdersOptions;
use crate::ledger::redis::{WEBHOOKS_GROUP, is_of_webhooks};
use crate::limits::{
    WEBHOOK_ATTEMPTS, WEBHOOK_ATTEMPTS_MAX, WEBHOOK_BACKLOG, WEBHOOK_BACKLOG_MAX,
    WEBHOOK_BACKLOG_MIN, WEBHOOK_DEADLINE_MS, WEBHOOK_DEADLINE_MS_MAX, WEBHOOK_DEADLINE_MS_MIN,
    WEBHOOK_PARALLEL, WEBHOOK_PARALLEL_MAX, WEBHOOK_RETRY_MS, WEBHOOK_RETRY_MS_MAX,
    WEBHOOK_RETRY_MS_MIN,
};
use crate::orders::webhooks::{Schedule, SecretFile, WebhookOptions, WebhookUrl, Which};
use crate::orders::{DatabaseUrl, Destination};
use crate::tls::pem::certificates;

/// A command for the file of a worker.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum DeadLettersAction {
    /// Print the status of the worker.
    Status {
        /// As JSON.
        json: bool,
    },
    /// List the dead letters.
    List {
        /// As JSON.
        json: bool,
    },
    /// Send dead letters again.
    Replay(Which),
    /// Delete dead letters.
    Discard(Which),
}

/// Whether a destination is a receiver of webhooks, not a database.
pub(super) fn is_receiver(to: &str) -> bool {
    let scheme = to.trim().split("://").next().unwrap_or_default();
    ["https", "http"].iter().any(|ours| scheme.eq_ignore_ascii_case(ours))
}

/// The options of webhooks. The parser collects the problems.
pub(super) fn webhooks(
    options: &OrdersOptions,
    to: &str,
    group: String,
    parser: &mut OptionParser,
) -> Option<WebhookOptions> {
    if options.consumer.is_some() {
        parser.reject("--consumer is not for webhooks: the --state file holds the worker's name");
    }
    if options.claim_after.is_some() {
        parser.reject("--claim-after is not for webhooks: a group of webhooks has one worker");
    }
    if !is_of_webhooks(&group) {
        parser.reject(&format!(
            "--group {group:?}: the name of a group of webhooks begins with {WEBHOOKS_GROUP}"
        ));
    }
    let url = WebhookUrl::parse(to, options.plain_http);
    let url = url.map_err(|problem| parser.reject(&format!("--to {problem}"))).ok();
    let secrets = match options.webhook_secret_file.as_deref() {
        None => parser.missing(
            "--webhook-secret-file is missing: it names a file with a line whsec_…, as `echo \
             whsec_$(openssl rand -base64 32)` prints",
        ),
        Some(file) => SecretFile::load(Path::new(file))
            .map_err(|problem| parser.reject(&format!("--webhook-secret-file {file}: {problem}")))
            .ok(),
    };
    let state = match options.state.as_deref() {
        None => parser.missing(
            "--state is missing: it names the file of undelivered webhooks, such as webhooks.db",
        ),
        Some(file) => Some(PathBuf::from(file)),
    };
    let ca = options.to_ca.as_deref().map(PathBuf::from);
    if let Some(Err(error)) = ca.as_deref().map(certificates) {
        parser.reject(&format!("--to-ca: {error}"));
    }
    let whole = |(min, max): (u64, u64)| move |text: &str| whole_number(text, min, max);
    let time = |bounds: (u64, u64)| move |text: &str| duration_within(text, bounds);
    let parallel = parser.value_or(
        "webhook-parallel",
        &options.webhook_parallel,
        WEBHOOK_PARALLEL as u64,
        whole((1, WEBHOOK_PARALLEL_MAX as u64)),
    );
    let deadline_ms = parser.value_or(
        "webhook-deadline",
        &options.webhook_deadline,
        WEBHOOK_DEADLINE_MS,
        time((WEBHOOK_DEADLINE_MS_MIN, WEBHOOK_DEADLINE_MS_MAX)),
    );
    let first_pause_ms = parser.value_or(
        "webhook-retry",
        &options.webhook_retry,
        WEBHOOK_RETRY_MS,
        time((WEBHOOK_RETRY_MS_MIN, WEBHOOK_RETRY_MS_MAX)),
    );
    let attempts = parser.value_or(
        "webhook-attempts",
        &options.webhook_attempts,
        WEBHOOK_ATTEMPTS.into(),
        whole((1, WEBHOOK_ATTEMPTS_MAX.into())),
    );
    let backlog = parser.value_or(
        "webhook-backlog",
        &options.webhook_backlog,
        WEBHOOK_BACKLOG,
        whole((WEBHOOK_BACKLOG_MIN, WEBHOOK_BACKLOG_MAX)),
    );
    Some(WebhookOptions {
        to: url?,
        ca,
        state: state?,
        secrets: secrets?,
        schedule: Schedule { first_pause_ms, attempts: attempts as u32 },
        parallel: parallel as usize,
        deadline: Duration::from_millis(deadline_ms),
        backlog,
        group,
    })
}

impl ConfigBuilder {
    /// The destination of the changes of an embedded ledger.
    pub(super) fn destination(&mut self, ledger: &LedgerSetting) -> Option<Destination> {
        let files = ["webhook-state", "webhook-secret-file", "webhook-ca"];
        let [state, secrets, ca] = files.map(|name| {
            let found = self.layers.values(name).and_then(|values| values.first());
            found.cloned().filter(|file| !file.is_empty())
        });
        let to_redis = matches!(ledger, LedgerSetting::Redis(_));
        self.value_or("orders", None, |text| {
            let database = match is_receiver(text) {
                true => None,
                false => Some(DatabaseUrl::parse(text)?),
            };
            if to_redis {
                return Err(
                    "is for an embedded ledger only; with Redis, separate workers write orders and \
                            send webhooks: run `stampede orders`"
                        .into(),
                );
            }
            if let Some(url) = database {
                return Ok(Some(Destination::Database(url)));
            }
            let to = WebhookUrl::parse(text, false)?;
            let (Some(state), Some(secrets)) = (&state, &secrets) else {
                return Err("sends webhooks, which need --webhook-state FILE and \
                            --webhook-secret-file FILE"
                    .into());
            };
            let problem = |problem| format!("--webhook-secret-file {secrets}: {problem}");
            if let Some(Err(error)) = ca.as_deref().map(|file| certificates(Path::new(file))) {
                return Err(format!("--webhook-ca: {error}"));
            }
            Ok(Some(Destination::Webhooks(Box::new(WebhookOptions {
                to,
                ca: ca.as_deref().map(PathBuf::from),
                state: state.into(),
                secrets: SecretFile::load(Path::new(secrets)).map_err(problem)?,
                schedule: Schedule { first_pause_ms: WEBHOOK_RETRY_MS, attempts: WEBHOOK_ATTEMPTS },
                parallel: WEBHOOK_PARALLEL,
                deadline: Duration::from_millis(WEBHOOK_DEADLINE_MS),
                backlog: WEBHOOK_BACKLOG,
                group: WEBHOOKS_GROUP.into(),
            }))))
        })
    }
}

/// Rejects options of webhooks together with a database.
pub(super) fn reject_webhook_options(options: &OrdersOptions, parser: &mut OptionParser) {
    for (flag, given) in [
        ("webhook-parallel", options.webhook_parallel.is_some()),
        ("webhook-deadline", options.webhook_deadline.is_some()),
        ("webhook-retry", options.webhook_retry.is_some()),
        ("webhook-attempts", options.webhook_attempts.is_some()),
        ("webhook-backlog", options.webhook_backlog.is_some()),
        ("plain-http", options.plain_http),
    ] {
        if given {
            parser.reject(&format!("--{flag} is for webhooks, with --to https://…"));
        }
    }
}

/// The file of a worker, and the command for it. `None`: no such command.
pub(super) fn dead_letters(
    options: &OrdersOptions,
    parser: &mut OptionParser,
) -> Option<(PathBuf, DeadLettersAction)> {
    let state = PathBuf::from(options.state.as_deref()?);
    let mut which = |flag: &str, text: &str| {
        let which = Which::parse(text);
        which.map_err(|problem| parser.reject(&format!("--{flag} {text:?}: {problem}"))).ok()
    };
    let action = if let Some(text) = &options.replay {
        DeadLettersAction::Replay(which("replay", text)?)
    } else if let Some(text) = &options.discard {
        DeadLettersAction::Discard(which("discard", text)?)
    } else if options.dead_letters {
        DeadLettersAction::List { json: options.json }
    } else if options.status {
        DeadLettersAction::Status { json: options.json }
    } else {
        return None;
    };
    Some((state, action))
}
