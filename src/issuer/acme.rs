//! The ACME client (RFC 8555): instant-acme's signing and parsing behind our own transport, our
//! own account registration, and our own polling.
//!
//! Only this module and its children know the library.

mod account;
mod order;
mod problem;
mod transport;

use std::sync::Arc;
use std::time::Duration;

use async_trait::async_trait;
use instant_acme::Account;
use tokio::sync::Mutex;
use tokio::time::Instant;

use crate::config::settings::IssuerSettings;
use crate::model::{FailureClass, Secret, printable};
use crate::pki::Chain;

use self::problem::Problem;
use self::transport::{LibraryClient, RequestError, Transport, TransportError};
use super::{IssueError, IssueFailure, IssueRequest, Issuer, Journal, Stop, Vault};

/// How long a directory and the account made from it are used before they are fetched again.
const SESSION_LIFE: Duration = Duration::from_secs(24 * 3600);

/// A CA that speaks ACME.
pub struct Acme {
    settings: IssuerSettings,
    vault: Box<dyn Vault>,
    /// MAC key of the external account binding, read when the issuer was set up.
    external_key: Result<Option<Secret>, IssueFailure>,
    session: Mutex<Option<Session>>,
}

#[derive(Clone)]
struct Session {
    account: Account,
    transport: Arc<Transport>,
    since: Instant,
}

impl Acme {
    /// Sets up a CA. Opens no connection: the daemon must start when the CA is down.
    pub fn new(
        settings: IssuerSettings,
        external_key: Result<Option<Secret>, IssueFailure>,
        vault: Box<dyn Vault>,
    ) -> Self {
        Self { settings, vault, external_key, session: Mutex::new(None) }
    }

    /// Directory and account, registered if need be. One caller at a time registers; the others wait.
    async fn session(&self) -> Result<Session, IssueError> {
        let mut session = self.session.lock().await;
        if let Some(kept) = session.as_ref().filter(|kept| kept.since.elapsed() < SESSION_LIFE) {
            return Ok(kept.clone());
        }
        let transport = Transport::new(&self.settings)
            .map_err(|error| transport_failure("setting up the connection to the CA", &error))?;
        let external_key = self.external_key.clone()?;
        let (url, key) =
            account::ensure(&self.settings, external_key.as_ref(), self.vault.as_ref(), &transport)
                .await?;
        let account = Account::builder_with_http(Box::new(LibraryClient(Arc::clone(&transport))))
            .from_parts(url, key, self.settings.directory.clone())
            .await
            .map_err(|error| failure("loading the account", error))?;
        let fresh = Session { account, transport, since: Instant::now() };
        *session = Some(fresh.clone());
        Ok(fresh)
    }

    /// After an error that a stale session may have caused: start from the directory next time,
    /// and register again if the CA has forgotten the account.
    async fn forget_session(&self, failure: &IssueFailure) -> Result<(), IssueError> {
        if failure.class != FailureClass::Account {
            return Ok(());
        }
        *self.session.lock().await = None;
        if let Some(mut state) = self.vault.load().await? {
            state.url = None;
            self.vault.save(&state).await?;
        }
        Ok(())
    }
}

#[async_trait]
impl Issuer for Acme {
    async fn issue(
        &self,
        request: IssueRequest<'_>,
        journal: &dyn Journal,
        stop: &Stop,
    ) -> Result<Chain, IssueError> {
        let session = self.session().await?;
        let outcome = order::run(&session, &request, journal, stop).await;
        if let Err(IssueError::Failed(failure)) = &outcome {
            self.forget_session(failure).await?;
        }
        outcome
    }
}

impl std::fmt::Debug for Acme {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Acme").field("directory", &self.settings.directory).finish_non_exhaustive()
    }
}

/// What an error of the library means.
fn failure(doing: &str, error: instant_acme::Error) -> IssueFailure {
    match error {
        instant_acme::Error::Api(problem) => {
            let problem = Problem::from_library(&problem);
            let class = problem.class().unwrap_or(FailureClass::Rejected);
            let mut failure = IssueFailure::new(class, format!("{doing}: {}", problem.words()));
            failure.causes = problem.causes();
            failure
        }
        instant_acme::Error::Other(error) => match error.downcast::<RequestError>() {
            Ok(error) => request_failure(doing, *error),
            Err(error) => {
                let words = printable(&error.to_string(), 300);
                IssueFailure::new(FailureClass::Transient, format!("{doing}: {words}"))
            }
        },
        error => {
            let words = printable(&error.to_string(), 300);
            let text = format!("{doing}: the CA's answer is not understood: {words}");
            IssueFailure::new(FailureClass::Transient, text)
        }
    }
}

fn request_failure(doing: &str, error: RequestError) -> IssueFailure {
    match error {
        RequestError::Refused(refusal) => refusal.into_failure(doing),
        RequestError::Failed(error) => transport_failure(doing, &error),
    }
}

fn transport_failure(doing: &str, error: &TransportError) -> IssueFailure {
    let class = match error {
        TransportError::Setup(_)
        | TransportError::CaFile(_)
        | TransportError::NoRoots(_)
        | TransportError::Redirect(_)
        | TransportError::NotADirectory(_) => FailureClass::Config,
        TransportError::ForeignUrl(_) => FailureClass::Rejected,
        TransportError::Network { .. } | TransportError::TooLarge(_) => FailureClass::Transient,
    };
    let words = printable(&crate::error::Chain(error).to_string(), 600);
    let failure = IssueFailure::new(class, format!("{doing}: {words}"));
    if words.contains("UnknownIssuer") || words.contains("certificate") {
        return failure.hint(
            "the CA's own certificate is not trusted here; for a private CA write its root \
             certificate under `issuers: … ca_file:`",
        );
    }
    failure
}
