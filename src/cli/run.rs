//! `certs run` and `certs once`.

use crate::daemon::{self, Requested, StartError};
use crate::engine::{Severity, Status};

use super::{Exit, Global, exit_of_config, exit_of_start, logging, render};

/// `certs run`
pub(super) fn daemon(global: &Global) -> Exit {
    logging::start(global);
    match block_on(daemon::run(&global.config)) {
        Ok(()) => Exit::Ok,
        Err(error) => exit_of_start(&error),
    }
}

/// `certs once`
pub(super) fn once(global: &Global) -> Exit {
    logging::start(global);
    let loaded = match daemon::load_config(&global.config) {
        Ok(loaded) => loaded,
        Err(error) => return exit_of_config(&error),
    };
    match block_on(daemon::once(loaded, &[], Requested::No)) {
        Ok(status) => outcome(&status),
        Err(error) => exit_of_start(&error),
    }
}

/// Shows how a pass has ended: every problem, and a line for all.
pub(super) fn outcome(status: &Status) -> Exit {
    let is_failing = |certificate: &&crate::engine::CertificateStatus| {
        certificate.problem.is_some()
            || certificate.deploy_problem.is_some()
            || certificate.severity == Severity::Critical
    };
    let failing: Vec<_> = status.certificates.iter().filter(is_failing).collect();
    for certificate in &failing {
        print!("{}", render::trouble(certificate, status.at));
    }
    let total = status.certificates.len();
    println!("{} of {total} certificates are as they should be", total - failing.len());
    if failing.is_empty() { Exit::Ok } else { Exit::Failed }
}

/// Runs a future on a runtime of its own.
pub(super) fn block_on<T>(
    work: impl Future<Output = Result<T, StartError>>,
) -> Result<T, StartError> {
    let runtime = tokio::runtime::Builder::new_multi_thread()
        .enable_all()
        .build()
        .map_err(StartError::Signals)?;
    let outcome = runtime.block_on(work);
    // Jobs that did not end in time must not keep the process.
    runtime.shutdown_background();
    outcome
}
