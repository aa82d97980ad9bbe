//! Trimming a sale's stream: what every group has processed may go, but for the last minute.

use super::keys::SaleKeys;
use crate::limits::{STREAM_KEEP_MS, STREAM_TRIM_MAX};

const TRIM: &str = include_str!("lua/trim.lua");

/// The command that trims a sale's stream, as arguments. The reply is how many entries went.
///
/// Nothing that a group still has to process goes, and nothing at all while one of `groups` has not
/// begun with this stream; what
/// goes is counted in the sale's hash, so that the audit can tell it from what was deleted by hand.
pub fn trim_command(keys: &SaleKeys, groups: &[String]) -> Vec<Vec<u8>> {
    let all = keys.all();
    let (keep, max) = (STREAM_KEEP_MS.to_string(), STREAM_TRIM_MAX.to_string());
    let arguments = ["EVAL", TRIM, "2", &all[1], &all[6], &keep, &max];
    let groups = groups.iter().map(String::as_str);
    arguments.into_iter().chain(groups).map(|argument| argument.as_bytes().to_vec()).collect()
}
