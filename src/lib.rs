//! `certs`, the certificate daemon: obtains TLS certificates by ACME (RFC 8555), writes them where
//! servers find them, has the servers reload them, and does it again in time, unattended.
//!
//! The library exists for `main.rs` and for the tests; it is not a public interface. Modules stand
//! on floors and name only lower floors and their own children (see ARCHITECTURE.md; a test
//! enforces it).

// F0: vocabulary
pub mod error;
pub mod model;

// F1: pure functions over values
pub mod config;
pub mod pki;
pub mod plan;

// F2: ports and adapters
pub mod deploy;
pub mod disk;
pub mod issuer;
pub mod solver;
pub mod store;

// F3: observe, plan, execute
pub mod engine;

// F4: the life of the process
pub mod daemon;
pub mod serve;

// F5: what a person types and reads
pub mod cli;
