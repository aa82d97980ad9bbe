//! A snapshot: the state before a journal generation, in a file.
//!
//! Record 0 says how many sales there are; each sale is a record with its definition and the number
//! of its reservations, then records of reservations; a last record says that it is whole. A
//! snapshot gets its name only when it is complete and durable, so anything wrong in one is damage.

use std::fs::{self, File};
use std::io::{self, Write};
use std::path::Path;

use super::codec::{Malformed, ROW_BYTES_MIN, Reader, put_row, put_sale, put_spec, put_time};
use super::folder::{OpenError, snapshot_path, sync_folder, unfinished_path};
use super::record::{FileHeader, Kind, RECORD_HEADER_BYTES, Records, StopFlag, seal};
use super::state::State;
use crate::sale::{Machine, SaleId};

/// About how large a record of reservations is.
const CHUNK_BYTES: usize = 256 << 10;
/// Written without being made durable. Small, so that the ledger thread's fdatasync never waits
/// behind a long queue of ours.
const DIRTY_BYTES_MAX: usize = 1 << 20;
const WHOLE: &[u8] = b"whole";
const TOO_FEW: Malformed = Malformed("too few reservations");

/// Writes the state before a journal generation whose first record is `first_number`.
/// `before_rename` is called when it is durable and has not got its name.
pub(super) fn write(
    folder: &Path,
    generation: u64,
    first_number: u64,
    state: &State,
    stop: &StopFlag,
    before_rename: impl FnOnce(),
) -> io::Result<()> {
    let path = snapshot_path(folder, generation);
    let unfinished = unfinished_path(&path);
    let header = FileHeader::new(Kind::Snapshot, generation, first_number)?;
    let mut output = Output {
        file: File::create(&unfinished)?,
        salt: header.salt,
        number: 0,
        dirty_bytes: 0,
        record: vec![0; RECORD_HEADER_BYTES],
        stop: stop.clone(),
    };
    output.file.write_all(&header.encode())?;
    put_time(&mut output.record, state.now_ms);
    output.record.extend_from_slice(&(state.sales.count() as u64).to_le_bytes());
    output.finish_record()?;
    for (id, machine) in state.sales.iter() {
        output.sale(id, machine)?;
    }
    output.record.extend_from_slice(WHOLE);
    output.finish_record()?;
    output.file.sync_all()?;
    before_rename();
    fs::rename(&unfinished, &path)?;
    sync_folder(folder)
}

struct Output {
    file: File,
    salt: u64,
    number: u64,
    dirty_bytes: usize,
    record: Vec<u8>,
    stop: StopFlag,
}

impl Output {
    fn sale(&mut self, id: &SaleId, machine: &Machine) -> io::Result<()> {
        let view = machine.view();
        put_sale(&mut self.record, id);
        put_time(&mut self.record, view.now_ms);
        put_spec(&mut self.record, &view.spec);
        self.record.extend_from_slice(&(machine.rows().len() as u64).to_le_bytes());
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
        seal(&mut self.record, self.salt, self.number);
        self.file.write_all(&self.record)?;
        self.number += 1;
        self.dirty_bytes += self.record.len();
        self.record.truncate(RECORD_HEADER_BYTES);
        if self.dirty_bytes >= DIRTY_BYTES_MAX {
            self.file.sync_data()?;
            self.dirty_bytes = 0;
        }
        Ok(())
    }
}

/// Reads a snapshot: the state, and the number of the first record after it.
pub(super) fn read(
    folder: &Path,
    generation: u64,
    stop: &StopFlag,
) -> Result<(State, u64), OpenError> {
    let path = snapshot_path(folder, generation);
    let records = Records::open(&path, Kind::Snapshot, generation, stop)?;
    let mut input = Input { records, number: 0 };
    let (now_ms, sale_count) = input.read(|record| {
        let mut reader = Reader::new(record);
        Ok((reader.time()?, reader.u64("number of sales")?))
    })?;
    let mut state = State { now_ms, ..State::default() };
    for _ in 0..sale_count {
        let (id, machine) = input.sale()?;
        state.sales.insert(id, machine);
    }
    input.read(|record| if record == WHOLE { Ok(()) } else { Err(Malformed("end")) })?;
    let first_number = input.records.header().first_number;
    Ok((state, first_number))
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
            let (id, now_ms, spec) = (reader.sale()?, reader.time()?, reader.spec()?);
            Ok((id, Machine::restore(spec, now_ms), reader.u64("number of reservations")?))
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
        Ok((id, machine))
    }
}

/// Puts back the rows of one record. Gives how many are still to come.
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
