//! The serialised forms, all in one envelope: `{"version":1,"sha256":"…","record":{…}}`.
//!
//! Invariant: the checksum covers the bytes of `record` exactly as written. A newer version is
//! refused; unknown fields of the same version are ignored.

use serde::de::DeserializeOwned;
use serde::{Deserialize, Serialize};
use serde_json::value::RawValue;

use crate::model::{
    FailureClass, Generation, GenerationId, Identifier, IssuerName, KeyKind, Presented, SpecDigest,
    Timestamp, Trouble,
};
use crate::pki;
use crate::plan::{Deployed, Wish};

use super::StoreError;

/// Version of every envelope written.
const VERSION: u32 = 1;

/// Attempts kept per lineage.
const KEPT_ATTEMPTS: usize = 20;

/// What is remembered of a lineage beyond its files.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Record {
    /// The newest generation, a copy of its `meta.json`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub newest: Option<Generation>,
    /// The last deployment that succeeded.
    #[serde(default, skip_serializing_if = "Option::is_none", with = "deployed")]
    pub deployed: Option<Deployed>,
    /// Failed issuances in a row.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub issue_trouble: Option<Trouble>,
    /// Failed deployments in a row.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub deploy_trouble: Option<Trouble>,
    /// Whether a person has asked for a renewal.
    #[serde(default)]
    pub wish: Wish,
    /// The latest attempts, oldest first.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub attempts: Vec<Attempt>,
}

impl Record {
    /// Adds an attempt, dropping the oldest beyond the number kept.
    pub fn remember(&mut self, attempt: Attempt) {
        self.attempts.push(attempt);
        let surplus = self.attempts.len().saturating_sub(KEPT_ATTEMPTS);
        self.attempts.drain(..surplus);
    }
}

/// One finished attempt at something.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Attempt {
    /// When it ended.
    pub at: Timestamp,
    /// `issue` or `deploy`.
    pub what: String,
    /// The CA, for issuances.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub issuer: Option<IssuerName>,
    /// How it ended.
    pub outcome: Outcome,
}

/// How an attempt ended.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Outcome {
    /// Well, with this generation.
    Succeeded(GenerationId),
    /// Badly.
    Failed(FailureClass, String),
}

/// The journal of an issuance under way.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Intent {
    /// Digest of the wish.
    pub wanted: SpecDigest,
    /// The CA.
    pub issuer: IssuerName,
    /// Kind of the key beside it.
    pub key: KeyKind,
    /// The identifiers of the order.
    pub identifiers: Vec<Identifier>,
    /// When it began.
    pub begun_at: Timestamp,
    /// URL of the order, as soon as the CA has told it.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub order: Option<String>,
    /// What has been shown and not yet taken away.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub presented: Vec<Presented>,
}

/// The account at one CA.
#[derive(Clone, Serialize, Deserialize)]
pub struct AccountRecord {
    /// URL of the CA's directory.
    pub directory: String,
    /// Private key, PKCS #8 in base64. On disk before the CA hears of it.
    pub key: String,
    /// URL of the account; `None` until the CA has confirmed it.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub url: Option<String>,
    /// Key identifier of the external account binding it was made with.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub external_account: Option<String>,
}

impl std::fmt::Debug for AccountRecord {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("AccountRecord")
            .field("directory", &self.directory)
            .field("url", &self.url)
            .finish_non_exhaustive()
    }
}

#[derive(Serialize, Deserialize)]
struct Envelope<'a> {
    version: u32,
    sha256: std::borrow::Cow<'a, str>,
    #[serde(borrow)]
    record: &'a RawValue,
}

/// Serialises a value into its envelope.
pub(super) fn seal<T: Serialize>(what: &str, value: &T) -> Result<Vec<u8>, StoreError> {
    let damaged = |error: serde_json::Error| StoreError::Damaged {
        what: what.to_owned(),
        how: error.to_string(),
    };
    let record = serde_json::value::to_raw_value(value).map_err(damaged)?;
    let sha256 = pki::sha256_hex(record.get().as_bytes()).into();
    let envelope = Envelope { version: VERSION, sha256, record: &record };
    let mut bytes = serde_json::to_vec(&envelope).map_err(damaged)?;
    bytes.push(b'\n');
    Ok(bytes)
}

/// Reads a value from its envelope, checking version and checksum.
pub(super) fn open<T: DeserializeOwned>(what: &str, bytes: &[u8]) -> Result<T, StoreError> {
    let damaged = |how: String| StoreError::Damaged { what: what.to_owned(), how };
    let envelope: Envelope<'_> =
        serde_json::from_slice(bytes).map_err(|error| damaged(error.to_string()))?;
    if envelope.version > VERSION {
        let what = what.to_owned();
        return Err(StoreError::TooNew { what, found: envelope.version, known: VERSION });
    }
    if envelope.version != VERSION {
        return Err(damaged(format!("layout version {} never existed", envelope.version)));
    }
    if pki::sha256_hex(envelope.record.get().as_bytes()) != envelope.sha256 {
        return Err(damaged("checksum does not match".to_owned()));
    }
    serde_json::from_str(envelope.record.get()).map_err(|error| damaged(error.to_string()))
}

/// `plan` knows no serialisation; records do.
mod deployed {
    use serde::{Deserialize, Deserializer, Serialize, Serializer};

    use crate::model::{DeploymentDigest, GenerationId};
    use crate::plan::Deployed;

    #[derive(Serialize, Deserialize)]
    struct Written {
        generation: GenerationId,
        digest: DeploymentDigest,
    }

    pub(super) fn serialize<S: Serializer>(
        value: &Option<Deployed>,
        serializer: S,
    ) -> Result<S::Ok, S::Error> {
        value
            .map(|deployed| Written { generation: deployed.generation, digest: deployed.digest })
            .serialize(serializer)
    }

    pub(super) fn deserialize<'de, D: Deserializer<'de>>(
        deserializer: D,
    ) -> Result<Option<Deployed>, D::Error> {
        Ok(Option::<Written>::deserialize(deserializer)?
            .map(|written| Deployed { generation: written.generation, digest: written.digest }))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_changed_byte_is_noticed() {
        let record = Record { wish: Wish::Renew, ..Record::default() };
        let sealed = seal("record", &record).unwrap();
        assert_eq!(open::<Record>("record", &sealed).unwrap(), record);
        for position in 0..sealed.len() - 1 {
            let mut damaged = sealed.clone();
            damaged[position] ^= 0x01;
            assert!(open::<Record>("record", &damaged).is_err(), "byte {position}");
        }
        for length in 0..sealed.len() - 1 {
            assert!(open::<Record>("record", &sealed[..length]).is_err(), "cut at {length}");
        }
    }

    #[test]
    fn a_newer_version_is_refused_with_advice() {
        let text = r#"{"version":2,"sha256":"","record":{}}"#;
        let error = open::<Record>("records/site.json", text.as_bytes()).unwrap_err();
        assert!(error.to_string().contains("upgrade"), "{error}");
    }

    #[test]
    fn only_the_latest_attempts_are_kept() {
        let mut record = Record::default();
        for second in 0..50 {
            record.remember(Attempt {
                at: Timestamp::from_unix(second),
                what: "issue".to_owned(),
                issuer: None,
                outcome: Outcome::Succeeded(GenerationId(1)),
            });
        }
        assert_eq!(record.attempts.len(), KEPT_ATTEMPTS);
        assert_eq!(record.attempts[0].at, Timestamp::from_unix(30));
    }
}
