//! What hooks are told, in the words of every client whose scripts people already have.

use std::path::PathBuf;

use crate::model::{GenerationId, Identifier, KeyKind, LineageName, Timestamp};

/// Why hooks run.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum HookEvent {
    /// The first certificate of its name.
    Issued,
    /// A newer certificate than the one deployed before.
    Renewed,
    /// The same certificate again: hooks or outputs have changed.
    Deployed,
}

impl HookEvent {
    fn as_str(self) -> &'static str {
        match self {
            Self::Issued => "issued",
            Self::Renewed => "renewed",
            Self::Deployed => "deployed",
        }
    }
}

/// Facts about a deployment.
#[derive(Clone, Debug)]
pub struct HookEnvironment {
    /// Name of the lineage.
    pub name: LineageName,
    /// Its identifiers, the first one first.
    pub identifiers: Vec<Identifier>,
    /// The live directory, absolute.
    pub live: PathBuf,
    /// The generation that went live.
    pub generation: GenerationId,
    /// Why.
    pub event: HookEvent,
    /// When the certificate expires.
    pub not_after: Timestamp,
    /// SHA-256 of the certificate, hexadecimal.
    pub fingerprint: String,
    /// Kind of its key.
    pub key: KeyKind,
    /// E-mail address of the account, if one is configured.
    pub contact: Option<String>,
}

impl HookEnvironment {
    /// The variables that a hook gets: our own, then those of certbot (deploy hooks), lego 4 and 5,
    /// and acme.sh (reload commands).
    pub fn variables(&self) -> Vec<(&'static str, String)> {
        let identifiers: Vec<String> = self.identifiers.iter().map(ToString::to_string).collect();
        let first = identifiers.first().cloned().unwrap_or_default();
        let (spaced, listed) = (identifiers.join(" "), identifiers.join(","));
        let name = self.name.to_string();
        let live = self.live.display().to_string();
        let file = |file: &str| format!("{live}/{file}.pem");
        let mut variables = vec![
            ("CERTS_NAME", name.clone()),
            ("CERTS_NAMES", spaced.clone()),
            ("CERTS_LIVE", live.clone()),
            ("CERTS_GENERATION", self.generation.0.to_string()),
            ("CERTS_EVENT", self.event.as_str().to_owned()),
            ("CERTS_NOT_AFTER", self.not_after.to_string()),
            ("CERTS_FINGERPRINT", self.fingerprint.clone()),
            ("RENEWED_LINEAGE", live.clone()),
            ("RENEWED_DOMAINS", spaced),
            ("LEGO_CERT_DOMAIN", first.clone()),
            ("LEGO_CERT_PATH", file("fullchain")),
            ("LEGO_CERT_KEY_PATH", file("privkey")),
            ("LEGO_ISSUER_CERT_PATH", file("chain")),
            ("LEGO_CERT_PEM_PATH", file("combined")),
            ("LEGO_HOOK_CERT_NAME", name.clone()),
            ("LEGO_HOOK_CERT_NAME_SANITIZED", name),
            ("LEGO_HOOK_CERT_DOMAINS", listed),
            ("LEGO_HOOK_CERT_KEY_TYPE", lego_key_type(self.key).to_owned()),
            ("LEGO_HOOK_CERT_PATH", file("fullchain")),
            ("LEGO_HOOK_CERT_KEY_PATH", file("privkey")),
            ("LEGO_HOOK_ISSUER_CERT_PATH", file("chain")),
            ("LEGO_HOOK_CERT_PEM_PATH", file("combined")),
            ("Le_Domain", first),
            ("CERT_PATH", file("cert")),
            ("CERT_KEY_PATH", file("privkey")),
            ("CA_CERT_PATH", file("chain")),
            ("CERT_FULLCHAIN_PATH", file("fullchain")),
        ];
        if let Some(contact) = &self.contact {
            variables.push(("LEGO_ACCOUNT_EMAIL", contact.clone()));
            variables.push(("LEGO_HOOK_ACCOUNT_EMAIL", contact.clone()));
        }
        variables
    }
}

fn lego_key_type(kind: KeyKind) -> &'static str {
    match kind {
        KeyKind::EcdsaP256 => "EC256",
        KeyKind::EcdsaP384 => "EC384",
        KeyKind::Rsa2048 => "RSA2048",
        KeyKind::Rsa3072 => "RSA3072",
        KeyKind::Rsa4096 => "RSA4096",
    }
}

#[cfg(test)]
pub(super) fn example() -> HookEnvironment {
    HookEnvironment {
        name: "site".parse().unwrap(),
        identifiers: ["example.com", "*.example.com"].map(|n| n.parse().unwrap()).to_vec(),
        live: PathBuf::from("/var/lib/certs/live/site"),
        generation: GenerationId(7),
        event: HookEvent::Renewed,
        not_after: Timestamp::from_unix(1_800_000_000),
        fingerprint: "ab12".to_owned(),
        key: KeyKind::EcdsaP256,
        contact: Some("ops@example.com".to_owned()),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn scripts_written_for_other_clients_find_their_variables() {
        let text: String =
            example().variables().iter().map(|(name, value)| format!("{name}={value}\n")).collect();
        let expected = "\
CERTS_NAME=site
CERTS_NAMES=example.com *.example.com
CERTS_LIVE=/var/lib/certs/live/site
CERTS_GENERATION=7
CERTS_EVENT=renewed
CERTS_NOT_AFTER=2027-01-15T08:00:00Z
CERTS_FINGERPRINT=ab12
RENEWED_LINEAGE=/var/lib/certs/live/site
RENEWED_DOMAINS=example.com *.example.com
LEGO_CERT_DOMAIN=example.com
LEGO_CERT_PATH=/var/lib/certs/live/site/fullchain.pem
LEGO_CERT_KEY_PATH=/var/lib/certs/live/site/privkey.pem
LEGO_ISSUER_CERT_PATH=/var/lib/certs/live/site/chain.pem
LEGO_CERT_PEM_PATH=/var/lib/certs/live/site/combined.pem
LEGO_HOOK_CERT_NAME=site
LEGO_HOOK_CERT_NAME_SANITIZED=site
LEGO_HOOK_CERT_DOMAINS=example.com,*.example.com
LEGO_HOOK_CERT_KEY_TYPE=EC256
LEGO_HOOK_CERT_PATH=/var/lib/certs/live/site/fullchain.pem
LEGO_HOOK_CERT_KEY_PATH=/var/lib/certs/live/site/privkey.pem
LEGO_HOOK_ISSUER_CERT_PATH=/var/lib/certs/live/site/chain.pem
LEGO_HOOK_CERT_PEM_PATH=/var/lib/certs/live/site/combined.pem
Le_Domain=example.com
CERT_PATH=/var/lib/certs/live/site/cert.pem
CERT_KEY_PATH=/var/lib/certs/live/site/privkey.pem
CA_CERT_PATH=/var/lib/certs/live/site/chain.pem
CERT_FULLCHAIN_PATH=/var/lib/certs/live/site/fullchain.pem
LEGO_ACCOUNT_EMAIL=ops@example.com
LEGO_HOOK_ACCOUNT_EMAIL=ops@example.com
";
        assert_eq!(text, expected);
    }
}
