//! What the control threads answer: the shop's requests that are no purchases, and the list of sales.

use std::sync::Arc;

use super::Buyers;
use crate::code::Code;
use crate::control::caller::Caller;
use crate::control::request::{Reply, Request, Wanted};
use crate::engine::core::Core;
use crate::engine::gate::Token;
use crate::engine::http::{Envelope, Head, Problem, Status, write_json_bytes};
use crate::engine::promise::{Promised, promise};
use crate::ledger::batch::Asker;
use crate::route::table::Endpoint;
use crate::trace::Trace;

impl Buyers {
    /// Leaves what the shop asks to a control thread, if it is the shop that asks.
    #[cold]
    pub(super) fn ask_desk(
        &self,
        core: &'static Core,
        asker: Asker,
        (head, wanted, body): (&Head<'_>, Wanted, &[u8]),
        unmet: Option<Status>,
        trace: Option<&Arc<Trace>>,
    ) -> Result<Promised<Reply>, Problem> {
        let credential = self.trust.get().shop(head, Code::ShopOnly)?;
        let caller = Caller::shop(credential, trace.map(|trace| Trace::clone(trace)));
        let (promise, promised) = promise(core, Token::from_number(asker.0));
        (self.desk)(Request::of(head, wanted, body, unmet.is_some(), caller), promise)?;
        Ok(promised)
    }

    /// Shows a page of all sales, or waits until they are read.
    #[cold]
    pub(super) fn list_sales(
        &self,
        core: &'static Core,
        asker: Asker,
        (head, endpoint): (&Head<'_>, &'static Endpoint),
        envelope: &Envelope<'_>,
        out: &mut Vec<u8>,
    ) -> Option<Promised<Reply>> {
        let wanted = Wanted::Endpoint(endpoint, String::new());
        let request = Request::of(head, wanted, &[], false, Caller::default());
        let mut promised = None;
        let shown = self.catalogue.show(&request, || {
            let (promise, reply) = promise(core, Token::from_number(asker.0));
            promised = Some(reply);
            promise
        });
        match shown {
            Ok(Some(page)) => write_json_bytes(&page, envelope, out),
            Ok(None) => return promised,
            Err(problem) => problem.write(envelope, out),
        }
        None
    }
}
