//! From trees to meaning: sections of all files are merged, names are made canonical, references
//! are followed, defaults are filled in.

mod certificates;
mod sections;

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};

use crate::model::{IssuerName, KeyKind};

use super::problem::{Problem, Problems};
use super::raw::{self, Lines, Node};
use super::reader::{Findings, Part};
use super::settings::{Config, HookSettings, IssuerSettings, ListenerSettings, SolverSettings};
use super::{Base, Loaded, SourceFile};

/// Largest file read, in bytes.
const LARGEST_FILE: usize = 1 << 20;

/// Where state is kept unless the configuration says otherwise.
const STATE_DIR: &str = "/var/lib/certs";

/// Where the sockets are while the state is at its usual place.
const RUNTIME_DIR: &str = "/run/certs";

/// The solver that is there when none is configured.
const DEFAULT_SOLVER: &str = "http-01";

const TOP_LEVEL: [&str; 8] = [
    "contact",
    "state_dir",
    "runtime_dir",
    "issuers",
    "solvers",
    "services",
    "certificates",
    "defaults",
];

/// What the sections before `certificates` have told.
#[derive(Debug, Default)]
struct Known {
    contact: Vec<String>,
    issuers: BTreeMap<IssuerName, Issuer>,
    solvers: BTreeMap<String, SolverSettings>,
    services: BTreeMap<String, Vec<HookSettings>>,
    defaults: Defaults,
}

#[derive(Debug)]
struct Issuer {
    settings: IssuerSettings,
    profile: Option<String>,
}

#[derive(Debug, Default)]
struct Defaults {
    issuer: Option<String>,
    solver: Option<String>,
    key: KeyKind,
    profile: Option<String>,
    services: Vec<String>,
}

/// Reads the main file and those beside it. All problems of all files are told at once.
pub fn load(files: &[SourceFile], base: &Base) -> Result<Loaded, Problems> {
    let findings = Findings::default();
    let trees: Vec<(&Path, Node, Lines)> =
        files.iter().filter_map(|file| tree(file, &findings)).collect();
    let roots: Vec<Part<'_>> =
        trees.iter().map(|(path, node, lines)| Part::root(node, path, lines, &findings)).collect();
    let config = resolve(&roots, base);
    let problems = findings.problems.into_inner();
    if problems.is_empty() {
        Ok(Loaded { config, warnings: findings.warnings.into_inner() })
    } else {
        Err(Problems(problems))
    }
}

fn tree<'a>(file: &'a SourceFile, findings: &Findings) -> Option<(&'a Path, Node, Lines)> {
    let parsed = if file.text.len() > LARGEST_FILE {
        let message = format!("larger than {LARGEST_FILE} bytes");
        let hint = Some("split it into files under conf.d/".to_owned());
        Err(raw::SyntaxError { line: 0, message, hint })
    } else {
        raw::parse(&file.text)
    };
    match parsed {
        Ok(node) => Some((&file.path, node, Lines::of(&file.text))),
        Err(error) => {
            findings.problems.borrow_mut().push(Problem {
                file: file.path.clone(),
                line: error.line,
                path: String::new(),
                message: error.message,
                hint: error.hint,
            });
            None
        }
    }
}

fn resolve(roots: &[Part<'_>], base: &Base) -> Config {
    let sections: Vec<_> = roots.iter().map(|root| root.fields(&TOP_LEVEL)).collect();
    let one = |key: &str| {
        let mut found = sections.iter().filter_map(|fields| fields.get(key));
        let first = found.next();
        for again in found {
            let place = first.map(Part::location).unwrap_or_default();
            again.problem(format!("`{key}` is set already, at {place}"), "set it once");
        }
        first
    };
    let all = |key: &str| sections.iter().filter_map(|fields| fields.get(key)).collect::<Vec<_>>();
    let directory = |key: &str| one(key).and_then(Part::text).map(|text| base.directory.join(text));
    let mut known = Known {
        contact: one("contact").map(sections::contact).unwrap_or_default(),
        ..Known::default()
    };
    sections::issuers(&mut known, &all("issuers"));
    sections::solvers(&mut known, &all("solvers"), base);
    sections::services(&mut known, &all("services"));
    if let Some(part) = one("defaults") {
        known.defaults = sections::defaults(part);
    }
    let state_dir = directory("state_dir").unwrap_or_else(|| PathBuf::from(STATE_DIR));
    let runtime_dir = directory("runtime_dir").unwrap_or_else(|| {
        if state_dir == Path::new(STATE_DIR) {
            PathBuf::from(RUNTIME_DIR)
        } else {
            state_dir.join("run")
        }
    });
    let certificates = certificates::certificates(&mut known, &all("certificates"), base);
    if certificates.is_empty()
        && let Some(root) = roots.first()
    {
        root.warning("no certificates are configured", "add an entry under `certificates:`");
    }
    let issuers = known.issuers.into_iter().map(|(name, issuer)| (name, issuer.settings)).collect();
    Config { state_dir, runtime_dir, issuers, solvers: known.solvers, certificates }
}

/// The solver for a machine with nothing else on port 80.
fn usual_listener() -> SolverSettings {
    let any = std::net::SocketAddr::from((std::net::Ipv6Addr::UNSPECIFIED, 80));
    SolverSettings::Http01Listener(ListenerSettings { listen: vec![any], redirect: false })
}
