//! Who a request is for, as its header and its parameter name him.

use std::borrow::Cow;

use super::percent;
use crate::code::Code;
use crate::engine::http::{Head, Problem};

/// The header that names the buyer, set by whoever knows him.
pub const USER_HEADER: &str = "X-User-Id";

/// The buyer's own name for himself: a parameter of `/buy/ticket`, a member of a body.
pub const USER_FIELD: &str = "user";

/// Whose word counts for the user of a request.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Namer {
    /// That of the header `X-User-Id`.
    pub header: bool,
    /// The client's own, in a body or a parameter.
    pub client: bool,
}

impl Namer {
    /// Everybody names himself.
    pub const ANYONE: Self = Self { header: true, client: true };
}

/// Why a request tells no user that counts. With the header, parameter or member that is at fault.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Misnamed<'a> {
    /// It names nobody, or two users, or is not known.
    Wrong(Cow<'a, str>),
    /// It names a user, and whoever wrote it is not trusted to.
    NotTrusted(&'static str),
}

/// Says so of this header, parameter or member.
pub fn user_not_trusted(field: &'static str) -> Problem {
    Problem { field: Some(field.into()), ..Problem::of(Code::UserNotTrusted) }
}

/// The user of `/buy/ticket`, decoded and still to be checked by [`User::new`](crate::sale::User::new);
/// `Ok(None)` is anonymous. The header `X-User-Id` decides, and a parameter `user` beside it must name
/// the same; else the parameter. There is no other parameter: a misspelt `user` would be an anonymous
/// purchase in silence.
#[inline]
pub fn buyer<'a>(head: &Head<'a>, namer: Namer) -> Result<Option<Cow<'a, str>>, Misnamed<'a>> {
    let own = match head.query {
        Some(query) => user_parameter(query).map_err(Misnamed::Wrong)?,
        None => None,
    };
    let Some(user) = head.user else {
        return match own {
            Some(_) if !namer.client => Err(Misnamed::NotTrusted(USER_FIELD)),
            own => Ok(own),
        };
    };
    if !namer.header {
        return Err(Misnamed::NotTrusted(USER_HEADER));
    }
    let user = str::from_utf8(user).map_err(|_| Misnamed::Wrong(Cow::Borrowed(USER_HEADER)))?;
    match own {
        Some(other) if other != user => Err(Misnamed::Wrong(Cow::Borrowed(USER_FIELD))),
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

#[cfg(test)]
mod tests {
    use super::*;
    use crate::engine::http::parse_head;

    fn ask(query: &str, headers: &str, namer: Namer) -> String {
        let input = format!("GET /buy/ticket{query} HTTP/1.1\r\nHost: a\r\n{headers}\r\n");
        let head = parse_head(input.as_bytes()).unwrap().unwrap();
        format!("{:?}", buyer(&head, namer))
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
            // Nobody can be somebody else.
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
            // A name that is not known is not passed over.
            ("?users=a", "", &unknown("users")),
            ("?USER=a", "", &unknown("USER")),
            ("?user%3Da", "", &unknown("user=a")),
            ("?user=a&x", "", &unknown("x")),
            ("?a=b&user=u1", "X-User-Id: u1\r\n", &unknown("a")),
            ("?%zz=1", "", &unknown("%zz")),
            ("?=1", "", &unknown("")),
        ] {
            assert_eq!(ask(query, header, Namer::ANYONE), *want, "{query} {header}");
        }
        let head = b"GET /buy/ticket HTTP/1.0\r\nX-User-Id: \xff\r\n\r\n";
        let head = parse_head(head).unwrap().unwrap();
        assert_eq!(buyer(&head, Namer::ANYONE), Err(Misnamed::Wrong(USER_HEADER.into())));
    }

    #[test]
    fn only_who_is_trusted_names_a_user() {
        let (by_header, by_nobody) =
            (Namer { header: true, client: false }, Namer { header: false, client: false });
        let not_trusted = |name: &str| format!("Err(NotTrusted({name:?}))");
        for (query, header, namer, want) in [
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
            assert_eq!(ask(query, header, namer), want, "{query} {header} {namer:?}");
        }
    }
}
