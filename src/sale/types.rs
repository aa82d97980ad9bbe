//! Ticket types: kinds of units within one sale, such as adult and child, each with a cap of its
//! own, all sharing the sale's total. A reservation in such a sale has *lines*: the units per type.
//!
//! Both have a text that ledgers keep, `adult:2,child:1`, in the order of the names, so that equal
//! lines have equal texts. No name contains a separator.

use std::fmt::{self, Write};
use std::sync::Arc;

use crate::limits::{QUANTITY_MAX, TOTAL_MAX, TYPE_NAME_BYTES_MAX, TYPES_MAX};

/// Why types or lines are rejected.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum TypesError {
    /// An invalid name.
    #[error("the name of a ticket type is 1 to {TYPE_NAME_BYTES_MAX} bytes of a-z 0-9 _ -")]
    Name,
    /// Too many types.
    #[error("a sale has at most {TYPES_MAX} ticket types")]
    Count,
    /// A type that occurs twice.
    #[error("the ticket type {0} is named twice")]
    Twice(TypeName),
    /// A cap out of range.
    #[error("the cap of the ticket type {0} must be 1 to {TOTAL_MAX}, not {1}")]
    Cap(TypeName, u64),
    /// More units than any reservation may have.
    #[error("one reservation has at most {QUANTITY_MAX} units of all ticket types together")]
    Quantity,
}

/// The name of a ticket type: 1 to 32 bytes of `a-z 0-9 _ -`.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct TypeName(Box<str>);

impl TypeName {
    /// Validates a name.
    pub fn new(text: &str) -> Result<Self, TypesError> {
        let legal = |b: u8| matches!(b, b'a'..=b'z' | b'0'..=b'9' | b'_' | b'-');
        let fits = !text.is_empty() && text.len() <= TYPE_NAME_BYTES_MAX;
        if fits && text.bytes().all(legal) { Ok(Self(text.into())) } else { Err(TypesError::Name) }
    }

    /// The name as text.
    pub fn as_str(&self) -> &str {
        &self.0
    }
}

impl fmt::Display for TypeName {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

/// The ticket types of a sale and their caps, in the order of their names. Most sales have none.
/// Cheap to clone.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Types(Option<Arc<[(TypeName, u64)]>>);

impl Types {
    /// Validates types, in any order.
    pub fn new(types: impl IntoIterator<Item = (TypeName, u64)>) -> Result<Self, TypesError> {
        let mut list = Vec::new();
        for (name, cap) in types {
            if list.len() == TYPES_MAX {
                return Err(TypesError::Count);
            }
            if !(1..=TOTAL_MAX).contains(&cap) {
                return Err(TypesError::Cap(name, cap));
            }
            list.push((name, cap));
        }
        sort_apart(&mut list)?;
        Ok(Self((!list.is_empty()).then(|| list.into())))
    }

    fn list(&self) -> &[(TypeName, u64)] {
        self.0.as_deref().unwrap_or_default()
    }

    /// Whether there are no types.
    pub fn is_empty(&self) -> bool {
        self.0.is_none()
    }

    /// The number of types.
    pub fn len(&self) -> usize {
        self.list().len()
    }

    /// The names and caps, in order.
    pub fn iter(&self) -> impl ExactSizeIterator<Item = (&TypeName, u64)> {
        self.list().iter().map(|(name, cap)| (name, *cap))
    }

    /// The position of a type in that order.
    pub fn position(&self, name: &TypeName) -> Option<usize> {
        self.list().binary_search_by(|(found, _)| found.cmp(name)).ok()
    }

    /// The text that ledgers keep: `adult:60,child:40`. Empty if there are no types.
    pub fn to_text(&self) -> String {
        text_of(self.iter())
    }

    /// Parses the output of [`to_text`](Self::to_text). `None`: it is no such output.
    pub fn from_text(text: &str) -> Option<Self> {
        let types = Self::new(pairs(text)?).ok()?;
        (types.to_text() == text).then_some(types)
    }
}

/// Units per ticket type, in the order of the names. Types without units are left out.
#[derive(Debug, Clone, Default, PartialEq, Eq, Hash)]
pub struct Lines(Box<[(TypeName, u32)]>);

impl Lines {
    /// Validates lines, in any order. Drops those without units.
    pub fn new(lines: impl IntoIterator<Item = (TypeName, u32)>) -> Result<Self, TypesError> {
        let mut list = Vec::new();
        let mut units = 0u64;
        for (name, quantity) in lines {
            if list.len() == TYPES_MAX {
                return Err(TypesError::Count);
            }
            units += u64::from(quantity);
            list.push((name, quantity));
        }
        if units > u64::from(QUANTITY_MAX) {
            return Err(TypesError::Quantity);
        }
        sort_apart(&mut list)?;
        list.retain(|(_, quantity)| *quantity > 0);
        Ok(Self(list.into()))
    }

    /// The names and quantities, in order.
    pub fn iter(&self) -> impl ExactSizeIterator<Item = (&TypeName, u32)> {
        self.0.iter().map(|(name, quantity)| (name, *quantity))
    }

    /// Whether there are no units.
    pub fn is_empty(&self) -> bool {
        self.0.is_empty()
    }

    /// Units of all types together.
    pub fn units(&self) -> u32 {
        self.iter().map(|(_, quantity)| quantity).sum()
    }

    /// Units of one type.
    pub fn of(&self, name: &TypeName) -> u32 {
        let found = self.0.binary_search_by(|(found, _)| found.cmp(name));
        found.map_or(0, |at| self.0[at].1)
    }

    /// Whether no type has more units than in `others`.
    pub fn are_within(&self, others: &Self) -> bool {
        self.iter().all(|(name, quantity)| quantity <= others.of(name))
    }

    /// The smaller number of each type.
    pub fn at_most(&self, others: &Self) -> Self {
        let least = self.iter().map(|(name, n)| (name.clone(), n.min(others.of(name))));
        Self(least.filter(|(_, quantity)| *quantity > 0).collect())
    }

    /// The JSON that databases keep: `{"adult":2,"child":1}`. No name has a character that JSON
    /// escapes.
    pub fn to_json(&self) -> String {
        let members = self.iter().map(|(name, quantity)| format!("\"{name}\":{quantity}"));
        format!("{{{}}}", members.collect::<Vec<_>>().join(","))
    }

    /// The text that ledgers keep: `adult:2,child:1`.
    pub fn to_text(&self) -> String {
        text_of(self.iter())
    }

    /// Parses the output of [`to_text`](Self::to_text). `None`: it is no such output.
    pub fn from_text(text: &str) -> Option<Self> {
        let lines = pairs(text)?.into_iter().map(|(name, n)| Some((name, u32::try_from(n).ok()?)));
        let lines = Self::new(lines.collect::<Option<Vec<_>>>()?).ok()?;
        (lines.to_text() == text).then_some(lines)
    }
}

/// The sold units of one ticket type.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct TypeUnits {
    /// Held and not yet confirmed.
    pub held: u64,
    /// Confirmed.
    pub confirmed: u64,
}

impl TypeUnits {
    /// Both.
    pub fn sold(self) -> u64 {
        self.held + self.confirmed
    }

    /// The text of a list that a ledger keeps, `3:5,0:1`, in the order of the sale's types.
    pub fn list_to_text(list: &[Self]) -> String {
        let texts = list.iter().map(|units| format!("{}:{}", units.held, units.confirmed));
        texts.collect::<Vec<_>>().join(",")
    }

    /// Parses the output of [`list_to_text`](Self::list_to_text). `None`: it is no such output.
    pub fn list_from_text(text: &str) -> Option<Vec<Self>> {
        let one = |pair: &str| {
            let (held, confirmed) = pair.split_once(':')?;
            Some(Self { held: held.parse().ok()?, confirmed: confirmed.parse().ok()? })
        };
        let list = text.split(',').take(TYPES_MAX + 1).map(one).collect::<Option<Vec<_>>>()?;
        (Self::list_to_text(&list) == text).then_some(list)
    }
}

/// Sorts by name, and rejects a name that occurs twice.
fn sort_apart<N>(list: &mut [(TypeName, N)]) -> Result<(), TypesError> {
    list.sort_by(|(one, _), (other, _)| one.cmp(other));
    match list.windows(2).find(|pair| pair[0].0 == pair[1].0) {
        Some(pair) => Err(TypesError::Twice(pair[0].0.clone())),
        None => Ok(()),
    }
}

fn text_of<'a, N: fmt::Display>(pairs: impl Iterator<Item = (&'a TypeName, N)>) -> String {
    let mut text = String::new();
    for (name, number) in pairs {
        let comma = if text.is_empty() { "" } else { "," };
        // Writing into a string can't fail.
        let _ = write!(text, "{comma}{name}:{number}");
    }
    text
}

/// At most one more than a sale may have, so that a long text costs nothing.
fn pairs(text: &str) -> Option<Vec<(TypeName, u64)>> {
    let pair = |pair: &str| {
        let (name, number) = pair.split_once(':')?;
        Some((TypeName::new(name).ok()?, number.parse().ok()?))
    };
    text.split(',').take(TYPES_MAX + 1).map(pair).collect()
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn name(text: &str) -> TypeName {
        TypeName::new(text).unwrap()
    }

    fn lines(text: &str) -> Lines {
        Lines::from_text(text).unwrap()
    }

    #[test]
    fn lines_ignore_order_and_zero_quantities() {
        let one = Lines::new([(name("child"), 1), (name("adult"), 2), (name("dog"), 0)]).unwrap();
        assert_eq!((one.to_text().as_str(), one.units()), ("adult:2,child:1", 3));
        assert_eq!(one.to_json(), r#"{"adult":2,"child":1}"#);
        assert_eq!((one.of(&name("adult")), one.of(&name("dog"))), (2, 0));
        let twice = Lines::new([(name("a"), 1), (name("b"), 1), (name("a"), 0)]);
        assert_eq!(twice, Err(TypesError::Twice(name("a"))));
        let half = QUANTITY_MAX / 2 + 1;
        assert_eq!(Lines::new([(name("a"), half), (name("b"), half)]), Err(TypesError::Quantity));
        let many = (0..=TYPES_MAX).map(|n| (name(&format!("t{n}")), 1));
        assert_eq!(Lines::new(many), Err(TypesError::Count));
        assert!(Lines::new([(name("a"), 0)]).unwrap().is_empty());
    }

    #[test]
    fn lines_are_compared_type_by_type() {
        assert!(lines("a:1").are_within(&lines("a:1,b:2")));
        assert!(!lines("a:1,b:1").are_within(&lines("a:9")));
        assert_eq!(lines("a:3,b:1,c:4").at_most(&lines("a:2,b:5")), lines("a:2,b:1"));
    }

    #[test]
    fn types_are_bounded_and_have_caps() {
        let types = Types::new([(name("child"), 40), (name("adult"), 60)]).unwrap();
        assert_eq!((types.to_text().as_str(), types.len()), ("adult:60,child:40", 2));
        assert_eq!(types.position(&name("child")), Some(1));
        assert_eq!(types.position(&name("dog")), None);
        for cap in [0, TOTAL_MAX + 1] {
            assert_eq!(Types::new([(name("a"), cap)]), Err(TypesError::Cap(name("a"), cap)));
        }
        let many = (0..=TYPES_MAX).map(|n| (name(&format!("t{n}")), 1));
        assert_eq!(Types::new(many), Err(TypesError::Count));
        assert_eq!(Types::new([]), Ok(Types::default()));
        assert_eq!(Types::from_text(""), None, "there is nothing to keep");
    }

    #[test]
    fn a_type_name_has_bounded_length_and_plain_characters() {
        for good in ["a", "adult", "group-of-10", "1st_class", &"x".repeat(TYPE_NAME_BYTES_MAX)] {
            assert_eq!(TypeName::new(good).unwrap().as_str(), good);
        }
        for bad in ["", "Adult", "a:b", "a,b", "a b", "é", &"x".repeat(TYPE_NAME_BYTES_MAX + 1)] {
            assert_eq!(TypeName::new(bad), Err(TypesError::Name), "{bad:?}");
        }
    }

    proptest! {
        #[test]
        fn parsed_text_is_written_back_unchanged(text in "(a|b|:|,|0|1|9|\\+| ){0,9}") {
            if let Some(lines) = Lines::from_text(&text) {
                prop_assert_eq!(lines.to_text(), text.clone());
                prop_assert!(lines.units() > 0);
            }
            if let Some(types) = Types::from_text(&text) {
                prop_assert_eq!(types.to_text(), text);
            }
        }
    }
}
