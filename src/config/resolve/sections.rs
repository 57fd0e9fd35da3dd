//! The sections that certificates refer to: issuers, solvers, services, defaults.

use std::net::{Ipv6Addr, SocketAddr};
use std::time::Duration;

use crate::config::Base;
use crate::config::reader::Part;
use crate::config::settings::{
    CommandLine, ExternalAccount, HookSettings, IssuerSettings, ListenerSettings, SecretRef,
    SolverSettings, WebrootSettings,
};
use crate::config::well_known::{self, WellKnown};
use crate::model::{IssuerName, KeyKind};

use super::{Defaults, Issuer, Known};

/// A hook's time limit unless it says otherwise.
const HOOK_TIME: Duration = Duration::from_secs(60);

/// The shortest and longest time limit of a hook.
const HOOK_TIMES: std::ops::RangeInclusive<Duration> =
    Duration::from_secs(1)..=Duration::from_secs(600);

/// One or several e-mail addresses, as `mailto:` URLs.
pub(super) fn contact(part: &Part<'_>) -> Vec<String> {
    part.items()
        .iter()
        .filter_map(|item| {
            let text = item.text()?;
            let address = text.strip_prefix("mailto:").unwrap_or(&text).trim();
            let is_address = address.split_once('@').is_some_and(|(name, host)| {
                !name.is_empty() && host.contains('.') && !address.contains([' ', ',', '<'])
            });
            if !is_address {
                item.problem(format!("`{text}` is no e-mail address"), "write ops@example.com");
                return None;
            }
            Some(format!("mailto:{address}"))
        })
        .collect()
}

pub(super) fn issuers(known: &mut Known, sections: &[&Part<'_>]) {
    for (key, part) in sections.iter().flat_map(|section| section.entries()) {
        let Ok(name) = key.parse::<IssuerName>() else {
            part.problem(format!("`{key}` is no usable name"), "use letters, digits and `-`");
            continue;
        };
        if known.issuers.contains_key(&name) {
            part.problem(format!("issuer `{key}` is there already"), "give it another name");
            continue;
        }
        if let Some(issuer) = issuer(&known.contact, &part, well_known::find(key)) {
            known.issuers.insert(name, issuer);
        }
    }
}

fn issuer(contacts: &[String], part: &Part<'_>, well_known: Option<WellKnown>) -> Option<Issuer> {
    let fields = part.fields(&[
        "directory",
        "ca_file",
        "contact",
        "profile",
        "eab",
        "proxy",
        "allowed_hosts",
    ]);
    let directory = match (fields.get("directory"), well_known) {
        (Some(directory), _) => https_url(directory)?,
        (None, Some(well_known)) => well_known.directory.to_owned(),
        (None, None) => {
            let names = well_known::WELL_KNOWN.map(|ca| ca.name).join(", ");
            let hint = format!("write the URL of its ACME directory, or use one of: {names}");
            part.problem("an issuer of this name is not known", &hint);
            return None;
        }
    };
    let eab = fields.get("eab");
    let external_account = eab.and_then(external_account);
    if let (None, Some(WellKnown { eab_from: Some(place), name, .. })) = (eab, well_known) {
        part.problem(
            format!("{name} requires an external account binding"),
            &format!("add `eab: {{kid: …, hmac_key: {{file: …}}}}`; the pair comes from {place}"),
        );
    }
    let settings = IssuerSettings {
        directory,
        ca_file: fields.text("ca_file").map(Into::into),
        contact: fields.get("contact").map_or_else(|| contacts.to_vec(), contact),
        external_account,
        proxy: fields.text("proxy"),
        allowed_hosts: fields.items("allowed_hosts").iter().filter_map(Part::text).collect(),
    };
    Some(Issuer { settings, profile: fields.text("profile") })
}

/// The settings of a CA that is named but not configured.
pub(super) fn unconfigured_issuer(known: &Known, name: &str, part: &Part<'_>) -> Option<Issuer> {
    let Some(well_known) = well_known::find(name) else {
        let configured: Vec<&str> = known.issuers.keys().map(IssuerName::as_str).collect();
        let names = well_known::WELL_KNOWN.map(|ca| ca.name);
        let all = [configured.as_slice(), &names].concat().join(", ");
        part.problem(format!("no issuer is named `{name}`"), &format!("there are: {all}"));
        return None;
    };
    if let Some(place) = well_known.eab_from {
        part.problem(
            format!("{name} requires an external account binding"),
            &format!(
                "add `issuers: {{{name}: {{eab: {{kid: …, hmac_key: {{file: …}}}}}}}}`; the pair \
                 comes from {place}"
            ),
        );
    }
    Some(Issuer {
        settings: IssuerSettings {
            directory: well_known.directory.to_owned(),
            ca_file: None,
            contact: known.contact.clone(),
            external_account: None,
            proxy: None,
            allowed_hosts: Vec::new(),
        },
        profile: None,
    })
}

fn https_url(part: &Part<'_>) -> Option<String> {
    let text = part.text()?;
    let has_host = text.strip_prefix("https://").is_some_and(|rest| !rest.is_empty());
    if !has_host || text.contains(char::is_whitespace) {
        part.problem(format!("`{text}` is no https URL"), "write https://host/directory");
        return None;
    }
    Some(text)
}

fn external_account(part: &Part<'_>) -> Option<ExternalAccount> {
    let fields = part.fields(&["kid", "hmac_key"]);
    let (kid, key) = (fields.text("kid"), fields.get("hmac_key"));
    if kid.is_none() || key.is_none() {
        part.problem("`kid` and `hmac_key` belong together", "write both");
    }
    Some(ExternalAccount { kid: kid?, hmac_key: secret(key?)? })
}

fn secret(part: &Part<'_>) -> Option<SecretRef> {
    let advice = "write {file: /path}, {env: NAME} or {credential: NAME}";
    if !matches!(part.node, crate::config::raw::Node::Map(_)) {
        part.problem("a secret must not stand in the configuration itself", advice);
        return None;
    }
    let fields = part.fields(&["file", "env", "credential"]);
    let found = [
        fields.text("file").map(|path| SecretRef::File(path.into())),
        fields.text("env").map(SecretRef::Env),
        fields.text("credential").map(SecretRef::Credential),
    ];
    let mut found = found.into_iter().flatten();
    match (found.next(), found.next()) {
        (Some(secret), None) => Some(secret),
        _ => {
            part.problem("exactly one place of the secret is needed", advice);
            None
        }
    }
}

pub(super) fn solvers(known: &mut Known, sections: &[&Part<'_>], base: &Base) {
    for (name, part) in sections.iter().flat_map(|section| section.entries()) {
        if known.solvers.contains_key(name) {
            part.problem(format!("solver `{name}` is there already"), "give it another name");
        } else if let Some(settings) = solver(&part, base) {
            known.solvers.insert(name.to_owned(), settings);
        }
    }
}

fn solver(part: &Part<'_>, base: &Base) -> Option<SolverSettings> {
    let fields = part.fields(&["type", "listen", "webroot", "redirect"]);
    let kind = fields.text("type").unwrap_or_else(|| "http-01".to_owned());
    if kind != "http-01" {
        let hint = match kind.as_str() {
            "dns-01" | "tls-alpn-01" | "dns-account-01" | "dns-persist-01" => {
                "this version answers http-01 only"
            }
            _ => "write http-01",
        };
        part.problem(format!("`{kind}` is not supported"), hint);
        return None;
    }
    if let Some(webroot) = fields.get("webroot") {
        if fields.get("listen").is_some() || fields.get("redirect").is_some() {
            webroot.problem("`webroot` and `listen` exclude each other", "use one of the two");
        }
        let directory = base.directory.join(webroot.text()?);
        return Some(SolverSettings::Http01Webroot(WebrootSettings { directory }));
    }
    let listen: Vec<SocketAddr> = match fields.get("listen") {
        None => return Some(with_redirect(super::usual_listener(), &fields)),
        Some(listen) => listen.items().iter().filter_map(address).collect(),
    };
    let listener = SolverSettings::Http01Listener(ListenerSettings { listen, redirect: false });
    Some(with_redirect(listener, &fields))
}

fn with_redirect(
    settings: SolverSettings,
    fields: &crate::config::reader::Fields<'_>,
) -> SolverSettings {
    let redirect = fields.get("redirect").and_then(Part::boolean).unwrap_or(false);
    match settings {
        SolverSettings::Http01Listener(listener) => {
            SolverSettings::Http01Listener(ListenerSettings { redirect, ..listener })
        }
        webroot @ SolverSettings::Http01Webroot(_) => webroot,
    }
}

/// `[::]:80`, `127.0.0.1:8080`, `:80` or `80`.
fn address(part: &Part<'_>) -> Option<SocketAddr> {
    let text = part.text()?;
    let port = text.strip_prefix(':').unwrap_or(&text).parse::<u16>();
    let any = |port| SocketAddr::from((Ipv6Addr::UNSPECIFIED, port));
    let parsed = port.map(any).or_else(|_| text.parse());
    if parsed.is_err() {
        part.problem(format!("`{text}` is no address"), "write \"[::]:80\" or \"127.0.0.1:80\"");
    }
    parsed.ok()
}

pub(super) fn services(known: &mut Known, sections: &[&Part<'_>]) {
    for (name, part) in sections.iter().flat_map(|section| section.entries()) {
        if known.services.contains_key(name) {
            part.problem(format!("service `{name}` is there already"), "give it another name");
            continue;
        }
        let fields = part.fields(&["check", "reload", "timeout"]);
        let timeout = fields.get("timeout").map_or(HOOK_TIME, timeout);
        if fields.get("reload").is_none() {
            part.problem("a service needs `reload`", "write the command that reloads it");
        }
        let hooks = ["check", "reload"].into_iter().filter_map(|which| {
            let command = command(fields.get(which)?)?;
            Some(HookSettings { name: format!("{name} {which}"), command, timeout })
        });
        known.services.insert(name.to_owned(), hooks.collect());
    }
}

/// The certificate's own `reload`.
pub(super) fn own_hook(part: &Part<'_>, limit: Option<&Part<'_>>) -> Option<HookSettings> {
    let timeout = limit.map_or(HOOK_TIME, timeout);
    Some(HookSettings { name: "reload".to_owned(), command: command(part)?, timeout })
}

fn command(part: &Part<'_>) -> Option<CommandLine> {
    use crate::config::raw::Node;
    match part.node {
        Node::List(_) => {
            let words: Option<Vec<String>> = part.items().iter().map(Part::text).collect();
            let words = words?;
            if words.is_empty() {
                part.problem("the command is empty", "write program and arguments");
                return None;
            }
            Some(CommandLine::Argv(words))
        }
        Node::Map(_) => {
            let fields = part.fields(&["shell"]);
            let Some(line) = fields.text("shell") else {
                part.problem("a command is text, a list, or `shell:`", "write `shell: …`");
                return None;
            };
            Some(CommandLine::Shell(line))
        }
        _ => {
            let text = part.text()?;
            if ["&&", "||", "|", ";", ">", "<", "$(", "`"].iter().any(|sign| text.contains(sign)) {
                part.problem(
                    "this command needs a shell, and a plain string is not run by one",
                    &format!("write {{shell: \"{}\"}}", text.replace('"', "\\\"")),
                );
                return None;
            }
            match shlex::split(&text) {
                Some(words) if !words.is_empty() => Some(CommandLine::Argv(words)),
                _ => {
                    part.problem("the quotes in this command are not closed", "");
                    None
                }
            }
        }
    }
}

fn timeout(part: &Part<'_>) -> Duration {
    let parsed = part.text().and_then(|text| {
        let (number, unit) = text.split_at(text.find(|c: char| !c.is_ascii_digit())?);
        let number: u64 = number.parse().ok()?;
        match unit.trim() {
            "s" => Some(Duration::from_secs(number)),
            "m" | "min" => Some(Duration::from_secs(number.checked_mul(60)?)),
            _ => None,
        }
    });
    match parsed {
        Some(limit) if HOOK_TIMES.contains(&limit) => limit,
        _ => {
            part.problem("not a time limit", "write 1s to 10min, such as 60s or 2min");
            HOOK_TIME
        }
    }
}

pub(super) fn defaults(part: &Part<'_>) -> Defaults {
    let fields = part.fields(&["issuers", "solver", "key", "profile", "services"]);
    Defaults {
        issuer: fields.get("issuers").and_then(one_issuer),
        solver: fields.text("solver"),
        key: fields.get("key").and_then(key).unwrap_or_default(),
        profile: fields.text("profile"),
        services: fields.items("services").iter().filter_map(Part::text).collect(),
    }
}

/// The one issuer of a list.
pub(super) fn one_issuer(part: &Part<'_>) -> Option<String> {
    let items = part.items();
    if items.len() > 1 {
        part.problem(
            "several issuers for one certificate are not supported by this version",
            "name one",
        );
    }
    items.first()?.text()
}

pub(super) fn key(part: &Part<'_>) -> Option<KeyKind> {
    let text = part.text()?;
    let kind = text.parse().ok();
    if kind.is_none() {
        let all = KeyKind::ALL.map(KeyKind::as_str).join(", ");
        part.problem(format!("`{text}` is no kind of key"), &format!("there are: {all}"));
    }
    kind
}
