//! The options of `stampede completions` and `stampede man`.

use clap::{Args, Command};
use clap_complete::Shell;

/// The options of completions.
#[derive(Args)]
#[command(after_long_help = AFTER_COMPLETIONS_HELP, max_term_width = 100)]
pub struct CompletionsOptions {
    /// The shell
    pub shell: Shell,
}

/// The options of man.
#[derive(Args)]
#[command(after_long_help = AFTER_MAN_HELP, max_term_width = 100)]
pub struct ManOptions {
    /// Write the pages to this folder, which is created if it is missing
    ///
    /// Pages of the same name are replaced.
    #[arg(long, value_name = "FOLDER")]
    pub to: String,
}

/// The script that completes a command line in a shell.
pub(super) fn completions(command: &mut Command, shell: Shell) -> Vec<u8> {
    let mut script = Vec::new();
    clap_complete::generate(shell, command, "stampede", &mut script);
    script
}

const AFTER_COMPLETIONS_HELP: &str = "\
The Debian package installs the scripts of bash, zsh and fish.

Examples:
  bash, for you alone:
      stampede completions bash > ~/.local/share/bash-completion/completions/stampede
  zsh, where ~/.zfunc is in the fpath:
      stampede completions zsh > ~/.zfunc/_stampede
  fish:
      stampede completions fish > ~/.config/fish/completions/stampede.fish

Exit codes:
  0  done
  1  failure: standard output takes nothing
  2  usage: the shell is not known";

const AFTER_MAN_HELP: &str = "\
The Debian package installs the pages.

Examples:
  Read a page without installing it:
      stampede man --to /tmp/man && man -l /tmp/man/stampede-sale.1
  Install the pages for you alone:
      stampede man --to ~/.local/share/man/man1

Exit codes:
  0  done
  1  failure: the folder can't be written
  2  usage: an option is wrong";

#[cfg(test)]
mod tests {
    use std::fs;
    use std::path::Path;

    use super::*;
    use crate::cli::completions;

    #[test]
    fn the_completions_under_packaging_are_current() {
        let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("packaging/completions");
        for (shell, file) in [
            (Shell::Bash, "stampede.bash"),
            (Shell::Zsh, "_stampede"),
            (Shell::Fish, "stampede.fish"),
        ] {
            let kept = fs::read(folder.join(file)).unwrap();
            assert!(kept == completions(shell), "{file} is not current: run packaging/generate");
        }
    }
}
