//! The certificates: names made canonical, references followed, limits of CAs checked.

use std::collections::BTreeMap;
use std::path::PathBuf;

use crate::config::Base;
use crate::config::reader::{Fields, Part, nearest};
use crate::config::settings::{CertificateSettings, HookSettings, OutputFormat, OutputSettings};
use crate::model::{
    DeploymentDigest, Identifier, LineageName, Request, Satisfy, Spec, stable_hash,
};

use super::{DEFAULT_SOLVER, Known, sections, usual_listener};

/// Names per certificate at Let's Encrypt, by profile (letsencrypt.org/docs/profiles).
const MOST_NAMES: usize = 100;
const MOST_NAMES_OF_SMALL_PROFILES: usize = 25;

const KEYS: [&str; 11] = [
    "name", "names", "issuers", "solver", "key", "profile", "services", "reload", "timeout",
    "outputs", "group",
];

pub(super) fn certificates(
    known: &mut Known,
    sections: &[&Part<'_>],
    base: &Base,
) -> Vec<CertificateSettings> {
    let mut found: Vec<CertificateSettings> = Vec::new();
    let mut taken: BTreeMap<String, String> = BTreeMap::new();
    let mut outputs: BTreeMap<PathBuf, String> = BTreeMap::new();
    for part in sections.iter().flat_map(|section| section.items()) {
        let Some(certificate) = certificate(known, &part, base) else { continue };
        let name = certificate.spec.name.to_string();
        // Names that differ in case only would be one directory on some file systems.
        if let Some(first) = taken.get(&name.to_lowercase()) {
            part.problem(
                format!("a certificate named `{name}` is there already, at {first}"),
                "give one of them another `name`",
            );
            continue;
        }
        taken.insert(name.to_lowercase(), part.location());
        for output in &certificate.outputs {
            if let Some(first) = outputs.insert(output.path.clone(), part.location()) {
                let path = output.path.display();
                part.problem(format!("{path} is written already, at {first}"), "use another path");
            }
        }
        found.push(certificate);
    }
    found
}

fn certificate(known: &mut Known, part: &Part<'_>, base: &Base) -> Option<CertificateSettings> {
    let fields = part.fields(&KEYS);
    let Some(names) = fields.get("names") else {
        part.problem("`names` is missing", "list the host names, such as [example.com]");
        return None;
    };
    let identifiers = identifiers(names);
    let name = name(&fields, part, &identifiers);
    let issuer = fields.get("issuers").and_then(sections::one_issuer);
    let issuer = issuer.or_else(|| known.defaults.issuer.clone());
    let issuer = issuer.unwrap_or_else(|| "letsencrypt".to_owned());
    let issuer_part = fields.get("issuers").unwrap_or(part);
    let profile = resolve_issuer(known, &issuer, issuer_part)?;
    let profile = fields.text("profile").or_else(|| known.defaults.profile.clone()).or(profile);
    let solver = solver(known, &fields, part)?;
    check_limits(names, &identifiers, &issuer, profile.as_deref());
    let hooks = hooks(known, &fields);
    let outputs: Vec<OutputSettings> =
        fields.items("outputs").iter().filter_map(|item| output(item, base)).collect();
    let key = fields.get("key").and_then(sections::key).unwrap_or(known.defaults.key);
    let deployment = DeploymentDigest(stable_hash([
        format!("{hooks:?}").as_str(),
        format!("{outputs:?}").as_str(),
    ]));
    let satisfy = Satisfy { identifiers, key, issuer: issuer.parse().ok()? };
    let spec = Spec { name: name?, satisfy, request: Request { profile }, deployment };
    Some(CertificateSettings { spec, solver, outputs, hooks, group: fields.text("group") })
}

fn identifiers(names: &Part<'_>) -> Vec<Identifier> {
    let mut found: Vec<Identifier> = Vec::new();
    let items = names.items();
    if items.is_empty() {
        names.problem("no names are listed", "list at least one host name");
    }
    for item in &items {
        let Some(text) = item.text() else { continue };
        match text.parse::<Identifier>() {
            Ok(identifier) if found.contains(&identifier) => {
                item.problem(format!("`{identifier}` is listed twice"), "remove one of the two");
            }
            Ok(identifier) => found.push(identifier),
            Err(error) => item.problem(error.to_string(), ""),
        }
    }
    found
}

fn name(fields: &Fields<'_>, part: &Part<'_>, identifiers: &[Identifier]) -> Option<LineageName> {
    match fields.get("name") {
        Some(field) => {
            let parsed = field.text()?.parse::<LineageName>();
            parsed.map_err(|error| field.problem(error.to_string(), "")).ok()
        }
        None => {
            let default = LineageName::default_for(identifiers.first()?);
            default.map_err(|error| part.problem(error.to_string(), "add a `name`")).ok()
        }
    }
}

/// Makes sure that the issuer is known; returns its profile.
fn resolve_issuer(known: &mut Known, name: &str, part: &Part<'_>) -> Option<Option<String>> {
    let key = name.parse().ok();
    if let Some(issuer) = key.as_ref().and_then(|key| known.issuers.get(key)) {
        return Some(issuer.profile.clone());
    }
    let issuer = sections::unconfigured_issuer(known, name, part)?;
    let profile = issuer.profile.clone();
    known.issuers.insert(key?, issuer);
    Some(profile)
}

fn solver(known: &mut Known, fields: &Fields<'_>, part: &Part<'_>) -> Option<String> {
    let named = fields.text("solver").or_else(|| known.defaults.solver.clone());
    let name = match named {
        Some(name) => name,
        None => match known.solvers.len() {
            0 => {
                known.solvers.insert(DEFAULT_SOLVER.to_owned(), usual_listener());
                DEFAULT_SOLVER.to_owned()
            }
            1 => known.solvers.keys().next()?.clone(),
            _ => {
                part.problem("it is not clear which solver to use", "add `solver:`");
                return None;
            }
        },
    };
    if !known.solvers.contains_key(&name) {
        let all: Vec<&str> = known.solvers.keys().map(String::as_str).collect();
        let hint = match (nearest(&name, &all), all.is_empty()) {
            (Some(near), _) => format!("did you mean `{near}`?"),
            (None, true) => "add it under `solvers:`".to_owned(),
            (None, false) => format!("there are: {}", all.join(", ")),
        };
        let place = fields.get("solver").unwrap_or(part);
        place.problem(format!("no solver is named `{name}`"), &hint);
        return None;
    }
    Some(name)
}

fn hooks(known: &Known, fields: &Fields<'_>) -> Vec<HookSettings> {
    let mut hooks = Vec::new();
    let mut named: Vec<(String, Option<Part<'_>>)> =
        known.defaults.services.iter().map(|name| (name.clone(), None)).collect();
    if let Some(services) = fields.get("services") {
        named = services
            .items()
            .into_iter()
            .filter_map(|item| Some((item.text()?, Some(item))))
            .collect();
    }
    for (name, place) in named {
        match known.services.get(&name) {
            Some(service) => hooks.extend(service.iter().cloned()),
            None => {
                let all: Vec<&str> = known.services.keys().map(String::as_str).collect();
                let hint = match nearest(&name, &all) {
                    Some(near) => format!("did you mean `{near}`?"),
                    None => "add it under `services:`".to_owned(),
                };
                if let Some(place) = place {
                    place.problem(format!("no service is named `{name}`"), &hint);
                }
            }
        }
    }
    if let Some(reload) = fields.get("reload") {
        hooks.extend(sections::own_hook(reload, fields.get("timeout")));
    } else if let Some(timeout) = fields.get("timeout") {
        timeout.problem("`timeout` is for `reload`, which is missing", "remove it");
    }
    hooks
}

fn check_limits(names: &Part<'_>, identifiers: &[Identifier], issuer: &str, profile: Option<&str>) {
    if let Some(wildcard) = identifiers.iter().find(|identifier| identifier.is_wildcard()) {
        names.problem(
            format!("`{wildcard}` cannot be validated by http-01"),
            "wildcards need dns-01, which this version does not have; list the names one by one",
        );
    }
    let count = identifiers.len();
    let is_letsencrypt = issuer.starts_with("letsencrypt");
    let is_small = is_letsencrypt && matches!(profile, Some("tlsserver" | "shortlived"));
    let most = if is_small { MOST_NAMES_OF_SMALL_PROFILES } else { MOST_NAMES };
    if count > most {
        names.problem(
            format!("{count} names; a certificate can have {most}"),
            "split it into several certificates",
        );
    }
    let has_address = identifiers.iter().any(|name| matches!(name, Identifier::Ip(_)));
    if has_address && is_letsencrypt && profile != Some("shortlived") {
        names.problem(
            "Let's Encrypt issues for IP addresses under the profile `shortlived` only",
            "add `profile: shortlived`",
        );
    }
}

fn output(part: &Part<'_>, base: &Base) -> Option<OutputSettings> {
    let fields = part.fields(&["path", "format", "owner", "group", "mode"]);
    let Some(path) = fields.get("path") else {
        part.problem("`path` is missing", "write where the copy goes");
        return None;
    };
    let path = base.directory.join(path.text()?);
    let format = match fields.get("format") {
        None => OutputFormat::Pem,
        Some(field) => {
            let text = field.text()?;
            let known = OutputFormat::ALL.into_iter().find(|format| format.as_str() == text);
            let Some(format) = known else {
                let all = OutputFormat::ALL.map(OutputFormat::as_str).join(", ");
                let hint = format!("this version writes: {all}");
                field.problem(format!("`{text}` is no format"), &hint);
                return None;
            };
            format
        }
    };
    let group = fields.text("group");
    let usual = if group.is_some() { 0o640 } else { 0o600 };
    let mode = match fields.get("mode") {
        None => usual,
        Some(field) => mode(field, format).unwrap_or(usual),
    };
    Some(OutputSettings { path, format, owner: fields.text("owner"), group, mode })
}

fn mode(part: &Part<'_>, format: OutputFormat) -> Option<u32> {
    let text = part.text()?;
    let parsed = u32::from_str_radix(&text, 8).ok().filter(|mode| *mode <= 0o777);
    let is_octal = text.len() >= 3 && matches!(part.node, crate::config::raw::Node::Text(_));
    let Some(mode) = parsed.filter(|_| is_octal) else {
        part.problem(format!("`{text}` is no mode"), "write it in quotes, such as \"0640\"");
        return None;
    };
    let has_key = !matches!(format, OutputFormat::Fullchain);
    if has_key && mode & 0o037 != 0 {
        part.problem(
            format!("mode {mode:04o} shows the private key to others"),
            "write \"0600\", or \"0640\" with a `group`",
        );
        return None;
    }
    Some(mode)
}
