//! Bounds of sales and reservations.

/// Longest sale id, in bytes of `a-z 0-9 . _ -`.
pub const SALE_ID_BYTES_MAX: usize = 64;
/// Longest user id in bytes.
pub const USER_BYTES_MAX: usize = 128;
/// Longest idempotency key in bytes.
pub const KEY_BYTES_MAX: usize = 255;
/// Longest note of a reservation in bytes.
pub const NOTE_BYTES_MAX: usize = 200;
/// Longest text of a reservation's rare details, in bytes.
pub const DETAILS_BYTES_MAX: usize = 2048;
/// The same for the part that a request gives: its lines and its note.
pub const ASKED_DETAILS_BYTES_MAX: usize = 1024;
/// Largest total of a sale: counts stay exact in a Lua number (2^53) and in JSON readers.
pub const TOTAL_MAX: u64 = 1 << 40;
/// Most parts that a sale may be split into.
pub const SPLITS_MAX: u32 = 32;
/// Most units that one part of a split sale may ever send to another: exact in a Lua number.
pub const MOVED_MAX: u64 = 1 << 52;
/// Largest quantity that any sale may allow for one reservation.
pub const QUANTITY_MAX: u32 = 1_000_000;
/// Longest hold time: one year.
pub const HOLD_MS_MAX: u64 = 366 * 24 * 3600 * 1000;
/// Latest accepted time: the end of the year 9999, in milliseconds since 1970.
pub const TIME_MS_MAX: u64 = 253_402_300_799_999;

/// Default hold time of a reservation, as in the article: five minutes.
pub const HOLD_MS_DEFAULT: u64 = 5 * 60 * 1000;
/// Default maximum of all extensions of a hold together.
pub const EXTEND_MAX_MS_DEFAULT: u64 = 5 * 60 * 1000;
/// Default maximum quantity of one reservation.
pub const QUANTITY_MAX_DEFAULT: u32 = 10;

/// Default maximum of reservations that came back (cancelled, expired, refunded), for a sale
/// without its own bound that is not split. So reserving and cancelling in a loop ends, and with it
/// the ledger's growth. A large sale may have more, by its units.
pub const RETURNED_MAX_DEFAULT: u64 = 1_000_000;
/// The same per unit of the sale's total, if that is more: each unit comes back this often.
pub const RETURNED_PER_UNIT_DEFAULT: u64 = 100;

/// Held and confirmed units up to which a sale may be given its first limit per user: the units of
/// all users are counted in one step, during which the ledger serves nothing else.
pub const LIMIT_COUNT_UNITS_MAX: u64 = 10_000;
/// The same for its reservations of any state, as far as Redis must read them.
pub const LIMIT_COUNT_LINES_MAX: u64 = 4 * LIMIT_COUNT_UNITS_MAX;

const _: () = assert!(USER_BYTES_MAX <= u8::MAX as usize);
const _: () = assert!(KEY_BYTES_MAX <= u8::MAX as usize);
// Exact in a Lua number, and in the counter of reservations.
const _: () = assert!(RETURNED_PER_UNIT_DEFAULT * TOTAL_MAX < 1 << 53);
const _: () = assert!(RETURNED_MAX_DEFAULT >= 10 * LIMIT_COUNT_LINES_MAX);
/// Most ticket types of one sale.
pub const TYPES_MAX: usize = 16;
/// Longest name of a ticket type in bytes.
pub const TYPE_NAME_BYTES_MAX: usize = 32;
/// Longest text of a reservation's lines in bytes: a name, a colon, a number and a comma for each type.
pub const LINES_BYTES_MAX: usize = TYPES_MAX * (TYPE_NAME_BYTES_MAX + 9);
/// Longest text of a sale's types in bytes: a name, a colon, a cap and a comma for each.
pub const TYPES_BYTES_MAX: usize = TYPES_MAX * (TYPE_NAME_BYTES_MAX + 15);

const _: () = assert!(QUANTITY_MAX < 10_000_000, "a quantity in lines has at most 7 digits");
const _: () = assert!(TOTAL_MAX < 10_000_000_000_000, "a cap has at most 13 digits");
const _: () = assert!(NOTE_BYTES_MAX + LINES_BYTES_MAX + 32 <= ASKED_DETAILS_BYTES_MAX);
const _: () = assert!(TYPES_BYTES_MAX <= ASKED_DETAILS_BYTES_MAX);
const _: () = assert!(NOTE_BYTES_MAX + 2 * LINES_BYTES_MAX + 96 <= DETAILS_BYTES_MAX);
const _: () = assert!(DETAILS_BYTES_MAX < 1 << 16);
const _: () = assert!(HOLD_MS_MAX < TIME_MS_MAX && TIME_MS_MAX < 1 << 53);
const _: () = assert!(TOTAL_MAX < MOVED_MAX && MOVED_MAX < 1 << 53);

/// Most stops of a seat sale.
pub const STOPS_MAX: usize = 64;
/// Longest name of a stop in bytes.
pub const STOP_NAME_BYTES_MAX: usize = 48;
/// Most classes of a seat sale.
pub const CLASSES_MAX: usize = 8;
/// Most seats of a sale.
pub const SEATS_MAX: usize = 4096;
/// Most blocks of a plan: rows of a coach with the same letters and class.
pub const BLOCKS_MAX: usize = 128;
/// Largest number of a coach or a row: a seat's text has two digits for each.
pub const SEAT_NUMBER_MAX: u8 = 99;
/// Most letters of a row.
pub const ROW_LETTERS_MAX: usize = 26;
/// Seats of a column: bits of a word that Lua's operations treat as positive.
pub const COLUMN_SEATS_MAX: usize = 30;
/// Most columns of a plan.
pub const COLUMNS_MAX: usize = 256;
/// Columns with free seats among which a purchase chooses.
pub const NEAR_COLUMNS: usize = 6;
/// Most seats of one reservation.
pub const RESERVATION_SEATS_MAX: u32 = 50;
/// Bytes of a seat's text, and a separator.
pub const SEAT_BYTES: usize = 7;
/// Longest text of a plan in bytes: version, stops, departures, and blocks as in
/// `99:class:98-99:A B:withdrawn`.
pub const PLAN_BYTES_MAX: usize = 2
    + STOPS_MAX * (STOP_NAME_BYTES_MAX + 1)
    + STOPS_MAX * 16
    + BLOCKS_MAX * (3 + TYPE_NAME_BYTES_MAX + 1 + 6 + 2 * ROW_LETTERS_MAX + 11);

const _: () = assert!(STOPS_MAX <= u8::MAX as usize && CLASSES_MAX <= TYPES_MAX);
const _: () = assert!(ROW_LETTERS_MAX <= COLUMN_SEATS_MAX && COLUMN_SEATS_MAX <= 30);
const _: () = assert!(SEATS_MAX <= COLUMNS_MAX * COLUMN_SEATS_MAX);
const _: () = assert!((SEATS_MAX * STOPS_MAX) as u64 <= TOTAL_MAX);
const _: () = assert!(
    NOTE_BYTES_MAX
        + 2 * (TYPE_NAME_BYTES_MAX + 16)
        + 2 * (STOP_NAME_BYTES_MAX + 1)
        + 2 * RESERVATION_SEATS_MAX as usize * SEAT_BYTES
        + 128
        <= DETAILS_BYTES_MAX
);
