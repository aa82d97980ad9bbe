//! The folder of a demonstration: the ledger and the orders.

use std::fs::{self, DirBuilder};
use std::io;
use std::os::unix::fs::DirBuilderExt;
use std::path::{Path, PathBuf};

/// See the module's header.
pub struct Folder {
    path: PathBuf,
    /// The folder existed before the demonstration.
    existed: bool,
}

impl Folder {
    /// Creates a temporary folder, or the named folder. The named folder may exist if it is empty.
    ///
    /// # Errors
    /// The text of the error.
    pub fn create(named: Option<&Path>) -> Result<Self, String> {
        let Some(path) = named else {
            return Self::create_temporary();
        };
        let wrong = |error: io::Error| format!("--keep {}: {error}", path.display());
        match DirBuilder::new().mode(0o700).create(path) {
            Ok(()) => Ok(Self { path: std::path::absolute(path).map_err(wrong)?, existed: false }),
            Err(error) if error.kind() == io::ErrorKind::AlreadyExists => {
                if fs::read_dir(path).map_err(wrong)?.next().is_some() {
                    let path = path.display();
                    return Err(format!("--keep {path}: the folder is not empty; name a new one"));
                }
                Ok(Self { path: std::path::absolute(path).map_err(wrong)?, existed: true })
            }
            Err(error) => Err(wrong(error)),
        }
    }

    fn create_temporary() -> Result<Self, String> {
        let mut number = [0; 4];
        getrandom::fill(&mut number).map_err(|error| format!("no random number: {error}"))?;
        let name = format!("stampede-demo-{:08x}", u32::from_ne_bytes(number));
        let path = std::env::temp_dir().join(name);
        // A folder with this name belongs to somebody else, so that it is an error.
        match DirBuilder::new().mode(0o700).create(&path) {
            Ok(()) => Ok(Self { path, existed: false }),
            Err(error) => Err(format!("no temporary folder {}: {error}", path.display())),
        }
    }

    /// The path of the folder.
    pub fn path(&self) -> &Path {
        &self.path
    }

    /// Removes the folder and its files. A folder that existed before stays, empty.
    pub fn remove(self) {
        let removed = fs::remove_dir_all(&self.path).and_then(|()| match self.existed {
            true => DirBuilder::new().mode(0o700).create(&self.path),
            false => Ok(()),
        });
        if let Err(error) = removed {
            tracing::warn!(folder = %self.path.display(), %error, "temporary folder not removed");
        }
    }
}

#[cfg(test)]
mod tests {
    use std::os::unix::fs::PermissionsExt;

    use super::*;

    #[test]
    fn a_temporary_folder_is_private_and_removed() {
        let folder = Folder::create(None).unwrap();
        let path = folder.path().to_owned();
        assert_eq!(path.metadata().unwrap().permissions().mode() & 0o777, 0o700);
        fs::write(path.join("file"), "x").unwrap();
        folder.remove();
        assert!(!path.exists());
    }

    #[test]
    fn a_kept_folder_must_be_new_or_empty() {
        let parent = tempfile::tempdir().unwrap();
        let new = parent.path().join("new");
        assert!(Folder::create(Some(&new)).is_ok_and(|folder| !folder.existed));
        assert!(Folder::create(Some(&new)).is_ok_and(|folder| folder.existed));
        fs::write(new.join("file"), "x").unwrap();
        assert!(Folder::create(Some(&new)).is_err_and(|why| why.contains("not empty")));
        assert!(new.join("file").exists());
        let nowhere = parent.path().join("no/such");
        assert!(Folder::create(Some(&nowhere)).is_err_and(|why| why.contains("--keep")));
    }
}
