//! Chains that a CA should not send, and the one that it should.

use rcgen::{BasicConstraints, CertificateParams, CertifiedIssuer, IsCa, KeyPair};

use super::*;
use crate::model::KeyKind;
use crate::pki::PrivateKey;

const NOW: Timestamp = Timestamp::from_unix(1_800_000_000);

struct Authority(CertifiedIssuer<'static, KeyPair>);

impl Authority {
    fn new(name: &str) -> Self {
        let mut params = CertificateParams::new(Vec::<String>::new()).unwrap();
        params.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
        params.distinguished_name.push(rcgen::DnType::CommonName, name);
        Self(CertifiedIssuer::self_signed(params, KeyPair::generate().unwrap()).unwrap())
    }

    /// A chain for this request: leaf, then this CA.
    fn issue(&self, request: &[u8], from: i64, until: i64) -> String {
        let mut request =
            rcgen::CertificateSigningRequestParams::from_der(&request.into()).unwrap();
        let at = |unix| time::OffsetDateTime::from_unix_timestamp(unix).unwrap();
        request.params.not_before = at(from);
        request.params.not_after = at(until);
        request.signed_by(&self.0).unwrap().pem() + &self.0.pem()
    }
}

fn names(names: &[&str]) -> Vec<Identifier> {
    names.iter().map(|name| name.parse().unwrap()).collect()
}

fn inspect(chain: &str, key: &PrivateKey, identifiers: &[Identifier]) -> Result<(), Rejection> {
    let public_key = key.public_key();
    let wanted = Wanted { public_key: &public_key, identifiers, now: NOW };
    Chain::from_pem(chain.as_bytes()).unwrap().inspect(&wanted)
}

#[test]
fn the_wanted_chain_is_accepted_and_its_facts_are_right() {
    let authority = Authority::new("Test CA");
    let key = PrivateKey::generate(KeyKind::EcdsaP256).unwrap();
    let wanted = names(&["a.example", "*.a.example", "192.0.2.7", "2001:db8::7"]);
    let request = key.request(&wanted).unwrap();
    let pem = authority.issue(&request, NOW.unix() - 3600, NOW.unix() + 86400);
    assert_eq!(inspect(&pem, &key, &wanted), Ok(()));
    let chain = Chain::from_pem(pem.as_bytes()).unwrap();
    assert_eq!(chain.facts().identifiers, wanted.into_iter().collect());
    assert_eq!(chain.facts().issued_by, "Test CA");
    assert_eq!(chain.facts().validity.lifetime().as_secs(), 90_000);
    assert_eq!(chain.full_pem(), [chain.leaf_pem(), chain.rest_pem()].concat());
    assert_eq!(Chain::from_pem(&chain.full_pem()).unwrap(), chain);
}

#[test]
fn wrong_chains_are_refused_with_what_is_wrong() {
    let (authority, other) = (Authority::new("Test CA"), Authority::new("Test CA"));
    let key = PrivateKey::generate(KeyKind::EcdsaP256).unwrap();
    let stranger = PrivateKey::generate(KeyKind::EcdsaP256).unwrap();
    let wanted = names(&["a.example", "b.example"]);
    let (from, until) = (NOW.unix() - 3600, NOW.unix() + 86400);
    let issue = |key: &PrivateKey, names: &[Identifier], until| {
        authority.issue(&key.request(names).unwrap(), from, until)
    };

    let foreign = issue(&stranger, &wanted, until);
    assert_eq!(inspect(&foreign, &key, &wanted), Err(Rejection::OtherKey));

    let ca_first = authority.0.pem() + &issue(&key, &wanted, until);
    assert_eq!(inspect(&ca_first, &key, &wanted), Err(Rejection::LeafNotFirst));

    let partial = issue(&key, &wanted[..1], until);
    assert_eq!(
        inspect(&partial, &key, &wanted),
        Err(Rejection::MissingNames(names(&["b.example"])))
    );

    let expired = issue(&key, &wanted, NOW.unix() - 1);
    assert!(matches!(inspect(&expired, &key, &wanted), Err(Rejection::Expired(_))));

    let good = issue(&key, &wanted, until);
    let leaf = good.split_inclusive("-----END CERTIFICATE-----\n").next().unwrap().to_owned();
    assert_eq!(inspect(&(leaf + &other.0.pem()), &key, &wanted), Err(Rejection::BrokenLink(1)));
}

#[test]
fn more_names_than_wanted_are_fine() {
    let authority = Authority::new("Test CA");
    let key = PrivateKey::generate(KeyKind::EcdsaP256).unwrap();
    let request = key.request(&names(&["a.example", "www.a.example"])).unwrap();
    let pem = authority.issue(&request, NOW.unix(), NOW.unix() + 60);
    assert_eq!(inspect(&pem, &key, &names(&["a.example"])), Ok(()));
}

#[test]
fn garbage_is_not_a_chain() {
    let certificate = Authority::new("x").0.pem();
    for (text, error) in [
        (String::new(), ChainError::NotPem),
        ("<html>502</html>".to_owned(), ChainError::NotPem),
        (certificate[..certificate.len() / 2].to_owned(), ChainError::NotPem),
        (certificate.repeat(11), ChainError::TooLarge),
        (" ".repeat(LARGEST_CHAIN + 1), ChainError::TooLarge),
    ] {
        assert_eq!(Chain::from_pem(text.as_bytes()), Err(error), "{text:.40}");
    }
    let nonsense = "-----BEGIN CERTIFICATE-----\nAAAA\n-----END CERTIFICATE-----\n";
    assert!(matches!(
        Chain::from_pem(nonsense.as_bytes()),
        Err(ChainError::Unreadable { position: 1, .. })
    ));
}

#[test]
fn text_around_certificates_does_not_reach_files() {
    let certificate = Authority::new("x").0.pem();
    let chain = Chain::from_pem(format!("evil\x1b[0m\n{certificate}more").as_bytes()).unwrap();
    let text = String::from_utf8(chain.full_pem()).unwrap();
    assert!(!text.contains("evil") && !text.contains("more"));
}
