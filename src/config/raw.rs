//! YAML text to a tree of plain nodes, and the lines that its parts are on. The only file that
//! knows YAML.
//!
//! Invariant: nothing is lost: a key that is written twice is there twice.

use std::collections::BTreeMap;
use std::fmt;

use serde::de::{Deserialize, Deserializer, MapAccess, SeqAccess, Visitor};

/// Deepest nesting that is read. A configuration has five levels.
const DEEPEST: usize = 16;

/// Most nodes that are read, aliases expanded.
const MOST_NODES: usize = 500_000;

/// A value as written.
#[derive(Clone, Debug, PartialEq)]
pub(super) enum Node {
    Null,
    Bool(bool),
    Number(String),
    Text(String),
    List(Vec<Self>),
    Map(Vec<(String, Self)>),
}

/// Why a text is not YAML, or not YAML that is read here.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct SyntaxError {
    pub(super) line: usize,
    pub(super) message: String,
    pub(super) hint: Option<String>,
}

/// Reads one document.
pub(super) fn parse(text: &str) -> Result<Node, SyntaxError> {
    let node: Node = serde_yaml::from_str(text).map_err(|error| explain(text, &error))?;
    let mut count = 0;
    if is_too_much(&node, 0, &mut count) {
        let message = "nested too deeply, or far too large".to_owned();
        return Err(SyntaxError { line: 0, message, hint: None });
    }
    Ok(node)
}

fn is_too_much(node: &Node, depth: usize, count: &mut usize) -> bool {
    *count += 1;
    if depth > DEEPEST || *count > MOST_NODES {
        return true;
    }
    match node {
        Node::List(items) => items.iter().any(|item| is_too_much(item, depth + 1, count)),
        Node::Map(entries) => entries.iter().any(|(_, value)| is_too_much(value, depth + 1, count)),
        Node::Null | Node::Bool(_) | Node::Number(_) | Node::Text(_) => false,
    }
}

fn explain(text: &str, error: &serde_yaml::Error) -> SyntaxError {
    let line = error.location().map_or(0, |location| location.line());
    let written = line.checked_sub(1).and_then(|index| text.lines().nth(index)).unwrap_or_default();
    // `*` begins an alias in YAML: everybody who writes a wildcard without quotes comes here.
    let star = written.split(['[', ',', ' ', '-', ']']).find(|word| word.starts_with("*."));
    let hint = match star {
        Some(word) => Some(format!("a name with a star needs quotes: \"{word}\"")),
        None if written.contains('\t') => Some("indent with spaces, not tabs".to_owned()),
        None => None,
    };
    SyntaxError { line, message: format!("not valid YAML: {error}"), hint }
}

impl<'de> Deserialize<'de> for Node {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        deserializer.deserialize_any(NodeVisitor)
    }
}

struct NodeVisitor;

impl<'de> Visitor<'de> for NodeVisitor {
    type Value = Node;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("a configuration")
    }

    fn visit_unit<E>(self) -> Result<Node, E> {
        Ok(Node::Null)
    }

    fn visit_none<E>(self) -> Result<Node, E> {
        Ok(Node::Null)
    }

    fn visit_bool<E>(self, value: bool) -> Result<Node, E> {
        Ok(Node::Bool(value))
    }

    fn visit_i64<E>(self, value: i64) -> Result<Node, E> {
        Ok(Node::Number(value.to_string()))
    }

    fn visit_u64<E>(self, value: u64) -> Result<Node, E> {
        Ok(Node::Number(value.to_string()))
    }

    fn visit_f64<E>(self, value: f64) -> Result<Node, E> {
        Ok(Node::Number(value.to_string()))
    }

    fn visit_str<E>(self, value: &str) -> Result<Node, E> {
        Ok(Node::Text(value.to_owned()))
    }

    fn visit_seq<A: SeqAccess<'de>>(self, mut sequence: A) -> Result<Node, A::Error> {
        let mut items = Vec::new();
        while let Some(item) = sequence.next_element()? {
            items.push(item);
        }
        Ok(Node::List(items))
    }

    fn visit_map<A: MapAccess<'de>>(self, mut map: A) -> Result<Node, A::Error> {
        let mut entries = Vec::new();
        while let Some(key) = map.next_key::<Node>()? {
            let key = match key {
                Node::Text(text) | Node::Number(text) => text,
                Node::Bool(value) => value.to_string(),
                Node::Null | Node::List(_) | Node::Map(_) => "(a key that is no text)".to_owned(),
            };
            entries.push((key, map.next_value()?));
        }
        Ok(Node::Map(entries))
    }
}

/// On which line each part of a file begins.
///
/// A scan of the text beside the parser, which tells positions of errors only. Exact for block
/// style; parts of a flow collection have the line of the nearest block part around them.
#[derive(Clone, Debug, Default)]
pub(super) struct Lines(BTreeMap<String, Vec<usize>>);

#[derive(Debug)]
struct Level {
    indent: usize,
    /// `Some` for a list: the index of its latest item.
    item: Option<usize>,
    path: String,
    parent: String,
}

impl Lines {
    /// Scans a text.
    pub(super) fn of(text: &str) -> Self {
        let mut lines = Self::default();
        let mut levels: Vec<Level> = Vec::new();
        for (index, line) in text.lines().enumerate() {
            let content = line.trim_start();
            if content.is_empty() || content.starts_with('#') || content.starts_with("---") {
                continue;
            }
            let indent = line.len() - content.len();
            lines.scan(&mut levels, indent, content, index + 1);
        }
        lines
    }

    fn scan(&mut self, levels: &mut Vec<Level>, indent: usize, content: &str, line: usize) {
        if content == "-" || content.starts_with("- ") {
            while levels.last().is_some_and(|level| level.indent > indent) {
                levels.pop();
            }
            let is_next =
                levels.last().is_some_and(|level| level.indent == indent && level.item.is_some());
            let (parent, item) = match (is_next, levels.last()) {
                (true, Some(level)) => {
                    (level.parent.clone(), level.item.map_or(0, |item| item + 1))
                }
                (false, Some(level)) => (level.path.clone(), 0),
                (_, None) => (String::new(), 0),
            };
            if is_next {
                levels.pop();
            }
            let path = format!("{parent}[{item}]");
            self.note(&path, line);
            levels.push(Level { indent, item: Some(item), path, parent });
            let rest = content.strip_prefix('-').unwrap_or_default();
            let inner = rest.trim_start();
            if !inner.is_empty() {
                let deeper = indent + 1 + (rest.len() - inner.len());
                self.scan(levels, deeper, inner, line);
            }
            return;
        }
        let Some(key) = key_of(content) else { return };
        while levels.last().is_some_and(|level| level.indent >= indent) {
            levels.pop();
        }
        let parent = levels.last().map(|level| level.path.clone()).unwrap_or_default();
        let path = join(&parent, key);
        self.note(&path, line);
        levels.push(Level { indent, item: None, path, parent });
    }

    fn note(&mut self, path: &str, line: usize) {
        self.0.entry(path.to_owned()).or_default().push(line);
    }

    /// The line of a part, or of the nearest part around it; 0 if there is none.
    pub(super) fn of_path(&self, path: &str) -> usize {
        self.of_occurrence(path, 0)
    }

    /// The same for a key that is written several times.
    pub(super) fn of_occurrence(&self, path: &str, occurrence: usize) -> usize {
        let mut path = path;
        loop {
            if let Some(lines) = self.0.get(path) {
                return *lines.get(occurrence).or(lines.first()).unwrap_or(&0);
            }
            match path.rfind(['.', '[']) {
                Some(end) => path = &path[..end],
                None => return 0,
            }
        }
    }
}

/// Path of `key` within `parent`.
pub(super) fn join(parent: &str, key: &str) -> String {
    if parent.is_empty() { key.to_owned() } else { format!("{parent}.{key}") }
}

/// The key that a line of block style begins with.
fn key_of(content: &str) -> Option<&str> {
    for quote in ['"', '\''] {
        if let Some(rest) = content.strip_prefix(quote) {
            let (key, after) = rest.split_once(quote)?;
            return after.trim_start().starts_with(':').then_some(key);
        }
    }
    if content.starts_with(['[', '{', '*', '&', '!', '|', '>']) {
        return None;
    }
    let (key, after) = content.split_once(':')?;
    (after.is_empty() || after.starts_with(' ')).then_some(key.trim_end())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn lines_of_block_style_are_exact() {
        let text = "contact: a@b\n\ncertificates:\n# comment\n- names: [x, y]\n  reload: z\n- name: b\n  names:\n    - p\n    - \"q:r\"\n  outputs:\n  - path: /a\n    mode: \"0600\"\n  - {path: /b}\ndefaults:\n  key: k\n";
        let lines = Lines::of(text);
        for (path, line) in [
            ("contact", 1),
            ("certificates", 3),
            ("certificates[0]", 5),
            ("certificates[0].names", 5),
            ("certificates[0].names[1]", 5),
            ("certificates[0].reload", 6),
            ("certificates[1].names[0]", 9),
            ("certificates[1].names[1]", 10),
            ("certificates[1].outputs[0].mode", 13),
            ("certificates[1].outputs[1].path", 14),
            ("defaults.key", 16),
            ("nowhere", 0),
        ] {
            assert_eq!(lines.of_path(path), line, "{path}");
        }
    }
}
