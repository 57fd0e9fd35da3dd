//! All integration tests, in one binary.
//!
//! Tests that need a real peer (Pebble, nginx, HAProxy, systemd …) are ignored with the reason
//! `needs …: tests/run`; that script installs the peers and runs every one of them.
#![allow(clippy::unwrap_used, clippy::expect_used, reason = "a test fails by panicking")]
#![allow(clippy::disallowed_methods, reason = "tests write what they like")]
#![allow(clippy::print_stderr, clippy::print_stdout, reason = "tests tell what they saw")]

mod bans;
mod examples;
mod peers;
mod support;
mod tidy;
