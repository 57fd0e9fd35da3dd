//! From the text of configuration files to a [`Config`] in which everything resolves.
//!
//! Invariant: pure. Texts come in, values or *all* problems go out; whoever reads the files is in
//! `daemon`. Adapters are not known here, only their settings.

pub mod settings;

pub use settings::Config;
