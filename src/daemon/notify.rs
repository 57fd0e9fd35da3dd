//! What systemd is told (sd_notify(3)). Without systemd every function does nothing.

use std::time::Duration;

use sd_notify::NotifyState;
use tokio::time::Instant;

/// Started, or finished reloading.
pub(super) fn ready() {
    send(&[NotifyState::Ready]);
}

/// A reload has begun; [`ready`] ends it.
pub(super) fn reloading() {
    match NotifyState::monotonic_usec_now() {
        Ok(now) => send(&[NotifyState::Reloading, now]),
        Err(_) => send(&[NotifyState::Reloading]),
    }
}

/// Told to stop.
pub(super) fn stopping() {
    send(&[NotifyState::Stopping, NotifyState::Status("stopping")]);
}

/// One line for `systemctl status`.
pub(super) fn status(text: &str) {
    send(&[NotifyState::Status(text)]);
}

/// Whether anybody listens.
pub(super) fn is_supervised() -> bool {
    std::env::var_os("NOTIFY_SOCKET").is_some()
}

/// How long the engine may sleep so that the watchdog sees it move; `None` without watchdog.
pub(super) fn watchdog_interval() -> Option<Duration> {
    sd_notify::watchdog_enabled().map(|limit| limit / 4)
}

/// Feeds systemd's watchdog, but only while the engine makes progress.
pub(super) struct Watchdog {
    interval: Option<Duration>,
    next: Instant,
    rounds: Option<u64>,
}

impl Watchdog {
    pub(super) fn new() -> Self {
        let interval = sd_notify::watchdog_enabled().map(|limit| limit / 2);
        Self { interval, next: Instant::now(), rounds: None }
    }

    /// Ends when it is time to feed; never without a watchdog.
    pub(super) async fn due(&self) {
        match self.interval {
            Some(_) => tokio::time::sleep_until(self.next).await,
            None => std::future::pending().await,
        }
    }

    /// Feeds, if the engine has made a round since the last time.
    pub(super) fn feed(&mut self, rounds: u64) {
        if self.rounds != Some(rounds) {
            send(&[NotifyState::Watchdog]);
        }
        self.rounds = Some(rounds);
        self.next = Instant::now() + self.interval.unwrap_or(Duration::MAX / 4);
    }
}

fn send(state: &[NotifyState<'_>]) {
    if let Err(error) = sd_notify::notify(state) {
        tracing::debug!(%error, "systemd cannot be told");
    }
}
