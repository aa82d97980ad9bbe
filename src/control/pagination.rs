//! The parameters of a list.

use super::request::Request;
use crate::config::whole_number;
use crate::engine::http::Problem;
use crate::route::percent;
use crate::sale::User;

/// The requested part of a list.
pub(super) struct Pagination {
    /// The item before the first one, as the client wrote it.
    pub(super) after: Option<String>,
    /// Maximum number of items.
    pub(super) limit: usize,
    /// Only items of this user.
    pub(super) user: Option<User>,
}

impl Pagination {
    /// Parses the parameters of a request.
    pub(super) fn read(request: &Request, default: usize, max: usize) -> Result<Self, Problem> {
        let mut page = Self { after: None, limit: default, user: None };
        let takes = request.parameters();
        let mut seen = Vec::new();
        for (name, value) in percent::parameters(request.query()) {
            let value = percent::decode(value).unwrap_or_default();
            if seen.contains(&name) {
                return Err(Problem::invalid("query", format!("{name} is given twice.")));
            }
            match &*name {
                _ if !takes.contains(&&*name) => {
                    let detail = format!("The parameters are {}.", takes.join(", "));
                    return Err(Problem::invalid("query", detail));
                }
                "after" => page.after = Some(value.into_owned()),
                "limit" => {
                    let limit = whole_number(&value, 1, max as u64).map_err(|problem| {
                        Problem::invalid("limit", format!("limit {problem}."))
                    })?;
                    page.limit = limit as usize;
                }
                _ => {
                    let user = User::new(&value)
                        .map_err(|error| Problem::invalid("user", format!("{error}.")))?;
                    page.user = Some(user);
                }
            }
            seen.push(name);
        }
        Ok(page)
    }
}
