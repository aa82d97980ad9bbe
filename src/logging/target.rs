//! Log targets with a meaning of their own.

/// The target of lines about operators' changes. They are logged at every level but `off`, unless
/// the filter names the target.
pub const AUDIT: &str = "stampede::audit";
