//! The members of a body, not validated yet.

use std::borrow::Cow;

/// The members as sent. If the body has no escapes, nothing is copied.
#[derive(Debug, Default, PartialEq)]
pub(super) struct Members<'a> {
    pub(super) user: Option<Scalar<'a>>,
    pub(super) quantity: Option<Scalar<'a>>,
    /// Rare members; for most requests this costs a pointer.
    pub(super) more: Option<Box<More<'a>>>,
    /// The first wrong member, and why it is wrong.
    pub(super) stray: Option<Box<(String, &'static str)>>,
}

/// Numbers by name.
pub(super) type Numbers<'a> = Vec<(Cow<'a, str>, Option<u64>)>;

/// The rare members.
#[derive(Debug, Default, PartialEq)]
pub(super) struct More<'a> {
    pub(super) lines: Option<Scalar<'a>>,
    pub(super) note: Option<Scalar<'a>>,
    pub(super) remaining: Option<Scalar<'a>>,
}

/// A member's value, as far as it can be valid.
#[derive(Debug, PartialEq)]
pub(super) enum Scalar<'a> {
    Text(Cow<'a, str>),
    Whole(u64),
    /// An object: at most one member more than is valid, each a whole number. `None`: not a whole
    /// number.
    Numbers(Box<Numbers<'a>>),
    Other,
}
