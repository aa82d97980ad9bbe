//! Blocks of a plan: rows of one coach that are alike.

use super::plan_error::PlanError;
use crate::limits::{ROW_LETTERS_MAX, SEAT_NUMBER_MAX};
use crate::sale::types::TypeName;

/// The letters of a row, and its aisles.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub struct Letters(Box<str>);

impl Letters {
    /// Validates letters such as `ABC DF`.
    pub fn new(text: &str) -> Result<Self, PlanError> {
        let wrong = || PlanError::Letters(text.chars().take(2 * ROW_LETTERS_MAX).collect());
        if text.len() >= 2 * ROW_LETTERS_MAX || text.trim() != text || text.contains("  ") {
            return Err(wrong());
        }
        let letters: Vec<u8> = text.bytes().filter(|&byte| byte != b' ').collect();
        let is_ascending = letters.windows(2).all(|pair| pair[0] < pair[1]);
        if letters.is_empty() || !letters.iter().all(u8::is_ascii_uppercase) || !is_ascending {
            return Err(wrong());
        }
        Ok(Self(text.into()))
    }

    /// Them as text, with a space for each aisle.
    pub fn as_str(&self) -> &str {
        &self.0
    }

    /// Each letter, and whether an aisle is next to it.
    pub fn iter(&self) -> impl Iterator<Item = (u8, bool)> {
        let bytes = self.0.as_bytes();
        let is_space = |at: usize| bytes.get(at) == Some(&b' ');
        let letters = bytes.iter().enumerate().filter(|(_, byte)| **byte != b' ');
        letters.map(move |(at, &letter)| (letter, is_space(at.wrapping_sub(1)) || is_space(at + 1)))
    }

    /// The number of letters.
    pub fn width(&self) -> usize {
        self.iter().count()
    }

    /// The place of a letter among them.
    pub fn position(&self, letter: u8) -> Option<usize> {
        self.iter().position(|(found, _)| found == letter)
    }
}

/// Rows of one coach that have the same letters and the same class.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub struct Block {
    /// The coach, from 1 to 99.
    pub coach: u8,
    /// The class.
    pub class: TypeName,
    /// The first row, from 1 to 99.
    pub first_row: u8,
    /// The last row.
    pub last_row: u8,
    /// The letters of each row.
    pub letters: Letters,
    /// The coach is withdrawn: what is free in it is not for sale.
    pub is_withdrawn: bool,
}

impl Block {
    /// The number of rows.
    pub fn rows(&self) -> usize {
        usize::from(self.last_row - self.first_row) + 1
    }

    /// The number of seats.
    pub fn seats(&self) -> usize {
        self.rows() * self.letters.width()
    }

    /// Checks its numbers.
    pub(super) fn check(&self) -> Result<(), PlanError> {
        if !(1..=SEAT_NUMBER_MAX).contains(&self.coach) {
            return Err(PlanError::Coach(self.coach.into()));
        }
        if self.first_row < 1 || self.first_row > self.last_row || self.last_row > SEAT_NUMBER_MAX {
            return Err(PlanError::Rows(self.first_row.into(), self.last_row.into()));
        }
        Ok(())
    }
}
