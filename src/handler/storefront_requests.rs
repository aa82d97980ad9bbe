//! Answers requests to a [`Storefront`](super::Storefront).

use std::sync::Arc;

use super::reservations::{self, Owner, ReservationAction};
use super::storefront::Place;
use super::{Buyers, PendingReply, Waiting};
use crate::engine::core::{Action, Core};
use crate::engine::http::{Head, Method, Problem, write_options};
use crate::engine::response_options::ResponseOptions;
use crate::ledger::batch::WaiterId;
use crate::route::{USER_HEADER, UserFieldError, UserSources, buyer, percent, user_not_trusted};
use crate::sale::{ReservationId, User};
use crate::trace::Trace;

impl Buyers {
    /// Answers a request to the storefront. `None`: there is no storefront, or no such path in it.
    #[cold]
    pub(super) fn answer_at_storefront(
        &self,
        core: &'static Core,
        asker: WaiterId,
        head: &Head<'_>,
        trace: Option<&Arc<Trace>>,
        out: &mut Vec<u8>,
    ) -> Option<Action<Waiting>> {
        let storefront = self.storefront?;
        let place = Place::of(head.path)?;
        let unmet = head.unmet_precondition(place == Place::Page);
        let options = ResponseOptions::of(core, head);
        let options = unmet.map_or(options, |status| options.with_status(status));
        let date = core.date.borrow();
        let context = &options.context(&date);
        match (place, head.method) {
            (Place::Page, Method::Get | Method::Head) => {
                storefront.page.write(context, out);
            }
            (Place::Payment(id), Method::Post) => match payer(head) {
                Ok(user) => {
                    // An unmet precondition must change nothing.
                    let action = match unmet {
                        Some(_) => ReservationAction::Show,
                        None => ReservationAction::Confirm,
                    };
                    let id = percent::decode(id).unwrap_or_default();
                    let (found, owner) = (ReservationId::from_public(&id), Owner::Named(user));
                    let action = (action, Some(owner));
                    let pending =
                        reservations::ask_for(self.seller, asker, found, action, context, out);
                    if let Some(pending) = pending.map(PendingReply::Reservation) {
                        let trace = trace.cloned();
                        return Some(Action::Wait(Waiting {
                            options,
                            pending,
                            trace,
                            origin: None,
                        }));
                    }
                }
                Err(problem) => problem.write(context, out),
            },
            (place, Method::Options) => write_options(place.methods(), context, out),
            (place, _) => Problem::method_not_allowed(place.methods()).write(context, out),
        }
        Some(Action::Answered)
    }
}

/// The user who pays. A demonstration believes every name.
fn payer(head: &Head<'_>) -> Result<User, Problem> {
    let wrong = |field: &str| Problem::invalid(field.to_owned(), "Name the user who pays.");
    match buyer(head, UserSources::ANYONE) {
        Ok(Some(name)) => {
            User::new(&name).map_err(|error| Problem::invalid(USER_HEADER, format!("{error}.")))
        }
        Ok(None) => Err(wrong(USER_HEADER)),
        Err(UserFieldError::Wrong(field)) => Err(wrong(&field)),
        Err(UserFieldError::NotTrusted(field)) => Err(user_not_trusted(field)),
    }
}
