//! Builds a configuration from the layers, setting by setting, and collects every problem.

use super::source::Layers;
use super::value::duration_within;

/// See the module's header.
pub(super) struct ConfigBuilder {
    pub layers: Layers,
    /// One text per problem.
    pub problems: Vec<String>,
}

impl ConfigBuilder {
    /// Adds a problem with the value of a setting.
    pub fn reject(&mut self, name: &str, value: &str, problem: &str) {
        let place = self.layers.place(name, value);
        self.problems.push(format!("{place}: {problem}"));
    }

    /// The value of a setting that has one value, or `default` if the setting is absent or its value is
    /// wrong.
    pub fn value_or<T>(
        &mut self,
        name: &'static str,
        default: T,
        parse: impl FnOnce(&str) -> Result<T, String>,
    ) -> T {
        let Some(text) = self.layers.values(name).and_then(|v| v.first()).cloned() else {
            return default;
        };
        parse(&text).unwrap_or_else(|problem| {
            self.reject(name, &text, &problem);
            default
        })
    }

    /// A duration within a range, in ms.
    pub fn duration(&mut self, name: &'static str, default_ms: u64, range: (u64, u64)) -> u64 {
        self.value_or(name, default_ms, |text| duration_within(text, range))
    }
}
