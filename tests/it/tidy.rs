//! The shape of the source tree: floors, file lengths, module documentation.

use std::collections::BTreeMap;
use std::fs;
use std::path::{Path, PathBuf};

/// Top-level modules and their floors. F2 is split: `disk` lies under its neighbours.
const FLOORS: [(&str, u8); 14] = [
    ("model", 0),
    ("error", 0),
    ("config", 10),
    ("pki", 10),
    ("plan", 10),
    ("disk", 19),
    ("store", 20),
    ("issuer", 20),
    ("solver", 20),
    ("deploy", 20),
    ("engine", 30),
    ("serve", 40),
    ("daemon", 41),
    ("cli", 50),
];

/// Past this many lines a file holds two ideas.
const LONGEST_FILE: usize = 600;

fn sources() -> Vec<PathBuf> {
    let mut found = Vec::new();
    let mut todo = vec![Path::new(env!("CARGO_MANIFEST_DIR")).join("src")];
    while let Some(directory) = todo.pop() {
        for entry in fs::read_dir(directory).unwrap() {
            let path = entry.unwrap().path();
            if path.is_dir() {
                todo.push(path);
            } else if path.extension().is_some_and(|extension| extension == "rs") {
                found.push(path);
            }
        }
    }
    found.sort();
    found
}

/// The top-level module that a file belongs to; `None` for `lib.rs` and `main.rs`.
fn module_of(path: &Path) -> Option<String> {
    let inside = path.strip_prefix(Path::new(env!("CARGO_MANIFEST_DIR")).join("src")).unwrap();
    let first = inside.components().next().unwrap().as_os_str().to_str().unwrap();
    let name = first.trim_end_matches(".rs");
    (!matches!(name, "lib" | "main")).then(|| name.to_owned())
}

#[test]
fn modules_name_only_lower_floors() {
    let floors: BTreeMap<&str, u8> = FLOORS.into_iter().collect();
    let mut wrong = Vec::new();
    for path in sources() {
        let Some(module) = module_of(&path) else { continue };
        let floor = *floors
            .get(module.as_str())
            .unwrap_or_else(|| panic!("module `{module}` has no floor in this test"));
        for (number, line) in fs::read_to_string(&path).unwrap().lines().enumerate() {
            for named in line.split("crate::").skip(1) {
                let named: String =
                    named.chars().take_while(|c| c.is_alphanumeric() || *c == '_').collect();
                let Some(&other) = floors.get(named.as_str()) else { continue };
                if named != module && other >= floor {
                    wrong.push(format!(
                        "{}:{}: {module} names {named}",
                        path.display(),
                        number + 1
                    ));
                }
            }
        }
    }
    assert!(wrong.is_empty(), "{}", wrong.join("\n"));
}

#[test]
fn lower_floors_do_no_io_and_read_no_clock() {
    let banned = ["async ", "tokio::", "tracing::", "std::fs", "SystemTime::now", "HashMap"];
    for path in sources() {
        let Some(module) = module_of(&path) else { continue };
        if !matches!(module.as_str(), "model" | "error" | "config" | "pki" | "plan") {
            continue;
        }
        let text = fs::read_to_string(&path).unwrap();
        let code = text.lines().filter(|line| !line.trim_start().starts_with("//"));
        for (word, line) in code.flat_map(|line| banned.map(|word| (word, line))) {
            assert!(!line.contains(word), "{}: `{word}` in: {line}", path.display());
        }
    }
}

#[test]
fn every_file_says_what_it_is_and_is_short_enough() {
    for path in sources() {
        let text = fs::read_to_string(&path).unwrap();
        assert!(text.starts_with("//!"), "{} has no module documentation", path.display());
        let lines = text.lines().count();
        assert!(lines <= LONGEST_FILE, "{} has {lines} lines", path.display());
    }
}

#[test]
fn architecture_names_every_module() {
    let text =
        fs::read_to_string(Path::new(env!("CARGO_MANIFEST_DIR")).join("ARCHITECTURE.md")).unwrap();
    for (module, _) in FLOORS {
        assert!(text.contains(&format!("`{module}`")), "ARCHITECTURE.md does not name {module}");
    }
}
