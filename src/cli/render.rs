//! Status as text. Pure: strings out, nothing printed.

use std::fmt::Write;

use crate::engine::{CertificateStatus, ProblemStatus, Severity, State, Status, Story};
use crate::model::Timestamp;
use crate::plan::span_in_words;
use crate::store::Outcome;

/// Whether text is coloured.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Paint {
    Plain,
    Coloured,
}

impl Paint {
    pub(super) fn when(coloured: bool) -> Self {
        if coloured { Self::Coloured } else { Self::Plain }
    }

    fn severity(self, severity: Severity, text: &str) -> String {
        let code = match (self, severity) {
            (Self::Plain, _) => return text.to_owned(),
            (Self::Coloured, Severity::Ok) => 32,
            (Self::Coloured, Severity::Warning) => 33,
            (Self::Coloured, Severity::Critical) => 31,
        };
        format!("\x1b[{code}m{text}\x1b[0m")
    }

    fn strong(self, text: &str) -> String {
        match self {
            Self::Plain => text.to_owned(),
            Self::Coloured => format!("\x1b[1m{text}\x1b[0m"),
        }
    }
}

/// Names shown in a table cell before they are counted instead.
const NAMES_SHOWN: usize = 2;

/// One line per certificate, then the problems.
pub(super) fn table(status: &Status, paint: Paint) -> String {
    let mut out = String::new();
    if !status.daemon {
        out.push_str("no daemon is running: this is what is on disk\n");
    }
    for problem in &status.problems {
        let _ = writeln!(out, "{}", paint.severity(Severity::Critical, problem));
    }
    let header = ["NAME", "NAMES", "ISSUER", "EXPIRES", "NEXT", "STATE"].map(str::to_owned);
    let rows: Vec<[String; 6]> = status
        .certificates
        .iter()
        .map(|certificate| {
            [
                certificate.name.to_string(),
                names(&certificate.names),
                certificate.issuer.clone(),
                expires(certificate, status.at),
                next(certificate, status.at),
                certificate.state.as_str().to_owned(),
            ]
        })
        .collect();
    let mut widths = header.clone().map(|cell| cell.chars().count());
    for row in &rows {
        for (width, cell) in widths.iter_mut().zip(row) {
            *width = (*width).max(cell.chars().count());
        }
    }
    let line = |row: &[String; 6]| {
        let cells: Vec<String> =
            row.iter().zip(widths).map(|(cell, width)| format!("{cell:width$}")).collect();
        cells.join("  ").trim_end().to_owned()
    };
    let _ = writeln!(out, "{}", paint.strong(&line(&header)));
    for (row, certificate) in rows.iter().zip(&status.certificates) {
        let text = line(row);
        let state = certificate.state.as_str();
        let painted = paint.severity(certificate.severity, state);
        let text = text.strip_suffix(state).map(|rest| format!("{rest}{painted}")).unwrap_or(text);
        let _ = writeln!(out, "{text}");
    }
    for certificate in &status.certificates {
        if certificate.problem.is_some() || certificate.deploy_problem.is_some() {
            out.push('\n');
            out.push_str(&trouble(certificate, status.at));
        }
    }
    out
}

fn names(names: &[String]) -> String {
    match names.len().checked_sub(NAMES_SHOWN) {
        Some(more @ 1..) => format!("{} +{more}", names[..NAMES_SHOWN].join(", ")),
        _ => names.join(", "),
    }
}

fn expires(certificate: &CertificateStatus, now: Timestamp) -> String {
    match certificate.not_after {
        None => "-".to_owned(),
        Some(at) if at < now => format!("{} ago ({})", span_in_words(now.since(at)), short(at)),
        Some(at) => format!("in {} ({})", span_in_words(at.since(now)), short(at)),
    }
}

fn next(certificate: &CertificateStatus, now: Timestamp) -> String {
    let what = &certificate.next.what;
    match certificate.next.at {
        None => what.clone(),
        Some(at) if at <= now => format!("{what} now"),
        Some(at) => format!("{what} in {}", span_in_words(at.since(now))),
    }
}

/// To the minute, in UTC.
fn short(at: Timestamp) -> String {
    let text = at.to_string();
    text.get(..16).map(|text| text.replace('T', " ")).unwrap_or(text)
}

/// What is wrong with one certificate, in the CA's own words, and what follows.
pub(super) fn trouble(certificate: &CertificateStatus, now: Timestamp) -> String {
    let mut out = String::new();
    for (what, problem) in
        [("not issued", &certificate.problem), ("not deployed", &certificate.deploy_problem)]
    {
        if let Some(problem) = problem {
            let _ = writeln!(out, "{}: {what}: {}", certificate.name, problem.summary);
            write_details(&mut out, problem, now);
            if let Some(at) = certificate.next.at {
                let _ = writeln!(out, "  next: {} at {at}", certificate.next.what);
            }
        }
    }
    out
}

fn write_details(out: &mut String, problem: &ProblemStatus, now: Timestamp) {
    if problem.causes.len() > 1 {
        for cause in &problem.causes {
            let _ = writeln!(out, "  {}: {}", cause.identifier, cause.problem);
        }
    }
    let ago = span_in_words(now.since(problem.since));
    let times = if problem.failures == 1 { "time" } else { "times" };
    let _ = writeln!(
        out,
        "  {} failure, {} {times} since {} ({ago} ago)",
        problem.class, problem.failures, problem.since
    );
    if let Some(hint) = &problem.hint {
        let _ = writeln!(out, "  hint: {hint}");
    }
}

/// All about one certificate.
pub(super) fn story(story: &Story, now: Timestamp, paint: Paint) -> String {
    let certificate = &story.certificate;
    let mut out = String::new();
    let state = paint.severity(certificate.severity, certificate.state.as_str());
    let _ = writeln!(out, "{}: {state}", paint.strong(certificate.name.as_str()));
    let mut line = |what: &str, text: &str| {
        if !text.is_empty() {
            let _ = writeln!(out, "  {what:<12} {text}");
        }
    };
    line("names", &certificate.names.join(", "));
    line("issuer", &certificate.issuer);
    if let (Some(from), Some(_)) = (certificate.not_before, certificate.not_after) {
        line("valid", &format!("from {from}, expires {}", expires(certificate, now)));
    }
    line("signed by", story.issued_by.as_deref().unwrap_or_default());
    line("serial", certificate.serial.as_deref().unwrap_or_default());
    line("sha-256", story.fingerprint.as_deref().unwrap_or_default());
    line("next", &next(certificate, now));
    line("plan", &story.plan);
    line("order", story.order.as_deref().unwrap_or_default());
    if let Some(used) = &story.used_by {
        line("files", &used.live);
        for output in &used.outputs {
            line("copy", output);
        }
        for hook in &used.hooks {
            line("hook", hook);
        }
    }
    let generations: Vec<String> = story
        .generations
        .iter()
        .map(|g| if g.live { format!("{:04} (live)", g.id) } else { format!("{:04}", g.id) })
        .collect();
    line("generations", &generations.join(", "));
    for attempt in story.attempts.iter().rev().take(8) {
        let outcome = match &attempt.outcome {
            Outcome::Succeeded(id) => format!("generation {id}"),
            Outcome::Failed(class, summary) => format!("failed ({class}): {summary}"),
        };
        line("history", &format!("{} {}: {outcome}", attempt.at, attempt.what));
    }
    out.push_str(&trouble(certificate, now));
    out
}

/// The one line of a monitoring plugin, then a line per problem.
pub(super) fn plugin_line(status: &Status, names: &[String], severity: Severity) -> String {
    let word = match severity {
        Severity::Ok => "OK",
        Severity::Warning => "WARNING",
        Severity::Critical => "CRITICAL",
    };
    let shown: Vec<&CertificateStatus> = status
        .certificates
        .iter()
        .filter(|c| names.is_empty() || names.iter().any(|name| name == c.name.as_str()))
        .filter(|c| c.state != State::Unconfigured)
        .collect();
    let bad: Vec<&&CertificateStatus> =
        shown.iter().filter(|certificate| certificate.severity > Severity::Ok).collect();
    let mut text = match bad.as_slice() {
        [] => format!("{} certificates ok", shown.len()),
        bad => {
            let list: Vec<String> = bad
                .iter()
                .map(|c| format!("{} {} ({})", c.name, c.state.as_str(), expires(c, status.at)))
                .collect();
            format!("{} of {} certificates: {}", bad.len(), shown.len(), list.join("; "))
        }
    };
    if !status.daemon {
        text = format!("no daemon is running; {text}");
    }
    for problem in &status.problems {
        text = format!("{problem}; {text}");
    }
    let mut out = format!("{word}: {text}\n");
    for certificate in bad {
        out.push_str(&trouble(certificate, status.at));
    }
    out
}

#[cfg(test)]
mod tests;
