//! Hooks as people write them, and worse.

use super::*;
use crate::deploy::environment::example;

async fn shell(line: &str, limit: Duration) -> Result<HookOutput, HookError> {
    let command = CommandLine::Shell(line.to_owned());
    let hook = HookSettings { name: "reload".to_owned(), command, timeout: limit };
    run(&hook, &example(), &CancellationToken::new()).await
}

const AMPLE: Duration = Duration::from_secs(30);

#[tokio::test]
async fn a_hook_sees_its_variables_and_nothing_of_ours() {
    let output = shell("env; pwd", AMPLE).await.unwrap().text;
    assert!(output.contains("RENEWED_LINEAGE=/var/lib/certs/live/site\n"), "{output}");
    assert!(output.contains("\n/\n"), "{output}");
    // Cargo sets this for every test: whatever else we have is not handed on either.
    assert!(std::env::var_os("CARGO_MANIFEST_DIR").is_some());
    assert!(!output.contains("CARGO_MANIFEST_DIR"), "{output}");
}

#[tokio::test]
async fn a_failing_hook_is_quoted() {
    let error = shell("echo before; echo 'nginx: [emerg] no such file' >&2; exit 3", AMPLE).await;
    let text = error.unwrap_err().to_string();
    assert!(text.starts_with("exit status 3: "), "{text}");
    assert!(text.contains("nginx: [emerg] no such file"), "{text}");
    let text = shell("kill -9 $$", AMPLE).await.unwrap_err().to_string();
    assert_eq!(text, "killed by signal 9");
}

#[tokio::test]
async fn a_hanging_hook_dies_with_all_its_children() {
    let directory = tempfile::tempdir().unwrap();
    let file = directory.path().join("pid");
    let line = format!("trap '' TERM; sleep 600 & echo $! > {}; sleep 600", file.display());
    let begun = Instant::now();
    let error = shell(&line, Duration::from_millis(300)).await.unwrap_err();
    assert!(matches!(error, HookError::Timeout { .. }), "{error}");
    assert!(error.hint().unwrap().contains("timeout:"));
    assert!(begun.elapsed() < Duration::from_secs(10));
    let grandchild = std::fs::read_to_string(&file).unwrap();
    let status = std::path::PathBuf::from(format!("/proc/{}/stat", grandchild.trim()));
    for _ in 0..50 {
        // Gone, or a zombie that nobody here can reap.
        match std::fs::read_to_string(&status) {
            Err(_) => return,
            Ok(text) if text.contains(") Z ") => return,
            Ok(_) => tokio::time::sleep(Duration::from_millis(50)).await,
        }
    }
    panic!("a child of the hook is still alive");
}

#[tokio::test]
async fn a_hundred_megabytes_of_output_are_drained_and_not_kept() {
    let output = shell("echo first; head -c 100000000 /dev/zero | tr '\\0' x; echo last", AMPLE);
    let text = output.await.unwrap().text;
    assert!(text.len() < 2 * KEPT_HALF + 100, "{}", text.len());
    assert!(text.starts_with("first\n") && text.ends_with("last\n"));
    assert!(text.contains("bytes left out"));
}

#[tokio::test]
async fn a_daemon_left_behind_does_not_hold_us_up() {
    let begun = Instant::now();
    shell("sleep 20 & echo started", AMPLE).await.unwrap();
    assert!(begun.elapsed() < Duration::from_secs(10));
}

#[tokio::test]
async fn what_cannot_be_started_comes_with_advice() {
    let argv = |word: &str| HookSettings {
        name: "reload".to_owned(),
        command: CommandLine::Argv(vec![word.to_owned()]),
        timeout: AMPLE,
    };
    let stop = CancellationToken::new();
    let missing = run(&argv("no-such-program-here"), &example(), &stop).await.unwrap_err();
    assert!(missing.hint().is_some_and(|hint| hint.contains("full path")), "{missing:?}");
    let file = tempfile::NamedTempFile::new().unwrap();
    let data = run(&argv(file.path().to_str().unwrap()), &example(), &stop).await.unwrap_err();
    assert!(data.hint().is_some_and(|hint| hint.contains("executable")), "{data:?}");
    stop.cancel();
    let stopped = run(&argv("true"), &example(), &stop).await;
    assert!(!matches!(stopped, Err(HookError::Start { .. })));
}

#[test]
fn the_end_of_long_output_is_shown() {
    let text = format!("{}the reason\n", "x".repeat(10_000));
    assert!(tail(&text).ends_with("the reason"));
    assert_eq!(tail(&text).chars().count(), SHOWN);
    assert_eq!(tail("ä\n"), "ä");
}
