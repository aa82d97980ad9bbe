//! Encodes a sale's definition, and changes of it.

use std::sync::Arc;

use super::reader::{Malformed, Reader, check};
use crate::limits::{
    DETAILS_BYTES_MAX, HOLD_MS_MAX, PLAN_BYTES_MAX, QUANTITY_MAX, TIME_MS_MAX, TOTAL_MAX,
};
use crate::sale::seats::Plan;
use crate::sale::{Rules, SaleSpec, Split, Terms, Types};

/// Bits of the terms that a change names.
const CLOSING: u8 = 1;
const HOLD: u8 = 2;
const LIMIT: u8 = 4;
const QUANTITY: u8 = 8;
const QUANTITY_MIN: u8 = 16;
const EXTENSION: u8 = 32;
const RESERVATIONS: u8 = 64;
const PER_USER: u8 = 128;

/// A bound on reservations that is not set.
const NOT_SET: u64 = u64::MAX;

/// Encodes which terms are named, and their values.
pub(super) fn put_terms(out: &mut Vec<u8>, terms: &Terms) {
    let times = [
        (CLOSING, terms.closes_at_ms),
        (HOLD, terms.hold_ms),
        (EXTENSION, terms.extend_max_ms),
        (RESERVATIONS, terms.reservations_max.map(|max| max.unwrap_or(NOT_SET))),
    ];
    let counts = [
        (LIMIT, terms.limit_per_user),
        (QUANTITY, terms.quantity_max),
        (QUANTITY_MIN, terms.quantity_min),
        (PER_USER, terms.reservations_per_user_max),
    ];
    let named = |bit: u8, is_named: bool| if is_named { bit } else { 0 };
    let times_named = times.iter().map(|(bit, ms)| named(*bit, ms.is_some()));
    let counts_named = counts.iter().map(|(bit, count)| named(*bit, count.is_some()));
    out.push(times_named.chain(counts_named).sum());
    times.iter().filter_map(|(_, ms)| *ms).for_each(|ms| out.extend_from_slice(&ms.to_le_bytes()));
    let counts = counts.iter().filter_map(|(_, count)| *count);
    counts.for_each(|count| out.extend_from_slice(&count.to_le_bytes()));
}

/// Adds a sale's definition.
pub(super) fn put_spec(out: &mut Vec<u8>, spec: &SaleSpec) {
    debug_assert_eq!(spec.split, Split::Whole, "an embedded ledger splits no sale");
    for number in [spec.total, spec.opens_at_ms, spec.closes_at_ms, spec.hold_ms] {
        out.extend_from_slice(&number.to_le_bytes());
    }
    out.extend_from_slice(&spec.limit_per_user.to_le_bytes());
    out.extend_from_slice(&spec.quantity_max.to_le_bytes());
}

/// Encodes a sale's rules, then its types and the plan of its seats if it has them, unless it is
/// plain.
pub(super) fn put_rules(out: &mut Vec<u8>, spec: &SaleSpec) {
    let rules = &spec.rules;
    if !spec.is_plain() {
        out.extend_from_slice(&rules.extend_max_ms.to_le_bytes());
        out.extend_from_slice(&rules.quantity_min.to_le_bytes());
        let reservations_max = rules.reservations_max.unwrap_or(NOT_SET);
        out.extend_from_slice(&reservations_max.to_le_bytes());
        out.extend_from_slice(&rules.reservations_per_user_max.to_le_bytes());
    }
    if !spec.types.is_empty() {
        put_long_text(out, &spec.types.to_text());
    }
    if let Some(plan) = &spec.plan {
        put_long_text(out, &plan.to_text());
    }
}

/// Encodes details, lines, types, seats or a plan.
pub(super) fn put_long_text(out: &mut Vec<u8>, text: &str) {
    debug_assert!(text.len() <= DETAILS_BYTES_MAX.max(PLAN_BYTES_MAX));
    out.extend_from_slice(&(text.len() as u16).to_le_bytes());
    out.extend_from_slice(text.as_bytes());
}

impl Reader<'_> {
    /// A sale's definition. Its times may be in any order: see [`Machine::restore`].
    ///
    /// [`Machine::restore`]: crate::sale::Machine::restore
    pub(super) fn spec(&mut self) -> Result<SaleSpec, Malformed> {
        let [total, opens_at_ms, closes_at_ms, hold_ms] = [
            self.u64("total")?,
            self.u64("opening")?,
            self.u64("closing")?,
            self.u64("hold time")?,
        ];
        let limit_per_user = self.u32("limit")?;
        let quantity_max = self.u32("maximum quantity")?;
        let legal = total <= TOTAL_MAX
            && opens_at_ms <= TIME_MS_MAX
            && closes_at_ms <= TIME_MS_MAX
            && (1..=HOLD_MS_MAX).contains(&hold_ms)
            && (1..=QUANTITY_MAX).contains(&quantity_max);
        let spec = SaleSpec {
            total,
            opens_at_ms,
            closes_at_ms,
            limit_per_user,
            hold_ms,
            quantity_max,
            split: Split::Whole,
            rules: Default::default(),
            types: Default::default(),
            plan: None,
        };
        check(legal, spec, "definition")
    }

    /// Decodes the output of [`put_rules`]. The definition must be checked as a whole.
    pub(super) fn rules(&mut self) -> Result<Rules, Malformed> {
        let (extend_max_ms, quantity_min) = (self.u64("rules")?, self.u32("rules")?);
        let rules = Rules {
            extend_max_ms,
            quantity_min,
            reservations_max: Some(self.u64("rules")?).filter(|max| *max != NOT_SET),
            reservations_per_user_max: self.u32("rules")?,
        };
        let legal = rules.extend_max_ms <= HOLD_MS_MAX
            && (1..=QUANTITY_MAX).contains(&rules.quantity_min)
            && rules.reservations_max.is_none_or(|max| max <= TOTAL_MAX);
        check(legal, rules, "rules")
    }

    /// A sale's ticket types, after its rules.
    pub(super) fn types(&mut self) -> Result<Types, Malformed> {
        Types::from_text(self.long_text("types")?).ok_or(Malformed("types"))
    }

    /// The plan of a sale's seats, after its types.
    pub(super) fn plan(&mut self) -> Result<Arc<Plan>, Malformed> {
        let plan = Plan::from_text(self.long_text("seats")?);
        plan.map(Arc::new).ok_or(Malformed("seats"))
    }

    /// Decodes the output of [`put_terms`].
    pub(super) fn terms(&mut self) -> Result<Terms, Malformed> {
        let named = self.byte("terms")?;
        let mut terms = Terms::default();
        if named & CLOSING != 0 {
            terms.closes_at_ms = Some(self.u64("closing")?);
        }
        if named & HOLD != 0 {
            terms.hold_ms = Some(self.u64("hold time")?);
        }
        if named & EXTENSION != 0 {
            terms.extend_max_ms = Some(self.u64("extension")?);
        }
        if named & RESERVATIONS != 0 {
            let max = self.u64("reservations")?;
            terms.reservations_max = Some(Some(max).filter(|max| *max != NOT_SET));
        }
        if named & LIMIT != 0 {
            terms.limit_per_user = Some(self.u32("limit")?);
        }
        if named & QUANTITY != 0 {
            terms.quantity_max = Some(self.u32("maximum quantity")?);
        }
        if named & QUANTITY_MIN != 0 {
            terms.quantity_min = Some(self.u32("minimum quantity")?);
        }
        if named & PER_USER != 0 {
            terms.reservations_per_user_max = Some(self.u32("reservations")?);
        }
        check(terms.check().is_ok(), terms, "terms")
    }
}
