//! Parsers of settings that are otherwise private, for tests/fuzz.

use std::ffi::OsString;
use std::path::Path;

use super::source::{Layers, SETTINGS, Source};
use crate::cli::ServeOptions;

/// The text of every setting that a layer has, before it is interpreted.
#[derive(Debug)]
pub struct GivenSettings {
    /// The name of a setting, the layer that it comes from, and its values.
    pub settings: Vec<(&'static str, Source, Vec<String>)>,
    /// What is wrong with a layer, for people.
    pub problems: Vec<String>,
    /// What is legal but probably a mistake, for people.
    pub warnings: Vec<String>,
}

/// Reads a configuration file below an environment. Interprets no value, so it resolves no name and
/// opens no other file.
pub fn given_settings(
    file: &Path,
    environment: impl IntoIterator<Item = (OsString, OsString)>,
) -> GivenSettings {
    let config = Some(file.display().to_string());
    let options = ServeOptions { config, ..ServeOptions::default() };
    let (layers, problems) = Layers::gather(&options, environment);
    let given = SETTINGS.iter().filter_map(|setting| {
        let values = layers.values(setting.name)?.to_vec();
        Some((setting.name, layers.source(setting.name), values))
    });
    GivenSettings { settings: given.collect(), problems, warnings: layers.warnings }
}
