//! http-01 behind a web server that is already there: files below its document root.

use std::path::PathBuf;

use async_trait::async_trait;

use crate::config::settings::WebrootSettings;
use crate::disk::{Access, Dir};
use crate::model::{ChallengeKind, Presented, Task};
use crate::solver::{Solver, SolverError};

/// Writes answers into a directory that a web server publishes.
#[derive(Debug)]
pub struct Http01Webroot {
    name: String,
    root: PathBuf,
}

impl Http01Webroot {
    /// `name` is the solver's name in the configuration.
    pub fn new(name: &str, settings: &WebrootSettings) -> Self {
        Self { name: name.to_owned(), root: settings.directory.clone() }
    }
}

#[async_trait]
impl Solver for Http01Webroot {
    fn kind(&self) -> ChallengeKind {
        ChallengeKind::Http01
    }

    fn place(&self, task: &Task) -> Presented {
        Presented {
            identifier: task.identifier.clone(),
            kind: task.kind,
            solver: self.name.clone(),
            token: task.token.clone(),
            place: Some(self.root.display().to_string()),
        }
    }

    async fn present(&self, task: &Task) -> Result<(), SolverError> {
        let (root, task) = (self.root.clone(), task.clone());
        blocking(move || {
            let root = match Dir::open(&root) {
                Ok(dir) => dir,
                Err(error) if error.is_not_found() => return Err(SolverError::NoWebroot(root)),
                Err(error) => return Err(error.into()),
            };
            // The web server runs as another user: it must be able to read what is here.
            let dir = root.sub_or_create(".well-known", 0o755)?;
            let dir = dir.sub_or_create("acme-challenge", 0o755)?;
            let content = task.key_authorization.as_bytes();
            Ok(dir.replace(task.token.as_str(), content, &Access::mode(0o644))?)
        })
        .await
    }

    async fn clean_up(&self, presented: &Presented) -> Result<(), SolverError> {
        // The settings may have changed since: the place is where the answer was put.
        let Some(root) = presented.place.clone().map(PathBuf::from) else { return Ok(()) };
        let token = presented.token.clone();
        blocking(move || {
            let root = match Dir::open(&root) {
                Ok(dir) => dir,
                Err(error) if error.is_not_found() => return Ok(()),
                Err(error) => return Err(error.into()),
            };
            let Some(dir) = root.try_sub(".well-known")? else { return Ok(()) };
            let Some(dir) = dir.try_sub("acme-challenge")? else { return Ok(()) };
            Ok(dir.remove(token.as_str())?)
        })
        .await
    }
}

async fn blocking(
    work: impl FnOnce() -> Result<(), SolverError> + Send + 'static,
) -> Result<(), SolverError> {
    // A panic in the closure is a defect; it ends the job, which reports it.
    match tokio::task::spawn_blocking(work).await {
        Ok(outcome) => outcome,
        Err(panic) => std::panic::resume_unwind(panic.into_panic()),
    }
}

#[cfg(test)]
mod tests {
    use std::os::unix::fs::PermissionsExt;

    use super::*;
    use crate::model::Token;

    fn task() -> Task {
        Task {
            identifier: "a.example".parse().unwrap(),
            kind: ChallengeKind::Http01,
            token: Token::parse("LoqXcYV8q5ONbJQxbmR7SCTNo3tiAXDfowyjxAjEuX0").unwrap(),
            key_authorization: "LoqXcYV8q5ONbJQxbmR7SCTNo3tiAXDfowyjxAjEuX0.thumb".to_owned(),
        }
    }

    fn webroot(directory: PathBuf) -> Http01Webroot {
        Http01Webroot::new("web", &WebrootSettings { directory })
    }

    #[tokio::test]
    async fn an_answer_is_readable_for_the_web_server_and_gone_afterwards() {
        let root = tempfile::tempdir().unwrap();
        let solver = webroot(root.path().to_owned());
        solver.present(&task()).await.unwrap();
        let file = root
            .path()
            .join(".well-known/acme-challenge/LoqXcYV8q5ONbJQxbmR7SCTNo3tiAXDfowyjxAjEuX0");
        assert_eq!(std::fs::read_to_string(&file).unwrap(), task().key_authorization);
        assert_eq!(std::fs::metadata(&file).unwrap().permissions().mode() & 0o777, 0o644);
        let presented = solver.place(&task());
        // Another process with other settings finds it by its journal.
        let other = webroot(PathBuf::from("/nonexistent"));
        other.clean_up(&presented).await.unwrap();
        assert!(!file.exists());
        other.clean_up(&presented).await.unwrap();
    }

    #[tokio::test]
    async fn a_missing_webroot_is_named() {
        let error = webroot(PathBuf::from("/nonexistent/www")).present(&task()).await.unwrap_err();
        assert!(error.to_string().contains("/nonexistent/www does not exist"), "{error}");
    }
}
