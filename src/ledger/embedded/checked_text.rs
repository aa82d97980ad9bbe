//! The small text files beside journals and snapshots: lines, of which the last one has a checksum
//! of all before it.

const CHECKSUM: &str = "checksum ";

/// The fault of a text.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Flaw {
    CutOff,
    Checksum,
}

/// Appends the last line to lines that each end with a line feed.
pub(super) fn with_checksum(mut text: String) -> String {
    let sum = crc32fast::hash(text.as_bytes());
    text += &format!("{CHECKSUM}{sum:08x}\n");
    text
}

/// The lines before the last one, if it matches them.
pub(super) fn checked(text: &str) -> Result<&str, Flaw> {
    let body = text.strip_suffix('\n').and_then(|text| text.rsplit_once('\n'));
    let (body, last) = body.ok_or(Flaw::CutOff)?;
    let sum = crc32fast::hash(&text.as_bytes()[..=body.len()]);
    match last.strip_prefix(CHECKSUM) == Some(&format!("{sum:08x}")) {
        true => Ok(body),
        false => Err(Flaw::Checksum),
    }
}
