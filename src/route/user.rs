//! Who a request is for, as its header and its parameter name him.

use std::borrow::Cow;

use super::percent;
use crate::engine::http::Head;

/// The header that names the buyer, set by whoever knows him.
pub const USER_HEADER: &str = "X-User-Id";

/// The buyer's own name for himself: a parameter of `/buy/ticket`, a member of a body.
pub const USER_FIELD: &str = "user";

/// The user of `/buy/ticket`: the header `X-User-Id` decides, and a parameter `user` beside it must
/// name the same; else the parameter.
#[inline]
pub(super) fn buyer<'a>(head: &Head<'a>) -> Result<Option<Cow<'a, str>>, &'static str> {
    let Some(user) = head.user else {
        return head.query.map_or(Ok(None), user_parameter);
    };
    let user = str::from_utf8(user).map_err(|_| USER_HEADER)?;
    match head.query.map_or(Ok(None), user_parameter)? {
        Some(other) if other != user => Err(USER_FIELD),
        _ => Ok(Some(Cow::Borrowed(user))),
    }
}

/// Two parameters would name two users: neither counts.
fn user_parameter(query: &str) -> Result<Option<Cow<'_, str>>, &'static str> {
    let mut users = query.split('&').filter_map(|pair| match pair.split_once('=') {
        Some((USER_FIELD, value)) => Some(value),
        None if pair == USER_FIELD => Some(""),
        _ => None,
    });
    match (users.next(), users.next()) {
        (None, _) => Ok(None),
        (Some(user), None) => percent::decode(user).map(Some).ok_or(USER_FIELD),
        (Some(_), Some(_)) => Err(USER_FIELD),
    }
}
