//! Configurations as people write them, and what they are told.

use std::path::PathBuf;

use proptest::prelude::*;

use super::settings::{CommandLine, OutputFormat, SecretRef, SolverSettings};
use super::*;

fn load_text(text: &str) -> Result<Loaded, Problems> {
    let file = SourceFile { path: PathBuf::from("certs.yaml"), text: text.to_owned() };
    load(&[file], &Base { directory: PathBuf::from("/etc/certs") })
}

fn good(text: &str) -> Config {
    load_text(text).unwrap_or_else(|problems| panic!("{problems}")).config
}

fn report(text: &str) -> String {
    load_text(text).err().map_or_else(|| "no problems".to_owned(), |p| p.to_string())
}

#[test]
fn the_smallest_configuration_means_letsencrypt_on_port_80() {
    let config = good(
        "contact: ops@example.com
certificates:
  - names: [example.com, www.example.com]
    reload: systemctl reload nginx
",
    );
    assert_eq!(config.state_dir, PathBuf::from("/var/lib/certs"));
    assert_eq!(config.runtime_dir, PathBuf::from("/run/certs"));
    let certificate = &config.certificates[0];
    assert_eq!(certificate.spec.name.as_str(), "example.com");
    assert_eq!(certificate.spec.satisfy.issuer.as_str(), "letsencrypt");
    let issuer = &config.issuers[&certificate.spec.satisfy.issuer];
    assert_eq!(issuer.directory, "https://acme-v02.api.letsencrypt.org/directory");
    assert_eq!(issuer.contact, ["mailto:ops@example.com"]);
    let argv = ["systemctl", "reload", "nginx"].map(str::to_owned).to_vec();
    assert_eq!(certificate.hooks[0].command, CommandLine::Argv(argv));
    let SolverSettings::Http01Listener(listener) = &config.solvers[&certificate.solver] else {
        panic!("{:?}", config.solvers)
    };
    assert_eq!(listener.listen, ["[::]:80".parse().unwrap()]);
}

#[test]
fn everything_said_out_loud_is_understood() {
    let config = good(
        r#"
contact: [ops@example.com]
state_dir: state
issuers:
  letsencrypt: {profile: tlsserver}
  google: {eab: {kid: abc, hmac_key: {credential: google-eab}}}
  lab: {directory: "https://localhost:14000/dir", ca_file: /etc/certs/lab.pem, contact: lab@x.example}
solvers:
  web: {type: http-01, listen: [":80", "127.0.0.1:8080"], redirect: true}
  root: {type: http-01, webroot: /var/www/acme}
services:
  nginx: {check: nginx -t, reload: "systemctl reload nginx", timeout: 2min}
certificates:
  - name: site
    names: [Example.COM, "bücher.example"]
    issuers: [google]
    solver: root
    key: rsa-2048
    services: [nginx]
    reload: {shell: "echo $CERTS_NAME | logger"}
    outputs:
      - {path: /etc/haproxy/site.pem, format: combined, group: haproxy, mode: "0640"}
  - {names: [lab.example], issuers: lab, profile: short}
defaults: {issuers: [letsencrypt], solver: web}
"#,
    );
    assert_eq!(config.state_dir, PathBuf::from("/etc/certs/state"));
    assert_eq!(config.runtime_dir, PathBuf::from("/etc/certs/state/run"));
    let [site, lab] = config.certificates.as_slice() else { panic!() };
    assert_eq!(site.spec.satisfy.identifiers[1].to_string(), "xn--bcher-kva.example");
    assert_eq!(site.solver, "root");
    let hooks: Vec<String> =
        site.hooks.iter().map(|h| format!("{}: {}", h.name, h.command)).collect();
    assert_eq!(
        hooks,
        [
            "nginx check: nginx -t",
            "nginx reload: systemctl reload nginx",
            "reload: sh -c 'echo $CERTS_NAME | logger'"
        ]
    );
    assert_eq!(site.hooks[0].timeout.as_secs(), 120);
    assert_eq!((site.outputs[0].format, site.outputs[0].mode), (OutputFormat::Combined, 0o640));
    assert_eq!(lab.solver, "web");
    assert_eq!(lab.spec.request.profile.as_deref(), Some("short"));
    let external = config.issuers[&"google".parse().unwrap()].external_account.clone().unwrap();
    assert_eq!(external.hmac_key, SecretRef::Credential("google-eab".to_owned()));
    assert_eq!(config.issuers[&"lab".parse().unwrap()].contact, ["mailto:lab@x.example"]);
}

#[test]
fn all_problems_are_told_at_once_with_place_and_advice() {
    let text = r#"contact: nobody
colour: blue
issuers:
  lab: {directory: "http://lab/dir", eab: {kid: x, hmac_key: abcdef}}
  zerossl: {}
solvers:
  web: {type: dns-01}
services:
  nginx: {check: nginx -t}
certificates:
  - name: ../etc
    names: ["*.*.example.com", example.com, EXAMPLE.com.]
    relaod: systemctl reload nginx
  - names: [a.example]
    key: ed25519
    reload: nginx -t && nginx -s reload
    outputs:
      - {path: /x, mode: 0644}
      - {path: /y, mode: "0644", format: combined}
  - names: [A.example]
  - names: []
defaults: {issuers: [letsencrpyt]}
"#;
    let expected = "\
certs.yaml:1: contact: `nobody` is no e-mail address
    hint: write ops@example.com";
    let report = report(text);
    assert!(report.contains(expected), "{report}");
    for part in [
        "certs.yaml:2: colour: unknown key `colour`",
        "certs.yaml:4: issuers.lab.directory: `http://lab/dir` is no https URL",
        "certs.yaml:5: issuers.zerossl: zerossl requires an external account binding",
        "certs.yaml:7: solvers.web: `dns-01` is not supported\n    hint: this version answers http-01",
        "certs.yaml:9: services.nginx: a service needs `reload`",
        "certs.yaml:12: certificates[0].names[0]: `*.*.example.com` has a `*`",
        "certs.yaml:12: certificates[0].names[2]: `example.com` is listed twice",
        "certs.yaml:13: certificates[0].relaod: unknown key `relaod`\n    hint: did you mean `reload`?",
        "certificates[0].name: `../etc` is not usable as a name",
        "certificates[0]: no issuer is named `letsencrpyt`",
    ] {
        assert!(report.contains(part), "{part}\n---\n{report}");
    }
}

#[test]
fn problems_that_only_show_once_references_resolve() {
    for (text, expected) in [
        (
            "certificates: [{names: [a.example], key: ed25519}]",
            "`ed25519` is no kind of key\n    hint: there are: ecdsa-p256",
        ),
        (
            "certificates: [{names: [a.example], reload: nginx -t && nginx -s reload}]",
            "needs a shell, and a plain string is not run by one\n    hint: write {shell: \"nginx -t && nginx -s reload\"}",
        ),
        ("certificates: [{names: [a.example], outputs: [{path: /x, mode: 0644}]}]", ""),
        (
            "certificates: [{names: [a.example], outputs: [{path: /x, format: combined, mode: \"0644\"}]}]",
            "mode 0644 shows the private key to others",
        ),
        (
            "certificates:\n- names: [a.example]\n- names: [A.example]",
            "certs.yaml:3: certificates[1]: a certificate named `a.example` is there already, at certs.yaml:2",
        ),
        ("certificates: [{names: [\"*.a.example\"]}]", "cannot be validated by http-01"),
        ("certificates: [{names: [192.0.2.1]}]", "profile `shortlived` only"),
        (
            "certificates: [{names: [a.example], solver: wbe}]\nsolvers: {web: {}}",
            "did you mean `web`?",
        ),
        ("certificates: [{names: [a.example], issuers: [letsencrypt, google]}]", "several issuers"),
        ("certificates: [{names: [a.example], issuers: google}]", "gcloud publicca"),
        (
            "certificates: [{names: [a.example], services: [ngnix]}]\nservices: {nginx: {reload: x}}",
            "did you mean `nginx`?",
        ),
        (
            "certificates: [{names: [a.example]}]\nissuers: {letsencrypt: {eab: {kid: a, hmac_key: inline}}}",
            "a secret must not stand in the configuration itself",
        ),
        ("certificates: [{names: [a.example], timeout: 5s}]", "`timeout` is for `reload`"),
        ("certificates: [{names: [a.example], reload: x, timeout: 5h}]", "write 1s to 10min"),
        (
            "certificates:\n- names: [a.example]\n  names: [b.example]",
            "certs.yaml:3: certificates[0].names: `names` is there already, on line 2",
        ),
    ] {
        let report = report(text);
        assert!(report.contains(expected), "{text}\n---\n{report}");
    }
}

#[test]
fn an_unquoted_wildcard_gets_its_own_advice() {
    for text in [
        "certificates:\n- names: [example.com, *.example.com]\n",
        "certificates:\n- names:\n  - *.example.com\n",
    ] {
        let report = report(text);
        assert!(report.contains("a name with a star needs quotes: \"*.example.com\""), "{report}");
        assert!(report.contains("certs.yaml:"), "{report}");
    }
}

#[test]
fn files_beside_the_main_one_are_merged_and_clashes_named() {
    let file = |path: &str, text: &str| SourceFile { path: path.into(), text: text.to_owned() };
    let base = Base { directory: PathBuf::from("/etc/certs") };
    let main = file("certs.yaml", "contact: a@b.example\nsolvers: {web: {}}\n");
    let first = file("conf.d/1.yaml", "certificates:\n- names: [a.example]\n");
    let second = file("conf.d/2.yaml", "certificates:\n- names: [b.example]\n");
    let loaded = load(&[main.clone(), first.clone(), second], &base).unwrap();
    assert_eq!(loaded.config.certificates.len(), 2);
    let clash =
        file("conf.d/3.yaml", "contact: c@d.example\ncertificates:\n- names: [a.example]\n");
    let report = load(&[main, first, clash], &base).unwrap_err().to_string();
    assert!(
        report.contains("conf.d/3.yaml:1: contact: `contact` is set already, at certs.yaml:1"),
        "{report}"
    );
    assert!(report.contains("conf.d/3.yaml:3: certificates[0]: a certificate named `a.example` is there already, at conf.d/1.yaml:2"), "{report}");
}

#[test]
fn changed_hooks_change_the_deployment_and_nothing_else() {
    let spec = |reload: &str| {
        let text = format!("certificates: [{{names: [a.example], reload: {reload}}}]");
        good(&text).certificates[0].spec.clone()
    };
    let (one, same, other) = (spec("a"), spec("a"), spec("b"));
    assert_eq!(one, same);
    assert_ne!(one.deployment, other.deployment);
    assert_eq!(one.issuance_digest(), other.issuance_digest());
}

#[test]
fn hostile_files_are_refused_not_followed() {
    let bomb = "a: &a [x,x,x,x,x,x,x,x,x]\nb: &b [*a,*a,*a,*a,*a,*a,*a,*a,*a]\n\
                c: &c [*b,*b,*b,*b,*b,*b,*b,*b,*b]\nd: &d [*c,*c,*c,*c,*c,*c,*c,*c,*c]\n\
                e: &e [*d,*d,*d,*d,*d,*d,*d,*d,*d]\nf: &f [*e,*e,*e,*e,*e,*e,*e,*e,*e]\n";
    for text in [
        bomb.to_owned(),
        "[".repeat(10_000),
        "- a\n- b\n".to_owned(),
        "a: \0".to_owned(),
        format!("contact: {}", "x".repeat(2 << 20)),
        "certificates: 7".to_owned(),
        "certificates: [7, [], null, {names: {a: b}}]".to_owned(),
        "issuers: [a]\nsolvers: text\nservices: 1\ndefaults: []".to_owned(),
    ] {
        let report = report(&text);
        assert!(report.contains("problem"), "{text:.60}: {report:.300}");
    }
    assert_eq!(load_text("").unwrap().warnings.len(), 1);
}

proptest! {
    #[test]
    fn no_text_makes_the_reader_panic(text in "[a-z:\\-\\[\\]{} \n\"*&#0-9./]{0,200}") {
        drop(load_text(&text));
    }
}
