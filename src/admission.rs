//! Admission: who may buy what, as a shop's signed tokens say.
//!
//! A token is a JSON Web Token (RFC 7519) in the compact form of RFC 7515. [`KeySet`] holds the shop's
//! keys, an [`Admission`] checks a token against them and says whom it admits ([`Pass`]), and a core's [`Door`]
//! remembers verified tokens and bounds what checking costs.
//!
//! Architecture invariant: decides, and does no I/O. It knows no HTTP and no clock: who asks says what
//! time it is. A token has no effect before its signature is verified.

mod cache;
mod door;
mod keys;
mod mint;
mod pass;
mod token;

pub use door::{Door, Visitor};
pub use keys::{Algorithm, KeyProblem, KeySet, NewKey};
pub use mint::{Order, mint};
pub use pass::{Denied, Pass};
pub use token::{Admission, Checked, KnownHeader};
