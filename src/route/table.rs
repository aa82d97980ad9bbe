//! The endpoints of both ports, and the rights that they need: one table.
//!
//! Routing at both ports, the rights of callers and `/openapi.json` come from these rows. Add an
//! endpoint here first; the compiler then names the other places to change.
//!
//! Architecture invariant: knows paths, methods and rights, and nothing of what an endpoint does.

use std::sync::LazyLock;

use crate::engine::http::Method;

/// What an endpoint does.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
#[allow(missing_docs)] // The table says it with method and path.
pub enum Operation {
    BuyTicket,
    Plaintext,
    Json,
    Reserve,
    ShowSale,
    ShowReservation,
    Cancel,
    Confirm,
    Extend,
    Refund,
    ListSales,
    CreateSale,
    ChangeSale,
    RemoveSale,
    ListReservations,
    OpenSale,
    CloseSale,
    ResetSale,
    AddStock,
    TakeStock,
    ListInstances,
    Audit,
    Repair,
    Describe,
    Livez,
    Readyz,
    Metrics,
    LivePage,
    Live,
}

impl Operation {
    /// Whether it may take longer than a few ledger queries.
    pub fn may_take_long(self) -> bool {
        matches!(
            self,
            Self::RemoveSale
                | Self::ResetSale
                | Self::ListReservations
                | Self::Audit
                | Self::Repair
        )
    }
}

/// A right of a caller.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Right {
    /// None: every caller of the port. At the public port that is every buyer.
    Open,
    /// To read sales: the shop, and the holder of the read token.
    SeeSales,
    /// To read the state of the server: the holder of the read token.
    SeeServer,
    /// To change reservations of any buyer: the shop.
    Shop,
    /// Everything: operators alone.
    Operate,
}

/// One of the two ports.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Port {
    /// The port for buyers.
    Public,
    /// The port for operators.
    Control,
}

/// A row of the table: some methods of one path.
#[derive(Debug)]
pub struct Endpoint {
    /// What the endpoint does.
    pub operation: Operation,
    /// Its methods. HEAD goes with GET.
    pub methods: &'static [Method],
    /// The path. One segment may be `{sale}` or `{id}`.
    pub path: &'static str,
    /// The right that it needs at the public port. `None`: the port does not have it.
    pub public: Option<Right>,
    /// The same at the control port.
    pub control: Option<Right>,
    /// Parameters that a query may have. `None`: any, which are ignored.
    pub parameters: Option<&'static [&'static str]>,
}

impl Endpoint {
    /// The right that it needs at a port, if that port has it.
    pub fn right(&self, port: Port) -> Option<Right> {
        match port {
            Port::Public => self.public,
            Port::Control => self.control,
        }
    }
}

const GET: &[Method] = &[Method::Get];
const POST: &[Method] = &[Method::Post];

const fn row(
    operation: Operation,
    methods: &'static [Method],
    path: &'static str,
    public: Option<Right>,
    control: Option<Right>,
) -> Endpoint {
    Endpoint { operation, methods, path, public, control, parameters: Some(&[]) }
}

impl Endpoint {
    const fn takes(mut self, parameters: &'static [&'static str]) -> Self {
        self.parameters = Some(parameters);
        self
    }

    const fn takes_any(mut self) -> Self {
        self.parameters = None;
        self
    }
}

const OPEN: Option<Right> = Some(Right::Open);
const SEE_SALES: Option<Right> = Some(Right::SeeSales);
const SEE_SERVER: Option<Right> = Some(Right::SeeServer);
const SHOP: Option<Right> = Some(Right::Shop);
const OPERATE: Option<Right> = Some(Right::Operate);

/// The table, the most frequent endpoints first.
#[rustfmt::skip]
pub static ENDPOINTS: &[Endpoint] = &[
    row(Operation::Reserve, POST, "/v1/sales/{sale}/reservations", OPEN, None),
    row(Operation::ShowSale, GET, "/v1/sales/{sale}", OPEN, SEE_SALES),
    row(Operation::ShowReservation, GET, "/v1/reservations/{id}", OPEN, SHOP),
    row(Operation::Confirm, POST, "/v1/reservations/{id}/confirm", SHOP, SHOP),
    row(Operation::Cancel, POST, "/v1/reservations/{id}/cancel", OPEN, SHOP),
    row(Operation::Extend, POST, "/v1/reservations/{id}/extend", SHOP, SHOP),
    row(Operation::Refund, POST, "/v1/reservations/{id}/refund", SHOP, SHOP),
    row(Operation::BuyTicket, &[Method::Get, Method::Post, Method::Put, Method::Patch, Method::Delete],
        "/buy/ticket", OPEN, None).takes(&["user"]),
    row(Operation::Plaintext, GET, "/plaintext", OPEN, None).takes_any(),
    row(Operation::Json, GET, "/json", OPEN, None).takes_any(),
    row(Operation::ListSales, GET, "/v1/sales", OPEN, SEE_SALES).takes(&["after", "limit"]),
    row(Operation::CreateSale, POST, "/v1/sales", None, OPERATE),
    row(Operation::ChangeSale, &[Method::Patch], "/v1/sales/{sale}", None, OPERATE),
    row(Operation::RemoveSale, &[Method::Delete], "/v1/sales/{sale}", None, OPERATE),
    row(Operation::ListReservations, GET, "/v1/sales/{sale}/reservations", SHOP, SHOP)
        .takes(&["after", "limit", "user"]),
    row(Operation::OpenSale, POST, "/v1/sales/{sale}/open", None, OPERATE),
    row(Operation::CloseSale, POST, "/v1/sales/{sale}/close", None, OPERATE),
    row(Operation::ResetSale, POST, "/v1/sales/{sale}/reset", None, OPERATE),
    row(Operation::AddStock, POST, "/v1/sales/{sale}/add-stock", None, OPERATE),
    row(Operation::TakeStock, POST, "/v1/sales/{sale}/take-stock", None, OPERATE),
    row(Operation::ListInstances, GET, "/v1/instances", None, SEE_SERVER),
    row(Operation::Audit, GET, "/v1/audit", None, OPERATE).takes(&["sale"]),
    row(Operation::Repair, POST, "/v1/audit", None, OPERATE).takes(&["sale", "release_units"]),
    row(Operation::Describe, GET, "/openapi.json", OPEN, OPEN),
    row(Operation::Livez, GET, "/livez", None, OPEN).takes_any(),
    row(Operation::Readyz, GET, "/readyz", None, OPEN).takes_any(),
    row(Operation::Metrics, GET, "/metrics", None, SEE_SERVER).takes_any(),
    row(Operation::LivePage, GET, "/", None, OPEN).takes_any(),
    row(Operation::Live, GET, "/v1/live", None, SEE_SERVER).takes(&["after", "limit", "search", "sale"]),
];

/// The result of looking up a method and a path.
#[derive(Debug)]
pub enum Found<'a> {
    /// An endpoint, and the name in the path as it was sent. Empty: its path has no name.
    Endpoint(&'static Endpoint, &'a str),
    /// The port has the path, but not for this method.
    Path(&'static Methods),
    /// The port has no such path.
    Nothing,
}

/// The methods of a path at a port.
#[derive(Debug)]
pub struct Methods {
    /// As in the header `Allow`.
    pub allow: String,
    /// The least right that one of its endpoints needs.
    pub least: Right,
    /// Whether the path can be read, not only acted on.
    pub shows: bool,
    endpoints: Vec<&'static Endpoint>,
}

/// All rows with one path.
struct PathRows {
    /// The path before the name, or all of it.
    before: &'static str,
    /// The path after the name. `None`: there is no name.
    after: Option<&'static str>,
    public: Option<Methods>,
    control: Option<Methods>,
}

static PATHS: LazyLock<Vec<PathRows>> = LazyLock::new(|| {
    let mut paths: Vec<(&str, Vec<&'static Endpoint>)> = Vec::new();
    for endpoint in ENDPOINTS {
        match paths.iter_mut().find(|(path, _)| *path == endpoint.path) {
            Some((_, endpoints)) => endpoints.push(endpoint),
            None => paths.push((endpoint.path, vec![endpoint])),
        }
    }
    paths.into_iter().map(|(path, endpoints)| PathRows::new(path, &endpoints)).collect()
});

impl PathRows {
    fn new(path: &'static str, endpoints: &[&'static Endpoint]) -> Self {
        let (before, after) = match path.split_once('{') {
            Some((before, rest)) => (before, rest.split_once('}').map(|(_, after)| after)),
            None => (path, None),
        };
        let public = Methods::of(Port::Public, endpoints);
        Self { before, after, public, control: Methods::of(Port::Control, endpoints) }
    }

    /// The name in a path that matches this one.
    fn name_in<'a>(&self, path: &'a str) -> Option<&'a str> {
        let Some(after) = self.after else { return (path == self.before).then_some("") };
        let name = path.strip_prefix(self.before)?.strip_suffix(after)?;
        (!name.is_empty() && !name.contains('/')).then_some(name)
    }
}

impl Methods {
    fn of(port: Port, endpoints: &[&'static Endpoint]) -> Option<Self> {
        let here = |endpoint: &&&Endpoint| endpoint.right(port).is_some();
        let endpoints: Vec<_> = endpoints.iter().filter(here).copied().collect();
        let takes = |method| endpoints.iter().any(|endpoint| endpoint.methods.contains(&method));
        let order =
            [Method::Get, Method::Post, Method::Put, Method::Patch, Method::Delete].into_iter();
        let mut names = Vec::new();
        for method in order.filter(|method| takes(*method)) {
            names.push(method.as_str());
            if method == Method::Get {
                names.push(Method::Head.as_str());
            }
        }
        names.push(Method::Options.as_str());
        let rights = endpoints.iter().filter_map(|endpoint| endpoint.right(port));
        let least = rights.min_by_key(|right| *right as u8)?;
        let shows = takes(Method::Get);
        Some(Self { allow: names.join(", "), least, shows, endpoints })
    }
}

/// The rows of a path at a port, and the name in it.
fn path_at(port: Port, path: &str) -> Option<(&'static Methods, &str)> {
    PATHS.iter().find_map(|rows| {
        let name = rows.name_in(path)?;
        let methods = match port {
            Port::Public => rows.public.as_ref(),
            Port::Control => rows.control.as_ref(),
        };
        methods.map(|methods| (methods, name))
    })
}

/// Looks up a method and a path at a port. The path is in its normal form
/// ([`percent::normalized`](super::percent::normalized)).
pub fn find(port: Port, method: Method, path: &str) -> Found<'_> {
    let Some((methods, name)) = path_at(port, path) else { return Found::Nothing };
    let method = if method == Method::Head { Method::Get } else { method };
    match methods.endpoints.iter().find(|endpoint| endpoint.methods.contains(&method)) {
        Some(endpoint) => Found::Endpoint(endpoint, name),
        None => Found::Path(methods),
    }
}

/// Whether a path of a port can only be acted on, not read.
pub fn is_action_only(port: Port, path: &str) -> bool {
    path_at(port, path).is_some_and(|(methods, _)| !methods.shows)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn no_two_endpoints_of_a_port_overlap() {
        for (at, one) in ENDPOINTS.iter().enumerate() {
            for other in &ENDPOINTS[..at] {
                let both = |port| one.right(port).is_some() && other.right(port).is_some();
                let same_path =
                    one.path == other.path && (both(Port::Public) || both(Port::Control));
                let same = one.methods.iter().any(|method| other.methods.contains(method));
                assert!(!(same_path && same), "{one:?} and {other:?}");
            }
        }
    }

    #[test]
    fn a_name_is_one_path_segment() {
        let name = |path: &str| match find(Port::Public, Method::Get, path) {
            Found::Endpoint(endpoint, name) => Some((endpoint.operation, name.to_owned())),
            _ => None,
        };
        assert_eq!(name("/v1/sales/a"), Some((Operation::ShowSale, "a".to_owned())));
        assert_eq!(name("/v1/sales/%2F"), Some((Operation::ShowSale, "%2F".to_owned())));
        for path in
            ["/v1/sales/", "/v1/sales/a/", "/v1/sales/a/b", "/v1/sales//reservations", "/v1"]
        {
            assert_eq!(name(path), None, "{path}");
        }
    }

    #[test]
    fn allow_lists_the_methods_of_the_port() {
        let allow = |port, path| match find(port, Method::Trace, path) {
            Found::Path(methods) => methods.allow.as_str(),
            _ => "",
        };
        for (port, path, want) in [
            (Port::Public, "/buy/ticket", "GET, HEAD, POST, PUT, PATCH, DELETE, OPTIONS"),
            (Port::Public, "/v1/sales/a", "GET, HEAD, OPTIONS"),
            (Port::Control, "/v1/sales/a", "GET, HEAD, PATCH, DELETE, OPTIONS"),
            (Port::Control, "/v1/sales", "GET, HEAD, POST, OPTIONS"),
            (Port::Control, "/v1/sales/a/open", "POST, OPTIONS"),
            (Port::Public, "/v1/sales/a/open", ""),
            (Port::Control, "/buy/ticket", ""),
        ] {
            assert_eq!(allow(port, path), want, "{path}");
        }
    }

    #[test]
    fn action_only_paths_are_recognised() {
        for path in ["/v1/sales/a/open", "/v1/reservations/a~1/confirm"] {
            assert!(is_action_only(Port::Control, path), "{path}");
        }
        for path in ["/v1/sales/a", "/v1/audit", "/nothing", "/v1/sales/a/open/b"] {
            assert!(!is_action_only(Port::Control, path), "{path}");
        }
    }
}
