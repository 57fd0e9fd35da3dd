//! After the switch: copies of the files for programs that want them elsewhere, and commands that
//! make programs look again.
//!
//! Invariant: everything here may be repeated. A failure costs no certificate: it is remembered by
//! the engine and tried again.

mod environment;
mod files;
mod hook;

use crate::model::Secret;

pub use environment::{HookEnvironment, HookEvent};
pub use files::{OutputError, write_outputs};
pub use hook::{HookError, HookOutput, run as run_hook};

/// The files of one generation, PEM.
#[derive(Clone, Debug)]
pub struct Bundle {
    /// The key.
    pub privkey: Secret,
    /// The leaf.
    pub cert: Vec<u8>,
    /// Everything after the leaf.
    pub chain: Vec<u8>,
    /// Leaf and chain.
    pub fullchain: Vec<u8>,
    /// Leaf, chain, key.
    pub combined: Secret,
}
