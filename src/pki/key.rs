//! Private keys of certificates, and the requests that they sign.

use rcgen::{CertificateParams, DistinguishedName, KeyPair, PublicKeyData, RsaKeySize};
use thiserror::Error;

use crate::model::{Identifier, KeyKind, Secret};

use super::sha256_hex;

/// A private key that can sign a certificate request.
pub struct PrivateKey(KeyPair);

/// A key that could not be made, read or used.
#[derive(Debug, Error)]
pub enum KeyError {
    /// The file is not a PEM private key.
    #[error("the private key is not PEM text")]
    NotText,
    /// The cryptographic library refused.
    #[error("{0}")]
    Library(&'static str, #[source] rcgen::Error),
}

impl PrivateKey {
    /// Generates a key. RSA with 4096 bits takes seconds of CPU.
    pub fn generate(kind: KeyKind) -> Result<Self, KeyError> {
        let pair = match kind {
            KeyKind::EcdsaP256 => KeyPair::generate_for(&rcgen::PKCS_ECDSA_P256_SHA256),
            KeyKind::EcdsaP384 => KeyPair::generate_for(&rcgen::PKCS_ECDSA_P384_SHA384),
            KeyKind::Rsa2048 => rsa(RsaKeySize::_2048),
            KeyKind::Rsa3072 => rsa(RsaKeySize::_3072),
            KeyKind::Rsa4096 => rsa(RsaKeySize::_4096),
        };
        pair.map(Self).map_err(|error| KeyError::Library("generating a key", error))
    }

    /// Reads PEM as written by [`Self::pem`].
    pub fn from_pem(pem: &Secret) -> Result<Self, KeyError> {
        let text = pem.expose_text().ok_or(KeyError::NotText)?;
        KeyPair::from_pem(text)
            .map(Self)
            .map_err(|error| KeyError::Library("reading the private key", error))
    }

    /// PKCS #8 in PEM.
    pub fn pem(&self) -> Secret {
        Secret::new(self.0.serialize_pem().into_bytes())
    }

    /// SHA-256 over the SubjectPublicKeyInfo, lower-case hexadecimal.
    pub fn public_key(&self) -> String {
        sha256_hex(&self.0.subject_public_key_info())
    }

    /// A certificate request (DER) with an empty subject: names go into the SAN only, since a
    /// common name is deprecated and Let's Encrypt's newer profiles have none.
    pub fn request(&self, identifiers: &[Identifier]) -> Result<Vec<u8>, KeyError> {
        let names: Vec<String> = identifiers.iter().map(ToString::to_string).collect();
        let failed = |error| KeyError::Library("making the certificate request", error);
        let mut params = CertificateParams::new(names).map_err(failed)?;
        params.distinguished_name = DistinguishedName::new();
        Ok(params.serialize_request(&self.0).map_err(failed)?.der().to_vec())
    }
}

fn rsa(size: RsaKeySize) -> Result<KeyPair, rcgen::Error> {
    KeyPair::generate_rsa_for(&rcgen::PKCS_RSA_SHA256, size)
}

impl std::fmt::Debug for PrivateKey {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("PrivateKey(…)")
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_key_survives_its_pem_and_signs_for_all_its_names() {
        for kind in [KeyKind::EcdsaP256, KeyKind::EcdsaP384, KeyKind::Rsa2048] {
            let key = PrivateKey::generate(kind).unwrap();
            let again = PrivateKey::from_pem(&key.pem()).unwrap();
            assert_eq!(key.public_key(), again.public_key());
            let names = ["a.example", "*.a.example", "192.0.2.1", "2001:db8::1"];
            let names = names.map(|name| name.parse().unwrap());
            let request = again.request(&names).unwrap();
            let parsed =
                rcgen::CertificateSigningRequestParams::from_der(&request.as_slice().into())
                    .unwrap();
            assert_eq!(parsed.params.subject_alt_names.len(), 4);
            assert_eq!(parsed.params.distinguished_name, DistinguishedName::new());
        }
    }

    #[test]
    fn debug_shows_nothing() {
        let key = PrivateKey::generate(KeyKind::EcdsaP256).unwrap();
        assert_eq!(format!("{key:?} {:?}", key.pem()), "PrivateKey(…) Secret(…)");
    }
}
