//! Parses the options of a command that has no environment layer and no configuration file.

use crate::limits::GROUP_BYTES_MAX;

/// Parses options and collects every problem, so that one run reports all of them.
#[derive(Default)]
pub(super) struct OptionParser {
    /// One text per problem.
    pub(super) problems: Vec<String>,
}

impl OptionParser {
    /// Adds a problem.
    pub(super) fn reject(&mut self, problem: &str) {
        self.problems.push(problem.to_owned());
    }

    /// The name of a consumer group, or of a worker in a group.
    pub(super) fn name_or(
        &mut self,
        flag: &str,
        value: &Option<String>,
        default: String,
    ) -> String {
        let value = value.clone().unwrap_or(default);
        let length = 1..=GROUP_BYTES_MAX;
        if !length.contains(&value.len()) || !value.chars().all(|c| c.is_ascii_graphic()) {
            let right = format!("1 to {GROUP_BYTES_MAX} visible ASCII characters, no spaces");
            self.problems.push(format!("--{flag} {value:?}: must be {right}"));
        }
        value
    }

    /// The value of an option, or `default` if the option is absent or its value is wrong.
    pub(super) fn value_or<T>(
        &mut self,
        flag: &str,
        value: &Option<String>,
        default: T,
        parse: impl FnOnce(&str) -> Result<T, String>,
    ) -> T {
        let Some(text) = value else { return default };
        parse(text).unwrap_or_else(|problem| {
            self.problems.push(format!("--{flag} {text:?}: {problem}"));
            default
        })
    }

    /// Adds the problem that an option is missing.
    pub(super) fn missing<T>(&mut self, problem: &str) -> Option<T> {
        self.reject(problem);
        None
    }
}
