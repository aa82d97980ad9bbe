//! Sends the requests of a command to a control port, or straight to a ledger, and reads the responses.

use std::time::Duration;

use serde_json::Value;

use super::failure::Failure;
use super::http::{ControlClient, Response, operator};
use super::ledger::open_client;
use crate::cli::{OperatorOptions, ServeOptions};
use crate::config::{Config, Source};
use crate::control::api::Api;
use crate::control::caller::Caller;
use crate::control::change_log::log_change;
use crate::control::request::Request;

/// Where requests go.
pub(super) enum Transport {
    /// To the control port of a server.
    Http(ControlClient),
    /// To the same API in this process, over a client of the ledger.
    Direct(Box<Api>),
}

impl Transport {
    pub(super) fn open(options: &OperatorOptions) -> Result<Self, Failure> {
        if options.ledger.is_none() && !options.direct {
            return Ok(Self::Http(ControlClient::from_options(options)?));
        }
        let serve = ServeOptions {
            config: options.config.clone(),
            ledger: options.ledger.clone(),
            ..ServeOptions::default()
        };
        let config = Config::load(&serve).map_err(|error| Failure::Usage(error.to_string()))?;
        let client = open_client(&config.ledger, "stampede-operator").map_err(|reason| {
            let is_default = config.sources.contains(&("ledger", Source::Default));
            let hint = match is_default {
                true => {
                    "; --direct uses the ledger of --config FILE or STAMPEDE_LEDGER, and neither \
                             names one"
                }
                false => "",
            };
            Failure::Failed(format!("{}: {reason}{hint}", config.ledger))
        })?;
        Ok(Self::Direct(Box::new(Api::new(client).with_orders(config.orders))))
    }

    /// The same, but a server that takes longer to respond is a failure.
    pub(super) fn with_response_deadline(self, time: Option<Duration>) -> Self {
        match self {
            Self::Http(client) => Self::Http(client.with_response_deadline(time)),
            direct => direct,
        }
    }

    pub(super) fn send(&mut self, request: &Request) -> Result<Response, Failure> {
        match self {
            Self::Http(client) => client.send(request),
            Self::Direct(api) => {
                let caller = Caller::direct(operator());
                let request = Request { caller, ..request.clone() };
                let reply = api.answer(&request);
                log_change(&request, &reply);
                Ok(reply.into())
            }
        }
    }
}

/// The JSON of a response, or the problem that it reports.
pub(super) fn json_of(response: Response) -> Result<Value, Failure> {
    let value: Value = serde_json::from_slice(&response.body).unwrap_or_default();
    if (200..300).contains(&response.status) {
        return Ok(value);
    }
    let detail = value["detail"].as_str().unwrap_or("the response gives no reason");
    let problem = match value["field"].as_str() {
        Some(field) => format!("{field}: {detail}"),
        None => detail.to_owned(),
    };
    Err(match response.status {
        422 => Failure::Usage(problem),
        401 => Failure::Failed(format!(
            "{problem} Name the file of the token with --token-file, or set STAMPEDE_CONTROL_TOKEN."
        )),
        _ => Failure::Failed(problem),
    })
}
