//! The pages of a demonstration at the public port besides the API: a page on which a person buys,
//! and a stand-in for the payment provider of a shop.
//!
//! A server without a storefront has none of these paths. With one, they are looked up last, so
//! that they cost the API's requests nothing.
//!
//! The stand-in confirms with the shop's right, but only a reservation of the user whom the request
//! names. In a real shop this is the back end, which confirms after its provider reports a payment.

use crate::engine::http::Page;

/// The path of the stand-in: this, the id of a reservation, and the second half of the pair.
pub const PAY_PATH: (&str, &str) = ("/demo/reservations/", "/pay");

const PAGE_METHODS: &str = "GET, HEAD, OPTIONS";
const PAY_METHODS: &str = "POST, OPTIONS";

/// See the module's header.
#[derive(Debug)]
pub struct Storefront {
    /// The page at `/`.
    pub(super) page: Page,
}

impl Storefront {
    /// A storefront with this page, in HTML.
    pub fn new(page: &str) -> Self {
        Self { page: Page::new(page.to_owned()) }
    }
}

/// A path of the storefront.
#[derive(Debug, PartialEq, Eq)]
pub(super) enum Place<'a> {
    Page,
    /// The payment of the reservation with this id, not decoded yet.
    Payment(&'a str),
}

impl<'a> Place<'a> {
    pub(super) fn of(path: &'a str) -> Option<Self> {
        if path == "/" {
            return Some(Self::Page);
        }
        let id = path.strip_prefix(PAY_PATH.0)?.strip_suffix(PAY_PATH.1)?;
        (!id.is_empty() && !id.contains('/')).then_some(Self::Payment(id))
    }

    pub(super) fn methods(&self) -> &'static str {
        match self {
            Self::Page => PAGE_METHODS,
            Self::Payment(_) => PAY_METHODS,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_storefront_has_two_kinds_of_paths() {
        assert_eq!(Place::of("/"), Some(Place::Page));
        let payment = Place::of("/demo/reservations/ticket~0/pay");
        assert_eq!(payment, Some(Place::Payment("ticket~0")));
        for path in [
            "",
            "//",
            "/demo",
            "/demo/reservations//pay",
            "/demo/reservations/a/b/pay",
            "/demo/reservations/ticket~0",
            "/demo/reservations/ticket~0/pay/",
            "/v1/reservations/ticket~0/pay",
        ] {
            assert_eq!(Place::of(path), None, "{path}");
        }
    }
}
