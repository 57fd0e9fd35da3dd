//! What is shipped for copying must work as it is.

use std::process::Command;

fn files() -> Vec<std::path::PathBuf> {
    let directory = std::path::Path::new(env!("CARGO_MANIFEST_DIR")).join("examples");
    let mut files: Vec<_> = std::fs::read_dir(directory)
        .unwrap()
        .map(|entry| entry.unwrap().path())
        .filter(|path| path.extension().is_some_and(|extension| extension == "yaml"))
        .collect();
    files.sort();
    files
}

#[test]
fn every_example_passes_certs_check() {
    assert!(files().len() >= 5);
    for file in files() {
        let output = Command::new(env!("CARGO_BIN_EXE_certs"))
            .args(["check", "--config"])
            .arg(&file)
            .output()
            .unwrap();
        let text = String::from_utf8_lossy(&output.stdout).into_owned()
            + &String::from_utf8_lossy(&output.stderr);
        assert!(output.status.success(), "{}: {text}", file.display());
        assert!(!text.contains("warning"), "{}: {text}", file.display());
    }
}

#[test]
fn a_bad_configuration_ends_with_status_78_and_every_problem() {
    let directory = tempfile::tempdir().unwrap();
    let file = directory.path().join("certs.yaml");
    std::fs::write(&file, "certificates:\n- nmaes: [a.example]\ncolour: blue\n").unwrap();
    let output = Command::new(env!("CARGO_BIN_EXE_certs"))
        .args(["check", "--config"])
        .arg(&file)
        .output()
        .unwrap();
    assert_eq!(output.status.code(), Some(78));
    let text = String::from_utf8_lossy(&output.stderr).into_owned();
    assert!(text.contains("certs.yaml:2: certificates[0].nmaes: unknown key `nmaes`"), "{text}");
    assert!(text.contains("did you mean `names`?"), "{text}");
    assert!(text.contains("certs.yaml:3: colour: unknown key"), "{text}");
}

#[test]
fn the_reference_names_every_key() {
    let root = std::path::Path::new(env!("CARGO_MANIFEST_DIR"));
    let reference = std::fs::read_to_string(root.join("docs/configuration.md")).unwrap();
    for key in [
        "contact",
        "state_dir",
        "runtime_dir",
        "issuers",
        "solvers",
        "services",
        "certificates",
        "defaults",
        "directory",
        "ca_file",
        "profile",
        "eab",
        "kid",
        "hmac_key",
        "proxy",
        "allowed_hosts",
        "type",
        "listen",
        "webroot",
        "redirect",
        "check",
        "reload",
        "timeout",
        "name",
        "names",
        "solver",
        "key",
        "outputs",
        "group",
        "path",
        "format",
        "owner",
        "mode",
        "shell",
        "file",
        "env",
        "credential",
    ] {
        assert!(reference.contains(&format!("`{key}`")), "docs/configuration.md lacks `{key}`");
    }
}
