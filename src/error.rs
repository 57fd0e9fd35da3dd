//! Printing errors: the whole chain of causes on one line, each layer once.
//!
//! Convention of this crate: `Display` of an error says its own layer only and never repeats its
//! source; whoever shows an error to a person shows it through [`Chain`].

use std::error::Error;
use std::fmt;

/// Displays an error and everything that caused it, joined by `: `.
///
/// Some libraries repeat their source's text in their own; a layer whose text already ends with
/// what follows is not said twice.
#[derive(Debug)]
pub struct Chain<'a>(pub &'a (dyn Error + 'static));

impl fmt::Display for Chain<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let mut said = self.0.to_string();
        f.write_str(&said)?;
        let mut next = self.0.source();
        while let Some(error) = next {
            let text = error.to_string();
            if !said.ends_with(&text) {
                write!(f, ": {text}")?;
                said = text;
            }
            next = error.source();
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[derive(Debug, thiserror::Error)]
    #[error("{0}")]
    struct Layer(&'static str, #[source] Option<Box<Self>>);

    #[test]
    fn each_layer_is_said_once() {
        let inner = Layer("no such file", None);
        let doubling = Layer("cannot open key: no such file", Some(Box::new(inner)));
        let outer = Layer("loading account", Some(Box::new(doubling)));
        assert_eq!(Chain(&outer).to_string(), "loading account: cannot open key: no such file");
    }
}
