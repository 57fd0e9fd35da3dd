//! `certs check`

use clap::Args;
use serde_json::json;

use crate::config::Problem;
use crate::daemon::{self, ConfigError};

use super::{Exit, Global, exit_of_config};

#[derive(Args, Debug)]
pub(super) struct Options {
    /// Print problems and warnings as JSON
    #[arg(long)]
    json: bool,
}

/// `certs check`
pub(super) fn run(global: &Global, options: &Options) -> Exit {
    match daemon::load_config(&global.config) {
        Ok(loaded) if options.json => {
            let warnings: Vec<_> = loaded.warnings.iter().map(as_json).collect();
            let count = loaded.config.certificates.len();
            println!(
                "{}",
                json!({"schema": 1, "certificates": count, "problems": [], "warnings": warnings})
            );
            Exit::Ok
        }
        Ok(loaded) => {
            for warning in &loaded.warnings {
                println!("warning: {warning}");
            }
            let count = loaded.config.certificates.len();
            let plural = if count == 1 { "certificate" } else { "certificates" };
            println!("{}: good, {count} {plural}", global.config.display());
            Exit::Ok
        }
        Err(ConfigError::Problems(problems)) if options.json => {
            let problems: Vec<_> = problems.0.iter().map(as_json).collect();
            println!("{}", json!({"schema": 1, "problems": problems, "warnings": []}));
            Exit::Config
        }
        Err(ConfigError::Problems(problems)) => {
            eprintln!("{problems}");
            Exit::Config
        }
        Err(error) => exit_of_config(&error),
    }
}

fn as_json(problem: &Problem) -> serde_json::Value {
    json!({
        "file": problem.file.display().to_string(),
        "line": problem.line,
        "path": problem.path,
        "message": problem.message,
        "hint": problem.hint,
    })
}
