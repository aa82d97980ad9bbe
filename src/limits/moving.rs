//! Bounds of backups, restores, and sales that move to another ledger.

/// Removed sales that are noted in a Redis.
pub const REMOVED_SALES_MAX: usize = 100_000;
/// Gaps between its versions that a ledger remembers. Each restore makes one.
pub const GAPS_MAX: usize = 64;
/// Sales moved away that an embedded ledger notes, so that they are not created again.
pub const MOVED_SALES_MAX: usize = 10_000;
/// Longest name of the ledger that a sale was moved to.
pub const MOVED_TO_BYTES_MAX: usize = 200;
/// Sales per move.
pub const MOVE_SALES_MAX: usize = 1_000;
/// Attempts to copy a folder whose files change meanwhile.
pub const BACKUP_ATTEMPTS_MAX: usize = 20;
/// Bytes of a copy that are written before they are synced: few, so that the fdatasync of a selling
/// server never waits for a long queue.
pub const BACKUP_DIRTY_BYTES_MAX: u64 = 1 << 20;
/// Longest line of an archive.
pub const ARCHIVE_LINE_BYTES_MAX: usize = 8 * 1024;
/// Reservations in one entry of the stream that a moved sale brings along, and in one command.
pub const ARRIVAL_ROWS_MAX: usize = 512;
/// Approximate bytes of commands per round trip when a sale is moved.
pub const ARRIVAL_BYTES_MAX: usize = 1 << 20;
/// Greatest version from which a restored ledger, or the target of a move, may continue. A database
/// keeps versions as signed numbers, and half of them are left for later changes.
pub const FIRST_VERSION_MAX: u64 = i64::MAX as u64 / 2 - 1;
/// Minimum number of versions that a restored ledger skips.
pub const GAP_VERSIONS_MIN: u64 = 1 << 32;

const _: () = assert!(MOVED_TO_BYTES_MAX <= u8::MAX as usize);
const _: () = assert!(MOVE_SALES_MAX <= MOVED_SALES_MAX);
