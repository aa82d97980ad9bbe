//! What a body says, before it is known to be right.

use std::borrow::Cow;

/// The members as they stand there: of a body without escapes nothing is copied.
#[derive(Debug, Default, PartialEq)]
pub(super) struct Members<'a> {
    pub(super) user: Option<Scalar<'a>>,
    pub(super) quantity: Option<Scalar<'a>>,
    /// What few requests have: to most it costs a pointer.
    pub(super) more: Option<Box<More<'a>>>,
    /// The first member that should not be there, and why.
    pub(super) stray: Option<Box<(String, &'static str)>>,
}

/// Numbers by name.
pub(super) type Numbers<'a> = Vec<(Cow<'a, str>, Option<u64>)>;

/// The members that few bodies have.
#[derive(Debug, Default, PartialEq)]
pub(super) struct More<'a> {
    pub(super) lines: Option<Scalar<'a>>,
    pub(super) note: Option<Scalar<'a>>,
    pub(super) remaining: Option<Scalar<'a>>,
}

/// A member's value, as far as it can be right.
#[derive(Debug, PartialEq)]
pub(super) enum Scalar<'a> {
    Text(Cow<'a, str>),
    Whole(u64),
    /// Its members, no more of them than any can be right, and the numbers that they are. `None`: it is
    /// no whole number.
    Numbers(Box<Numbers<'a>>),
    Other,
}
