//! What goes over the sockets: one JSON value and a line break, each way.

use serde::{Deserialize, Serialize};

use crate::engine::{Status, Story};
use crate::model::LineageName;

/// What may be asked on the control socket.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Request {
    /// How everything stands.
    Status,
    /// All about one certificate.
    Story {
        /// Which.
        name: LineageName,
    },
    /// Renew these now.
    Renew {
        /// Which.
        names: Vec<LineageName>,
    },
}

/// What is answered.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Answer {
    /// To [`Request::Status`], and on the status socket without asking.
    Status(Box<Status>),
    /// To [`Request::Story`]; `None` if nothing is known of it.
    Story(Box<Option<Story>>),
    /// To [`Request::Renew`]: durable, except for the names that are not configured.
    Noted {
        /// Names that are not configured.
        unknown: Vec<LineageName>,
    },
    /// The request was refused or failed.
    Error(String),
}
