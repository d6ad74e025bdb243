//! The `kapelle` binary.
fn main() {}
