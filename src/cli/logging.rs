//! The log: one line per event on standard error, in the form that its reader wants.

use std::io::IsTerminal;

use tracing_subscriber::EnvFilter;
use tracing_subscriber::fmt::time::UtcTime;

use super::{Global, LogFormat};

/// Starts logging. Without time stamps where the journal adds its own, with colour only on a
/// terminal.
pub(super) fn start(global: &Global) {
    let filter = EnvFilter::try_new(directives(&global.log_level))
        .unwrap_or_else(|_| EnvFilter::new("info"));
    let has_colour = std::io::stderr().is_terminal() && std::env::var_os("NO_COLOR").is_none();
    let builder = tracing_subscriber::fmt()
        .with_env_filter(filter)
        .with_writer(std::io::stderr)
        .with_ansi(has_colour)
        .with_target(false);
    let format =
        time::macros::format_description!("[year]-[month]-[day]T[hour]:[minute]:[second]Z");
    let in_journal = std::env::var_os("JOURNAL_STREAM").is_some();
    match (global.log_format, in_journal) {
        (LogFormat::Json, _) => builder.json().with_timer(UtcTime::new(format)).init(),
        (LogFormat::Text, true) => builder.without_time().init(),
        (LogFormat::Text, false) => builder.with_timer(UtcTime::new(format)).init(),
    }
}

/// A bare level is about this program; libraries stay quiet unless named.
fn directives(level: &str) -> String {
    if level.contains(['=', ',']) { level.to_owned() } else { format!("warn,certs={level}") }
}
