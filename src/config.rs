//! From the text of configuration files to a [`Config`] in which everything resolves.
//!
//! Invariant: pure. Texts come in, values or *all* problems go out; whoever reads the files is in
//! `daemon`. Adapters are not known here, only their settings.

mod problem;
mod raw;
mod reader;
mod resolve;
pub mod settings;
mod well_known;

use std::path::PathBuf;

pub use problem::{Problem, Problems};
pub use resolve::load;
pub use settings::Config;

/// One configuration file.
#[derive(Clone, Debug)]
pub struct SourceFile {
    /// Where it is, for messages.
    pub path: PathBuf,
    /// Its text.
    pub text: String,
}

/// What the configuration is relative to.
#[derive(Clone, Debug)]
pub struct Base {
    /// Directory of the main file, absolute: relative paths in the configuration start here.
    pub directory: PathBuf,
}

/// A usable configuration.
#[derive(Debug)]
pub struct Loaded {
    /// It.
    pub config: Config,
    /// What is allowed but probably not meant.
    pub warnings: Vec<Problem>,
}

#[cfg(test)]
mod tests;
