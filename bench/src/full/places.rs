//! The places of promised figures, and short forms of promises.

use crate::report::{Limit, Place, Promise};
use crate::rows::figure;

/// The server of this project.
pub const OURS: &str = "stampede";
/// The bare epoll loop.
pub const FLOOR: &str = "floor";

/// CPU of a server, per request or sale.
pub const fn cpu(scenario: &'static str, server: &'static str) -> Place {
    (scenario, server, figure::SERVER_CPU_US)
}

/// Sales per second.
pub const fn sales(scenario: &'static str, server: &'static str) -> Place {
    (scenario, server, figure::SALES_PER_S)
}

/// At most this.
pub const fn most(limit: f64, text: &'static str, of: Place) -> Promise {
    Promise::new(text, Limit::AtMost(limit), of)
}

/// At least this.
pub const fn least(limit: f64, text: &'static str, of: Place) -> Promise {
    Promise::new(text, Limit::AtLeast(limit), of)
}

/// A figure without a limit.
pub const fn shown(text: &'static str, of: Place) -> Promise {
    Promise::new(text, Limit::None, of)
}
