//! http-01 (RFC 8555 §8.3): the CA fetches `/.well-known/acme-challenge/TOKEN` on port 80.

mod bind;
mod listener;
mod webroot;

pub use bind::{BindError, bind};
pub use listener::{Http01Listener, Limits};
pub use webroot::Http01Webroot;

/// Path below which answers are found.
const CHALLENGE_PATH: &str = "/.well-known/acme-challenge/";
