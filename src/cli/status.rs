//! `certs status`: from the daemon if it runs, from the state directory otherwise.

use std::io::IsTerminal;
use std::path::Path;
use std::time::Duration;

use clap::Args;

use crate::config::Config;
use crate::daemon::{self, SystemClock};
use crate::engine::{self, Severity, Status, Story};
use crate::error::Chain;
use crate::model::{Clock, LineageName};
use crate::serve::{Answer, Client, ClientError, Request};
use crate::store::DirStore;

use super::render::{self, Paint};
use super::{Exit, Global, complain, exit_of_config};

#[derive(Args, Debug)]
pub(super) struct Options {
    /// Tell all about these certificates
    #[arg(value_name = "NAME")]
    names: Vec<String>,
    /// Print JSON with a schema number
    #[arg(long)]
    json: bool,
    /// Speak the language of monitoring plugins: one line, status 0 to 3
    #[arg(long, conflicts_with = "json")]
    check: bool,
    /// Show again every two seconds
    #[arg(long, conflicts_with_all = ["json", "check"])]
    watch: bool,
}

/// Where the sockets are when no configuration can be read to say so.
const USUAL_RUNTIME_DIR: &str = "/run/certs";

/// `certs status`
pub(super) fn run(global: &Global, options: &Options) -> Exit {
    let config = match daemon::load_config(&global.config) {
        Ok(loaded) => Some(loaded.config),
        Err(error) => {
            // A broken file on disk is no reason not to show what the daemon does.
            if Client::new(Path::new(USUAL_RUNTIME_DIR)).status().is_err() {
                let exit = exit_of_config(&error);
                return if options.check { Exit::Unknown } else { exit };
            }
            complain(&error);
            None
        }
    };
    let source = Source { config };
    if options.watch {
        loop {
            // Clear and go home.
            print!("\x1b[2J\x1b[H");
            if show(&source, options) == Exit::NoPermission {
                return Exit::NoPermission;
            }
            std::thread::sleep(Duration::from_secs(2));
        }
    }
    show(&source, options)
}

fn show(source: &Source, options: &Options) -> Exit {
    let status = match source.status() {
        Ok(status) => status,
        Err(text) => {
            let exit = if options.check { Exit::Unknown } else { Exit::NoPermission };
            match exit {
                Exit::Unknown => println!("UNKNOWN: {text}"),
                _ => eprintln!("certs: {text}"),
            }
            return exit;
        }
    };
    if options.check {
        return check(&status, &options.names);
    }
    let paint =
        Paint::when(std::io::stdout().is_terminal() && std::env::var_os("NO_COLOR").is_none());
    if !options.names.is_empty() {
        return stories(source, &status, options, paint);
    }
    if options.json {
        return print_json(&status);
    }
    print!("{}", render::table(&status, paint));
    worst(&status, &[])
}

fn print_json(value: &impl serde::Serialize) -> Exit {
    match serde_json::to_string(value) {
        Ok(text) => {
            println!("{text}");
            Exit::Ok
        }
        Err(error) => {
            complain(&error);
            Exit::Failed
        }
    }
}

/// Status 1 if anything is wrong, so that scripts need not read.
fn worst(status: &Status, names: &[String]) -> Exit {
    let severity = severity(status, names);
    if severity == Severity::Ok && status.problems.is_empty() { Exit::Ok } else { Exit::Failed }
}

fn severity(status: &Status, names: &[String]) -> Severity {
    status
        .certificates
        .iter()
        .filter(|c| names.is_empty() || names.iter().any(|name| name == c.name.as_str()))
        .map(|certificate| certificate.severity)
        .max()
        .unwrap_or(Severity::Ok)
}

fn check(status: &Status, names: &[String]) -> Exit {
    let unknown: Vec<&String> = names
        .iter()
        .filter(|name| !status.certificates.iter().any(|c| c.name.as_str() == name.as_str()))
        .collect();
    if let Some(name) = unknown.first() {
        println!("UNKNOWN: no certificate named `{name}`");
        return Exit::Unknown;
    }
    let mut severity = severity(status, names);
    if !status.problems.is_empty() || !status.daemon {
        severity = severity.max(Severity::Warning);
    }
    print!("{}", render::plugin_line(status, names, severity));
    match severity {
        Severity::Ok => Exit::Ok,
        Severity::Warning => Exit::Failed,
        Severity::Critical => Exit::Usage,
    }
}

fn stories(source: &Source, status: &Status, options: &Options, paint: Paint) -> Exit {
    let mut found = Vec::new();
    for text in &options.names {
        let story = text.parse().ok().and_then(|name| source.story(&name, status));
        match story {
            Some(story) => found.push(story),
            None => {
                let all: Vec<&str> = status.certificates.iter().map(|c| c.name.as_str()).collect();
                eprintln!("certs: no certificate named `{text}`; there are: {}", all.join(", "));
                return Exit::Failed;
            }
        }
    }
    if options.json {
        return print_json(&found);
    }
    for story in &found {
        print!("{}", render::story(story, status.at, paint));
    }
    worst(status, &options.names)
}

/// Where the facts come from.
struct Source {
    config: Option<Config>,
}

impl Source {
    fn client(&self) -> Client {
        let directory = self.config.as_ref().map(|config| config.runtime_dir.as_path());
        Client::new(directory.unwrap_or(Path::new(USUAL_RUNTIME_DIR)))
    }

    fn status(&self) -> Result<Status, String> {
        match (self.client().status(), &self.config) {
            (Ok(status), _) => Ok(status),
            (Err(_), Some(config)) => self.look(config),
            (Err(error), None) => Err(Chain(&error).to_string()),
        }
    }

    /// Without a daemon: the state directory itself.
    fn look(&self, config: &Config) -> Result<Status, String> {
        let now = SystemClock.now();
        let store = open(config)?;
        let Some(store) = store else {
            return Ok(engine::build_status(now, config, &std::collections::BTreeMap::new()));
        };
        block_on(engine::look(&store, config, now))?.map_err(|error| Chain(&error).to_string())
    }

    fn story(&self, name: &LineageName, status: &Status) -> Option<Story> {
        match self.client().ask(&Request::Story { name: name.clone() }) {
            Ok(Answer::Story(story)) => *story,
            Err(ClientError::NotReachable { .. }) => {
                let config = self.config.as_ref()?;
                let store = open(config).ok()?;
                let Some(store) = store else { return brief(name, status) };
                block_on(engine::look_at(&store, config, SystemClock.now(), name)).ok()?
            }
            _ => brief(name, status),
        }
    }
}

/// What the status alone tells, for users who may not ask more.
fn brief(name: &LineageName, status: &Status) -> Option<Story> {
    let certificate = status.certificates.iter().find(|c| c.name == *name)?.clone();
    Some(Story {
        schema: engine::SCHEMA,
        plan: certificate.next.what.clone(),
        certificate,
        generations: Vec::new(),
        attempts: Vec::new(),
        order: None,
        used_by: None,
        fingerprint: None,
        issued_by: None,
    })
}

fn open(config: &Config) -> Result<Option<DirStore>, String> {
    DirStore::open_to_read(&config.state_dir).map_err(|error| {
        format!(
            "no daemon answers in {}, and the state directory cannot be read: {}",
            config.runtime_dir.display(),
            Chain(&error)
        )
    })
}

fn block_on<T>(work: impl Future<Output = T>) -> Result<T, String> {
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build();
    Ok(runtime.map_err(|error| error.to_string())?.block_on(work))
}
