//! http-01 answered by this program: a web server for exactly one kind of file, from memory.
//!
//! Invariant: nothing that a stranger sends reaches the file system. A path either is a token that
//! is being validated at this moment, letter by letter, or it is not found.

use std::collections::BTreeMap;
use std::convert::Infallible;
use std::net::TcpListener;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use async_trait::async_trait;
use bytes::Bytes;
use http::header::{ALLOW, CONNECTION, CONTENT_TYPE, HOST, LOCATION};
use http::{HeaderValue, Method, Request, Response, StatusCode};
use http_body_util::Full;
use hyper::body::Incoming;
use hyper::server::conn::http1;
use hyper::service::service_fn;
use hyper_util::rt::{TokioIo, TokioTimer};
use tokio::net::TcpStream;
use tokio::sync::Semaphore;
use tokio::task::JoinSet;
use tokio_util::sync::CancellationToken;

use crate::model::{ChallengeKind, Identifier, Presented, Task, Token};
use crate::solver::{Solver, SolverError};

use super::{BindError, CHALLENGE_PATH};

/// What a connection may cost.
#[derive(Clone, Copy, Debug)]
pub struct Limits {
    /// Connections at a time. When they are used up, new ones wait in the kernel's queue until
    /// the limits below free a place.
    pub connections: usize,
    /// From accepting to the end of the request's head.
    pub head: Duration,
    /// From accepting to closing.
    pub lifetime: Duration,
}

impl Default for Limits {
    fn default() -> Self {
        Self { connections: 256, head: Duration::from_secs(5), lifetime: Duration::from_secs(10) }
    }
}

/// Bytes of a request's head; the least that hyper allows.
const LARGEST_HEAD: usize = 8 << 10;

/// Header fields of a request.
const MOST_HEADERS: usize = 32;

/// Pause after an `accept` that failed, so that running out of descriptors does not spin.
const ACCEPT_PAUSE: Duration = Duration::from_millis(200);

/// Answers challenges on sockets of its own.
#[derive(Debug)]
pub struct Http01Listener {
    name: String,
    redirect: Redirect,
    /// Why there is no socket; the listener then refuses to present anything.
    failed: Option<BindError>,
    answers: Mutex<BTreeMap<Token, Bytes>>,
}

/// What becomes of requests that are no challenges.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Redirect {
    ToHttps,
    NotFound,
}

impl Http01Listener {
    /// A listener by its name in the configuration. `failed` says why it has no socket, if it has
    /// none: certificates that do not need it go on.
    pub fn new(name: &str, redirect_others: bool, failed: Option<BindError>) -> Arc<Self> {
        let redirect = if redirect_others { Redirect::ToHttps } else { Redirect::NotFound };
        Arc::new(Self { name: name.to_owned(), redirect, failed, answers: Mutex::default() })
    }

    /// Serves these sockets until told to stop.
    pub async fn serve(
        self: Arc<Self>,
        sockets: Vec<TcpListener>,
        limits: Limits,
        stop: CancellationToken,
    ) {
        let places = Arc::new(Semaphore::new(limits.connections));
        let mut loops = JoinSet::new();
        for socket in sockets {
            loops.spawn(Arc::clone(&self).accept(
                socket,
                limits,
                Arc::clone(&places),
                stop.clone(),
            ));
        }
        while loops.join_next().await.is_some() {}
    }

    async fn accept(
        self: Arc<Self>,
        socket: TcpListener,
        limits: Limits,
        places: Arc<Semaphore>,
        stop: CancellationToken,
    ) {
        let socket =
            socket.set_nonblocking(true).and_then(|()| tokio::net::TcpListener::from_std(socket));
        let socket = match socket {
            Ok(socket) => socket,
            Err(error) => {
                tracing::error!(%error, "a socket for http-01 cannot be used");
                return;
            }
        };
        let mut connections = JoinSet::new();
        loop {
            while connections.try_join_next().is_some() {}
            let Ok(place) = Arc::clone(&places).acquire_owned().await else { return };
            let accepted = tokio::select! {
                accepted = socket.accept() => accepted,
                () = stop.cancelled() => return,
            };
            match accepted {
                Ok((stream, _)) => {
                    let listener = Arc::clone(&self);
                    connections.spawn(async move {
                        let connection = listener.converse(stream, limits);
                        // Whatever a stranger does wrong is of no interest.
                        drop(tokio::time::timeout(limits.lifetime, connection).await);
                        drop(place);
                    });
                }
                Err(error) => {
                    tracing::warn!(%error, "cannot accept a connection, retrying");
                    tokio::time::sleep(ACCEPT_PAUSE).await;
                }
            }
        }
    }

    async fn converse(self: Arc<Self>, stream: TcpStream, limits: Limits) {
        let service = service_fn(move |request| {
            let response = self.respond(&request);
            async move { Ok::<_, Infallible>(response) }
        });
        let connection = http1::Builder::new()
            .timer(TokioTimer::new())
            .header_read_timeout(limits.head)
            .max_buf_size(LARGEST_HEAD)
            .max_headers(MOST_HEADERS)
            .keep_alive(false)
            .serve_connection(TokioIo::new(stream), service);
        drop(connection.await);
    }

    fn respond(&self, request: &Request<Incoming>) -> Response<Full<Bytes>> {
        let mut response = self.answer(request.method(), request.uri().path(), || {
            let host = request.headers().get(HOST)?.to_str().ok()?;
            let target = request.uri().path_and_query()?.as_str();
            https_location(host, target)
        });
        response.headers_mut().insert(CONNECTION, HeaderValue::from_static("close"));
        response
    }

    fn answer(
        &self,
        method: &Method,
        path: &str,
        location: impl FnOnce() -> Option<HeaderValue>,
    ) -> Response<Full<Bytes>> {
        if *method != Method::GET && *method != Method::HEAD {
            let mut response = status(StatusCode::METHOD_NOT_ALLOWED);
            response.headers_mut().insert(ALLOW, HeaderValue::from_static("GET, HEAD"));
            return response;
        }
        if let Some(token) = path.strip_prefix(CHALLENGE_PATH) {
            let answer = Token::parse(token).ok().and_then(|token| self.known(&token));
            return answer.map_or_else(|| status(StatusCode::NOT_FOUND), found);
        }
        match self.redirect {
            Redirect::NotFound => status(StatusCode::NOT_FOUND),
            Redirect::ToHttps => match location() {
                Some(location) => {
                    let mut response = status(StatusCode::PERMANENT_REDIRECT);
                    response.headers_mut().insert(LOCATION, location);
                    response
                }
                None => status(StatusCode::BAD_REQUEST),
            },
        }
    }

    fn known(&self, token: &Token) -> Option<Bytes> {
        self.answers().get(token).cloned()
    }

    fn answers(&self) -> std::sync::MutexGuard<'_, BTreeMap<Token, Bytes>> {
        self.answers.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

fn status(status: StatusCode) -> Response<Full<Bytes>> {
    let mut response = Response::new(Full::default());
    *response.status_mut() = status;
    response
}

/// The key authorization and nothing else: some CAs compare a trailing line break, too.
fn found(answer: Bytes) -> Response<Full<Bytes>> {
    let mut response = Response::new(Full::new(answer));
    let octets = HeaderValue::from_static("application/octet-stream");
    response.headers_mut().insert(CONTENT_TYPE, octets);
    response
}

/// The same place by https. `Host` is hostile: it must be a name or an address.
fn https_location(host: &str, target: &str) -> Option<HeaderValue> {
    let name = match host.strip_prefix('[') {
        Some(rest) => rest.split_once(']')?.0,
        None => host.split(':').next()?,
    };
    let name = match name.parse().ok()? {
        Identifier::Dns(name) => name.to_string(),
        Identifier::Ip(address) if address.is_ipv6() => format!("[{address}]"),
        Identifier::Ip(address) => address.to_string(),
        Identifier::Wildcard(_) => return None,
    };
    HeaderValue::try_from(format!("https://{name}{target}")).ok()
}

#[async_trait]
impl Solver for Http01Listener {
    fn kind(&self) -> ChallengeKind {
        ChallengeKind::Http01
    }

    fn place(&self, task: &Task) -> Presented {
        Presented {
            identifier: task.identifier.clone(),
            kind: task.kind,
            solver: self.name.clone(),
            token: task.token.clone(),
            place: None,
        }
    }

    async fn present(&self, task: &Task) -> Result<(), SolverError> {
        if let Some(error) = &self.failed {
            return Err(SolverError::NotListening(error.clone()));
        }
        let answer = Bytes::from(task.key_authorization.clone());
        self.answers().insert(task.token.clone(), answer);
        Ok(())
    }

    async fn clean_up(&self, presented: &Presented) -> Result<(), SolverError> {
        self.answers().remove(&presented.token);
        Ok(())
    }
}

#[cfg(test)]
mod tests;
