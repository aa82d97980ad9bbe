//! The settings of webhooks: of `stampede orders --to https://…`, of a server with an embedded ledger, and
//! of what is done with dead letters.

use std::path::{Path, PathBuf};
use std::time::Duration;

use super::ledger::LedgerSetting;
use super::take::Take;
use super::taker::Taker;
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

/// What is done with a worker's file.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum LettersAction {
    /// Tell how the worker stands.
    Status {
        /// As JSON.
        json: bool,
    },
    /// List the dead letters.
    List {
        /// As JSON.
        json: bool,
    },
    /// Put them back.
    Replay(Which),
    /// Give them up.
    Discard(Which),
}

/// Whether this is where webhooks go, and no database.
pub(super) fn is_receiver(to: &str) -> bool {
    let scheme = to.trim().split("://").next().unwrap_or_default();
    ["https", "http"].iter().any(|ours| scheme.eq_ignore_ascii_case(ours))
}

/// How webhooks are delivered. What is wrong is noted.
pub(super) fn webhooks(
    options: &OrdersOptions,
    to: &str,
    group: String,
    take: &mut Take,
) -> Option<WebhookOptions> {
    if options.consumer.is_some() {
        take.wrong("--consumer is not for webhooks: the file of --state has the worker's name");
    }
    if options.claim_after.is_some() {
        take.wrong("--claim-after is not for webhooks: a group of theirs has one worker");
    }
    if !is_of_webhooks(&group) {
        take.wrong(&format!("--group {group:?}: that of webhooks begins with {WEBHOOKS_GROUP}"));
    }
    let url = WebhookUrl::parse(to, options.plain_http);
    let url = url.map_err(|problem| take.wrong(&format!("--to {problem}"))).ok();
    let secrets = match options.webhook_secret_file.as_deref() {
        None => take.missing(
            "--webhook-secret-file is missing: it names a file with a line whsec_…, as `echo \
             whsec_$(openssl rand -base64 32)` prints",
        ),
        Some(file) => SecretFile::load(Path::new(file))
            .map_err(|problem| take.wrong(&format!("--webhook-secret-file {file}: it {problem}")))
            .ok(),
    };
    let state = match options.state.as_deref() {
        None => take.missing(
            "--state is missing: it names the file with what is still to be delivered, such as \
             webhooks.db",
        ),
        Some(file) => Some(PathBuf::from(file)),
    };
    let ca = options.to_ca.as_deref().map(PathBuf::from);
    if let Some(Err(error)) = ca.as_deref().map(certificates) {
        take.wrong(&format!("--to-ca: {error}"));
    }
    let whole = |(min, max): (u64, u64)| move |text: &str| whole_number(text, min, max);
    let time = |bounds: (u64, u64)| move |text: &str| duration_within(text, bounds);
    let parallel = take.or(
        "webhook-parallel",
        &options.webhook_parallel,
        WEBHOOK_PARALLEL as u64,
        whole((1, WEBHOOK_PARALLEL_MAX as u64)),
    );
    let deadline_ms = take.or(
        "webhook-deadline",
        &options.webhook_deadline,
        WEBHOOK_DEADLINE_MS,
        time((WEBHOOK_DEADLINE_MS_MIN, WEBHOOK_DEADLINE_MS_MAX)),
    );
    let first_pause_ms = take.or(
        "webhook-retry",
        &options.webhook_retry,
        WEBHOOK_RETRY_MS,
        time((WEBHOOK_RETRY_MS_MIN, WEBHOOK_RETRY_MS_MAX)),
    );
    let attempts = take.or(
        "webhook-attempts",
        &options.webhook_attempts,
        WEBHOOK_ATTEMPTS.into(),
        whole((1, WEBHOOK_ATTEMPTS_MAX.into())),
    );
    let backlog = take.or(
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

impl Taker {
    /// Where the changes of an embedded ledger go.
    pub(super) fn destination(&mut self, ledger: &LedgerSetting) -> Option<Destination> {
        let files = ["webhook-state", "webhook-secret-file", "webhook-ca"];
        let [state, secrets, ca] = files.map(|name| {
            let found = self.layers.values(name).and_then(|values| values.first());
            found.cloned().filter(|file| !file.is_empty())
        });
        let to_redis = matches!(ledger, LedgerSetting::Redis(_));
        self.one("orders", None, |text| {
            let database = match is_receiver(text) {
                true => None,
                false => Some(DatabaseUrl::parse(text)?),
            };
            if to_redis {
                return Err(
                    "is for an embedded ledger only; with a Redis, workers of their own write \
                            orders and send webhooks: run `stampede orders`"
                        .into(),
                );
            }
            if let Some(url) = database {
                return Ok(Some(Destination::Database(url)));
            }
            let to = WebhookUrl::parse(text, false)?;
            let (Some(state), Some(secrets)) = (&state, &secrets) else {
                return Err("sends webhooks: that takes --webhook-state FILE and \
                            --webhook-secret-file FILE"
                    .into());
            };
            let problem = |problem| format!("--webhook-secret-file {secrets}: it {problem}");
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

/// That what is for webhooks alone was not given with a database.
pub(super) fn refuse(options: &OrdersOptions, take: &mut Take) {
    for (flag, given) in [
        ("webhook-parallel", options.webhook_parallel.is_some()),
        ("webhook-deadline", options.webhook_deadline.is_some()),
        ("webhook-retry", options.webhook_retry.is_some()),
        ("webhook-attempts", options.webhook_attempts.is_some()),
        ("webhook-backlog", options.webhook_backlog.is_some()),
        ("plain-http", options.plain_http),
    ] {
        if given {
            take.wrong(&format!("--{flag} is for webhooks, with --to https://…"));
        }
    }
}

/// What is to be done with a worker's file, and which one. `None`: nothing.
pub(super) fn letters(
    options: &OrdersOptions,
    take: &mut Take,
) -> Option<(PathBuf, LettersAction)> {
    let state = PathBuf::from(options.state.as_deref()?);
    let mut which = |flag: &str, text: &str| {
        let which = Which::parse(text);
        which.map_err(|problem| take.wrong(&format!("--{flag} {text:?}: {problem}"))).ok()
    };
    let action = if let Some(text) = &options.replay {
        LettersAction::Replay(which("replay", text)?)
    } else if let Some(text) = &options.discard {
        LettersAction::Discard(which("discard", text)?)
    } else if options.dead_letters {
        LettersAction::List { json: options.json }
    } else if options.status {
        LettersAction::Status { json: options.json }
    } else {
        return None;
    };
    Some((state, action))
}
