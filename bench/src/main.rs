//! stampede
fn main() {}
