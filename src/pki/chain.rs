//! A certificate chain as downloaded, and the inspection it must pass before it is accepted.
//!
//! Everything here may come from a hostile CA: sizes are bounded, and nothing is taken on trust.

use std::collections::BTreeSet;
use std::net::IpAddr;

use rustls_pki_types::CertificateDer;
use rustls_pki_types::pem::PemObject;
use thiserror::Error;
use x509_parser::prelude::{FromDer, GeneralName, X509Certificate};

use crate::model::{CertificateFacts, Identifier, Timestamp, Validity, printable};

use super::{hex, sha256_hex};

/// Most certificates that a chain may have. Let's Encrypt's longest has four.
const LONGEST_CHAIN: usize = 10;

/// Largest chain read, in bytes of PEM.
const LARGEST_CHAIN: usize = 256 << 10;

/// A chain, leaf first, of which every certificate could be parsed.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Chain {
    certificates: Vec<Vec<u8>>,
    facts: CertificateFacts,
}

/// What was sent is not a chain of certificates.
#[derive(Debug, Error, PartialEq, Eq)]
pub enum ChainError {
    /// No `BEGIN CERTIFICATE`, or broken PEM.
    #[error("not a PEM certificate chain")]
    NotPem,
    /// More bytes or certificates than any CA sends.
    #[error("the chain is larger than {LARGEST_CHAIN} bytes or {LONGEST_CHAIN} certificates")]
    TooLarge,
    /// A certificate does not parse.
    #[error("certificate {position} of the chain cannot be read: {how}")]
    Unreadable {
        /// Counted from 1.
        position: usize,
        /// What the parser said.
        how: String,
    },
}

/// What a chain must be.
#[derive(Clone, Copy, Debug)]
pub struct Wanted<'a> {
    /// [`super::PrivateKey::public_key`] of the key that signed the request.
    pub public_key: &'a str,
    /// Identifiers that must be in the certificate.
    pub identifiers: &'a [Identifier],
    /// The present time.
    pub now: Timestamp,
}

/// Why a chain is not accepted.
#[derive(Clone, Debug, Error, PartialEq, Eq)]
pub enum Rejection {
    /// The certificate is for a key that is not ours.
    #[error("the certificate is for another key than the one requested")]
    OtherKey,
    /// The first certificate is a CA certificate.
    #[error("the chain does not start with the server's certificate")]
    LeafNotFirst,
    /// Wanted names are missing.
    #[error("the certificate lacks {}", list(.0))]
    MissingNames(Vec<Identifier>),
    /// It has expired, or never was valid.
    #[error("the certificate is not valid after {0}")]
    Expired(Timestamp),
    /// A certificate is not signed by the one after it.
    #[error("certificate {0} of the chain is not signed by the next one")]
    BrokenLink(usize),
}

fn list(names: &[Identifier]) -> String {
    names.iter().map(ToString::to_string).collect::<Vec<_>>().join(", ")
}

impl Chain {
    /// Reads a PEM chain, leaf first.
    pub fn from_pem(pem: &[u8]) -> Result<Self, ChainError> {
        if pem.len() > LARGEST_CHAIN {
            return Err(ChainError::TooLarge);
        }
        let certificates = CertificateDer::pem_slice_iter(pem)
            .map(|der| der.map(|der| der.to_vec()))
            .collect::<Result<Vec<_>, _>>()
            .map_err(|_| ChainError::NotPem)?;
        if certificates.len() > LONGEST_CHAIN {
            return Err(ChainError::TooLarge);
        }
        let first = certificates.first().ok_or(ChainError::NotPem)?;
        let facts = facts(first)?;
        for (index, der) in certificates.iter().enumerate() {
            parse(der, index + 1)?;
        }
        Ok(Self { certificates, facts })
    }

    /// Facts of the leaf.
    pub fn facts(&self) -> &CertificateFacts {
        &self.facts
    }

    /// The leaf alone, PEM.
    pub fn leaf_pem(&self) -> Vec<u8> {
        pem(self.certificates.iter().take(1))
    }

    /// Everything after the leaf, PEM; empty for a self-signed leaf.
    pub fn rest_pem(&self) -> Vec<u8> {
        pem(self.certificates.iter().skip(1))
    }

    /// Leaf and rest, PEM, in our own formatting: no byte of a CA's text outside the
    /// certificates reaches a file.
    pub fn full_pem(&self) -> Vec<u8> {
        pem(self.certificates.iter())
    }

    /// Whether this is the chain that was wanted; the first thing that is wrong otherwise.
    ///
    /// A certificate that is not valid *yet* passes: clocks differ, and the plan holds it back.
    pub fn inspect(&self, wanted: &Wanted<'_>) -> Result<(), Rejection> {
        if self.facts.public_key != wanted.public_key {
            // A CA that sends the intermediate first gives the same symptom; say which it is.
            return Err(match self.leaf_is_ca() {
                true => Rejection::LeafNotFirst,
                false => Rejection::OtherKey,
            });
        }
        let missing: Vec<Identifier> = wanted
            .identifiers
            .iter()
            .filter(|name| !self.facts.identifiers.contains(name))
            .cloned()
            .collect();
        if !missing.is_empty() {
            return Err(Rejection::MissingNames(missing));
        }
        let validity = self.facts.validity;
        if validity.is_over(wanted.now) || validity.not_after <= validity.not_before {
            return Err(Rejection::Expired(validity.not_after));
        }
        self.first_broken_link().map_or(Ok(()), |position| Err(Rejection::BrokenLink(position)))
    }

    fn leaf_is_ca(&self) -> bool {
        self.certificates
            .first()
            .and_then(|der| parse(der, 1).ok())
            .is_some_and(|leaf| leaf.is_ca())
    }

    fn first_broken_link(&self) -> Option<usize> {
        self.certificates.windows(2).enumerate().find_map(|(index, pair)| {
            let [subject, issuer] = pair else { return None };
            let holds = parse(subject, index + 1).and_then(|subject| {
                let issuer = parse(issuer, index + 2)?;
                Ok(issuer.is_ca()
                    && subject.issuer().as_raw() == issuer.subject().as_raw()
                    && subject.verify_signature(Some(issuer.public_key())).is_ok())
            });
            (!holds.unwrap_or(false)).then_some(index + 1)
        })
    }
}

fn parse(der: &[u8], position: usize) -> Result<X509Certificate<'_>, ChainError> {
    let unreadable = |how: String| ChainError::Unreadable { position, how };
    match X509Certificate::from_der(der) {
        Ok(([], certificate)) => Ok(certificate),
        Ok(_) => Err(unreadable("trailing bytes".to_owned())),
        Err(error) => Err(unreadable(printable(&error.to_string(), 200))),
    }
}

fn facts(der: &[u8]) -> Result<CertificateFacts, ChainError> {
    let leaf = parse(der, 1)?;
    let unreadable = |how: &str| ChainError::Unreadable { position: 1, how: how.to_owned() };
    let names = leaf
        .subject_alternative_name()
        .map_err(|_| unreadable("several subject alternative name extensions"))?;
    let identifiers: BTreeSet<Identifier> =
        names.iter().flat_map(|names| &names.value.general_names).filter_map(identifier).collect();
    let issued_by =
        leaf.issuer().iter_common_name().next().and_then(|name| name.as_str().ok()).unwrap_or("?");
    Ok(CertificateFacts {
        identifiers,
        validity: Validity {
            not_before: Timestamp::from_unix(leaf.validity().not_before.timestamp()),
            not_after: Timestamp::from_unix(leaf.validity().not_after.timestamp()),
        },
        serial: hex(leaf.raw_serial()),
        fingerprint: sha256_hex(der),
        public_key: sha256_hex(leaf.public_key().raw),
        issued_by: printable(issued_by, 64),
    })
}

/// Names of other kinds than ours are left out: they are nobody's wish here.
fn identifier(name: &GeneralName<'_>) -> Option<Identifier> {
    match name {
        GeneralName::DNSName(name) => name.parse().ok(),
        GeneralName::IPAddress(bytes) => match bytes.len() {
            4 => <[u8; 4]>::try_from(*bytes).ok().map(|b| Identifier::Ip(IpAddr::from(b))),
            16 => <[u8; 16]>::try_from(*bytes).ok().map(|b| Identifier::Ip(IpAddr::from(b))),
            _ => None,
        },
        _ => None,
    }
}

fn pem<'a>(certificates: impl Iterator<Item = &'a Vec<u8>>) -> Vec<u8> {
    use base64::prelude::{BASE64_STANDARD, Engine};

    let mut text = String::new();
    for der in certificates {
        text.push_str("-----BEGIN CERTIFICATE-----\n");
        let encoded = BASE64_STANDARD.encode(der);
        let mut rest = encoded.as_str();
        while !rest.is_empty() {
            let (line, next) = rest.split_at(rest.len().min(64));
            text.push_str(line);
            text.push('\n');
            rest = next;
        }
        text.push_str("-----END CERTIFICATE-----\n");
    }
    text.into_bytes()
}

#[cfg(test)]
mod tests;
