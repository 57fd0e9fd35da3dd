//! Tests against real peers: Pebble as the CA, nginx and HAProxy as the servers, the kernel's own
//! ways to fail.

mod crash;
mod daemon;
mod diskfull;
mod hooks;
mod pebble;
mod renewal;
mod servers;
