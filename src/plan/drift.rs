//! Why the certificate at hand is not good enough: an ordered row of checks, the first that fails
//! is the reason. The order is the policy.

use std::collections::BTreeSet;
use std::fmt;

use crate::model::{Generation, Identifier, IssuerName, KeyKind, Spec, Timestamp};

use super::{Observation, Wish, renewal};

/// Why a certificate is to be issued.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Reason {
    /// There is none.
    Missing,
    /// A person asked for it.
    Requested,
    /// It lacks names that are wanted, or has names that are not.
    NamesChanged {
        /// Wanted and not in the certificate.
        added: BTreeSet<Identifier>,
        /// In the certificate and not wanted.
        removed: BTreeSet<Identifier>,
    },
    /// Another kind of key is wanted.
    KeyChanged {
        /// What it has.
        from: KeyKind,
        /// What is wanted.
        to: KeyKind,
    },
    /// It comes from another CA.
    IssuerChanged {
        /// Where it is from.
        from: IssuerName,
        /// Where it should be from.
        to: IssuerName,
    },
    /// It has expired.
    Expired,
    /// Its renewal time has come.
    RenewalDue,
}

/// `Ok(due)` if the newest certificate will do until `due`, else why it will not.
pub(super) fn reason_to_issue(
    now: Timestamp,
    spec: &Spec,
    seen: &Observation,
) -> Result<Timestamp, Reason> {
    let newest = seen.newest.as_ref().ok_or(Reason::Missing)?;
    names(spec, newest)?;
    key(spec, newest)?;
    issuer(spec, newest)?;
    if seen.wish != Wish::None {
        return Err(Reason::Requested);
    }
    if newest.facts.validity.is_over(now) {
        return Err(Reason::Expired);
    }
    let due = renewal::due_at(&spec.name, newest);
    if due <= now { Err(Reason::RenewalDue) } else { Ok(due) }
}

fn names(spec: &Spec, newest: &Generation) -> Result<(), Reason> {
    let wanted: BTreeSet<_> = spec.satisfy.identifiers.iter().cloned().collect();
    let held = &newest.ordered;
    if wanted == *held {
        return Ok(());
    }
    Err(Reason::NamesChanged {
        added: wanted.difference(held).cloned().collect(),
        removed: held.difference(&wanted).cloned().collect(),
    })
}

fn key(spec: &Spec, newest: &Generation) -> Result<(), Reason> {
    if newest.key == spec.satisfy.key {
        return Ok(());
    }
    Err(Reason::KeyChanged { from: newest.key, to: spec.satisfy.key })
}

fn issuer(spec: &Spec, newest: &Generation) -> Result<(), Reason> {
    if newest.issuer == spec.satisfy.issuer {
        return Ok(());
    }
    Err(Reason::IssuerChanged { from: newest.issuer.clone(), to: spec.satisfy.issuer.clone() })
}

impl fmt::Display for Reason {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Missing => f.write_str("no certificate yet"),
            Self::Requested => f.write_str("asked for"),
            Self::NamesChanged { added, removed } => {
                f.write_str("names changed:")?;
                added.iter().try_for_each(|name| write!(f, " +{name}"))?;
                removed.iter().try_for_each(|name| write!(f, " -{name}"))
            }
            Self::KeyChanged { from, to } => write!(f, "key is {from}, wanted {to}"),
            Self::IssuerChanged { from, to } => write!(f, "issued by {from}, wanted {to}"),
            Self::Expired => f.write_str("expired"),
            Self::RenewalDue => f.write_str("renewal time"),
        }
    }
}
