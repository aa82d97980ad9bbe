//! How the requests of a command get to where they are answered, and what the replies say.

use serde_json::Value;

use super::failure::Failure;
use super::http::{Answer, Remote, operator};
use super::ledger::open_client;
use crate::cli::{OperatorOptions, ServeOptions};
use crate::config::Config;
use crate::control::api::Api;
use crate::control::caller::Caller;
use crate::control::change_log::log_change;
use crate::control::request::Request;

/// How requests get to where they are answered.
pub(super) enum Way {
    Remote(Remote),
    Direct(Box<Api>),
}

impl Way {
    pub(super) fn open(options: &OperatorOptions) -> Result<Self, Failure> {
        if options.ledger.is_none() && !options.direct {
            return Ok(Self::Remote(Remote::from_options(options)?));
        }
        let serve = ServeOptions {
            config: options.config.clone(),
            ledger: options.ledger.clone(),
            ..ServeOptions::default()
        };
        let config = Config::load(&serve).map_err(|error| Failure::Usage(error.to_string()))?;
        let client = open_client(&config.ledger, "stampede-operator")
            .map_err(|reason| Failure::Failed(format!("{}: {reason}", config.ledger)))?;
        Ok(Self::Direct(Box::new(Api::new(client).with_orders(config.orders))))
    }

    pub(super) fn ask(&mut self, request: &Request) -> Result<Answer, Failure> {
        match self {
            Self::Remote(remote) => remote.ask(request),
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

/// The JSON of an answer, or the problem it tells.
pub(super) fn value(answer: Answer) -> Result<Value, Failure> {
    let value: Value = serde_json::from_slice(&answer.body).unwrap_or_default();
    if (200..300).contains(&answer.status) {
        return Ok(value);
    }
    let detail = value["detail"].as_str().unwrap_or("there is no more to it");
    let told = match value["field"].as_str() {
        Some(field) => format!("{field}: {detail}"),
        None => detail.to_owned(),
    };
    Err(match answer.status {
        422 => Failure::Usage(told),
        401 => Failure::Failed(format!(
            "{told} Name the file it is in with --token-file, or set STAMPEDE_CONTROL_TOKEN."
        )),
        _ => Failure::Failed(told),
    })
}
