//! Bounds of backups, of what is restored, and of sales that move to another ledger.

/// Sales that were removed of which a Redis keeps a note.
pub const REMOVED_SALES_MAX: usize = 100_000;
/// Gaps between its versions that a ledger remembers. Each restore makes one.
pub const GAPS_MAX: usize = 64;
/// Sales that were moved away of which an embedded ledger keeps a note, so that none is made again.
pub const MOVED_SALES_MAX: usize = 10_000;
/// Longest name of the ledger that a sale was moved to, as it is noted.
pub const MOVED_TO_BYTES_MAX: usize = 200;
/// Sales that one move takes along.
pub const MOVE_SALES_MAX: usize = 1_000;
/// Attempts to copy a folder whose files change meanwhile.
pub const BACKUP_ATTEMPTS_MAX: usize = 20;
/// Bytes of a copy that are written before they are made durable: small, so that the fdatasync of a
/// server that sells never waits behind a long queue.
pub const BACKUP_DIRTY_BYTES_MAX: u64 = 1 << 20;
/// Longest line of an archive.
pub const ARCHIVE_LINE_BYTES_MAX: usize = 8 * 1024;
/// Reservations in one entry of the stream that a moved sale brings along, and in one command.
pub const ARRIVAL_ROWS_MAX: usize = 512;
/// Bytes of commands that bring a moved sale that are sent in one round trip, about.
pub const ARRIVAL_BYTES_MAX: usize = 1 << 20;
/// Greatest version that a restored ledger, or one that a sale has come to, may go on with: a database
/// keeps versions as signed numbers, and half of those are left for what is still to come.
pub const FIRST_VERSION_MAX: u64 = i64::MAX as u64 / 2 - 1;
/// Versions that a restored ledger leaves out at the least.
pub const GAP_VERSIONS_MIN: u64 = 1 << 32;

const _: () = assert!(MOVED_TO_BYTES_MAX <= u8::MAX as usize);
const _: () = assert!(MOVE_SALES_MAX <= MOVED_SALES_MAX);
