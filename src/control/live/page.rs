//! The page itself: one file that is built from its source, style and script.

use std::sync::LazyLock;

use crate::engine::http::{Page, ResponseContext};

const SOURCE: &str = include_str!("page.html");
const STYLE: &str = include_str!("page.css");
const SCRIPT: &str = concat!(
    include_str!("page/format.js"),
    include_str!("page/history.js"),
    include_str!("page/charts.js"),
    include_str!("page/sales.js"),
    include_str!("page/server.js"),
    include_str!("page/changes.js"),
    include_str!("page/main.js"),
);

static PAGE: LazyLock<Page> = LazyLock::new(|| {
    let script = format!("\"use strict\";\n(() => {{\n{SCRIPT}}})();\n");
    Page::new(SOURCE.replace("{{style}}", STYLE).replace("{{script}}", &script))
});

/// Appends the page. It contains nothing of the server, so every caller may read it.
pub(in crate::control) fn write_page(context: &ResponseContext<'_>, out: &mut Vec<u8>) {
    PAGE.write(context, out);
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::engine::http::assert_is_self_contained;

    #[test]
    fn the_page_is_self_contained() {
        assert_is_self_contained(&PAGE);
        assert!(!PAGE.html().contains("onclick"));
    }
}
