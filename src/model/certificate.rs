//! Facts about an issued certificate, as read from its DER and kept beside it.

use std::collections::BTreeSet;
use std::fmt;
use std::str::FromStr;

use serde::{Deserialize, Serialize};

use super::identifier::Identifier;
use super::lineage::{GenerationId, IssuerName};
use super::time::{Timestamp, Validity};

/// Kind and size of a certificate's key.
#[derive(
    Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize,
)]
pub enum KeyKind {
    /// ECDSA on P-256: small, fast, accepted everywhere that matters.
    #[default]
    #[serde(rename = "ecdsa-p256")]
    EcdsaP256,
    /// ECDSA on P-384.
    #[serde(rename = "ecdsa-p384")]
    EcdsaP384,
    /// RSA with a modulus of 2048 bits.
    #[serde(rename = "rsa-2048")]
    Rsa2048,
    /// RSA with a modulus of 3072 bits.
    #[serde(rename = "rsa-3072")]
    Rsa3072,
    /// RSA with a modulus of 4096 bits.
    #[serde(rename = "rsa-4096")]
    Rsa4096,
}

impl KeyKind {
    /// Every kind, in the order shown to people.
    pub const ALL: [Self; 5] =
        [Self::EcdsaP256, Self::EcdsaP384, Self::Rsa2048, Self::Rsa3072, Self::Rsa4096];

    /// The name used in the configuration.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::EcdsaP256 => "ecdsa-p256",
            Self::EcdsaP384 => "ecdsa-p384",
            Self::Rsa2048 => "rsa-2048",
            Self::Rsa3072 => "rsa-3072",
            Self::Rsa4096 => "rsa-4096",
        }
    }
}

impl fmt::Display for KeyKind {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.as_str())
    }
}

impl FromStr for KeyKind {
    type Err = ();

    fn from_str(text: &str) -> Result<Self, ()> {
        Self::ALL.into_iter().find(|kind| kind.as_str() == text).ok_or(())
    }
}

/// What is known of a leaf certificate.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct CertificateFacts {
    /// The subject alternative names.
    pub identifiers: BTreeSet<Identifier>,
    /// From when until when it is valid.
    pub validity: Validity,
    /// Serial number, lower-case hexadecimal, as in the DER including a leading zero byte.
    pub serial: String,
    /// SHA-256 over the whole DER, lower-case hexadecimal.
    pub fingerprint: String,
    /// SHA-256 over the SubjectPublicKeyInfo, lower-case hexadecimal.
    pub public_key: String,
    /// Common name of the issuing CA certificate, for people.
    pub issued_by: String,
}

/// One complete key and chain on disk.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Generation {
    /// Its number.
    pub id: GenerationId,
    /// The CA, as named in the configuration at the time.
    pub issuer: IssuerName,
    /// Kind of its key.
    pub key: KeyKind,
    /// The identifiers that were ordered. Some CAs add names of their own to the certificate;
    /// that is no reason to issue again.
    pub ordered: BTreeSet<Identifier>,
    /// Profile that was asked for, if any.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub profile: Option<String>,
    /// When it was written.
    pub issued_at: Timestamp,
    /// Facts of the leaf.
    pub facts: CertificateFacts,
}
