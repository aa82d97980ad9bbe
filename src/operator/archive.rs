//! Writes a closed sale to a file: a line for the sale, a line per reservation, and a last line with their
//! number and a checksum of all lines before it.
//!
//! The file appears when it is complete: it is written under another name in the same folder, synced,
//! and then linked to its name. The operator may remove the sale after that.

use std::fs::{self, File};
use std::io::{self, BufWriter, Write};
use std::os::unix::fs::OpenOptionsExt;
use std::path::{Path, PathBuf};

use serde_json::{Value, json};

use super::arguments::quoted;
use super::failure::Failure;
use super::transport::{Transport, json_of};
use crate::control::request::Request;
use crate::engine::http::Method;

/// The format that the last line names. Archives of 0.1.0 have no such line.
pub(super) const ARCHIVE_FORMAT: u64 = 1;

/// Writes the archive. Returns the number of its reservations.
pub fn write(transport: &mut Transport, id: &str, to: &str) -> Result<u64, Failure> {
    let path = Path::new(to);
    if path.exists() {
        return Err(Failure::Usage(format!("--to {}: the file exists already", quoted(to))));
    }
    let sale = json_of(transport.send(&Request::new(Method::Get, format!("/v1/sales/{id}")))?)?;
    let failed = |error: io::Error| Failure::Failed(format!("--to {}: {error}", quoted(to)));
    let mut draft = Draft::create(path).map_err(failed)?;
    draft.line(&sale).map_err(failed)?;
    let mut count = 0;
    let mut target = format!("/v1/sales/{id}/reservations");
    loop {
        let page = json_of(transport.send(&Request::new(Method::Get, target))?)?;
        for reservation in page["reservations"].as_array().into_iter().flatten() {
            draft.line(reservation).map_err(failed)?;
            count += 1;
        }
        let Some(next) = page["next"].as_str() else { break };
        target = format!("/v1/sales/{id}/reservations?after={next}");
    }
    draft.end(count).map_err(failed)?;
    draft.finish(path).map_err(failed)?;
    Ok(count)
}

/// A file that is removed on drop unless it is finished.
struct Draft {
    path: PathBuf,
    file: Option<BufWriter<File>>,
    hasher: crc32fast::Hasher,
}

impl Draft {
    fn create(path: &Path) -> io::Result<Self> {
        let name = path.file_name().ok_or_else(|| io::Error::other("is not a file's name"))?;
        let mut draft = name.to_owned();
        draft.push(format!(".{}.part", std::process::id()));
        let path = path.with_file_name(draft);
        // It holds users and idempotency keys.
        let file = File::options().write(true).create_new(true).mode(0o600).open(&path)?;
        let hasher = crc32fast::Hasher::new();
        Ok(Self { path, file: Some(BufWriter::new(file)), hasher })
    }

    fn line(&mut self, value: &Value) -> io::Result<()> {
        let line = format!("{value}\n");
        self.hasher.update(line.as_bytes());
        self.file.as_mut().map_or(Ok(()), |file| file.write_all(line.as_bytes()))
    }

    /// The last line.
    fn end(&mut self, reservations: u64) -> io::Result<()> {
        let checksum = format!("{:08x}", self.hasher.clone().finalize());
        self.line(&json!({
            "archive": ARCHIVE_FORMAT, "reservations": reservations, "checksum": checksum
        }))
    }

    fn finish(mut self, path: &Path) -> io::Result<()> {
        if let Some(file) = self.file.take() {
            file.into_inner().map_err(io::IntoInnerError::into_error)?.sync_all()?;
        }
        // Unlike a rename, a link does not replace a file that another process has created meanwhile.
        fs::hard_link(&self.path, path)?;
        let folder = path.parent().filter(|folder| *folder != Path::new(""));
        File::open(folder.unwrap_or(Path::new(".")))?.sync_all()
    }
}

impl Drop for Draft {
    fn drop(&mut self) {
        let _ = fs::remove_file(&self.path);
    }
}
