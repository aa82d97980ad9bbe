//! A store's journals: when one has become long, and how the next one takes its place.

use std::io;
use std::time::Instant;

use super::fold::{self, Fold, FoldError};
use super::journal::{CLOSING_BYTES, Journal};
use super::record::StopFlag;
use super::store::Store;

impl Store {
    pub(super) fn plan_fold(&mut self) {
        self.fold_at_changes = self.options.fold_changes_min.max(self.snapshot_rows / 2);
    }

    pub(super) fn start_fold(&mut self) {
        // Whatever comes of it, the next attempt is a good while away.
        self.fold_at_changes = self.journal_changes + self.options.fold_changes_min;
        if let Err(error) = self.try_start_fold() {
            tracing::error!(%error, "the journal can't be folded now; it grows on");
        }
    }

    pub(super) fn try_start_fold(&mut self) -> io::Result<()> {
        let started = Instant::now();
        if !self.folder.is_run_noted() {
            self.folder.note()?;
        }
        let closed = self.change_journal()?;
        let generation = self.journal.generation();
        let (notice, stop) = (self.folder.notice(), StopFlag::default());
        let folder = self.folder.path();
        let thread = fold::start(folder, generation, self.next_number, notice, stop.clone())?;
        self.fold = Some(Fold { thread, changes: self.journal_changes, started, stop });
        if let Err(error) = closed.trim() {
            tracing::warn!(%error, "can't give back unused room");
        }
        tracing::info!(
            generation,
            took_us = started.elapsed().as_micros() as u64,
            "new journal; folding the one before"
        );
        Ok(())
    }

    /// Goes on in a new journal. Gives the one before.
    ///
    /// The order makes every start right that finds only the first of these steps. The new journal
    /// is durable before the old one is closed. Until then it is empty, and a start that finds it so
    /// goes on with the old one. It gets records only when the old one is closed: that it is missing
    /// is noticed from its first record on. The marker may come late.
    pub(super) fn change_journal(&mut self) -> io::Result<Journal> {
        self.journal.make_room(CLOSING_BYTES)?;
        let generation = self.journal.generation() + 1;
        let next = Journal::create(self.folder.path(), generation, self.next_number)?;
        if let Err(error) = self.journal.close(self.next_number) {
            self.fail(format!("closing {} failed: {error}", self.journal.path().display()));
            return Err(error);
        }
        self.folder.change(generation, self.version());
        Ok(std::mem::replace(&mut self.journal, next))
    }

    /// Leaves a fold to the next start: the files are as a crash would leave them.
    pub(super) fn abandon_fold(&mut self) {
        if let Some(fold) = &self.fold {
            fold.stop.raise();
        }
        self.finish_fold();
    }

    pub(super) fn finish_fold(&mut self) {
        let Some(fold) = self.fold.take() else { return };
        let took_ms = fold.started.elapsed().as_millis() as u64;
        match fold.thread.join() {
            Ok(Ok(rows)) => {
                self.journal_changes -= fold.changes;
                self.snapshot_rows = rows;
                self.plan_fold();
                tracing::info!(reservations = rows, took_ms, "journal folded");
            }
            Ok(Err(_)) if fold.stop.check().is_err() => tracing::info!("fold given up"),
            Ok(Err(FoldError::NoRoom { needed_bytes, free_bytes })) => tracing::error!(
                needed_bytes,
                free_bytes,
                "not enough space to fold the journal: free some; it grows on"
            ),
            Ok(Err(error)) => tracing::error!(%error, "the journal can't be folded; it grows on"),
            Err(_) => tracing::error!("the fold panicked; the journal grows on"),
        }
    }
}
