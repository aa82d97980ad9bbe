//! Requests that control threads answer: the shop's requests other than purchases, and the list of
//! sales.

use std::sync::Arc;

use super::Buyers;
use crate::code::ErrorCode;
use crate::control::caller::Caller;
use crate::control::request::{Reply, Request, Wanted};
use crate::engine::core::Core;
use crate::engine::http::{Head, Problem, ResponseContext, Status, write_json_bytes};
use crate::engine::oneshot::{self, Receiver};
use crate::engine::reactor::Token;
use crate::ledger::batch::WaiterId;
use crate::route::table::Endpoint;
use crate::trace::Trace;

impl Buyers {
    /// Submits a request to a control thread, if the caller is the shop.
    #[cold]
    pub(super) fn ask_control_thread(
        &self,
        core: &'static Core,
        asker: WaiterId,
        (head, wanted, body): (&Head<'_>, Wanted, &[u8]),
        unmet: Option<Status>,
        trace: Option<&Arc<Trace>>,
    ) -> Result<Receiver<Reply>, Problem> {
        let credential = self.trust.get().shop(head, ErrorCode::ShopOnly)?;
        let caller = Caller::shop(credential, trace.map(|trace| Trace::clone(trace)));
        let (sender, reply) = oneshot::channel(core, Token::from_number(asker.0));
        (self.control_threads)(Request::of(head, wanted, body, unmet.is_some(), caller), sender)?;
        Ok(reply)
    }

    /// Writes a page of the list of sales, or waits until the list is read.
    #[cold]
    pub(super) fn list_sales(
        &self,
        core: &'static Core,
        asker: WaiterId,
        (head, endpoint): (&Head<'_>, &'static Endpoint),
        context: &ResponseContext<'_>,
        out: &mut Vec<u8>,
    ) -> Option<Receiver<Reply>> {
        let wanted = Wanted::Endpoint(endpoint, String::new());
        let request = Request::of(head, wanted, &[], false, Caller::default());
        let mut reply = None;
        let shown = self.catalogue.show(&request, || {
            let (sender, receiver) = oneshot::channel(core, Token::from_number(asker.0));
            reply = Some(receiver);
            sender
        });
        match shown {
            Ok(Some(page)) => write_json_bytes(&page, context, out),
            Ok(None) => return reply,
            Err(problem) => problem.write(context, out),
        }
        None
    }
}
