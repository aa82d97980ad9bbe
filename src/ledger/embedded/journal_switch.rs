//! Switches a store to its next journal when the current one has become long.

use std::io;
use std::time::Instant;

use super::compaction::{self, Compaction, CompactionError};
use super::journal::{CLOSING_BYTES, Journal};
use super::record::StopFlag;
use super::store::Store;

impl Store {
    pub(super) fn plan_compaction(&mut self) {
        self.compact_at_changes = self.options.compaction_changes_min.max(self.snapshot_rows / 2);
    }

    pub(super) fn start_compaction(&mut self) {
        // Whatever the result, the next attempt comes much later.
        self.compact_at_changes = self.journal_changes + self.options.compaction_changes_min;
        if let Err(error) = self.try_start_compaction() {
            tracing::error!(%error, "compaction of the journal can't start; the journal grows");
        }
    }

    pub(super) fn try_start_compaction(&mut self) -> io::Result<()> {
        let started = Instant::now();
        if !self.data_dir.is_run_noted() {
            self.data_dir.note()?;
        }
        let closed = self.switch_journal()?;
        let generation = self.journal.generation();
        let (notice, stop) = (self.data_dir.notice(), StopFlag::default());
        let folder = self.data_dir.path();
        let work = compaction::start(folder, generation, self.next_number, notice, stop.clone())?;
        self.compaction = Some(Compaction { work, changes: self.journal_changes, started, stop });
        if let Err(error) = closed.trim() {
            tracing::warn!(%error, "unused space of the journal not released");
        }
        tracing::info!(
            generation,
            took_us = started.elapsed().as_micros() as u64,
            "compaction of the journal started"
        );
        Ok(())
    }

    /// Continues in a new journal. Returns the one before.
    ///
    /// A start that finds only the first of these steps must work, so the order matters. The new
    /// journal is durable before the old one is closed. Until then it is empty, and a start that
    /// finds it so continues the old one. It gets records only after the old one is closed: then a
    /// start notices if it is missing, from its first record on. The marker may be written late.
    pub(super) fn switch_journal(&mut self) -> io::Result<Journal> {
        self.journal.make_room(CLOSING_BYTES)?;
        let generation = self.journal.generation() + 1;
        let next = Journal::create(self.data_dir.path(), generation, self.next_number)?;
        if let Err(error) = self.journal.close(self.next_number) {
            self.fail(format!("closing {} failed: {error}", self.journal.path().display()));
            return Err(error);
        }
        self.data_dir.change(generation, self.version());
        Ok(std::mem::replace(&mut self.journal, next))
    }

    /// Leaves a compaction to the next start: the files are as after a crash.
    pub(super) fn abandon_compaction(&mut self) {
        if let Some(compaction) = &self.compaction {
            compaction.stop.raise();
        }
        self.finish_compaction();
    }

    pub(super) fn finish_compaction(&mut self) {
        let Some(compaction) = self.compaction.take() else { return };
        let took_ms = compaction.started.elapsed().as_millis() as u64;
        match compaction.work.join() {
            Ok(Ok(rows)) => {
                self.journal_changes -= compaction.changes;
                self.snapshot_rows = rows;
                self.plan_compaction();
                tracing::info!(reservations = rows, took_ms, "journal compacted");
            }
            Ok(Err(_)) if compaction.stop.check().is_err() => {
                tracing::info!("compaction of the journal abandoned")
            }
            Ok(Err(CompactionError::NoRoom { needed_bytes, free_bytes })) => tracing::error!(
                needed_bytes,
                free_bytes,
                "not enough space to compact the journal; the journal grows"
            ),
            Ok(Err(error)) => {
                tracing::error!(%error, "compaction of the journal failed; the journal grows")
            }
            Err(_) => tracing::error!("compaction of the journal panicked; the journal grows"),
        }
    }
}
