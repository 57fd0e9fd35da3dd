//! CAs that need no URL in the configuration.

/// A CA known by name.
#[derive(Clone, Copy, Debug)]
pub(super) struct WellKnown {
    /// Its name in the configuration.
    pub(super) name: &'static str,
    /// Its directory.
    pub(super) directory: &'static str,
    /// Where to get an EAB pair, for CAs that require one.
    pub(super) eab_from: Option<&'static str>,
}

/// Directory URLs as published in each CA's ACME documentation.
pub(super) const WELL_KNOWN: [WellKnown; 6] = [
    WellKnown {
        name: "letsencrypt",
        directory: "https://acme-v02.api.letsencrypt.org/directory",
        eab_from: None,
    },
    WellKnown {
        name: "letsencrypt-staging",
        directory: "https://acme-staging-v02.api.letsencrypt.org/directory",
        eab_from: None,
    },
    WellKnown {
        name: "zerossl",
        directory: "https://acme.zerossl.com/v2/DV90",
        eab_from: Some("the developer section of the ZeroSSL dashboard"),
    },
    WellKnown {
        name: "google",
        directory: "https://dv.acme-v02.api.pki.goog/directory",
        eab_from: Some("`gcloud publicca external-account-keys create`"),
    },
    WellKnown {
        name: "sslcom",
        directory: "https://acme.ssl.com/sslcom-dv-ecc",
        eab_from: Some("the API credentials page of the SSL.com account"),
    },
    WellKnown {
        name: "actalis",
        directory: "https://acme-api.actalis.com/acme/directory",
        eab_from: Some("the ACME page of the Actalis customer area"),
    },
];

/// The CA of this name.
pub(super) fn find(name: &str) -> Option<WellKnown> {
    WELL_KNOWN.into_iter().find(|ca| ca.name == name)
}
