//! Who a request is for, as its header and its parameter name him.

use std::borrow::Cow;

use super::percent;
use crate::engine::http::Head;

/// The header that names the buyer, set by whoever knows him.
pub const USER_HEADER: &str = "X-User-Id";

/// The buyer's own name for himself: a parameter of `/buy/ticket`, a member of a body.
pub const USER_FIELD: &str = "user";

/// The user of `/buy/ticket`: the header `X-User-Id` decides, and a parameter `user` beside it must
/// name the same; else the parameter. There is no other parameter: a misspelt `user` would be an
/// anonymous purchase in silence.
#[inline]
pub(super) fn buyer<'a>(head: &Head<'a>) -> Result<Option<Cow<'a, str>>, Cow<'a, str>> {
    let Some(user) = head.user else {
        return head.query.map_or(Ok(None), user_parameter);
    };
    let user = str::from_utf8(user).map_err(|_| Cow::Borrowed(USER_HEADER))?;
    match head.query.map_or(Ok(None), user_parameter)? {
        Some(other) if other != user => Err(Cow::Borrowed(USER_FIELD)),
        _ => Ok(Some(Cow::Borrowed(user))),
    }
}

/// Two parameters would name two users: neither counts.
fn user_parameter(query: &str) -> Result<Option<Cow<'_, str>>, Cow<'_, str>> {
    let wrong = || Cow::Borrowed(USER_FIELD);
    let mut user = None;
    for (name, value) in percent::parameters(query) {
        if name != USER_FIELD {
            return Err(name);
        }
        if user.replace(percent::decode(value).ok_or_else(wrong)?).is_some() {
            return Err(wrong());
        }
    }
    Ok(user)
}
