//! The columns of a plan: groups of whole rows with at most 30 seats, whose sold seats are the bits
//! of one word per leg.

use super::block::Block;
use super::seat::Seat;
use crate::limits::COLUMN_SEATS_MAX;
use crate::sale::types::Types;

/// One column.
#[derive(Debug, Clone, Copy)]
pub(super) struct Column {
    /// The block whose rows it has.
    pub(super) block: u8,
    /// The class, as a position in the sale's types.
    pub(super) class: u8,
    /// The coach.
    pub(super) coach: u8,
    /// Letters per row.
    pub(super) width: u8,
    /// Its first row.
    pub(super) first_row: u8,
    /// A bit per seat.
    pub(super) seats: u32,
    /// The first and last seats of the rows.
    pub(super) windows: u32,
    /// The seats next to an aisle.
    pub(super) aisles: u32,
    /// The first seats of the rows.
    pub(super) row_starts: u32,
}

impl Column {
    /// The seats at which a run of this length may begin.
    pub(super) fn run_starts(&self, length: u32) -> u32 {
        let starts = (u32::from(self.width) + 1).saturating_sub(length);
        (0..starts).fold(0, |mask, at| mask | self.row_starts << at)
    }
}

/// Where a seat is kept.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub struct Place {
    /// The column.
    pub(super) column: u16,
    /// The bit.
    pub(super) bit: u8,
}

/// The columns of a plan, in its order.
#[derive(Debug, Clone)]
pub struct Columns {
    columns: Box<[Column]>,
    /// The first column of each block.
    first: Box<[u16]>,
    /// Coach, first row and block, sorted, so that a seat's block is found.
    rows: Box<[(u8, u8, u8)]>,
    /// Per class the numbers of its columns, in order.
    by_class: Box<[Box<[u16]>]>,
}

impl Columns {
    pub(super) fn of(blocks: &[Block], classes: &Types) -> Self {
        let (mut columns, mut first, mut rows) = (Vec::new(), Vec::new(), Vec::new());
        for (number, block) in blocks.iter().enumerate() {
            first.push(columns.len() as u16);
            rows.push((block.coach, block.first_row, number as u8));
            let class = classes.position(&block.class).expect("each block's class is one") as u8;
            let mut next = block.first_row;
            while next <= block.last_row {
                let rows = rows_per_column(block).min(usize::from(block.last_row - next) + 1);
                columns.push(column(number as u8, class, block, next, rows));
                next += rows as u8;
            }
        }
        rows.sort_unstable();
        let of_class = |class: usize| {
            let is_of = |at: &u16| usize::from(columns[usize::from(*at)].class) == class;
            (0..columns.len() as u16).filter(is_of).collect()
        };
        let by_class = (0..classes.len()).map(of_class).collect();
        Self { columns: columns.into(), first: first.into(), rows: rows.into(), by_class }
    }

    /// How many columns there are.
    pub fn len(&self) -> usize {
        self.columns.len()
    }

    /// Whether there are none, which no plan has.
    pub fn is_empty(&self) -> bool {
        self.columns.is_empty()
    }

    /// The block of a place.
    pub fn block_at(&self, place: Place) -> u8 {
        self.get(place.column).block
    }

    pub(super) fn get(&self, number: u16) -> &Column {
        &self.columns[usize::from(number)]
    }

    pub(super) fn iter(&self) -> impl ExactSizeIterator<Item = &Column> {
        self.columns.iter()
    }

    /// The columns of a class, in order.
    pub(super) fn of_class(&self, class: usize) -> &[u16] {
        self.by_class.get(class).map_or(&[], |columns| columns)
    }

    /// Where a seat of these blocks is kept. `None`: there is no such seat.
    pub fn place_of(&self, blocks: &[Block], seat: Seat) -> Option<Place> {
        let after =
            self.rows.partition_point(|&(coach, row, _)| (coach, row) <= (seat.coach, seat.row));
        let &(coach, _, number) = self.rows.get(after.checked_sub(1)?)?;
        let block = &blocks[usize::from(number)];
        if coach != seat.coach || seat.row > block.last_row {
            return None;
        }
        let row = usize::from(seat.row - block.first_row);
        let (in_block, in_column) = (row / rows_per_column(block), row % rows_per_column(block));
        let bit = in_column * block.letters.width() + block.letters.position(seat.letter)?;
        Some(Place { column: self.first[usize::from(number)] + in_block as u16, bit: bit as u8 })
    }

    /// The seat that is kept here.
    pub fn seat_at(&self, blocks: &[Block], place: Place) -> Seat {
        let column = self.get(place.column);
        let block = &blocks[usize::from(column.block)];
        let (row, at) = (place.bit / column.width, place.bit % column.width);
        let letter = block.letters.iter().nth(usize::from(at)).map_or(b'?', |(letter, _)| letter);
        Seat { coach: column.coach, row: column.first_row + row, letter }
    }
}

fn rows_per_column(block: &Block) -> usize {
    COLUMN_SEATS_MAX / block.letters.width()
}

fn column(number: u8, class: u8, block: &Block, first_row: u8, rows: usize) -> Column {
    let width = block.letters.width();
    let (mut windows, mut aisles) = (0, 0);
    for (at, (_, is_aisle)) in block.letters.iter().enumerate() {
        windows |= u32::from(at == 0 || at + 1 == width) << at;
        aisles |= u32::from(is_aisle) << at;
    }
    let all_rows = |row: u32| (0..rows).fold(0, |mask, n| mask | row << (n * width));
    Column {
        block: number,
        class,
        coach: block.coach,
        width: width as u8,
        first_row,
        seats: all_rows((1 << width) - 1),
        windows: all_rows(windows),
        aisles: all_rows(aisles),
        row_starts: all_rows(1),
    }
}
