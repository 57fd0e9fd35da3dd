//! Runs one command with a time limit and keeps what it said.
//!
//! Invariant: a hook costs bounded time and memory whatever it does, and gets nothing of this
//! process but a few harmless variables. Its process group dies at the limit; after a normal end
//! its children are left alone, since a reload may rightly leave some.

use std::io;
use std::os::unix::process::{CommandExt, ExitStatusExt};
use std::process::{ExitStatus, Stdio};
use std::time::Duration;

use rustix::process::{Pid, Signal, kill_process_group};
use thiserror::Error;
use tokio::io::{AsyncRead, AsyncReadExt};
use tokio::process::{Child, Command};
use tokio::time::Instant;
use tokio_util::sync::CancellationToken;

use crate::config::settings::{CommandLine, HookSettings};
use crate::model::printable;

use super::HookEnvironment;

/// Of a hook's output, this much of its beginning and as much of its end is kept, in bytes.
const KEPT_HALF: usize = 32 << 10;

/// Between SIGTERM and SIGKILL.
const GRACE: Duration = Duration::from_secs(2);

/// How long output is waited for after the command itself has ended: a daemon that it started may
/// keep the pipe open for ever.
const LINGER: Duration = Duration::from_millis(500);

/// Characters of output in an error.
const SHOWN: usize = 400;

/// Variables of this process that a hook may see; nothing that could be a secret or that would
/// let it speak to systemd in our name.
const INHERITED: [&str; 7] = ["PATH", "HOME", "LANG", "LC_ALL", "TZ", "USER", "LOGNAME"];

/// Where commands are looked for when this process has no PATH.
const USUAL_PATH: &str = "/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin";

/// What a successful hook left.
#[derive(Debug)]
pub struct HookOutput {
    /// How long it ran.
    pub elapsed: Duration,
    /// Beginning and end of standard output and standard error together, at most 64 KiB.
    pub text: String,
}

/// Why a hook did not succeed.
#[derive(Debug, Error)]
pub enum HookError {
    /// It could not be started.
    #[error("cannot start `{program}`")]
    Start {
        /// The program.
        program: String,
        /// The system's answer.
        #[source]
        source: io::Error,
    },
    /// It ended with another status than 0, or by a signal.
    #[error("{how}{}", said(.output))]
    Status {
        /// `exit status 1`, `killed by signal 9`.
        how: String,
        /// End of its output.
        output: String,
    },
    /// It did not end in time.
    #[error("still running after {} s, killed{}", .limit.as_secs_f64(), said(.output))]
    Timeout {
        /// The limit.
        limit: Duration,
        /// End of its output.
        output: String,
    },
    /// This program is stopping; the hook was ended and will run again.
    #[error("ended because certs is stopping")]
    Stopped,
    /// Waiting for it failed.
    #[error("cannot wait for the command")]
    Wait(#[source] io::Error),
}

fn said(output: &str) -> String {
    if output.is_empty() { String::new() } else { format!(": {output}") }
}

impl HookError {
    /// What to do about it.
    pub fn hint(&self) -> Option<String> {
        let text = match self {
            Self::Start { source, .. } if source.kind() == io::ErrorKind::NotFound => {
                "write the full path of the program; hooks are not run by a shell unless they say \
                 `shell:`"
            }
            Self::Start { source, .. } if source.kind() == io::ErrorKind::PermissionDenied => {
                "the file must be executable by the user that runs certs"
            }
            Self::Timeout { .. } => "a longer limit can be set with `timeout:`",
            _ => return None,
        };
        Some(text.to_owned())
    }
}

/// Runs a hook to its end, its limit, or the stop of this program.
pub async fn run(
    hook: &HookSettings,
    environment: &HookEnvironment,
    stop: &CancellationToken,
) -> Result<HookOutput, HookError> {
    let begun = Instant::now();
    let mut child = start(hook, environment)?;
    let group = child.id().and_then(|id| Pid::from_raw(id.cast_signed()));
    let output = tokio::spawn(collect(child.stdout.take(), child.stderr.take()));
    let ended = tokio::select! {
        ended = child.wait() => Ended::Itself(ended),
        () = tokio::time::sleep(hook.timeout) => Ended::Limit,
        () = stop.cancelled() => Ended::Stop,
    };
    if !matches!(ended, Ended::Itself(_)) {
        end_group(group, &mut child).await;
    }
    let text = finish(output).await;
    match ended {
        Ended::Itself(Ok(status)) if status.success() => {
            Ok(HookOutput { elapsed: begun.elapsed(), text })
        }
        Ended::Itself(Ok(status)) => {
            Err(HookError::Status { how: describe(status), output: tail(&text) })
        }
        Ended::Itself(Err(source)) => Err(HookError::Wait(source)),
        Ended::Limit => Err(HookError::Timeout { limit: hook.timeout, output: tail(&text) }),
        Ended::Stop => Err(HookError::Stopped),
    }
}

enum Ended {
    Itself(io::Result<ExitStatus>),
    Limit,
    Stop,
}

fn start(hook: &HookSettings, environment: &HookEnvironment) -> Result<Child, HookError> {
    let (program, arguments) = match &hook.command {
        CommandLine::Argv(words) => match words.split_first() {
            Some((program, arguments)) => (program.clone(), arguments.to_vec()),
            None => (String::new(), Vec::new()),
        },
        CommandLine::Shell(line) => ("/bin/sh".to_owned(), vec!["-c".to_owned(), line.clone()]),
    };
    let mut command = Command::new(&program);
    command
        .args(arguments)
        .env_clear()
        .env("PATH", USUAL_PATH)
        .envs(INHERITED.iter().filter_map(|name| Some((*name, std::env::var_os(name)?))))
        .envs(environment.variables())
        .current_dir("/")
        .stdin(Stdio::null())
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .kill_on_drop(true);
    command.as_std_mut().process_group(0);
    command.spawn().map_err(|source| HookError::Start { program, source })
}

/// SIGTERM, a moment, SIGKILL: to the whole group.
async fn end_group(group: Option<Pid>, child: &mut Child) {
    let Some(group) = group else { return };
    // Errors mean that the group is gone, which is what is wanted.
    let _ = kill_process_group(group, Signal::TERM);
    let ended = tokio::time::timeout(GRACE, child.wait()).await;
    let _ = kill_process_group(group, Signal::KILL);
    if ended.is_err() {
        drop(child.wait().await);
    }
}

/// Reads both pipes to their ends, keeping the beginning and the end of what comes.
async fn collect(
    stdout: Option<impl AsyncRead + Unpin>,
    stderr: Option<impl AsyncRead + Unpin>,
) -> Kept {
    let kept = std::sync::Mutex::new(Kept::default());
    tokio::join!(drain(stdout, &kept), drain(stderr, &kept));
    kept.into_inner().unwrap_or_else(std::sync::PoisonError::into_inner)
}

async fn drain(pipe: Option<impl AsyncRead + Unpin>, kept: &std::sync::Mutex<Kept>) {
    let Some(mut pipe) = pipe else { return };
    let mut buffer = vec![0; 16 << 10];
    while let Ok(count @ 1..) = pipe.read(&mut buffer).await {
        kept.lock().unwrap_or_else(std::sync::PoisonError::into_inner).add(&buffer[..count]);
    }
}

/// What is kept of the output. A collector that has to be abandoned takes its part with it.
async fn finish(mut output: tokio::task::JoinHandle<Kept>) -> String {
    match tokio::time::timeout(LINGER, &mut output).await {
        Ok(kept) => kept.unwrap_or_default().text(),
        Err(_) => {
            output.abort();
            String::new()
        }
    }
}

#[derive(Debug, Default)]
struct Kept {
    head: Vec<u8>,
    tail: Vec<u8>,
    dropped: u64,
}

impl Kept {
    fn add(&mut self, bytes: &[u8]) {
        let room = (KEPT_HALF - self.head.len()).min(bytes.len());
        let (head, rest) = bytes.split_at(room);
        self.head.extend_from_slice(head);
        self.tail.extend_from_slice(rest);
        // Twice the size before cutting, so that long output is not moved byte by byte.
        if self.tail.len() > 2 * KEPT_HALF {
            self.cut();
        }
    }

    fn cut(&mut self) {
        let surplus = self.tail.len().saturating_sub(KEPT_HALF);
        self.tail.drain(..surplus);
        self.dropped += surplus as u64;
    }

    fn text(mut self) -> String {
        self.cut();
        let head = String::from_utf8_lossy(&self.head);
        let tail = String::from_utf8_lossy(&self.tail);
        match self.dropped {
            0 => format!("{head}{tail}"),
            dropped => format!("{head}\n… {dropped} bytes left out …\n{tail}"),
        }
    }
}

/// The end of the output, which is where commands say what is wrong.
fn tail(text: &str) -> String {
    let text = text.trim_end();
    let from = text.char_indices().rev().nth(SHOWN - 1).map_or(0, |(index, _)| index);
    printable(&text[from..], SHOWN)
}

fn describe(status: ExitStatus) -> String {
    match (status.code(), status.signal()) {
        (Some(code), _) => format!("exit status {code}"),
        (None, Some(signal)) => format!("killed by signal {signal}"),
        (None, None) => "ended in an unknown way".to_owned(),
    }
}

#[cfg(test)]
mod tests;
