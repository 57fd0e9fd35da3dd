//! Typed reading of a tree: every wrong type, unknown key and repeated key becomes a problem with
//! its place, and reading goes on.

use std::cell::RefCell;
use std::path::Path;

use super::problem::Problem;
use super::raw::{Lines, Node, join};

/// Collects problems and warnings of all files.
#[derive(Debug, Default)]
pub(super) struct Findings {
    pub(super) problems: RefCell<Vec<Problem>>,
    pub(super) warnings: RefCell<Vec<Problem>>,
}

/// A part of one file.
#[derive(Clone, Debug)]
pub(super) struct Part<'a> {
    pub(super) node: &'a Node,
    pub(super) path: String,
    line: usize,
    file: &'a Path,
    lines: &'a Lines,
    findings: &'a Findings,
}

impl<'a> Part<'a> {
    /// The whole of a file.
    pub(super) fn root(
        node: &'a Node,
        file: &'a Path,
        lines: &'a Lines,
        findings: &'a Findings,
    ) -> Self {
        Self { node, path: String::new(), line: 0, file, lines, findings }
    }

    fn finding(&self, message: String, hint: Option<String>) -> Problem {
        let (file, line, path) = (self.file.to_owned(), self.line, self.path.clone());
        Problem { file, line, path, message, hint }
    }

    /// Adds a problem at this place.
    pub(super) fn problem(&self, message: impl Into<String>, hint: &str) {
        let hint = (!hint.is_empty()).then(|| hint.to_owned());
        self.findings.problems.borrow_mut().push(self.finding(message.into(), hint));
    }

    /// Adds a warning at this place.
    pub(super) fn warning(&self, message: impl Into<String>, hint: &str) {
        let hint = (!hint.is_empty()).then(|| hint.to_owned());
        self.findings.warnings.borrow_mut().push(self.finding(message.into(), hint));
    }

    /// `file:line`, to point from one place to another.
    pub(super) fn location(&self) -> String {
        format!("{}:{}", self.file.display(), self.line)
    }

    fn child(&self, node: &'a Node, path: String, line: usize) -> Self {
        Self { node, path, line, ..*self }
    }

    /// The entries of a map, in the order written; a key that is there twice is a problem.
    pub(super) fn entries(&self) -> Vec<(&'a str, Self)> {
        let entries = match self.node {
            Node::Map(entries) => entries,
            Node::Null => return Vec::new(),
            _ => {
                self.problem(format!("{} where keys belong", self.kind()), "write `key: value`");
                return Vec::new();
            }
        };
        let mut found: Vec<(&str, Self)> = Vec::new();
        for (index, (key, node)) in entries.iter().enumerate() {
            let path = join(&self.path, key);
            let earlier = entries[..index].iter().filter(|(other, _)| other == key).count();
            let part = self.child(node, path.clone(), self.lines.of_occurrence(&path, earlier));
            if earlier > 0 {
                let first = self.lines.of_path(&path);
                part.problem(
                    format!("`{key}` is there already, on line {first}"),
                    "remove one of the two, or give it another name",
                );
            } else {
                found.push((key, part));
            }
        }
        found
    }

    /// The fields of a map with known keys; others are problems with the nearest known one.
    pub(super) fn fields(&self, known: &[&str]) -> Fields<'a> {
        let entries = self.entries();
        for (key, part) in &entries {
            if !known.contains(key) {
                let hint = match nearest(key, known) {
                    Some(near) => format!("did you mean `{near}`?"),
                    None => format!("known here: {}", known.join(", ")),
                };
                part.problem(format!("unknown key `{key}`"), &hint);
            }
        }
        Fields(entries)
    }

    /// A text; numbers are taken as written.
    pub(super) fn text(&self) -> Option<String> {
        match self.node {
            Node::Text(text) | Node::Number(text) => Some(text.clone()),
            _ => {
                self.problem(format!("{} where text belongs", self.kind()), "");
                None
            }
        }
    }

    /// `true` or `false`.
    pub(super) fn boolean(&self) -> Option<bool> {
        match self.node {
            Node::Bool(value) => Some(*value),
            _ => {
                self.problem(format!("{} where true or false belongs", self.kind()), "");
                None
            }
        }
    }

    /// The items of a list; a single value stands for a list of one.
    pub(super) fn items(&self) -> Vec<Self> {
        match self.node {
            Node::List(items) => items
                .iter()
                .enumerate()
                .map(|(index, node)| {
                    let path = format!("{}[{index}]", self.path);
                    let line = self.lines.of_path(&path);
                    self.child(node, path, line)
                })
                .collect(),
            Node::Null => Vec::new(),
            _ => vec![self.clone()],
        }
    }

    fn kind(&self) -> &'static str {
        match self.node {
            Node::Null => "nothing",
            Node::Bool(_) => "true or false",
            Node::Number(_) => "a number",
            Node::Text(_) => "text",
            Node::List(_) => "a list",
            Node::Map(_) => "a map",
        }
    }
}

/// The fields of a map.
#[derive(Debug)]
pub(super) struct Fields<'a>(Vec<(&'a str, Part<'a>)>);

impl<'a> Fields<'a> {
    /// A field, unless it is absent or null.
    pub(super) fn get(&self, key: &str) -> Option<&Part<'a>> {
        let (_, part) = self.0.iter().find(|(name, _)| *name == key)?;
        (*part.node != Node::Null).then_some(part)
    }

    /// A text field.
    pub(super) fn text(&self, key: &str) -> Option<String> {
        self.get(key)?.text()
    }

    /// The items of a list field; none if it is absent.
    pub(super) fn items(&self, key: &str) -> Vec<Part<'a>> {
        self.get(key).map(Part::items).unwrap_or_default()
    }
}

/// The known word that is most like `word`, if one is like it at all.
pub(super) fn nearest<'k>(word: &str, known: &[&'k str]) -> Option<&'k str> {
    let scored = known.iter().map(|candidate| (distance(word, candidate), *candidate));
    let (distance, candidate) = scored.min_by_key(|(distance, _)| *distance)?;
    let limit = (candidate.len() / 3).max(2);
    (distance <= limit && distance < candidate.len()).then_some(candidate)
}

/// Levenshtein distance, bounded: long words are not compared.
fn distance(a: &str, b: &str) -> usize {
    let (a, b): (Vec<char>, Vec<char>) = (a.chars().take(64).collect(), b.chars().collect());
    let mut row: Vec<usize> = (0..=b.len()).collect();
    for (i, x) in a.iter().enumerate() {
        let mut diagonal = row[0];
        row[0] = i + 1;
        for (j, y) in b.iter().enumerate() {
            let replaced = diagonal + usize::from(x != y);
            diagonal = row[j + 1];
            row[j + 1] = replaced.min(row[j] + 1).min(diagonal + 1);
        }
    }
    row[b.len()]
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn slips_of_the_finger_are_recognised() {
        let known = ["names", "reload", "issuers", "solver"];
        assert_eq!(nearest("name", &known), Some("names"));
        assert_eq!(nearest("relaod", &known), Some("reload"));
        assert_eq!(nearest("issuer", &known), Some("issuers"));
        assert_eq!(nearest("webhook", &known), None);
    }
}
