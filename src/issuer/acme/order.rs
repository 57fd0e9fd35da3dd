//! One order, from wherever it stands to its certificate (RFC 8555 §7.4).
//!
//! Invariant: the same code serves a new order and one that an earlier process left behind; it
//! looks at the order's status and goes on from there. The URL is journaled before the order is
//! used, so at most one order is spent per wish.

use std::time::Duration;

use instant_acme::{
    Account, AuthorizationStatus, ChallengeStatus, ChallengeType, NewOrder, Order, OrderStatus,
};
use tokio::time::Instant;

use crate::issuer::{IssueError, IssueFailure, IssueRequest, Journal, Stop};
use crate::model::{Cause, ChallengeKind, FailureClass, Identifier, Task, Token};
use crate::pki::{Chain, ChainError};

use super::problem::Problem;
use super::{Session, failure};

/// Pauses between polls where the CA does not name one. The first is short because a CA that
/// validates at once should not be waited for.
const PAUSES: [Duration; 5] = [
    Duration::from_millis(100),
    Duration::from_millis(400),
    Duration::from_secs(1),
    Duration::from_secs(2),
    Duration::from_secs(3),
];
const LONGEST_PAUSE: Duration = Duration::from_secs(5);

/// How long one run waits for a CA to validate or to sign. The order lives on; a later run resumes
/// it.
const PATIENCE: Duration = Duration::from_secs(180);

/// How often a step is repeated because nonces were refused, on top of the library's own three.
const NONCE_ATTEMPTS: usize = 8;

/// An order with more authorizations than this is not one that we made.
const MOST_AUTHORIZATIONS: usize = 200;

/// Repeats a request whose nonces were refused: nothing has happened at the CA.
macro_rules! with_fresh_nonce {
    ($request:expr) => {{
        let mut attempt = 1;
        loop {
            match $request.await {
                Err(error) if attempt < NONCE_ATTEMPTS && is_bad_nonce(&error) => attempt += 1,
                outcome => break outcome,
            }
        }
    }};
}

/// Opens or resumes the order and sees it through.
pub(super) async fn run(
    session: &Session,
    request: &IssueRequest<'_>,
    journal: &dyn Journal,
    stop: &Stop,
) -> Result<Chain, IssueError> {
    let account = &session.account;
    let mut order = match resume(account, request).await? {
        Some(order) => order,
        None => open(account, request, journal).await?,
    };
    let url = order.url().to_owned();
    tracing::info!(order = url, status = ?order.state().status, "order open");
    let deadline = Instant::now() + PATIENCE;
    let mut finalized = None;
    loop {
        if stop.is_cancelled() {
            return Err(IssueError::Stopped);
        }
        match (order.state().status, &finalized) {
            (OrderStatus::Pending, _) => {
                answer_challenges(&mut order, request, journal).await?;
                poll(session, &mut order, &url, OrderStatus::Pending, deadline, stop).await?;
            }
            (OrderStatus::Ready, None) => {
                finalized = Some(order.state().finalize.clone());
                finalize(&mut order, request).await?;
            }
            (status @ (OrderStatus::Ready | OrderStatus::Processing), finalized) => {
                let after = finalized.clone().unwrap_or_else(|| url.clone());
                poll(session, &mut order, &after, status, deadline, stop).await?;
            }
            (OrderStatus::Valid, _) => return download(&mut order).await,
            (OrderStatus::Invalid, _) => return Err(why_invalid(&mut order).await.into()),
        }
    }
}

/// The order of an earlier run, if it can still come to something.
async fn resume(
    account: &Account,
    request: &IssueRequest<'_>,
) -> Result<Option<Order>, IssueFailure> {
    let Some(url) = request.order else { return Ok(None) };
    match with_fresh_nonce!(account.order(url.to_owned())) {
        Ok(mut order) => match order.state().status {
            OrderStatus::Invalid => Ok(None),
            _ => Ok(Some(order)),
        },
        Err(error) => {
            let failure = failure("resuming the order", error);
            match failure.class {
                // Expired, or another CA behind the same name: a new order is the only way.
                FailureClass::Rejected | FailureClass::Validation => Ok(None),
                _ => Err(failure),
            }
        }
    }
}

async fn open(
    account: &Account,
    request: &IssueRequest<'_>,
    journal: &dyn Journal,
) -> Result<Order, IssueError> {
    let identifiers: Vec<instant_acme::Identifier> =
        request.identifiers.iter().map(to_library).collect();
    let mut new = NewOrder::new(&identifiers);
    if let Some(profile) = request.profile {
        new = new.profile(profile);
    }
    let order = with_fresh_nonce!(account.new_order(&new));
    let order = order.map_err(|error| {
        let mut failure = failure("opening the order", error);
        if failure.class == FailureClass::Validation {
            // `unauthorized` to newOrder is about the account, not about a name.
            failure.class = FailureClass::Account;
        }
        failure
    })?;
    journal.order_opened(order.url()).await?;
    Ok(order)
}

fn to_library(identifier: &Identifier) -> instant_acme::Identifier {
    match identifier {
        Identifier::Ip(address) => instant_acme::Identifier::Ip(*address),
        named => instant_acme::Identifier::Dns(named.acme_value()),
    }
}

/// Presents every answer, then tells the CA of every one. Authorizations that are valid already,
/// and challenges that the CA is already looking at, are left as they are.
async fn answer_challenges(
    order: &mut Order,
    request: &IssueRequest<'_>,
    journal: &dyn Journal,
) -> Result<(), IssueError> {
    let count = order.state().authorizations.len();
    if count > MOST_AUTHORIZATIONS {
        let text = format!("the CA wants {count} authorizations for one order");
        return Err(IssueFailure::new(FailureClass::Rejected, text).dead().into());
    }
    let tasks = with_fresh_nonce!(tasks(order, request, journal))?;
    journal.present(&tasks).await?;
    with_fresh_nonce!(tell(order, journal))?;
    Ok(())
}

/// First pass: fetches the authorizations (each once) and reads what is to be answered.
async fn tasks(
    order: &mut Order,
    request: &IssueRequest<'_>,
    journal: &dyn Journal,
) -> Result<Vec<Task>, StepError> {
    let doing = "reading the authorizations";
    let mut tasks = Vec::new();
    let mut authorizations = order.authorizations();
    while let Some(authorization) = authorizations.next().await {
        let mut authorization = authorization.map_err(|error| StepError::Library(doing, error))?;
        if authorization.status != AuthorizationStatus::Pending {
            continue;
        }
        let identifier = echoed(&authorization.identifier().to_string(), request)?;
        let kind = journal.challenge_for(&identifier);
        let Some(challenge) = authorization.challenge(to_library_kind(kind)) else {
            let text = format!("the CA offers no {kind} challenge for {identifier}");
            return Err(IssueFailure::new(FailureClass::Rejected, text).dead().into());
        };
        let token = Token::parse(&challenge.token)
            .map_err(|error| IssueFailure::new(FailureClass::Rejected, error.to_string()).dead())?;
        let key_authorization = challenge.key_authorization().as_str().to_owned();
        tasks.push(Task { identifier, kind, token, key_authorization });
    }
    Ok(tasks)
}

/// Second pass: costs no request but the telling itself.
async fn tell(order: &mut Order, journal: &dyn Journal) -> Result<(), StepError> {
    let doing = "telling the CA to validate";
    let mut authorizations = order.authorizations();
    while let Some(authorization) = authorizations.next().await {
        let mut authorization = authorization.map_err(|error| StepError::Library(doing, error))?;
        if authorization.status != AuthorizationStatus::Pending {
            continue;
        }
        let Ok(identifier) = authorization.identifier().to_string().parse::<Identifier>() else {
            continue;
        };
        let kind = to_library_kind(journal.challenge_for(&identifier));
        let Some(mut challenge) = authorization.challenge(kind) else { continue };
        if challenge.status != ChallengeStatus::Pending {
            continue;
        }
        match with_fresh_nonce!(challenge.set_ready()) {
            Ok(()) => {}
            // The CA is at it already: an earlier telling whose answer was lost.
            Err(error) if is_refusal(&error, "conflict") => {}
            Err(error) => return Err(StepError::Library(doing, error)),
        }
    }
    Ok(())
}

/// A step failed either at the CA or by our own judgement.
enum StepError {
    Library(&'static str, instant_acme::Error),
    Judged(IssueFailure),
}

impl From<IssueFailure> for StepError {
    fn from(failure: IssueFailure) -> Self {
        Self::Judged(failure)
    }
}

impl From<StepError> for IssueError {
    fn from(error: StepError) -> Self {
        match error {
            StepError::Library(doing, error) => failure(doing, error).into(),
            StepError::Judged(failure) => failure.into(),
        }
    }
}

/// The wanted identifier that an authorization is for; anything else is refused.
fn echoed(text: &str, request: &IssueRequest<'_>) -> Result<Identifier, IssueFailure> {
    let identifier = text.parse::<Identifier>().ok();
    identifier.filter(|identifier| request.identifiers.contains(identifier)).ok_or_else(|| {
        let text = "the CA wants an authorization for a name that was not ordered";
        IssueFailure::new(FailureClass::Rejected, text).dead()
    })
}

fn to_library_kind(kind: ChallengeKind) -> ChallengeType {
    match kind {
        ChallengeKind::Http01 => ChallengeType::Http01,
    }
}

/// Polls until the status is another one, honouring the `Retry-After` of every answer, that of
/// the request to `after` included.
async fn poll(
    session: &Session,
    order: &mut Order,
    after: &str,
    waiting_while: OrderStatus,
    deadline: Instant,
    stop: &Stop,
) -> Result<(), IssueError> {
    let mut demanded = session.transport.take_demand(after);
    for own in PAUSES.into_iter().chain(std::iter::repeat(LONGEST_PAUSE)) {
        let pause = demanded.map_or(own, |demanded| demanded.max(own));
        if Instant::now() + pause > deadline {
            let text = format!("the CA keeps the order {waiting_while:?}; it is resumed later");
            let failure = IssueFailure::new(FailureClass::Transient, text);
            return Err(IssueFailure { retry_after: demanded, ..failure }.into());
        }
        tokio::select! {
            () = tokio::time::sleep(pause) => {}
            () = stop.cancelled() => return Err(IssueError::Stopped),
        }
        let state = with_fresh_nonce!(order.refresh());
        let status = state.map_err(|error| failure("polling the order", error))?.status;
        if status != waiting_while {
            tracing::debug!(?status, "order changed");
            return Ok(());
        }
        demanded = session.transport.take_demand(order.url());
    }
    Ok(())
}

async fn finalize(order: &mut Order, request: &IssueRequest<'_>) -> Result<(), IssueError> {
    match with_fresh_nonce!(order.finalize_csr(request.csr)) {
        Ok(()) => Ok(()),
        // Someone was faster, an earlier run perhaps: the order itself says where it stands.
        Err(error) if is_refusal(&error, "orderNotReady") => {
            let refreshed = with_fresh_nonce!(order.refresh());
            refreshed.map_err(|error| failure("polling the order", error))?;
            Ok(())
        }
        Err(error) => Err(failure("finalizing the order", error).into()),
    }
}

/// Downloads the chain; once more if the first answer was cut short.
async fn download(order: &mut Order) -> Result<Chain, IssueError> {
    let mut first_error: Option<ChainError> = None;
    for _ in 0..2 {
        let pem = with_fresh_nonce!(order.certificate())
            .map_err(|error| failure("downloading the certificate", error))?
            .unwrap_or_default();
        match Chain::from_pem(pem.as_bytes()) {
            Ok(chain) => return Ok(chain),
            Err(error) => first_error = first_error.or(Some(error)),
        }
    }
    let words = first_error.map(|error| error.to_string()).unwrap_or_default();
    let text = format!("downloading the certificate: {words}");
    Err(IssueFailure::new(FailureClass::Transient, text).into())
}

/// An invalid order seldom says why; its authorizations do.
async fn why_invalid(order: &mut Order) -> IssueFailure {
    let own = order.state().error.as_ref().map(Problem::from_library);
    let mut causes = own.as_ref().map(Problem::causes).unwrap_or_default();
    let mut class = own.as_ref().and_then(Problem::class);
    let mut authorizations = order.authorizations();
    while let Some(authorization) = authorizations.next().await {
        let Ok(mut authorization) = authorization else { continue };
        if authorization.status == AuthorizationStatus::Pending
            && with_fresh_nonce!(authorization.refresh()).is_err()
        {
            continue;
        }
        let Ok(identifier) = authorization.identifier().to_string().parse() else { continue };
        let problems = authorization.challenges.iter().filter_map(|challenge| {
            let problem = Problem::from_library(challenge.error.as_ref()?);
            Some((challenge.r#type.clone(), problem))
        });
        for (kind, problem) in problems {
            class = class.or(problem.class());
            let kind = match kind {
                ChallengeType::Http01 => "http-01: ",
                _ => "",
            };
            let problem = format!("{kind}{}", problem.words());
            causes.push(Cause { identifier: Identifier::clone(&identifier), problem });
        }
    }
    summarize(class.unwrap_or(FailureClass::Validation), own, causes)
}

fn summarize(class: FailureClass, own: Option<Problem>, causes: Vec<Cause>) -> IssueFailure {
    let own = own.map(|problem| problem.words()).filter(|words| !words.is_empty());
    let summary = match (causes.as_slice(), own) {
        ([], Some(words)) => words,
        ([], None) => "the CA made the order invalid without saying why".to_owned(),
        ([one], _) => format!("{}: {}", one.identifier, one.problem),
        ([one, rest @ ..], _) => {
            format!("{}: {} (and {} more)", one.identifier, one.problem, rest.len())
        }
    };
    let mut failure = IssueFailure::new(class, summary).dead();
    if class == FailureClass::Validation {
        failure.hint = Some(
            "the CA must reach this machine on port 80 by every address (A and AAAA) of the name"
                .to_owned(),
        );
    }
    failure.causes = causes;
    failure
}

/// What a repeated request can be recognised by.
trait IsBadNonce {
    fn is_bad_nonce(&self) -> bool;
}

impl IsBadNonce for instant_acme::Error {
    fn is_bad_nonce(&self) -> bool {
        is_refusal(self, "badNonce")
    }
}

impl IsBadNonce for StepError {
    fn is_bad_nonce(&self) -> bool {
        matches!(self, Self::Library(_, error) if error.is_bad_nonce())
    }
}

fn is_bad_nonce(error: &impl IsBadNonce) -> bool {
    error.is_bad_nonce()
}

fn is_refusal(error: &instant_acme::Error, name: &str) -> bool {
    match error {
        instant_acme::Error::Api(problem) => Problem::from_library(problem).name() == Some(name),
        instant_acme::Error::Other(error) => error
            .downcast_ref::<super::RequestError>()
            .is_some_and(|error| matches!(error, super::RequestError::Refused(r) if r.is(name))),
        _ => false,
    }
}
