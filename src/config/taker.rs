//! Takes settings out of the layers, one by one, and notes what is wrong with them.

use super::source::Layers;
use super::value::duration_within;

/// See the module's header.
pub(super) struct Taker {
    pub layers: Layers,
    /// Everything that is wrong, one text each.
    pub problems: Vec<String>,
}

impl Taker {
    /// Notes a problem with a setting's value.
    pub fn wrong(&mut self, name: &str, value: &str, problem: &str) {
        let place = self.layers.place(name, value);
        self.problems.push(format!("{place}: {problem}"));
    }

    /// A setting with one value, or its default.
    pub fn one<T>(
        &mut self,
        name: &'static str,
        default: T,
        parse: impl FnOnce(&str) -> Result<T, String>,
    ) -> T {
        let Some(text) = self.layers.values(name).and_then(|v| v.first()).cloned() else {
            return default;
        };
        parse(&text).unwrap_or_else(|problem| {
            self.wrong(name, &text, &problem);
            default
        })
    }

    /// A duration within a range.
    pub fn duration(&mut self, name: &'static str, default_ms: u64, range: (u64, u64)) -> u64 {
        self.one(name, default_ms, |text| duration_within(text, range))
    }
}
