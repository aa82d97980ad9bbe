//! What a body says, before it is known to be right.

use std::borrow::Cow;

/// The members as they stand there: of a body without escapes nothing is copied.
#[derive(Debug, Default, PartialEq)]
pub(super) struct Members<'a> {
    pub(super) user: Option<Scalar<'a>>,
    pub(super) quantity: Option<Scalar<'a>>,
    pub(super) lines: Option<Scalar<'a>>,
    pub(super) note: Option<Scalar<'a>>,
    pub(super) remaining: Option<Scalar<'a>>,
    /// The first member that should not be there, and why.
    pub(super) stray: Option<(String, &'static str)>,
}

/// A member's value, as far as it can be right.
#[derive(Debug, PartialEq)]
pub(super) enum Scalar<'a> {
    Text(Cow<'a, str>),
    Whole(u64),
    /// Its members, no more of them than any can be right, and the numbers that they are. `None`: it is
    /// no whole number.
    Numbers(Vec<(Cow<'a, str>, Option<u64>)>),
    Other,
}
