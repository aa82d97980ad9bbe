//! The text of a plan, as ledgers keep it: `docs/internals/seats.md`.

use std::fmt::Write;

use super::block::{Block, Letters};
use super::plan::Plan;
use super::stop::StopName;
use crate::limits::{BLOCKS_MAX, PLAN_BYTES_MAX, STOPS_MAX};
use crate::sale::types::TypeName;

/// The version of the rules by which seats are chosen.
const VERSION: &str = "1";
const WITHDRAWN: &str = "withdrawn";

impl Plan {
    /// The text that ledgers keep.
    pub fn to_text(&self) -> String {
        let mut text = String::from(VERSION);
        text.push(';');
        joined(&mut text, self.stops(), |text, stop| text.push_str(stop.as_str()));
        text.push(';');
        joined(&mut text, self.departs_ms(), |text, time_ms| {
            let _ = write!(text, "{time_ms}");
        });
        for block in self.blocks() {
            let Block { coach, class, first_row, last_row, letters, is_withdrawn } = block;
            let letters = letters.as_str();
            // Writing into a string can't fail.
            let _ = write!(text, ";{coach}:{class}:{first_row}-{last_row}:{letters}");
            if *is_withdrawn {
                let _ = write!(text, ":{WITHDRAWN}");
            }
        }
        text
    }

    /// Parses the output of [`to_text`](Self::to_text). `None`: it is no such output.
    pub fn from_text(text: &str) -> Option<Self> {
        if text.len() > PLAN_BYTES_MAX {
            return None;
        }
        let mut fields = text.splitn(BLOCKS_MAX + 4, ';');
        if fields.next()? != VERSION {
            return None;
        }
        let stops = parsed(fields.next()?, |name| StopName::new(name).ok())?;
        let departs_ms = parsed(fields.next()?, |time_ms| time_ms.parse().ok())?;
        let blocks = fields.map(block).collect::<Option<Vec<_>>>()?;
        let plan = Self::new(stops, departs_ms, blocks).ok()?;
        (plan.to_text() == text).then_some(plan)
    }
}

fn joined<T>(text: &mut String, list: &[T], put: impl Fn(&mut String, &T)) {
    for (at, one) in list.iter().enumerate() {
        if at > 0 {
            text.push(',');
        }
        put(text, one);
    }
}

fn parsed<T>(list: &str, one: impl Fn(&str) -> Option<T>) -> Option<Vec<T>> {
    match list {
        "" => Some(Vec::new()),
        list => list.split(',').take(STOPS_MAX + 1).map(one).collect(),
    }
}

fn block(text: &str) -> Option<Block> {
    let mut fields = text.split(':');
    let coach = fields.next()?.parse().ok()?;
    let class = TypeName::new(fields.next()?).ok()?;
    let (first, last) = fields.next()?.split_once('-')?;
    let letters = Letters::new(fields.next()?).ok()?;
    let is_withdrawn = match fields.next() {
        None => false,
        Some(WITHDRAWN) => true,
        Some(_) => return None,
    };
    let (first_row, last_row) = (first.parse().ok()?, last.parse().ok()?);
    fields.next().is_none().then_some(Block {
        coach,
        class,
        first_row,
        last_row,
        letters,
        is_withdrawn,
    })
}
