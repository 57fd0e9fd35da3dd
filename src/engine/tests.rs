//! The engine over a real directory with a CA that is a few lines long.

use std::path::Path;
use std::sync::atomic::{AtomicUsize, Ordering};

use async_trait::async_trait;
use rcgen::{BasicConstraints, CertificateParams, CertifiedIssuer, IsCa, KeyPair};

use super::*;
use crate::config::{Base, SourceFile, load};
use crate::issuer::{IssueError, IssueFailure, IssueRequest, Journal};
use crate::model::{Task, Token};
use crate::pki::Chain as CertificateChain;
use crate::solver::Http01Listener;
use crate::store::DirStore;

const NOW: Timestamp = Timestamp::from_unix(1_800_000_000);

struct StoppedClock;

impl Clock for StoppedClock {
    fn now(&self) -> Timestamp {
        NOW
    }
}

/// Signs whatever it is asked for, unless the first name says otherwise.
struct SmallCa {
    authority: CertifiedIssuer<'static, KeyPair>,
    orders: AtomicUsize,
}

impl SmallCa {
    fn new() -> Arc<Self> {
        let mut params = CertificateParams::new(Vec::<String>::new()).unwrap();
        params.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
        let authority = CertifiedIssuer::self_signed(params, KeyPair::generate().unwrap()).unwrap();
        Arc::new(Self { authority, orders: AtomicUsize::new(0) })
    }
}

#[async_trait]
impl Issuer for SmallCa {
    async fn issue(
        &self,
        request: IssueRequest<'_>,
        journal: &dyn Journal,
        _stop: &Stop,
    ) -> Result<CertificateChain, IssueError> {
        if request.order.is_none() {
            let number = self.orders.fetch_add(1, Ordering::Relaxed);
            journal.order_opened(&format!("https://ca/order/{number}")).await?;
        }
        let first = &request.identifiers[0];
        journal
            .present(&[Task {
                identifier: first.clone(),
                kind: journal.challenge_for(first),
                token: Token::parse("LoqXcYV8q5ONbJQxbmR7SCTNo3tiAXDfowyjxAjEuX0").unwrap(),
                key_authorization: "x".to_owned(),
            }])
            .await?;
        match first.to_string().as_str() {
            "panics.example" => panic!("a defect"),
            "down.example" => {
                return Err(IssueFailure::new(FailureClass::Transient, "no answer").into());
            }
            "foreign.example" => {
                // A certificate for somebody else's key.
                let key = KeyPair::generate().unwrap();
                let params = CertificateParams::new(["foreign.example".to_owned()]).unwrap();
                let pem = params.signed_by(&key, &self.authority).unwrap().pem();
                return Ok(CertificateChain::from_pem(pem.as_bytes()).unwrap());
            }
            _ => {}
        }
        let mut request =
            rcgen::CertificateSigningRequestParams::from_der(&request.csr.into()).unwrap();
        let at = |unix| time::OffsetDateTime::from_unix_timestamp(unix).unwrap();
        request.params.not_before = at(NOW.unix());
        request.params.not_after = at(NOW.unix() + 90 * 86_400);
        let pem = request.signed_by(&self.authority).unwrap().pem() + &self.authority.pem();
        Ok(CertificateChain::from_pem(pem.as_bytes()).unwrap())
    }
}

/// One pass over these certificates; returns how things stand.
async fn pass(state: &Path, ca: &Arc<SmallCa>, certificates: &str) -> Status {
    let text = format!(
        "state_dir: {}\nissuers: {{ca: {{directory: \"https://ca/dir\"}}}}\nsolvers: {{web: \
         {{listen: [\"127.0.0.1:0\"]}}}}\ndefaults: {{issuers: [ca], solver: web}}\n\
         certificates:\n{certificates}",
        state.display()
    );
    let file = SourceFile { path: "certs.yaml".into(), text };
    let config = load(&[file], &Base { directory: "/".into() }).unwrap().config;
    let issuer: Arc<dyn Issuer> = Arc::clone(ca) as Arc<dyn Issuer>;
    let solver: Arc<dyn Solver> = Http01Listener::new("web", false, None);
    let setup = Setup {
        config: Arc::new(config),
        store: Arc::new(DirStore::open(state).unwrap()),
        clock: Arc::new(StoppedClock),
        issuers: BTreeMap::from([("ca".parse().unwrap(), issuer)]),
        solvers: BTreeMap::from([("web".to_owned(), solver)]),
        hook_turns: HookTurns::default(),
    };
    let (_events, inbox) = mpsc::channel(1);
    let minute = Duration::from_secs(60);
    let mut engine = Engine::new(Arc::new(setup), inbox, minute, Stop::new()).await.unwrap();
    engine.run(Mode::UntilIdle).await;
    engine.status()
}

fn state_of(status: &Status, name: &str) -> State {
    status.certificates.iter().find(|c| c.name.as_str() == name).unwrap().state
}

#[tokio::test]
async fn one_pass_issues_and_deploys_and_the_next_has_nothing_to_do() {
    let root = tempfile::tempdir().unwrap();
    let ca = SmallCa::new();
    let list = "- {names: [a.example], reload: \"true\"}\n";
    let status = pass(root.path(), &ca, list).await;
    assert_eq!(state_of(&status, "a.example"), State::Ok);
    assert!(root.path().join("live/a.example/privkey.pem").exists());
    pass(root.path(), &ca, list).await;
    assert_eq!(ca.orders.load(Ordering::Relaxed), 1);
}

#[tokio::test]
async fn a_panic_an_outage_and_a_foreign_certificate_are_their_own_lineage_s_trouble() {
    let root = tempfile::tempdir().unwrap();
    let ca = SmallCa::new();
    let list = "- {names: [panics.example]}\n- {names: [down.example]}\n\
                - {names: [foreign.example]}\n- {names: [good.example]}\n";
    let status = pass(root.path(), &ca, list).await;
    assert_eq!(state_of(&status, "good.example"), State::Ok);
    for name in ["panics.example", "down.example", "foreign.example"] {
        assert_eq!(state_of(&status, name), State::Waiting, "{name}");
    }
    let class = |name: &str| {
        let certificate = status.certificates.iter().find(|c| c.name.as_str() == name).unwrap();
        certificate.problem.as_ref().unwrap().class
    };
    assert_eq!(class("panics.example"), FailureClass::Bug);
    assert_eq!(class("down.example"), FailureClass::Transient);
    assert_eq!(class("foreign.example"), FailureClass::Rejected);
    assert!(!root.path().join("live/foreign.example").exists());
    let kept = std::fs::read_dir(root.path().join("quarantine")).unwrap().count();
    assert_eq!(kept, 1, "what was refused is kept for people");
    let orders = ca.orders.load(Ordering::Relaxed);
    pass(root.path(), &ca, list).await;
    // The panic could not be recorded by its job, so a new process tries once more, with the
    // order that it finds in the journal.
    assert_eq!(ca.orders.load(Ordering::Relaxed), orders);
}

#[tokio::test]
async fn a_failing_hook_leaves_the_certificate_live_and_the_deployment_pending() {
    let root = tempfile::tempdir().unwrap();
    let ca = SmallCa::new();
    let list = "- {names: [a.example], reload: \"false\"}\n";
    let status = pass(root.path(), &ca, list).await;
    assert_eq!(state_of(&status, "a.example"), State::DeployPending);
    assert!(root.path().join("live/a.example/fullchain.pem").exists());
    // Another command is another wish: no waiting.
    let status = pass(root.path(), &ca, "- {names: [a.example], reload: \"true\"}\n").await;
    assert_eq!(state_of(&status, "a.example"), State::Ok);
    assert_eq!(ca.orders.load(Ordering::Relaxed), 1);
}
