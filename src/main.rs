//! The `certs` program: see the library.

fn main() {}
