//! Parsers of the control port that are otherwise private, for tests/fuzz.

pub use super::body::{extension, remaining, reset, sale, terms, units, units_to_take};
