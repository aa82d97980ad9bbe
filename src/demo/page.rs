//! The page for buyers.

use std::sync::LazyLock;

use crate::handler::Storefront;

const HTML: &str = include_str!("page.html");

/// The storefront with this page.
pub static STOREFRONT: LazyLock<Storefront> = LazyLock::new(|| Storefront::new(HTML));

#[cfg(test)]
mod tests {
    use super::*;
    use crate::engine::http::{Page, assert_is_self_contained};

    #[test]
    fn the_page_is_self_contained() {
        assert_is_self_contained(&Page::new(HTML.into()));
    }
}
