//! The options of a command that come from nowhere else, taken one by one.

use crate::limits::GROUP_BYTES_MAX;

/// Takes options, and notes what is wrong with them.
#[derive(Default)]
pub(super) struct Take {
    /// One text each.
    pub(super) wrong: Vec<String>,
}

impl Take {
    pub(super) fn wrong(&mut self, told: &str) {
        self.wrong.push(told.to_owned());
    }

    /// A name of a group or of a worker in it.
    pub(super) fn name(&mut self, flag: &str, value: &Option<String>, default: String) -> String {
        let value = value.clone().unwrap_or(default);
        let length = 1..=GROUP_BYTES_MAX;
        if !length.contains(&value.len()) || !value.chars().all(|c| c.is_ascii_graphic()) {
            let right = format!("1 to {GROUP_BYTES_MAX} visible ASCII characters, no spaces");
            self.wrong.push(format!("--{flag} {value:?}: must be {right}"));
        }
        value
    }

    pub(super) fn or<T>(
        &mut self,
        flag: &str,
        value: &Option<String>,
        default: T,
        parse: impl FnOnce(&str) -> Result<T, String>,
    ) -> T {
        let Some(text) = value else { return default };
        parse(text).unwrap_or_else(|problem| {
            self.wrong.push(format!("--{flag} {text:?}: {problem}"));
            default
        })
    }

    pub(super) fn missing<T>(&mut self, told: &str) -> Option<T> {
        self.wrong.push(told.to_owned());
        None
    }
}
