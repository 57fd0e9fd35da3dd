//! Registration (RFC 8555 §7.3), signed here and not by the library, so that the account key is
//! durable before the CA hears of it, also when an external account is bound.

use aws_lc_rs::hmac;
use aws_lc_rs::rand::SystemRandom;
use aws_lc_rs::signature::{ECDSA_P256_SHA256_FIXED_SIGNING, EcdsaKeyPair, KeyPair};
use base64::prelude::{BASE64_URL_SAFE_NO_PAD, Engine};
use bytes::Bytes;
use http::header::LOCATION;
use http::{HeaderValue, Method};
use rustls_pki_types::PrivatePkcs8KeyDer;
use serde_json::{Value, json};

use crate::config::settings::IssuerSettings;
use crate::issuer::{AccountState, IssueError, IssueFailure, Vault};
use crate::model::{FailureClass, Secret, printable};

use super::request_failure;
use super::transport::{Answer, RequestError, Transport};

/// How often a request is signed again because its nonce was refused.
const NONCE_ATTEMPTS: usize = 10;

/// URL and key of an account that the CA knows; registers it if need be.
pub(super) async fn ensure(
    settings: &IssuerSettings,
    external_key: Option<&Secret>,
    vault: &dyn Vault,
    transport: &Transport,
) -> Result<(String, PrivatePkcs8KeyDer<'static>), IssueError> {
    let bound = settings.external_account.as_ref().map(|external| external.kid.clone());
    let known = vault.load().await?;
    let mut state = match known {
        Some(state) => state,
        None => {
            let state = AccountState { key: generate()?, url: None, external_account: None };
            vault.save(&state).await?;
            state
        }
    };
    let directory = transport
        .fetch_directory()
        .await
        .map_err(|error| request_failure("fetching the directory", error))?;
    let key = PrivatePkcs8KeyDer::from(state.key.expose().to_vec());
    if let Some(url) = state.url {
        return Ok((url, key));
    }
    let registration = Registration {
        settings,
        external_key,
        directory: serde_json::from_slice(&directory).unwrap_or_default(),
    };
    let url = registration.register(&state.key, transport).await?;
    tracing::info!(account = %url, "account registered");
    state.url = Some(url.clone());
    state.external_account = bound;
    vault.save(&state).await?;
    Ok((url, key))
}

fn generate() -> Result<Secret, IssueFailure> {
    EcdsaKeyPair::generate_pkcs8(&ECDSA_P256_SHA256_FIXED_SIGNING, &SystemRandom::new())
        .map(|document| Secret::new(document.as_ref().to_vec()))
        .map_err(|_| IssueFailure::new(FailureClass::Local, "no account key could be generated"))
}

struct Registration<'a> {
    settings: &'a IssuerSettings,
    external_key: Option<&'a Secret>,
    directory: Value,
}

impl Registration<'_> {
    async fn register(&self, key: &Secret, transport: &Transport) -> Result<String, IssueFailure> {
        let signer = Signer::new(key)?;
        let url = self.directory.get("newAccount").and_then(Value::as_str).ok_or_else(|| {
            IssueFailure::new(FailureClass::Config, "the CA's directory has no newAccount")
        })?;
        let payload = self.payload(&signer, url)?;
        let doing = "registering the account";
        for _ in 0..NONCE_ATTEMPTS {
            let nonce = transport.nonce().await.map_err(|error| request_failure(doing, error))?;
            let body = signer.sign(&nonce, url, &payload)?;
            match transport.send(Method::POST, url, Some(body)).await {
                Ok(answer) => return location(&answer),
                Err(RequestError::Refused(refusal)) if refusal.is("badNonce") => {}
                Err(error) => return Err(self.refused(request_failure(doing, error))),
            }
        }
        Err(IssueFailure::new(FailureClass::Transient, "the CA refuses every nonce it gives out"))
    }

    /// Whatever the CA minds about a registration, it is about the account.
    fn refused(&self, mut failure: IssueFailure) -> IssueFailure {
        if matches!(failure.class, FailureClass::Rejected | FailureClass::Validation) {
            failure.class = FailureClass::Account;
        }
        if failure.hint.is_none() && self.settings.external_account.is_some() {
            failure.hint = Some(
                "check `eab: kid` and `hmac_key`: a pair may be used up, expired, or copied \
                 incompletely"
                    .to_owned(),
            );
        }
        failure
    }

    /// The payload of newAccount. Using this program with a CA means agreeing to its terms; the
    /// manual says so.
    fn payload(&self, signer: &Signer, url: &str) -> Result<Value, IssueFailure> {
        let mut payload = json!({ "termsOfServiceAgreed": true });
        if !self.settings.contact.is_empty() {
            payload["contact"] = json!(self.settings.contact);
        }
        match (&self.settings.external_account, self.external_key) {
            (Some(external), Some(mac_key)) => {
                payload["externalAccountBinding"] =
                    signer.bind_external(&external.kid, mac_key, url)?;
            }
            _ if self.needs_external_account() => {
                let text = "the CA requires an external account binding";
                return Err(IssueFailure::new(FailureClass::Account, text).hint(
                    "get an EAB pair from the CA and write it under `issuers: … eab: {kid: …, \
                     hmac_key: {file: …}}`",
                ));
            }
            _ => {}
        }
        Ok(payload)
    }

    fn needs_external_account(&self) -> bool {
        self.directory.pointer("/meta/externalAccountRequired") == Some(&Value::Bool(true))
    }
}

fn location(answer: &Answer) -> Result<String, IssueFailure> {
    let url = answer.headers.get(LOCATION).and_then(|value| value.to_str().ok());
    url.map(|url| printable(url, 500)).ok_or_else(|| {
        let text = "the CA has made an account but does not say where";
        IssueFailure::new(FailureClass::Transient, text)
    })
}

/// Signs as the account, before it has a URL.
struct Signer {
    pair: EcdsaKeyPair,
    jwk: Value,
}

impl Signer {
    fn new(key: &Secret) -> Result<Self, IssueFailure> {
        let pair = EcdsaKeyPair::from_pkcs8(&ECDSA_P256_SHA256_FIXED_SIGNING, key.expose())
            .map_err(|_| IssueFailure::new(FailureClass::Local, "the account key is damaged"))?;
        // An uncompressed point: 0x04, x, y (SEC 1 §2.3.3).
        let (x, y) = pair.public_key().as_ref().get(1..65).unwrap_or(&[0; 64]).split_at(32);
        let jwk = json!({ "crv": "P-256", "kty": "EC", "x": encode(x), "y": encode(y) });
        Ok(Self { pair, jwk })
    }

    fn sign(&self, nonce: &HeaderValue, url: &str, payload: &Value) -> Result<Bytes, IssueFailure> {
        let nonce = nonce.to_str().unwrap_or_default();
        let header = json!({ "alg": "ES256", "jwk": self.jwk, "nonce": nonce, "url": url });
        let (protected, payload) = (encode_json(&header), encode_json(payload));
        let signature = self
            .pair
            .sign(&SystemRandom::new(), format!("{protected}.{payload}").as_bytes())
            .map_err(|_| IssueFailure::new(FailureClass::Local, "the account key cannot sign"))?;
        let jws = json!({
            "protected": protected,
            "payload": payload,
            "signature": encode(signature.as_ref()),
        });
        Ok(Bytes::from(jws.to_string()))
    }

    /// The inner JWS of RFC 8555 §7.3.4: the account's public key under the CA's MAC key.
    fn bind_external(&self, kid: &str, mac_key: &Secret, url: &str) -> Result<Value, IssueFailure> {
        let key = decode_mac_key(mac_key)?;
        let header = json!({ "alg": "HS256", "kid": kid, "url": url });
        let (protected, payload) = (encode_json(&header), encode_json(&self.jwk));
        let key = hmac::Key::new(hmac::HMAC_SHA256, key.expose());
        let tag = hmac::sign(&key, format!("{protected}.{payload}").as_bytes());
        Ok(json!({
            "protected": protected,
            "payload": payload,
            "signature": encode(tag.as_ref()),
        }))
    }
}

/// MAC keys come as base64url without padding, but people paste what portals show them.
fn decode_mac_key(text: &Secret) -> Result<Secret, IssueFailure> {
    let canonical: String = text
        .expose_text()
        .unwrap_or_default()
        .trim()
        .trim_end_matches('=')
        .chars()
        .map(|c| match c {
            '+' => '-',
            '/' => '_',
            c => c,
        })
        .collect();
    match BASE64_URL_SAFE_NO_PAD.decode(&canonical) {
        Ok(key) if !key.is_empty() => Ok(Secret::new(key)),
        _ => Err(IssueFailure::new(FailureClass::Config, "`eab: hmac_key` is not base64")
            .hint("copy the key exactly as the CA shows it")),
    }
}

fn encode_json(value: &Value) -> String {
    encode(value.to_string().as_bytes())
}

fn encode(bytes: &[u8]) -> String {
    BASE64_URL_SAFE_NO_PAD.encode(bytes)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn mac_keys_are_read_in_every_form_that_people_paste() {
        let expected = [0xfb, 0xff, 0xbf, 0x01];
        for text in ["-_-_AQ", "+/+/AQ==", " -_-_AQ==\n"] {
            let key = decode_mac_key(&Secret::new(text.as_bytes().to_vec())).unwrap();
            assert_eq!(key.expose(), expected, "{text:?}");
        }
        assert!(decode_mac_key(&Secret::new(b"not base64!".to_vec())).is_err());
        assert!(decode_mac_key(&Secret::new(Vec::new())).is_err());
    }

    #[test]
    fn signatures_verify_with_the_key_in_the_header() {
        let key = generate().unwrap();
        let signer = Signer::new(&key).unwrap();
        let nonce = HeaderValue::from_static("n");
        let jws = signer.sign(&nonce, "https://ca/new", &json!({"a": 1})).unwrap();
        let jws: Value = serde_json::from_slice(&jws).unwrap();
        let part = |name: &str| jws[name].as_str().unwrap().to_owned();
        let signed = format!("{}.{}", part("protected"), part("payload"));
        let signature = BASE64_URL_SAFE_NO_PAD.decode(part("signature")).unwrap();
        let public = signer.pair.public_key().as_ref().to_vec();
        aws_lc_rs::signature::UnparsedPublicKey::new(
            &aws_lc_rs::signature::ECDSA_P256_SHA256_FIXED,
            public,
        )
        .verify(signed.as_bytes(), &signature)
        .unwrap();
    }
}
