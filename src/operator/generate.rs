//! `stampede completions` and `stampede man`: what the command line's definition gives besides help.

use std::fs;
use std::io::Write;
use std::path::Path;

use super::arguments::quoted;
use super::failure::Failure;
use crate::cli::{self, CompletionsOptions, ManOptions};

/// Prints the completions for a shell.
pub fn completions(options: &CompletionsOptions, out: &mut dyn Write) -> Result<(), Failure> {
    Ok(out.write_all(&cli::completions(options.shell))?)
}

/// Writes the man pages to a folder and prints their paths.
pub fn man(options: &ManOptions, out: &mut dyn Write) -> Result<(), Failure> {
    let folder = Path::new(&options.to);
    let failed = |path: &Path, error: std::io::Error| {
        Failure::Failed(format!(
            "--to {}: can't be written: {error}",
            quoted(&path.display().to_string())
        ))
    };
    fs::create_dir_all(folder).map_err(|error| failed(folder, error))?;
    for page in cli::man_pages() {
        let path = folder.join(page.file);
        fs::write(&path, page.text).map_err(|error| failed(&path, error))?;
        writeln!(out, "{}", path.display())?;
    }
    Ok(())
}
