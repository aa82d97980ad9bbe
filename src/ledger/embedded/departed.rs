//! Sales that were moved to another ledger: they must not be created here again under their names,
//! or the same units would be sold twice.

use std::collections::BTreeMap;

use super::codec::put_text;
use super::reader::{Malformed, Reader};
use crate::limits::{MOVED_SALES_MAX, MOVED_TO_BYTES_MAX};
use crate::sale::SaleId;

/// The sales, each with its new ledger.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub(super) struct Departed(BTreeMap<SaleId, Box<str>>);

impl Departed {
    /// The new ledger of a sale.
    pub(super) fn to(&self, sale: &SaleId) -> Option<&str> {
        self.0.get(sale).map(|to| &**to)
    }

    /// How many more there may be.
    pub(super) fn room(&self) -> usize {
        MOVED_SALES_MAX.saturating_sub(self.0.len())
    }

    /// Notes the new ledger of a sale.
    pub(super) fn add(&mut self, sale: SaleId, to: &str) {
        self.0.insert(sale, to[..to.floor_char_boundary(MOVED_TO_BYTES_MAX)].into());
    }

    /// Drops a sale that has come back.
    pub(super) fn remove(&mut self, sale: &SaleId) {
        self.0.remove(sale);
    }

    /// Encodes them for a record.
    pub(super) fn put(&self, out: &mut Vec<u8>) {
        out.extend_from_slice(&(self.0.len() as u32).to_le_bytes());
        for (sale, to) in &self.0 {
            put_text(out, sale.as_str());
            put_text(out, to);
        }
    }

    /// Decodes the output of [`put`](Self::put).
    pub(super) fn read(reader: &mut Reader<'_>) -> Result<Self, Malformed> {
        let mut departed = Self::default();
        for _ in 0..reader.u32("number of moved sales")? {
            let sale =
                SaleId::new(reader.text("moved sale")?).map_err(|_| Malformed("moved sale"))?;
            departed.add(sale, reader.text("where a sale was moved to")?);
        }
        Ok(departed)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn departed_sales_round_trip() {
        let sale = |id: &str| SaleId::new(id).unwrap();
        let mut departed = Departed::default();
        departed.add(sale("a"), "redis://host");
        departed.add(sale("b"), &"张".repeat(MOVED_TO_BYTES_MAX));
        let mut bytes = Vec::new();
        departed.put(&mut bytes);
        assert_eq!(Departed::read(&mut Reader::new(&bytes)), Ok(departed.clone()));
        for end in 0..bytes.len() {
            assert!(Departed::read(&mut Reader::new(&bytes[..end])).is_err(), "{end}");
        }
        assert_eq!(
            (departed.to(&sale("a")), departed.to(&sale("c"))),
            (Some("redis://host"), None)
        );
        departed.remove(&sale("a"));
        assert_eq!((departed.to(&sale("a")), departed.room()), (None, MOVED_SALES_MAX - 1));
    }
}
