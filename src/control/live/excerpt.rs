//! The part of the catalogue that a live page shows: a page of the sales whose ids contain a text,
//! and the one sale that it shows in full.

use std::time::Instant;

use crate::config::whole_number;
use crate::control::catalogue::Catalogue;
use crate::engine::http::{Problem, json_bytes};
use crate::limits::{LIVE_PAGE_DEFAULT, LIVE_PAGE_MAX, SALE_ID_BYTES_MAX};
use crate::route::percent;
use crate::sale::SaleId;

/// The selection of a page.
#[derive(Debug, PartialEq, Eq)]
pub(super) struct Asked {
    after: Option<String>,
    limit: usize,
    search: String,
    sale: Option<String>,
}

impl Asked {
    /// Parses a query.
    pub(super) fn read(query: &str) -> Result<Self, Problem> {
        let mut asked =
            Self { after: None, limit: LIVE_PAGE_DEFAULT, search: String::new(), sale: None };
        let mut seen = Vec::new();
        for (name, value) in percent::parameters(query) {
            if seen.contains(&name) {
                return Err(Problem::invalid("query", format!("{name} is given twice.")));
            }
            let Some(value) = percent::decode(value) else {
                return Err(Problem::invalid("query", format!("{name} can't be decoded.")));
            };
            let id = |field: &'static str| {
                let id = SaleId::new(&value);
                id.map(|_| Some(value.to_string()))
                    .map_err(|error| Problem::invalid(field, format!("{error}.")))
            };
            match &*name {
                "after" => asked.after = id("after")?,
                "sale" => asked.sale = id("sale")?,
                "limit" => {
                    let limit = whole_number(&value, 1, LIVE_PAGE_MAX as u64);
                    asked.limit = limit
                        .map_err(|problem| Problem::invalid("limit", format!("limit {problem}.")))?
                        as usize;
                }
                "search" if value.chars().count() > SALE_ID_BYTES_MAX => {
                    let detail = format!("search has at most {SALE_ID_BYTES_MAX} characters.");
                    return Err(Problem::invalid("search", detail));
                }
                "search" => asked.search = value.to_ascii_lowercase(),
                _ => {
                    let detail = "The parameters are after, limit, search and sale.";
                    return Err(Problem::invalid("query", detail));
                }
            }
            seen.push(name);
        }
        Ok(asked)
    }
}

/// Writes the selection as JSON. `problem`: why the last attempt to read the catalogue failed.
pub(super) fn write(
    catalogue: &Catalogue,
    problem: Option<&str>,
    asked: &Asked,
    out: &mut Vec<u8>,
) {
    let age_ms = catalogue.age(Instant::now()).map(|age| age.as_millis() as u64);
    let find = memchr::memmem::Finder::new(&asked.search);
    let matches = |id: &str| asked.search.is_empty() || find.find(id.as_bytes()).is_some();
    // `first`: the position of the page's first sale among all that match, from 0.
    let (mut first, mut count, mut shown) = (0, 0, Vec::new());
    for (id, sale) in catalogue.sales() {
        if !matches(id) {
            continue;
        }
        count += 1;
        if asked.after.as_deref().is_some_and(|after| id <= after) {
            first += 1;
        } else if shown.len() < asked.limit {
            shown.push((id, sale));
        }
    }
    let next = shown.last().filter(|_| first + shown.len() < count).map(|(id, _)| *id);
    let mut member = |name: &str, json: &[u8]| {
        out.extend_from_slice(name.as_bytes());
        out.extend_from_slice(json);
    };
    member("{\"age_ms\":", &json_bytes(&age_ms));
    member(",\"problem\":", &json_bytes(&problem));
    member(",\"count\":", &json_bytes(&catalogue.sales().len()));
    member(",\"matches\":", &json_bytes(&count));
    member(",\"first\":", &json_bytes(&first));
    member(",\"next\":", &json_bytes(&next));
    member(
        ",\"sale\":",
        asked.sale.as_deref().and_then(|id| catalogue.sale(id)).unwrap_or(b"null"),
    );
    member(",\"sales\":[", b"");
    for (place, (_, sale)) in shown.iter().enumerate() {
        member(if place == 0 { "" } else { "," }, sale);
    }
    member("]}", b"");
}

#[cfg(test)]
mod tests {
    use serde_json::{Value, json};

    use super::*;

    fn shown(ids: &[&str], query: &str) -> Value {
        let catalogue = Catalogue::of(ids);
        let mut out = Vec::new();
        write(&catalogue, None, &Asked::read(query).expect("a query"), &mut out);
        serde_json::from_slice(&out).expect("JSON")
    }

    #[test]
    fn search_results_come_in_consecutive_pages() {
        let ids = ["a-1", "a-2", "a-3", "b-1", "b-2"];
        let seen = |query| {
            let shown = shown(&ids, query);
            let sales = shown["sales"].as_array().expect("sales").iter();
            let sales: Vec<_> = sales.map(|sale| sale["id"].as_str().unwrap().to_owned()).collect();
            let number = |name: &str| shown[name].as_u64().unwrap();
            assert_eq!(number("count"), 5);
            (sales.join(" "), number("matches"), number("first"), shown["next"].clone())
        };
        let said = |sales: &str, matches, first, next| (sales.to_owned(), matches, first, next);
        assert_eq!(seen("limit=2"), said("a-1 a-2", 5, 0, json!("a-2")));
        assert_eq!(seen("limit=2&after=a-2"), said("a-3 b-1", 5, 2, json!("b-1")));
        assert_eq!(seen("limit=2&after=b-1"), said("b-2", 5, 4, json!(null)));
        assert_eq!(seen("search=-1"), said("a-1 b-1", 2, 0, json!(null)));
        assert_eq!(seen("search=A&limit=2&after=a-2"), said("a-3", 3, 2, json!(null)));
        assert_eq!(seen("search=c%20d"), said("", 0, 0, json!(null)));
        assert_eq!(seen("after=c"), said("", 5, 5, json!(null)));
    }

    #[test]
    fn the_selected_sale_may_be_on_another_page() {
        let of = |query| shown(&["a", "b"], query)["sale"].clone();
        assert_eq!(of("limit=1&sale=b"), json!({ "id": "b" }));
        assert_eq!(of("sale=c"), Value::Null);
        assert_eq!(of(""), Value::Null);
    }

    #[test]
    fn the_wrong_query_field_is_named() {
        let long = format!("search={}", "x".repeat(SALE_ID_BYTES_MAX + 1));
        for (query, field) in [
            ("limit=0", "limit"),
            ("limit=1000", "limit"),
            ("limit=x", "limit"),
            ("after=A", "after"),
            ("sale=", "sale"),
            ("search=%ff", "query"),
            ("search=a&search=b", "query"),
            ("page=2", "query"),
            (&long, "search"),
        ] {
            let problem = Asked::read(query).expect_err(query);
            let text = serde_json::to_value(&problem).unwrap();
            assert_eq!(text["field"], field, "{query}");
        }
    }
}
