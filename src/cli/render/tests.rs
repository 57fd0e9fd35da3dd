//! Rendering, as golden text.
