//! What a person types and reads. Text goes to people and may change; `--json` is a contract.
//!
//! Invariant: the only module that prints, and the one that decides exit codes.
#![allow(clippy::print_stdout, clippy::print_stderr, reason = "this is the module that prints")]

mod check;
mod generate;
mod logging;
mod render;
mod renew;
mod run;
mod status;

use std::path::PathBuf;
use std::process::ExitCode;

use clap::{Args, Parser, Subcommand, ValueEnum};

use crate::daemon::{ConfigError, StartError};
use crate::error::Chain;
use crate::serve::ClientError;

/// Exit statuses, after sysexits(3) where it has one.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Exit {
    /// All well.
    Ok = 0,
    /// Something failed or needs a person.
    Failed = 1,
    /// The monitoring plugin's CRITICAL; also wrong usage.
    Usage = 2,
    /// The monitoring plugin's UNKNOWN.
    Unknown = 3,
    /// The daemon cannot be reached (EX_TEMPFAIL).
    Unreachable = 75,
    /// Not allowed (EX_NOPERM).
    NoPermission = 77,
    /// The configuration (EX_CONFIG).
    Config = 78,
}

impl From<Exit> for ExitCode {
    fn from(exit: Exit) -> Self {
        Self::from(exit as u8)
    }
}

/// Obtains TLS certificates by ACME, deploys them, and renews them in time, unattended.
#[derive(Debug, Parser)]
#[command(
    name = "certs",
    version,
    max_term_width = 100,
    after_help = "Example:\n  certs check && certs once && certs status"
)]
struct Cli {
    #[command(flatten)]
    global: Global,
    #[command(subcommand)]
    command: Command,
}

#[derive(Args, Clone, Debug)]
struct Global {
    /// Configuration file; `conf.d/*.yaml` beside it is read, too
    #[arg(
        long,
        short,
        global = true,
        env = "CERTS_CONFIG",
        default_value = "/etc/certs/certs.yaml",
        value_name = "FILE"
    )]
    config: PathBuf,
    /// Form of the log on standard error
    #[arg(long, global = true, value_enum, default_value_t = LogFormat::Text)]
    log_format: LogFormat,
    /// What is logged: error, warn, info, debug, trace
    #[arg(long, global = true, env = "CERTS_LOG", default_value = "info", value_name = "LEVEL")]
    log_level: String,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
enum LogFormat {
    Text,
    Json,
}

#[derive(Debug, Subcommand)]
enum Command {
    /// Run the daemon: what systemd starts
    #[command(after_help = "Example:\n  certs run --config /etc/certs/certs.yaml\n\nSIGHUP or a \
                            changed file reloads the configuration; SIGTERM stops.")]
    Run,
    /// Do what is due, once, and exit: for a first run, cron or CI
    #[command(after_help = "Example:\n  certs once && systemctl enable --now certs")]
    Once,
    /// Show what is held, what comes next and what is wrong
    #[command(
        after_help = "Examples:\n  certs status              one line per certificate\n  certs \
                      status example.com  all about one\n  certs status --check      for \
                      monitoring: OK, WARNING, CRITICAL, UNKNOWN as status 0 to 3"
    )]
    Status(status::Options),
    /// Check the configuration and show every problem in it
    #[command(after_help = "Example:\n  certs check --config ./certs.yaml")]
    Check(check::Options),
    /// Renew certificates now, through the daemon if it runs
    #[command(after_help = "Example:\n  certs renew example.com")]
    Renew(renew::Options),
    /// Print a completion script for a shell
    #[command(after_help = "Example:\n  certs completions bash > \
                            /usr/share/bash-completion/completions/certs")]
    Completions {
        /// Which shell
        shell: clap_complete::Shell,
    },
    /// Write the man pages of all commands into a directory
    #[command(after_help = "Example:\n  certs man-pages /usr/local/share/man/man8")]
    ManPages {
        /// An existing directory
        directory: PathBuf,
    },
}

/// Runs the program; the only entry point.
pub fn main() -> ExitCode {
    let cli = Cli::parse();
    // Everything that speaks TLS uses this one provider; two would make rustls panic.
    drop(rustls::crypto::aws_lc_rs::default_provider().install_default());
    let global = &cli.global;
    let exit = match cli.command {
        Command::Run => run::daemon(global),
        Command::Once => run::once(global),
        Command::Status(options) => status::run(global, &options),
        Command::Check(options) => check::run(global, &options),
        Command::Renew(options) => renew::run(global, &options),
        Command::Completions { shell } => generate::completions(shell),
        Command::ManPages { directory } => generate::man_pages(&directory),
    };
    exit.into()
}

/// Says what went wrong, for people.
fn complain(error: &(dyn std::error::Error + 'static)) {
    eprintln!("certs: {}", Chain(error));
}

fn exit_of_config(error: &ConfigError) -> Exit {
    complain(error);
    Exit::Config
}

fn exit_of_start(error: &StartError) -> Exit {
    complain(error);
    match error {
        StartError::Config(_) => Exit::Config,
        StartError::Store { .. } | StartError::Serve(_) | StartError::Signals(_) => {
            let text = Chain(error).to_string();
            if text.contains("Permission denied") { Exit::NoPermission } else { Exit::Failed }
        }
    }
}

fn exit_of_client(error: &ClientError) -> Exit {
    complain(error);
    match error {
        ClientError::NotReachable { .. } => Exit::Unreachable,
        ClientError::NotPermitted(_) => Exit::NoPermission,
        ClientError::Garbled(_) | ClientError::Refused(_) => Exit::Failed,
    }
}

#[cfg(test)]
mod tests {
    use clap::CommandFactory;

    use super::*;

    #[test]
    fn every_command_has_an_example() {
        Cli::command().debug_assert();
        for command in Cli::command().get_subcommands() {
            let help = command.get_after_help().map(ToString::to_string).unwrap_or_default();
            assert!(help.contains("certs "), "{} has no example", command.get_name());
        }
    }
}
