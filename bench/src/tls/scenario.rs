//! Names of scenarios, as in `raw.csv`.

/// Rejections over 64 kept connections.
pub const REJECTIONS: &str = "tls_rejections";
/// Rejections over 64 kept connections, 16 requests pipelined per connection.
pub const PIPELINED: &str = "tls_pipelined16";
/// Purchases by POST with a user and a key, from Redis in memory.
pub const SALES: &str = "tls_sales";
/// Rejections, one connection per request with a full handshake.
pub const FULL: &str = "tls_connection_full";
/// Rejections, one connection per request with a resumed handshake.
pub const RESUMED: &str = "tls_connection_resumed";
/// Memory of idle connections.
pub const IDLE: &str = "tls_idle";
/// CPU and rate of each load generator against the TLS floor.
pub const GENERATORS: &str = "tls_generators";

/// Kept connections, without other load.
pub const NOBODY: &str = "tls_beside_nobody";
/// Kept connections beside full handshakes from one address.
pub const ONE: &str = "tls_beside_one_address";
/// Kept connections beside full handshakes from many addresses.
pub const MANY: &str = "tls_beside_many_addresses";
/// Kept connections beside handshakes that stop half-way.
pub const HALF: &str = "tls_beside_half_handshakes";
/// Kept connections beside bytes that are no TLS record.
pub const GARBAGE: &str = "tls_beside_garbage";
/// Kept connections beside records that are too long.
pub const OVERSIZED: &str = "tls_beside_oversized";
/// Kept connections beside an idle crowd with complete handshakes.
pub const CROWD: &str = "tls_beside_idle";
