//! The user of a request, from its header and its parameter.

use std::borrow::Cow;

use super::percent;
use crate::code::ErrorCode;
use crate::engine::http::{Head, Problem};

/// The header that names the user, set by a proxy that knows him.
pub const USER_HEADER: &str = "X-User-Id";

/// The user as the client names him: a parameter of `/buy/ticket`, a member of a body.
pub const USER_FIELD: &str = "user";

/// Which sources may name the user of a request.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct UserSources {
    /// The header `X-User-Id`.
    pub header: bool,
    /// The client, in a body or a parameter.
    pub client: bool,
}

impl UserSources {
    /// Any caller may name any user.
    pub const ANYONE: Self = Self { header: true, client: true };
}

/// Why a request has no valid user. With the header, parameter or member at fault.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum UserFieldError<'a> {
    /// It is invalid, repeated or unknown.
    Wrong(Cow<'a, str>),
    /// It names a user, but its source is not trusted.
    NotTrusted(&'static str),
}

/// The problem for an untrusted header, parameter or member.
pub fn user_not_trusted(field: &'static str) -> Problem {
    Problem { field: Some(field.into()), ..Problem::of(ErrorCode::UserNotTrusted) }
}

/// The user of `/buy/ticket`, decoded; the caller validates it with
/// [`User::new`](crate::sale::User::new). `Ok(None)` is anonymous. The header `X-User-Id` takes
/// precedence; a parameter `user` beside it must name the same user. Any other parameter is an
/// error: a misspelt `user` would silently be an anonymous purchase.
#[inline]
pub fn buyer<'a>(
    head: &Head<'a>,
    user_sources: UserSources,
) -> Result<Option<Cow<'a, str>>, UserFieldError<'a>> {
    let own = match head.query {
        Some(query) => user_parameter(query).map_err(UserFieldError::Wrong)?,
        None => None,
    };
    let Some(user) = head.user else {
        return match own {
            Some(_) if !user_sources.client => Err(UserFieldError::NotTrusted(USER_FIELD)),
            own => Ok(own),
        };
    };
    if !user_sources.header {
        return Err(UserFieldError::NotTrusted(USER_HEADER));
    }
    let user =
        str::from_utf8(user).map_err(|_| UserFieldError::Wrong(Cow::Borrowed(USER_HEADER)))?;
    match own {
        Some(other) if other != user => Err(UserFieldError::Wrong(Cow::Borrowed(USER_FIELD))),
        _ => Ok(Some(Cow::Borrowed(user))),
    }
}

/// Two parameters are an error, since they could name two users.
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

#[cfg(test)]
mod tests {
    use super::*;
    use crate::engine::http::parse_head;

    fn ask(query: &str, headers: &str, user_sources: UserSources) -> String {
        let input = format!("GET /buy/ticket{query} HTTP/1.1\r\nHost: a\r\n{headers}\r\n");
        let head = parse_head(input.as_bytes()).unwrap().unwrap();
        format!("{:?}", buyer(&head, user_sources))
    }

    #[test]
    fn the_buyer_is_named_by_header_or_parameter() {
        let user = |name: &str| format!("Ok(Some({name:?}))");
        let nobody = &"Ok(None)".to_owned();
        let unknown = |name: &str| format!("Err(Wrong({name:?}))");
        let bad = &unknown("user");
        for (query, header, want) in [
            ("", "X-User-Id: u1\r\n", &user("u1")),
            ("?user=u1", "X-User-Id: u1\r\n", &user("u1")),
            ("?&user=%E5%BC%A0%e4%b8%89&", "x-user-id: 张三\r\n", &user("张三")),
            ("", "X-User-Id:\r\n", &user("")),
            // Two sources must not name different users.
            ("?user=u2", "X-User-Id: u1\r\n", bad),
            ("?user=U1", "X-User-Id: u1\r\n", bad),
            ("?user=", "X-User-Id: u1\r\n", bad),
            ("?user", "X-User-Id: u1\r\n", bad),
            ("?user=%zz", "X-User-Id: u1\r\n", bad),
            ("?user=u1&user=u2", "X-User-Id: u1\r\n", bad),
            ("?user=u2", "X-User-Id:\r\n", bad),
            ("?user=u2", "", &user("u2")),
            ("?us%65r=u2", "", &user("u2")),
            ("?%75%73%65%72", "", &user("")),
            ("?user=%E5%BC%A0%e4%b8%89", "", &user("张三")),
            ("?user=张三", "", &user("张三")),
            ("?user=a%20b+c", "", &user("a b+c")),
            ("?user=a=b", "", &user("a=b")),
            ("?user=", "", &user("")),
            ("?user", "", &user("")),
            ("?user=%ff", "", bad),
            ("?user=%4", "", bad),
            ("?user=%", "", bad),
            ("?user=a&user=a", "", bad),
            ("?user=a&us%65r=a", "", bad),
            ("?", "", nobody),
            ("?&", "", nobody),
            // An unknown parameter is an error.
            ("?users=a", "", &unknown("users")),
            ("?USER=a", "", &unknown("USER")),
            ("?user%3Da", "", &unknown("user=a")),
            ("?user=a&x", "", &unknown("x")),
            ("?a=b&user=u1", "X-User-Id: u1\r\n", &unknown("a")),
            ("?%zz=1", "", &unknown("%zz")),
            ("?=1", "", &unknown("")),
        ] {
            assert_eq!(ask(query, header, UserSources::ANYONE), *want, "{query} {header}");
        }
        let head = b"GET /buy/ticket HTTP/1.0\r\nX-User-Id: \xff\r\n\r\n";
        let head = parse_head(head).unwrap().unwrap();
        assert_eq!(
            buyer(&head, UserSources::ANYONE),
            Err(UserFieldError::Wrong(USER_HEADER.into()))
        );
    }

    #[test]
    fn only_trusted_sources_name_a_user() {
        let (by_header, by_nobody) = (
            UserSources { header: true, client: false },
            UserSources { header: false, client: false },
        );
        let not_trusted = |name: &str| format!("Err(NotTrusted({name:?}))");
        for (query, header, user_sources, want) in [
            ("", "", by_nobody, "Ok(None)".to_owned()),
            ("", "X-User-Id: u1\r\n", by_nobody, not_trusted("X-User-Id")),
            ("?user=u1", "", by_nobody, not_trusted("user")),
            ("?user=u1", "X-User-Id: u1\r\n", by_nobody, not_trusted("X-User-Id")),
            ("?user=u1", "", by_header, not_trusted("user")),
            ("", "X-User-Id: u1\r\n", by_header, "Ok(Some(\"u1\"))".to_owned()),
            ("?user=u1", "X-User-Id: u1\r\n", by_header, "Ok(Some(\"u1\"))".to_owned()),
            ("?user=u2", "X-User-Id: u1\r\n", by_header, "Err(Wrong(\"user\"))".to_owned()),
            ("?a=b", "", by_nobody, "Err(Wrong(\"a\"))".to_owned()),
        ] {
            assert_eq!(ask(query, header, user_sources), want, "{query} {header} {user_sources:?}");
        }
    }
}
