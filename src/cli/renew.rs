//! `certs renew NAME…`: through the daemon if it runs, by itself otherwise.

use std::time::{Duration, Instant};

use clap::Args;

use crate::config::Loaded;
use crate::daemon::{self, Requested, SystemClock};
use crate::engine::{CertificateStatus, State};
use crate::model::{Clock, LineageName, Timestamp};
use crate::serve::{Answer, Client, ClientError, Request};

use super::run;
use super::{
    Exit, Global, complain, exit_of_client, exit_of_config, exit_of_start, logging, render,
};

#[derive(Args, Debug)]
pub(super) struct Options {
    /// Names of certificates, as configured
    #[arg(required = true, value_name = "NAME")]
    names: Vec<String>,
    /// Do not wait for the daemon to be done
    #[arg(long)]
    no_wait: bool,
    /// How long to wait for the daemon, in seconds
    #[arg(long, default_value_t = 300, value_name = "SECONDS")]
    wait: u64,
}

/// Pause between looks at a daemon that works for us.
const PAUSE: Duration = Duration::from_millis(300);

/// `certs renew`
pub(super) fn run(global: &Global, options: &Options) -> Exit {
    let loaded = match daemon::load_config(&global.config) {
        Ok(loaded) => loaded,
        Err(error) => return exit_of_config(&error),
    };
    let names = match known(&loaded, &options.names) {
        Ok(names) => names,
        Err(exit) => return exit,
    };
    let client = Client::new(&loaded.config.runtime_dir);
    let asked_at = SystemClock.now();
    match client.ask(&Request::Renew { names: names.clone() }) {
        Ok(Answer::Noted { unknown }) if !unknown.is_empty() => {
            for name in unknown {
                eprintln!("certs: the running daemon does not know `{name}`: reload it first");
            }
            Exit::Failed
        }
        Ok(_) if options.no_wait => Exit::Ok,
        Ok(_) => wait(&client, &names, asked_at, Duration::from_secs(options.wait)),
        Err(ClientError::NotReachable { .. }) => alone(global, loaded, &names),
        Err(error) => exit_of_client(&error),
    }
}

fn known(loaded: &Loaded, names: &[String]) -> Result<Vec<LineageName>, Exit> {
    let mut found = Vec::new();
    for text in names {
        let name = text.parse::<LineageName>().ok();
        match name.filter(|name| loaded.config.certificate(name).is_some()) {
            Some(name) => found.push(name),
            None => {
                let all: Vec<&str> =
                    loaded.config.certificates.iter().map(|c| c.spec.name.as_str()).collect();
                eprintln!("certs: no certificate named `{text}`; there are: {}", all.join(", "));
                return Err(Exit::Failed);
            }
        }
    }
    Ok(found)
}

fn alone(global: &Global, loaded: Loaded, names: &[LineageName]) -> Exit {
    logging::start(global);
    match run::block_on(daemon::once(loaded, names, Requested::Yes)) {
        Ok(status) => run::outcome(&status),
        Err(error) => exit_of_start(&error),
    }
}

/// Looks until every certificate is newer than the wish, or has failed since.
fn wait(client: &Client, names: &[LineageName], asked_at: Timestamp, limit: Duration) -> Exit {
    let begun = Instant::now();
    let mut waiting: Vec<LineageName> = names.to_vec();
    let mut exit = Exit::Ok;
    while !waiting.is_empty() {
        let status = match client.status() {
            Ok(status) => status,
            Err(error) => return exit_of_client(&error),
        };
        for certificate in &status.certificates {
            let Some(place) = waiting.iter().position(|name| *name == certificate.name) else {
                continue;
            };
            match verdict(certificate, asked_at) {
                Verdict::Working => {}
                Verdict::Renewed => {
                    let until = certificate.not_after.unwrap_or_default();
                    println!("{}: renewed, valid until {until}", certificate.name);
                    waiting.remove(place);
                }
                Verdict::Failed => {
                    print!("{}", render::trouble(certificate, status.at));
                    waiting.remove(place);
                    exit = Exit::Failed;
                }
            }
        }
        if begun.elapsed() > limit {
            let error = format!("still at work after {} s; see `certs status`", limit.as_secs());
            complain(&std::io::Error::other(error));
            return Exit::Failed;
        }
        std::thread::sleep(PAUSE);
    }
    exit
}

enum Verdict {
    Working,
    Renewed,
    Failed,
}

fn verdict(certificate: &CertificateStatus, asked_at: Timestamp) -> Verdict {
    let failed = |problem: &Option<crate::engine::ProblemStatus>| {
        problem.as_ref().is_some_and(|problem| problem.at >= asked_at)
    };
    match certificate.state {
        State::Working | State::Due | State::Missing => Verdict::Working,
        _ if failed(&certificate.problem) || failed(&certificate.deploy_problem) => Verdict::Failed,
        _ => Verdict::Renewed,
    }
}
