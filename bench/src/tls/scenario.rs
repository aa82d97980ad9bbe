//! Names of scenarios, as they stand in `raw.csv`.

/// Rejections over 64 kept connections.
pub const REJECTIONS: &str = "tls_rejections";
/// The same with 16 requests on their way on each.
pub const PIPELINED: &str = "tls_pipelined16";
/// Purchases by POST with a user and a key; Redis in memory.
pub const SALES: &str = "tls_sales";
/// A connection for each rejection, with a full handshake.
pub const FULL: &str = "tls_connection_full";
/// The same with a handshake that resumes.
pub const RESUMED: &str = "tls_connection_resumed";
/// Memory of idle connections.
pub const IDLE: &str = "tls_idle";
/// What each load generator uses, and the rate that it reaches, on the floor of TLS.
pub const GENERATORS: &str = "tls_generators";

/// Kept connections, and nobody else.
pub const NOBODY: &str = "tls_beside_nobody";
/// The same beside full handshakes from one address.
pub const ONE: &str = "tls_beside_one_address";
/// The same from many.
pub const MANY: &str = "tls_beside_many_addresses";
/// The same beside handshakes that stop half-way.
pub const HALF: &str = "tls_beside_half_handshakes";
/// The same beside bytes that are no record.
pub const GARBAGE: &str = "tls_beside_garbage";
/// The same beside records that are too long.
pub const OVERSIZED: &str = "tls_beside_oversized";
/// The same beside a crowd that has shaken hands and does nothing.
pub const CROWD: &str = "tls_beside_idle";
