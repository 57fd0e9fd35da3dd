//! Rendering, as golden text.

use super::*;
use crate::engine::Next;
use crate::model::FailureClass;

const NOW: Timestamp = Timestamp::from_unix(1_800_000_000);

fn certificate(name: &str, state: State, severity: Severity) -> CertificateStatus {
    CertificateStatus {
        name: name.parse().unwrap(),
        names: vec![format!("{name}.example"), "b.example".to_owned(), "c.example".to_owned()],
        issuer: "letsencrypt".to_owned(),
        state,
        severity,
        not_before: Some(NOW),
        not_after: Some(Timestamp::from_unix(NOW.unix() + 30 * 86_400)),
        serial: Some("0a".to_owned()),
        generation: Some(1),
        live: Some(1),
        next: Next { what: "renew".to_owned(), at: Some(Timestamp::from_unix(NOW.unix() + 7200)) },
        problem: None,
        deploy_problem: None,
    }
}

fn status(certificates: Vec<CertificateStatus>) -> Status {
    Status {
        schema: 1,
        version: "0".to_owned(),
        at: NOW,
        daemon: true,
        problems: Vec::new(),
        certificates,
    }
}

fn failing() -> CertificateStatus {
    let mut failing = certificate("bad", State::Waiting, Severity::Warning);
    failing.problem = Some(ProblemStatus {
        since: Timestamp::from_unix(NOW.unix() - 3600),
        failures: 2,
        class: FailureClass::Validation,
        at: NOW,
        summary: "connection refused".to_owned(),
        causes: Vec::new(),
        hint: Some("open port 80".to_owned()),
    });
    failing
}

#[test]
fn the_table_is_aligned_and_followed_by_what_is_wrong() {
    let all = vec![certificate("good", State::Ok, Severity::Ok), failing()];
    let expected = "\
NAME  NAMES                       ISSUER       EXPIRES                     NEXT          STATE
good  good.example, b.example +1  letsencrypt  in 30 d (2027-02-14 08:00)  renew in 2 h  ok
bad   bad.example, b.example +1   letsencrypt  in 30 d (2027-02-14 08:00)  renew in 2 h  waiting for retry

bad: not issued: connection refused
  validation failure, 2 times since 2027-01-15T07:00:00Z (1 h ago)
  hint: open port 80
  next: renew at 2027-01-15T10:00:00Z
";
    assert_eq!(table(&status(all), Paint::Plain), expected);
}

#[test]
fn a_monitoring_plugin_says_the_worst_first_in_one_line() {
    let all = status(vec![certificate("good", State::Ok, Severity::Ok)]);
    assert_eq!(plugin_line(&all, &[], Severity::Ok), "OK: 1 certificates ok\n");
    let all = status(vec![certificate("good", State::Ok, Severity::Ok), failing()]);
    let line = plugin_line(&all, &[], Severity::Warning);
    let first = line.lines().next().unwrap();
    assert_eq!(
        first,
        "WARNING: 1 of 2 certificates: bad waiting for retry (in 30 d (2027-02-14 08:00))"
    );
}

#[test]
fn colour_is_only_there_when_asked_for() {
    let all = status(vec![failing()]);
    assert!(!table(&all, Paint::Plain).contains('\x1b'));
    assert!(table(&all, Paint::Coloured).contains("\x1b[33mwaiting for retry\x1b[0m"));
}
