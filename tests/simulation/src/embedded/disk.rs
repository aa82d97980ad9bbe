//! The disk under the data folder of the embedded ledger.
//!
//! The files are real ones, in memory: what is in them is what a reader sees. Beside them, this
//! keeps what is durable: the content of each file as of its last sync, the names in each folder as
//! of its last sync, and every change since. When the machine loses power, the folder becomes what
//! a disk may have kept: of each file any sectors of the writes since its last sync, of the names
//! some of the changes.
//!
//! A sync that fails decides what becomes of the writes before it: some sectors are durable, the
//! others never will be, although a reader sees them. So it is on Linux.

use std::collections::BTreeMap;
use std::fs::{self, DirBuilder, File, OpenOptions};
use std::io::{self, Write};
use std::os::unix::fs::{DirBuilderExt, MetadataExt, OpenOptionsExt};
use std::path::{Path, PathBuf};
use std::{env, process};

use stampede::ledger::embedded::simulation::Call;

use crate::chance::Chance;

/// The mode of a file that others can read: the ledger closes it to them.
const OPEN_MODE: u32 = 0o644;
/// One restored file in so many is like that.
const OPEN_ONE_IN: u64 = 16;

/// A file, whatever its names are. Never used again.
type FileId = u64;

/// What a name stands for.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Entry {
    Folder,
    File(FileId),
}

/// A change of names since the last sync of their folder.
#[derive(Debug, Clone)]
enum NameChange {
    Add(PathBuf, Entry),
    Remove(PathBuf),
    Rename(PathBuf, PathBuf),
}

impl NameChange {
    /// The folder whose sync makes it durable.
    fn folder(&self) -> Option<&Path> {
        match self {
            Self::Add(path, _) | Self::Remove(path) | Self::Rename(_, path) => path.parent(),
        }
    }

    fn apply(&self, names: &mut BTreeMap<PathBuf, Entry>) {
        match self {
            Self::Add(path, entry) => _ = names.insert(path.clone(), *entry),
            Self::Remove(path) => _ = names.remove(path),
            Self::Rename(from, to) => {
                if let Some(entry) = names.remove(from) {
                    names.insert(to.clone(), entry);
                }
            }
        }
    }
}

/// A change of a file since its last sync.
#[derive(Debug, Clone)]
enum Change {
    Write { offset: u64, bytes: Vec<u8> },
    Length(u64),
}

impl Change {
    fn apply(&self, content: &mut Vec<u8>) {
        match self {
            Self::Write { offset, bytes } => put(content, *offset, bytes),
            Self::Length(length) => content.resize(*length as usize, 0),
        }
    }
}

/// Writes into the content of a file, which grows as needed.
fn put(content: &mut Vec<u8>, offset: u64, bytes: &[u8]) {
    let end = offset as usize + bytes.len();
    if content.len() < end {
        content.resize(end, 0);
    }
    content[offset as usize..end].copy_from_slice(bytes);
}

#[derive(Debug, Default)]
struct Content {
    durable: Vec<u8>,
    changes: Vec<Change>,
}

impl Content {
    fn sync(&mut self) {
        for change in self.changes.drain(..) {
            change.apply(&mut self.durable);
        }
    }

    /// A sync has failed: some sectors of what was written are durable, and the rest never will be.
    /// What was done to the length is still to come.
    fn fail_sync(&mut self, sector_bytes: u64, chance: &mut Chance) {
        let length = self.durable.len() as u64;
        let survives = chance.below(3);
        for change in std::mem::take(&mut self.changes) {
            match change {
                Change::Length(_) => self.changes.push(change),
                Change::Write { offset, bytes } => {
                    let end = offset + bytes.len() as u64;
                    for (at, sector) in sectors(sector_bytes, offset, &bytes) {
                        let is_kept = survives == 2 || survives == 1 && chance.one_in(2);
                        if is_kept && at + sector.len() as u64 <= length {
                            put(&mut self.durable, at, sector);
                        }
                    }
                    // The file has become longer, and that is to come too.
                    if end > length {
                        self.changes.push(Change::Write { offset: end, bytes: Vec::new() });
                    }
                }
            }
        }
    }

    /// What a disk may have of it. Counts what is torn.
    fn survives(&self, sector_bytes: u64, chance: &mut Chance, torn: &mut u64) -> Vec<u8> {
        let mut content = self.durable.clone();
        let all = self.changes.len();
        // Changes of the length, and of which blocks a file has, are kept in order.
        let ordered = match chance.below(4) {
            0 => 0,
            1 => all,
            _ => chance.below(all as u64 + 1) as usize,
        };
        let is_torn = chance.one_in(2);
        for change in &self.changes[..ordered] {
            match change {
                Change::Write { offset, bytes } if is_torn => {
                    let end = *offset as usize + bytes.len();
                    if content.len() < end {
                        content.resize(end, 0);
                    }
                    for (at, sector) in sectors(sector_bytes, *offset, bytes) {
                        if chance.one_in(2) {
                            put(&mut content, at, sector);
                        } else {
                            *torn += 1;
                        }
                    }
                }
                change => change.apply(&mut content),
            }
        }
        // Later ones may have reached the disk as far as the file has their blocks.
        if chance.one_in(2) {
            for change in &self.changes[ordered..] {
                let Change::Write { offset, bytes } = change else { break };
                for (at, sector) in sectors(sector_bytes, *offset, bytes) {
                    if at + sector.len() as u64 <= content.len() as u64 && chance.one_in(2) {
                        put(&mut content, at, sector);
                    }
                }
            }
        }
        content
    }
}

/// The sectors of a write, each with its offset.
fn sectors(of_bytes: u64, offset: u64, bytes: &[u8]) -> impl Iterator<Item = (u64, &[u8])> {
    let (mut at, mut rest) = (offset, bytes);
    std::iter::from_fn(move || {
        let length = (of_bytes - at % of_bytes).min(rest.len() as u64);
        let (sector, after) = rest.split_at_checked(length as usize)?;
        if sector.is_empty() {
            return None;
        }
        let found = (at, sector);
        (at, rest) = (at + length, after);
        Some(found)
    })
}

/// See the module's header.
pub struct Disk {
    /// Everything is in it. It is removed at the end.
    root: PathBuf,
    /// By file.
    contents: BTreeMap<FileId, Content>,
    /// The file of each inode that is in use.
    inodes: BTreeMap<u64, FileId>,
    files: FileId,
    /// The names that a reader sees.
    names: BTreeMap<PathBuf, Entry>,
    /// The names that are durable.
    durable_names: BTreeMap<PathBuf, Entry>,
    name_changes: Vec<NameChange>,
    chance: Chance,
    /// It writes so many bytes wholly or not at all.
    sector_bytes: u64,
    /// Sectors of a write that a loss of power has lost while others of it survived.
    pub torn: u64,
}

impl Disk {
    /// An empty disk.
    ///
    /// # Errors
    /// Its folder cannot be made.
    pub fn new(seed: u64, sector_bytes: u64) -> io::Result<Self> {
        let root = folder_of(process::id()).join(seed.to_string());
        if root.exists() {
            fs::remove_dir_all(&root)?;
        }
        fs::create_dir_all(&root)?;
        Ok(Self {
            contents: BTreeMap::new(),
            inodes: BTreeMap::new(),
            files: 0,
            names: BTreeMap::new(),
            durable_names: BTreeMap::new(),
            name_changes: Vec::new(),
            chance: Chance::of(seed, "disk"),
            sector_bytes,
            torn: 0,
            root,
        })
    }

    /// The data folder of the ledger.
    pub fn data_folder(&self) -> PathBuf {
        self.root.join("ledger")
    }

    /// Whether everything that was written into the last journal is durable. An earlier one may
    /// lack its closing record: a start goes on with the next one all the same.
    pub fn journal_is_durable(&self) -> bool {
        let is_journal = |path: &Path| {
            let name = path.file_name().and_then(|name| name.to_str()).unwrap_or_default();
            name.starts_with("journal-") && path.extension().is_none()
        };
        let last = self.names.iter().rev().find(|(path, _)| is_journal(path));
        let Some((_, Entry::File(file))) = last else { return true };
        let is_write =
            |change: &Change| matches!(change, Change::Write { bytes, .. } if !bytes.is_empty());
        !self.contents[file].changes.iter().any(is_write)
    }

    /// A call was done.
    pub fn done(&mut self, call: &Call<'_>) {
        match call {
            Call::Mkdir(path) => {
                self.change_names(NameChange::Add(path.to_path_buf(), Entry::Folder))
            }
            Call::Create(path) => match self.names.get(*path) {
                Some(Entry::File(file)) => self.change(*file, Change::Length(0)),
                _ => self.add_file(path),
            },
            Call::OpenLock(path) => {
                if !self.names.contains_key(*path) {
                    self.add_file(path);
                }
            }
            Call::Write { file, bytes, offset } => {
                let change = Change::Write { offset: *offset, bytes: bytes.to_vec() };
                if let Some(file) = self.file(file) {
                    self.change(file, change);
                }
            }
            Call::SyncData(file) | Call::Sync(file) => {
                let content = self.file(file).and_then(|file| self.contents.get_mut(&file));
                content.into_iter().for_each(Content::sync);
            }
            Call::SyncFolder(folder) => {
                let changes = std::mem::take(&mut self.name_changes);
                for change in changes {
                    match change.folder() == Some(folder) {
                        true => change.apply(&mut self.durable_names),
                        false => self.name_changes.push(change),
                    }
                }
            }
            Call::Rename(from, to) => {
                self.change_names(NameChange::Rename(from.to_path_buf(), to.to_path_buf()));
            }
            Call::Rmdir(path) | Call::Unlink(path) => {
                self.change_names(NameChange::Remove(path.to_path_buf()));
            }
            Call::Truncate(file, length) => {
                if let Some(file) = self.file(file) {
                    self.change(file, Change::Length(*length));
                }
            }
            Call::Allocate(file, offset, length) => {
                if let Some(file) = self.file(file) {
                    self.change(file, Change::Write { offset: offset + length, bytes: Vec::new() });
                }
            }
            Call::Chmod(_) => {}
        }
    }

    /// A call has failed that makes something durable.
    pub fn failed(&mut self, call: &Call<'_>) {
        if let Call::SyncData(file) | Call::Sync(file) = call
            && let Some(file) = self.file(file)
            && let Some(content) = self.contents.get_mut(&file)
        {
            content.fail_sync(self.sector_bytes, &mut self.chance);
        }
    }

    /// The machine loses power: the folder becomes what the disk has kept.
    ///
    /// # Errors
    /// The folder cannot be written.
    pub fn lose_power(&mut self) -> io::Result<()> {
        let mut names = self.durable_names.clone();
        let changes = std::mem::take(&mut self.name_changes);
        // Most file systems keep the order of these changes, and all keep a rename whole.
        let is_ordered = self.chance.one_in(2);
        let ordered = self.chance.below(changes.len() as u64 + 1) as usize;
        for (number, change) in changes.iter().enumerate() {
            let is_kept = if is_ordered { number < ordered } else { self.chance.one_in(2) };
            if is_kept {
                change.apply(&mut names);
            }
        }
        let contents = std::mem::take(&mut self.contents);
        fs::remove_dir_all(&self.root)?;
        fs::create_dir_all(&self.root)?;
        (self.names, self.inodes) = (BTreeMap::new(), BTreeMap::new());
        for (path, entry) in names {
            // A folder comes before what is in it.
            if path.parent().is_none_or(|folder| !folder.is_dir()) {
                continue;
            }
            match entry {
                Entry::Folder => DirBuilder::new().mode(0o700).create(&path)?,
                Entry::File(file) => {
                    let content = contents.get(&file);
                    let durable = content
                        .map(|content| {
                            let (chance, torn) = (&mut self.chance, &mut self.torn);
                            content.survives(self.sector_bytes, chance, torn)
                        })
                        .unwrap_or_default();
                    let mode = if self.chance.one_in(OPEN_ONE_IN) { OPEN_MODE } else { 0o600 };
                    let mut options = OpenOptions::new();
                    let mut written =
                        options.write(true).create_new(true).mode(mode).open(&path)?;
                    written.write_all(&durable)?;
                    self.inodes.insert(written.metadata()?.ino(), file);
                    self.contents.insert(file, Content { durable, changes: Vec::new() });
                }
            }
            self.names.insert(path, entry);
        }
        self.durable_names = self.names.clone();
        Ok(())
    }

    /// Removes everything that is on it.
    pub fn remove(&self) {
        let _ = fs::remove_dir_all(&self.root);
        // Only the last disk of a process finds it empty.
        let _ = fs::remove_dir(folder_of(process::id()));
    }

    fn file(&self, file: &File) -> Option<FileId> {
        self.inodes.get(&file.metadata().ok()?.ino()).copied()
    }

    fn change(&mut self, file: FileId, change: Change) {
        self.contents.entry(file).or_default().changes.push(change);
    }

    fn add_file(&mut self, path: &Path) {
        self.files += 1;
        let file = self.files;
        if let Ok(metadata) = fs::metadata(path) {
            self.inodes.insert(metadata.ino(), file);
        }
        self.contents.insert(file, Content::default());
        self.change_names(NameChange::Add(path.to_path_buf(), Entry::File(file)));
    }

    fn change_names(&mut self, change: NameChange) {
        change.apply(&mut self.names);
        self.name_changes.push(change);
    }
}

impl Drop for Disk {
    fn drop(&mut self) {
        self.remove();
    }
}

/// Where the disks of a process are: in memory if possible.
fn folder_of(process: u32) -> PathBuf {
    let shared = Path::new("/dev/shm");
    let base = if shared.is_dir() { shared.to_owned() } else { env::temp_dir() };
    base.join(format!("stampede-simulation-{process}"))
}

/// Removes the disks of a process that has ended.
pub fn remove_of(process: u32) {
    let _ = fs::remove_dir_all(folder_of(process));
}

#[cfg(test)]
mod tests {
    use std::os::unix::fs::FileExt;

    use super::*;

    /// A disk with a synced file of these bytes, and the file.
    fn disk_with(seed: u64, bytes: &[u8]) -> (Disk, PathBuf, File) {
        let mut disk = Disk::new(seed, 512).expect("a disk");
        let folder = disk.data_folder();
        fs::create_dir(&folder).unwrap();
        disk.done(&Call::Mkdir(&folder));
        disk.done(&Call::SyncFolder(folder.parent().unwrap()));
        let path = folder.join("journal-1");
        let file = File::create(&path).unwrap();
        disk.done(&Call::Create(&path));
        write(&mut disk, &file, bytes, 0);
        disk.done(&Call::SyncData(&file));
        disk.done(&Call::SyncFolder(&folder));
        (disk, path, file)
    }

    fn write(disk: &mut Disk, file: &File, bytes: &[u8], offset: u64) {
        file.write_all_at(bytes, offset).unwrap();
        disk.done(&Call::Write { file, bytes, offset });
    }

    #[test]
    fn what_is_synced_survives() {
        for seed in 1_000..1_050 {
            let (mut disk, path, _file) = disk_with(seed, &[7; 3_000]);
            assert!(disk.journal_is_durable());
            disk.lose_power().unwrap();
            assert_eq!(fs::read(&path).unwrap(), [7; 3_000]);
        }
    }

    #[test]
    fn of_what_is_not_synced_any_sectors_survive() {
        let (mut all, mut none, mut torn) = (0, 0, 0);
        for seed in 2_000..2_200 {
            let (mut disk, path, file) = disk_with(seed, &[1; 4_096]);
            write(&mut disk, &file, &[2; 2_048], 1_024);
            assert!(!disk.journal_is_durable());
            disk.lose_power().unwrap();
            let content = fs::read(&path).unwrap();
            assert!(content[..1_024].iter().chain(&content[3_072..]).all(|byte| *byte == 1));
            match content[1_024..3_072].chunks(512).filter(|sector| **sector == [2; 512]).count() {
                0 => none += 1,
                4 => all += 1,
                _ => torn += 1,
            }
        }
        assert!(all > 10 && none > 10 && torn > 10, "{all} {none} {torn}");
    }

    #[test]
    fn a_name_may_be_lost_until_its_folder_is_synced() {
        let mut kept = 0;
        for seed in 3_000..3_100 {
            let (mut disk, path, _file) = disk_with(seed, &[1; 10]);
            let new = path.with_extension("new");
            fs::rename(&path, &new).unwrap();
            disk.done(&Call::Rename(&path, &new));
            disk.lose_power().unwrap();
            assert!(path.exists() != new.exists(), "a rename is whole");
            kept += u32::from(new.exists());
        }
        assert!((10..90).contains(&kept), "{kept}");
    }

    #[test]
    fn a_write_before_a_failed_sync_may_be_lost_although_a_later_sync_succeeds() {
        let mut lost = 0;
        for seed in 4_000..4_100 {
            let (mut disk, path, file) = disk_with(seed, &[1; 1_024]);
            write(&mut disk, &file, &[2; 512], 0);
            disk.failed(&Call::SyncData(&file));
            disk.done(&Call::SyncData(&file));
            disk.lose_power().unwrap();
            lost += u32::from(fs::read(&path).unwrap()[0] == 1);
            // Written again, it is durable.
            let file = OpenOptions::new().write(true).open(&path).unwrap();
            write(&mut disk, &file, &[2; 512], 0);
            disk.done(&Call::SyncData(&file));
            disk.lose_power().unwrap();
            assert_eq!(fs::read(&path).unwrap()[0], 2);
        }
        assert!((10..90).contains(&lost), "{lost}");
    }
}
