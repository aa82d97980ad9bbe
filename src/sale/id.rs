//! The ids of sale, reservation, user and idempotency key. Each is valid by construction.

use std::cmp::Ordering;
use std::fmt;
use std::hash::{BuildHasher, Hash, Hasher};
use std::sync::{Arc, LazyLock};

use hashbrown::DefaultHashBuilder;

use super::split::home_part;
use crate::limits::{KEY_BYTES_MAX, NOTE_BYTES_MAX, SALE_ID_BYTES_MAX, SPLITS_MAX, USER_BYTES_MAX};

/// Why a text is not a valid id. The message says what would be valid.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum IdError {
    /// Empty, too long, or with a character that isn't allowed.
    #[error("a sale id is 1 to {SALE_ID_BYTES_MAX} bytes of a-z 0-9 . _ -")]
    Sale,
    /// Empty, too long, or with a control character.
    #[error("a user is 1 to {USER_BYTES_MAX} bytes of UTF-8 without control characters")]
    User,
    /// Empty, too long, or with a control character.
    #[error("an idempotency key is 1 to {KEY_BYTES_MAX} bytes of UTF-8 without control characters")]
    Key,
    /// Empty, too long, or with a control character.
    #[error("a note is 1 to {NOTE_BYTES_MAX} bytes of UTF-8 without control characters")]
    Note,
    /// Not `<sale>~<26 characters>`, nor `<sale>~2of4~<26 characters>`.
    #[error("a reservation id is a sale id, `~` and 26 characters of 0-9 a-z")]
    Reservation,
}

/// The separator of a sale's id and the number of a part. No id of a sale contains it.
const PART_MARK: char = '~';

/// The id of a sale: 1 to 64 bytes of `a-z 0-9 . _ -`. For one part of a split sale, the number of
/// the part follows: `ticket~2of4`; only ledgers use such an id, a client can't.
///
/// Cheap to clone, but only within one core: a reference count shared by several cores would bounce
/// between their caches. Cheap to look up: every step of a purchase looks up its sale.
#[derive(Clone)]
pub struct SaleId(Arc<Name>);

/// A name and its hash.
struct Name {
    hash: u64,
    text: Box<str>,
}

/// Seeded at random: clients choose names, and must not know which ones collide.
static HASHER: LazyLock<DefaultHashBuilder> = LazyLock::new(DefaultHashBuilder::default);

impl SaleId {
    /// From a valid name.
    fn of(text: impl Into<Box<str>>) -> Self {
        let text = text.into();
        Self(Arc::new(Name { hash: Self::hash_of(&text), text }))
    }

    /// The hash of an id with this text.
    pub fn hash_of(text: &str) -> u64 {
        HASHER.hash_one(text)
    }

    /// Validates a sale id.
    pub fn new(text: &str) -> Result<Self, IdError> {
        let legal = |b: u8| matches!(b, b'a'..=b'z' | b'0'..=b'9' | b'.' | b'_' | b'-');
        if text.is_empty() || text.len() > SALE_ID_BYTES_MAX || !text.bytes().all(legal) {
            return Err(IdError::Sale);
        }
        Ok(Self::of(text))
    }

    /// Validates the id of a sale or of a part, as a ledger has it.
    pub fn from_ledger(text: &str) -> Result<Self, IdError> {
        let Some((sale, place)) = text.split_once(PART_MARK) else { return Self::new(text) };
        let part = Self::new(sale)?;
        let numbers = place.split_once("of").ok_or(IdError::Sale)?;
        let (Ok(number), Ok(of)) = (numbers.0.parse::<u32>(), numbers.1.parse::<u32>()) else {
            return Err(IdError::Sale);
        };
        let part = part.part(number, of).ok_or(IdError::Sale)?;
        // Each part has exactly one valid id.
        (part.as_str() == text).then_some(part).ok_or(IdError::Sale)
    }

    /// The id of the part of this number, from 1, of this many. `None`: there is no such part.
    pub fn part(&self, number: u32, of: u32) -> Option<Self> {
        let legal = (2..=SPLITS_MAX).contains(&of) && (1..=of).contains(&number);
        legal.then(|| Self::of(format!("{}{PART_MARK}{number}of{of}", self.whole_str())))
    }

    /// The id of the part to which a user belongs, or an anonymous buyer by the key. `None`: the
    /// sale can't have that many parts.
    pub fn part_of_owner(&self, owner: &str, of: u32) -> Option<Self> {
        self.part(home_part(owner, of), of)
    }

    /// Whether it is a part of a split sale.
    pub fn is_part(&self) -> bool {
        self.as_str().contains(PART_MARK)
    }

    /// The number of the part, from 1, and the number of parts.
    pub fn part_number(&self) -> Option<(u32, u32)> {
        let (_, place) = self.as_str().split_once(PART_MARK)?;
        let (number, of) = place.split_once("of")?;
        Some((number.parse().ok()?, of.parse().ok()?))
    }

    /// The id of the whole sale, as text.
    pub fn whole_str(&self) -> &str {
        self.as_str().split_once(PART_MARK).map_or(self.as_str(), |(whole, _)| whole)
    }

    /// The id of the whole sale.
    pub fn whole(&self) -> Self {
        if self.is_part() { Self::of(self.whole_str()) } else { self.clone() }
    }

    /// The id as text.
    pub fn as_str(&self) -> &str {
        &self.0.text
    }

    /// The same id with its own reference count, for another core.
    pub fn detached(&self) -> Self {
        Self::of(self.as_str())
    }
}

impl PartialEq for SaleId {
    fn eq(&self, other: &Self) -> bool {
        Arc::ptr_eq(&self.0, &other.0) || self.0.hash == other.0.hash && self.0.text == other.0.text
    }
}

impl Eq for SaleId {}

impl Hash for SaleId {
    fn hash<H: Hasher>(&self, state: &mut H) {
        state.write_u64(self.0.hash);
    }
}

impl PartialOrd for SaleId {
    fn partial_cmp(&self, other: &Self) -> Option<Ordering> {
        Some(self.cmp(other))
    }
}

impl Ord for SaleId {
    fn cmp(&self, other: &Self) -> Ordering {
        self.as_str().cmp(other.as_str())
    }
}

impl fmt::Display for SaleId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.as_str())
    }
}

impl fmt::Debug for SaleId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "SaleId({})", self.as_str())
    }
}

fn is_name(text: &str, bytes_max: usize) -> bool {
    // Nearly all are visible ASCII, which needs no decoding.
    let plain = text.bytes().all(|byte| (b' '..=b'~').contains(&byte));
    !text.is_empty() && text.len() <= bytes_max && (plain || !text.chars().any(char::is_control))
}

/// The user who has a reservation: 1 to 128 bytes of UTF-8 without control characters.
#[derive(Debug, Clone, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct User(Box<str>);

impl User {
    /// Validates a user.
    pub fn new(text: &str) -> Result<Self, IdError> {
        if !is_name(text, USER_BYTES_MAX) {
            return Err(IdError::User);
        }
        Ok(Self(text.into()))
    }

    /// The user as text.
    pub fn as_str(&self) -> &str {
        &self.0
    }
}

/// An idempotency key: 1 to 255 bytes of UTF-8 without control characters. It belongs to a user:
/// two users may use the same key.
#[derive(Debug, Clone, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct Key(Box<str>);

impl Key {
    /// Validates a key.
    pub fn new(text: &str) -> Result<Self, IdError> {
        if !is_name(text, KEY_BYTES_MAX) {
            return Err(IdError::Key);
        }
        Ok(Self(text.into()))
    }

    /// The key as text.
    pub fn as_str(&self) -> &str {
        &self.0
    }
}

/// The id of a reservation within its sale: 128 bits, created by the instance that sends the
/// request. At least the last 80 bits are random, so nobody can guess another's id. As text: 26
/// characters of Crockford's base 32 in lower case.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct ReservationId(pub u128);

/// Length of a [`ReservationId`] as text.
pub const RESERVATION_ID_TEXT_BYTES: usize = 26;

/// Characters at the start of a [`ReservationId`]'s text that ids of the same batch may share.
/// These may be known to others; the following characters must not be guessable.
pub const ID_PREFIX_TEXT_BYTES: usize = 10;
/// The same in bits: the first character stands for 3, the others for 5.
pub const ID_PREFIX_BITS: u32 = 3 + 5 * (ID_PREFIX_TEXT_BYTES as u32 - 1);
/// The maximum number of ids that share a prefix. A change of one of them rewrites the data of all:
/// in Redis, confirming one of 512 took 190 us, one of 64 took 33 us, and one kept alone 10 us.
pub const ID_PREFIX_SHARED_MAX: usize = 64;

const ALPHABET: &[u8; 32] = b"0123456789abcdefghjkmnpqrstvwxyz";

impl ReservationId {
    /// The id as 26 bytes of ASCII.
    pub fn to_text(self) -> [u8; RESERVATION_ID_TEXT_BYTES] {
        let mut text = [0; RESERVATION_ID_TEXT_BYTES];
        let mut rest = self.0;
        for byte in text.iter_mut().rev() {
            *byte = ALPHABET[(rest & 31) as usize];
            rest >>= 5;
        }
        text
    }

    /// Parses the output of [`to_text`](Self::to_text), and nothing else: each id has one text.
    pub fn from_text(text: &[u8]) -> Result<Self, IdError> {
        if text.len() != RESERVATION_ID_TEXT_BYTES || text[0] > b'7' {
            return Err(IdError::Reservation);
        }
        let mut id = 0u128;
        for &byte in text {
            let digit = ALPHABET.iter().position(|&c| c == byte).ok_or(IdError::Reservation)?;
            id = id << 5 | digit as u128;
        }
        Ok(Self(id))
    }

    /// Splits a public reservation id, `<sale>~<26 characters>`. In a split sale the part is
    /// between the two, so the id alone leads to the reservation.
    pub fn from_public(text: &str) -> Result<(SaleId, Self), IdError> {
        let (sale, id) = text.rsplit_once('~').ok_or(IdError::Reservation)?;
        let sale = SaleId::from_ledger(sale).map_err(|_| IdError::Reservation)?;
        Ok((sale, Self::from_text(id.as_bytes())?))
    }
}

/// A reservation's public id, in an array: see [`ReservationId::from_public`]. No character of it
/// needs an escape in JSON or in a URL.
#[derive(Clone, Copy)]
pub struct PublicId {
    text: [u8; PUBLIC_ID_BYTES_MAX],
    bytes: usize,
}

/// The longest id: of the part `~32of32` of the sale with the longest id.
const PUBLIC_ID_BYTES_MAX: usize = SALE_ID_BYTES_MAX + "~32of32~".len() + RESERVATION_ID_TEXT_BYTES;

impl PublicId {
    /// The public id of a reservation of this sale, or of this part.
    pub fn new(sale: &SaleId, id: ReservationId) -> Self {
        let mut text = [0; PUBLIC_ID_BYTES_MAX];
        let mut bytes = 0;
        for piece in [sale.as_str().as_bytes(), b"~", &id.to_text()] {
            text[bytes..bytes + piece.len()].copy_from_slice(piece);
            bytes += piece.len();
        }
        Self { text, bytes }
    }

    /// The id as text.
    pub fn as_str(&self) -> &str {
        str::from_utf8(&self.text[..self.bytes]).unwrap_or_default()
    }
}

impl fmt::Display for PublicId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.as_str())
    }
}

impl fmt::Display for ReservationId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(str::from_utf8(&self.to_text()).unwrap_or_default())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn reservation_id_text_round_trips_and_is_unique() {
        for id in [0, 1, 31, 32, u128::MAX, u128::MAX / 3] {
            let id = ReservationId(id);
            assert_eq!(ReservationId::from_text(&id.to_text()), Ok(id));
        }
        for bad in ["", "0", "8zzzzzzzzzzzzzzzzzzzzzzzzz", "0000000000000000000000000O"] {
            assert_eq!(ReservationId::from_text(bad.as_bytes()), Err(IdError::Reservation));
        }
    }

    #[test]
    fn names_are_bounded() {
        assert!(SaleId::new("ticket-1.a_b").is_ok());
        for bad in ["", "Ticket", "a b", "a~b", "票", &"a".repeat(65)] {
            assert_eq!(SaleId::new(bad), Err(IdError::Sale), "{bad}");
        }
        assert!(User::new("张三").is_ok());
        assert!(User::new("a\nb").is_err() && User::new("").is_err());
        assert!(User::new(&"u".repeat(129)).is_err() && Key::new(&"k".repeat(256)).is_err());
    }

    #[test]
    fn public_ids_split_into_sale_and_reservation() {
        let id = ReservationId(42);
        let longest = SaleId::new(&"s".repeat(SALE_ID_BYTES_MAX)).unwrap().part(32, 32).unwrap();
        let public = PublicId::new(&longest, id);
        assert_eq!(ReservationId::from_public(public.as_str()), Ok((longest, id)));
        let (sale, got) = ReservationId::from_public(&format!("ticket~{id}")).unwrap();
        assert_eq!((sale.as_str(), got), ("ticket", id));
        for bad in ["ticket", "~", "Ticket~00000000000000000000000001", "t~0~1"] {
            assert!(ReservationId::from_public(bad).is_err(), "{bad}");
        }
        let (sale, got) = ReservationId::from_public(&format!("ticket~2of4~{id}")).unwrap();
        assert_eq!((sale.as_str(), sale.whole_str(), got), ("ticket~2of4", "ticket", id));
    }

    #[test]
    fn a_part_has_one_name_that_clients_cannot_use() {
        let sale = SaleId::new("ticket").unwrap();
        let part = sale.part(2, 4).unwrap();
        assert_eq!(SaleId::from_ledger(part.as_str()), Ok(part.clone()));
        assert_eq!((part.part_number(), part.whole()), (Some((2, 4)), sale.clone()));
        assert!(part.is_part() && !sale.is_part() && SaleId::new(part.as_str()).is_err());
        assert_eq!(SaleId::from_ledger("ticket"), Ok(sale.clone()));
        assert_eq!(part.part(3, 4), sale.part(3, 4));
        for bad in
            ["t~", "t~1", "t~0of4", "t~5of4", "t~1of1", "t~01of4", "t~+1of4", "t~1of33", "~1of4"]
        {
            assert_eq!(SaleId::from_ledger(bad), Err(IdError::Sale), "{bad}");
        }
    }
}
