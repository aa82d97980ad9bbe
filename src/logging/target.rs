//! Targets of lines that mean more than a place in the sources.

/// The target of the lines that say what operators have changed. They are logged at every level but
/// `off`, unless the filter names them.
pub const AUDIT: &str = "stampede::audit";
