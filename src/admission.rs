//! Admission: which users may buy from which sales, as the shop's signed tokens grant it.
//!
//! A token is a JSON Web Token (RFC 7519) in the compact form of RFC 7515. [`KeySet`] holds the
//! shop's keys. An [`Admission`] checks a token against them and returns what it grants ([`Pass`]).
//! A core's [`TokenVerifier`] caches verified tokens and bounds the cost of verifying.
//!
//! Architecture invariant: decides, and does no I/O. It knows no HTTP and no clock: the caller
//! passes the time. A token has no effect before its signature is verified.

mod cache;
mod verifier;
mod keys;
mod mint;
mod pass;
mod token;

pub use keys::{Algorithm, KeyProblem, KeySet, NewKey};
pub use mint::{Claims, mint};
pub use pass::{Denied, Pass};
pub use token::{Admission, Checked, KnownHeader};
pub use verifier::{TokenVerifier, VerifyContext};
