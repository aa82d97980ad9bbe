//! A snapshot: the state before a journal generation, in a file.
//!
//! Record 0 has the number of sales, the numbers without a record and the sales that were moved to
//! another ledger (both missing in those of 0.1.0). Each sale is a record with its definition, the
//! number of its reservations, and its rules, types and seats, if it has any, then records of reservations. A last
//! record says that the snapshot is complete. A snapshot gets its name only when it is complete and
//! durable, so any fault in one is damage.

use std::fs::File;
use std::io;
use std::path::Path;

use super::codec::{ROW_BYTES_MIN, put_row, put_sale, put_time};
use super::data_dir::{snapshot_path, unfinished_path};
use super::definition::{put_rules, put_spec};
use super::departed::Departed;
use super::disk::{self, Unfinished};
use super::open_error::OpenError;
use super::reader::{Malformed, Reader};
use super::record::{
    FILE_HEADER_BYTES, FileHeader, Kind, RECORD_HEADER_BYTES, Records, StopFlag, seal,
};
use super::state::LedgerState;
use crate::sale::{Machine, SaleId};

/// The approximate size of a record of reservations.
const CHUNK_BYTES: usize = 256 << 10;
/// The maximum of unsynced bytes. Small, so that the ledger thread's fdatasync never waits for a
/// long queue of ours.
const DIRTY_BYTES_MAX: usize = 1 << 20;
/// The last record.
pub(super) const WHOLE: &[u8] = b"whole";
const TOO_FEW: Malformed = Malformed("too few reservations");

/// Writes the state before a journal generation whose first record is `first_number`. Calls
/// `before_rename` when it is durable and not renamed yet. After an error there is no file, or a
/// complete one.
pub(super) fn write(
    folder: &Path,
    generation: u64,
    first_number: u64,
    state: &LedgerState,
    stop: &StopFlag,
    before_rename: impl FnOnce(),
) -> io::Result<()> {
    let path = snapshot_path(folder, generation);
    let header = FileHeader::new(Kind::Snapshot, generation, first_number)?;
    let unfinished = Unfinished::create(unfinished_path(&path), path)?;
    disk::write_at(unfinished.file(), &header.encode(), 0)?;
    Output::new(Some(unfinished.file()), header.salt, stop).state(state)?;
    disk::sync(unfinished.file())?;
    before_rename();
    unfinished.name()?;
    disk::sync_folder(folder)
}

/// The number of bytes that [`write`] writes.
pub(super) fn bytes(state: &LedgerState, stop: &StopFlag) -> io::Result<u64> {
    Output::new(None, 0, stop).state(state)
}

struct Output<'a> {
    /// `None`: only measures the size.
    file: Option<&'a File>,
    salt: u64,
    number: u64,
    /// The offset of the next record.
    offset: u64,
    dirty_bytes: usize,
    record: Vec<u8>,
    stop: &'a StopFlag,
}

impl<'a> Output<'a> {
    fn new(file: Option<&'a File>, salt: u64, stop: &'a StopFlag) -> Self {
        let (offset, record) = (FILE_HEADER_BYTES as u64, vec![0; RECORD_HEADER_BYTES]);
        Self { file, salt, number: 0, offset, dirty_bytes: 0, record, stop }
    }

    /// Writes all records. Returns the end of the last one.
    fn state(mut self, state: &LedgerState) -> io::Result<u64> {
        put_time(&mut self.record, state.now_ms);
        self.record.extend_from_slice(&(state.sales.count() as u64).to_le_bytes());
        self.record.extend_from_slice(&(state.gaps.iter().len() as u32).to_le_bytes());
        for gap in state.gaps.iter() {
            self.record.extend_from_slice(&gap.start().to_le_bytes());
            self.record.extend_from_slice(&gap.end().to_le_bytes());
        }
        state.departed.put(&mut self.record);
        self.finish_record()?;
        for (id, machine) in state.sales.iter() {
            self.sale(id, machine)?;
        }
        self.record.extend_from_slice(WHOLE);
        self.finish_record()?;
        Ok(self.offset)
    }

    fn sale(&mut self, id: &SaleId, machine: &Machine) -> io::Result<()> {
        let view = machine.view();
        put_sale(&mut self.record, id);
        put_time(&mut self.record, view.now_ms);
        put_spec(&mut self.record, &view.spec);
        self.record.extend_from_slice(&(machine.rows().len() as u64).to_le_bytes());
        put_rules(&mut self.record, &view.spec);
        self.finish_record()?;
        for row in machine.rows().iter() {
            put_row(&mut self.record, row);
            if self.record.len() >= CHUNK_BYTES {
                self.finish_record()?;
            }
        }
        if self.record.len() > RECORD_HEADER_BYTES { self.finish_record() } else { Ok(()) }
    }

    fn finish_record(&mut self) -> io::Result<()> {
        self.stop.check()?;
        if let Some(file) = self.file {
            seal(&mut self.record, self.salt, self.number);
            disk::write_at(file, &self.record, self.offset)?;
            self.dirty_bytes += self.record.len();
            if self.dirty_bytes >= DIRTY_BYTES_MAX {
                disk::sync_data(file)?;
                self.dirty_bytes = 0;
            }
        }
        self.number += 1;
        self.offset += self.record.len() as u64;
        self.record.truncate(RECORD_HEADER_BYTES);
        Ok(())
    }
}

/// Reads a snapshot: the state, and the number of the first record after it.
pub(super) fn read(
    folder: &Path,
    generation: u64,
    stop: &StopFlag,
) -> Result<(LedgerState, u64), OpenError> {
    let path = snapshot_path(folder, generation);
    let records = Records::open(&path, Kind::Snapshot, generation, stop)?;
    let mut input = Input { records, number: 0 };
    let (mut state, sale_count) = input.read(read_head)?;
    for _ in 0..sale_count {
        let (id, machine) = input.sale()?;
        if state.sales.number(&id).is_some() {
            return Err(input.records.corrupt("a sale that is there twice"));
        }
        state.sales.insert(id, machine);
    }
    input.read(|record| if record == WHOLE { Ok(()) } else { Err(Malformed("end")) })?;
    let first_number = input.records.header().first_number;
    Ok((state, first_number))
}

/// Reads record 0: the state without its sales, and the number of sales.
pub(super) fn read_head(record: &[u8]) -> Result<(LedgerState, u64), Malformed> {
    let mut reader = Reader::new(record);
    let (now_ms, sale_count) = (reader.time()?, reader.u64("number of sales")?);
    let mut state = LedgerState { now_ms, ..LedgerState::default() };
    if !reader.is_empty() {
        for _ in 0..reader.u32("number of gaps")? {
            let gap = reader.u64("gap")?..=reader.u64("gap")?;
            if !state.gaps.push(gap) {
                return Err(Malformed("gaps that can't be"));
            }
        }
        state.departed = Departed::read(&mut reader)?;
        if !reader.is_empty() {
            return Err(Malformed("more than the head of a snapshot has"));
        }
    }
    Ok((state, sale_count))
}

struct Input {
    records: Records,
    number: u64,
}

impl Input {
    fn read<T>(
        &mut self,
        decode: impl FnOnce(&[u8]) -> Result<T, Malformed>,
    ) -> Result<T, OpenError> {
        let decoded = match self.records.next(self.number)? {
            Some(record) => decode(record),
            None => Err(Malformed("no such record")),
        };
        self.number += 1;
        decoded.map_err(|Malformed(what)| self.records.corrupt(what))
    }

    fn sale(&mut self) -> Result<(SaleId, Machine), OpenError> {
        let (id, mut machine, count) = self.read(|record| {
            let mut reader = Reader::new(record);
            reader.byte("sale")?;
            let (id, now_ms, mut spec) = (reader.sale()?, reader.time()?, reader.spec()?);
            let count = reader.u64("number of reservations")?;
            if !reader.is_empty() {
                spec.rules = reader.rules()?;
            }
            if !reader.is_empty() {
                spec.types = reader.types()?;
            }
            if !reader.is_empty() {
                let plan = reader.plan()?;
                if spec.types != *plan.classes() {
                    return Err(Malformed("seats of other classes"));
                }
                spec.plan = Some(plan);
            }
            Ok((id, Machine::restore(spec, now_ms), count))
        })?;
        if count > self.records.file_bytes() / ROW_BYTES_MIN {
            return Err(self.records.corrupt(TOO_FEW.0));
        }
        machine.reserve_rows(count as usize);
        let mut left = count;
        while left > 0 {
            left = self.read(|record| restore_rows(&mut machine, record, left))?;
        }
        let view = machine.view();
        if view.held + view.confirmed > view.spec.total {
            return Err(self.records.corrupt("more units sold than there are"));
        }
        if view.types().any(|(_, cap, units, _)| units.sold() > cap) {
            return Err(self.records.corrupt("more units of a ticket type sold than there are"));
        }
        if !machine.seats_agree() {
            return Err(self.records.corrupt("a seat that is sold twice, or is none"));
        }
        Ok((id, machine))
    }
}

/// Restores the rows of one record. Returns the number of rows to come.
fn restore_rows(machine: &mut Machine, record: &[u8], mut left: u64) -> Result<u64, Malformed> {
    let mut reader = Reader::new(record);
    if reader.is_empty() {
        return Err(TOO_FEW);
    }
    while !reader.is_empty() {
        left = left.checked_sub(1).ok_or(Malformed("too many reservations"))?;
        machine.restore_row(reader.row()?);
    }
    Ok(left)
}
