//! Every request to a CA goes through here, and every answer is tamed here.
//!
//! Invariant: what leaves this module is bounded (time, size, `Retry-After`), comes from the
//! origin of the CA's directory, and is either a success or a typed [`Refusal`]. The library above
//! has no time-outs or limits of its own and panics on an absurd `Retry-After`.

use std::collections::{BTreeMap, VecDeque};
use std::pin::Pin;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use bytes::{Bytes, BytesMut};
use http::header::{CONTENT_TYPE, HeaderMap, HeaderName, HeaderValue, RETRY_AFTER};
use http::{Method, Request, Response, StatusCode};
use http_body_util::{BodyExt, Full};
use instant_acme::{BodyWrapper, BytesResponse, HttpClient};
use thiserror::Error;
use tokio::time::Instant;

use crate::config::settings::IssuerSettings;
use crate::disk::{self, DiskError};
use crate::model::{Timestamp, printable};

use super::problem::Refusal;

const CONNECT_TIME: Duration = Duration::from_secs(10);
const IDLE_TIME: Duration = Duration::from_secs(30);
const TOTAL_TIME: Duration = Duration::from_secs(60);

/// Largest body read from a CA. A chain of four certificates has 8 KiB, an order with 100 names 20.
const LARGEST_BODY: usize = 1 << 20;

/// The shortest and longest `Retry-After` believed.
const SHORTEST_DEMAND: Duration = Duration::from_secs(1);
const LONGEST_DEMAND: Duration = Duration::from_secs(24 * 3600);

/// Nonces kept, and for how long: CAs forget them.
const MOST_NONCES: usize = 32;
const NONCE_LIFE: Duration = Duration::from_secs(300);

/// Unasked-for demands kept before all are dropped.
const MOST_DEMANDS: usize = 1024;

const BAD_NONCE: &str = r#"{"type":"urn:ietf:params:acme:error:badNonce"}"#;

const REPLAY_NONCE: HeaderName = HeaderName::from_static("replay-nonce");

/// A connection to one CA.
#[derive(Debug)]
pub(super) struct Transport {
    client: reqwest::Client,
    directory: String,
    origins: Vec<String>,
    nonces: Mutex<VecDeque<(HeaderValue, Instant)>>,
    /// Body of the directory, and the URL of its newNonce, once fetched.
    known: Mutex<Option<Known>>,
    /// `Retry-After` of successful answers by URL, until somebody asks.
    demands: Mutex<BTreeMap<String, Duration>>,
}

#[derive(Clone, Debug)]
struct Known {
    directory: Bytes,
    new_nonce: String,
}

/// No usable answer.
#[derive(Debug, Error)]
pub(super) enum TransportError {
    /// The HTTP client could not be set up.
    #[error("the HTTP client cannot be set up")]
    Setup(#[source] reqwest::Error),
    /// `ca_file` cannot be read.
    #[error("ca_file cannot be used")]
    CaFile(#[from] DiskError),
    /// `ca_file` has no certificate.
    #[error("ca_file {0} has no PEM certificate")]
    NoRoots(String),
    /// The CA named a URL elsewhere.
    #[error(
        "the CA points to {0}, which is neither below its directory's origin nor in `allowed_hosts`"
    )]
    ForeignUrl(String),
    /// Connecting, sending or receiving failed.
    #[error("no answer from {host}{}", reason(.source))]
    Network {
        /// Host and port.
        host: String,
        /// What the client says.
        #[source]
        source: reqwest::Error,
    },
    /// More than [`LARGEST_BODY`].
    #[error("the answer of {0} is larger than {LARGEST_BODY} bytes")]
    TooLarge(String),
    /// A redirect; ACME has none.
    #[error("{0} redirects; write the URL of the directory itself")]
    Redirect(String),
    /// The directory is not one.
    #[error("{0} is not an ACME directory")]
    NotADirectory(String),
}

fn reason(error: &reqwest::Error) -> &'static str {
    if error.is_timeout() {
        " in time"
    } else if error.is_connect() {
        " (cannot connect)"
    } else {
        ""
    }
}

/// A success.
#[derive(Debug)]
pub(super) struct Answer {
    pub(super) status: StatusCode,
    pub(super) headers: HeaderMap,
    pub(super) body: Bytes,
}

/// A refusal or no answer at all.
#[derive(Debug, Error)]
pub(super) enum RequestError {
    #[error(transparent)]
    Refused(#[from] Refusal),
    #[error(transparent)]
    Failed(#[from] TransportError),
}

impl Transport {
    /// Sets up a client for one CA. Reads `ca_file`; opens no connection.
    pub(super) fn new(settings: &IssuerSettings) -> Result<Arc<Self>, TransportError> {
        let agent = concat!("certs/", env!("CARGO_PKG_VERSION"), " instant-acme/0.8.5");
        let mut builder = reqwest::Client::builder()
            .user_agent(agent)
            .https_only(true)
            .redirect(reqwest::redirect::Policy::none())
            .connect_timeout(CONNECT_TIME)
            .read_timeout(IDLE_TIME)
            .timeout(TOTAL_TIME)
            .tcp_keepalive(Duration::from_secs(30))
            .pool_idle_timeout(Duration::from_secs(60));
        if let Some(path) = &settings.ca_file {
            builder = builder.tls_certs_only(roots_from(path)?);
        }
        if let Some(proxy) = &settings.proxy {
            builder = builder.proxy(reqwest::Proxy::all(proxy).map_err(TransportError::Setup)?);
        }
        let client = match builder.build() {
            Ok(client) => client,
            // A machine or container without a CA bundle: the bundled roots are better than none.
            Err(_) if settings.ca_file.is_none() => bundled_roots(agent)?,
            Err(error) => return Err(TransportError::Setup(error)),
        };
        let own = origin(&settings.directory).unwrap_or_default();
        let further = settings.allowed_hosts.iter().map(|host| with_port(host));
        Ok(Arc::new(Self {
            client,
            directory: settings.directory.clone(),
            origins: std::iter::once(own).chain(further).collect(),
            nonces: Mutex::default(),
            known: Mutex::default(),
            demands: Mutex::default(),
        }))
    }

    /// The directory's body, fetched anew.
    pub(super) async fn fetch_directory(&self) -> Result<Bytes, RequestError> {
        let answer = self.send(Method::GET, &self.directory, None).await?;
        let not_a_directory = || TransportError::NotADirectory(printable(&self.directory, 200));
        let parsed: serde_json::Value =
            serde_json::from_slice(&answer.body).map_err(|_| not_a_directory())?;
        let new_nonce = parsed.get("newNonce").and_then(serde_json::Value::as_str);
        let new_nonce = new_nonce.ok_or_else(not_a_directory)?.to_owned();
        let known = Known { directory: answer.body.clone(), new_nonce };
        *lock(&self.known) = Some(known);
        Ok(answer.body)
    }

    /// A nonce: one that an earlier answer brought, or a new one.
    pub(super) async fn nonce(&self) -> Result<HeaderValue, RequestError> {
        if let Some(nonce) = self.kept_nonce() {
            return Ok(nonce);
        }
        let known = lock(&self.known).clone();
        let url = match known {
            Some(known) => known.new_nonce,
            None => {
                self.fetch_directory().await?;
                lock(&self.known).clone().map(|known| known.new_nonce).unwrap_or_default()
            }
        };
        self.send(Method::HEAD, &url, None).await?;
        self.kept_nonce().ok_or_else(|| {
            TransportError::NotADirectory(format!("{} (its newNonce brings none)", self.directory))
                .into()
        })
    }

    fn kept_nonce(&self) -> Option<HeaderValue> {
        let mut nonces = lock(&self.nonces);
        while let Some((nonce, since)) = nonces.pop_back() {
            if since.elapsed() < NONCE_LIFE {
                return Some(nonce);
            }
        }
        None
    }

    fn keep_nonce(&self, nonce: HeaderValue) {
        let mut nonces = lock(&self.nonces);
        nonces.push_back((nonce, Instant::now()));
        if nonces.len() > MOST_NONCES {
            nonces.pop_front();
        }
    }

    /// How long the last successful answer of `url` asked to wait; the library drops it.
    pub(super) fn take_demand(&self, url: &str) -> Option<Duration> {
        lock(&self.demands).remove(url)
    }

    fn keep_demand(&self, url: &str, retry_after: Option<Duration>) {
        let mut demands = lock(&self.demands);
        match retry_after {
            Some(demand) if demands.len() < MOST_DEMANDS => {
                demands.insert(url.to_owned(), demand);
            }
            Some(_) => demands.clear(),
            None => {
                demands.remove(url);
            }
        }
    }

    /// Sends one request. Keeps the nonce of the answer; anything but 2xx is an error.
    pub(super) async fn send(
        &self,
        method: Method,
        url: &str,
        body: Option<Bytes>,
    ) -> Result<Answer, RequestError> {
        let host = self.admit(url)?;
        let network = |source| TransportError::Network { host: host.clone(), source };
        let begun = Instant::now();
        let mut request = self.client.request(method.clone(), url);
        if let Some(body) = body {
            request = request.header(CONTENT_TYPE, "application/jose+json").body(body);
        }
        let mut response = request.send().await.map_err(network)?;
        let status = response.status();
        let mut headers = std::mem::take(response.headers_mut());
        let mut content = BytesMut::new();
        while let Some(chunk) = response.chunk().await.map_err(network)? {
            if content.len() + chunk.len() > LARGEST_BODY {
                return Err(TransportError::TooLarge(host).into());
            }
            content.extend_from_slice(&chunk);
        }
        let milliseconds = u64::try_from(begun.elapsed().as_millis()).unwrap_or(u64::MAX);
        tracing::debug!(%method, url, status = status.as_u16(), milliseconds, "request to the CA");
        if status.is_redirection() {
            return Err(TransportError::Redirect(printable(url, 200)).into());
        }
        let retry_after = tame_retry_after(&mut headers);
        let nonce = headers.remove(REPLAY_NONCE);
        if let Some(nonce) = nonce {
            self.keep_nonce(nonce);
        }
        if status.is_success() {
            self.keep_demand(url, retry_after);
            return Ok(Answer { status, headers, body: content.freeze() });
        }
        Err(Refusal::new(status.as_u16(), &content, retry_after).into())
    }

    /// Host and port of a URL, if a request may go there.
    fn admit(&self, url: &str) -> Result<String, TransportError> {
        match origin(url) {
            Some(origin) if self.origins.contains(&origin) => Ok(origin),
            _ => Err(TransportError::ForeignUrl(printable(url, 200))),
        }
    }

    /// What the library asks for, with the two requests that it repeats needlessly answered from
    /// memory: the directory, and newNonce.
    async fn serve_library(
        &self,
        method: Method,
        url: String,
        body: Bytes,
    ) -> Result<Response<Full<Bytes>>, RequestError> {
        let known = lock(&self.known).clone();
        if let Some(known) = known {
            if method == Method::GET && url == self.directory {
                return Ok(Response::new(Full::new(known.directory)));
            }
            if method == Method::HEAD && url == known.new_nonce {
                let mut response = Response::new(Full::default());
                response.headers_mut().insert(REPLAY_NONCE, self.nonce().await?);
                return Ok(response);
            }
        }
        let body = (method == Method::POST).then_some(body);
        let answer = match self.send(method, &url, body).await {
            // The library signs again with the nonce that comes with the refusal.
            Err(RequestError::Refused(refusal)) if refusal.is("badNonce") => {
                let mut response = Response::new(Full::from(BAD_NONCE));
                *response.status_mut() = StatusCode::BAD_REQUEST;
                response.headers_mut().insert(REPLAY_NONCE, self.nonce().await?);
                return Ok(response);
            }
            other => other?,
        };
        let mut response = Response::new(Full::new(answer.body));
        *response.status_mut() = answer.status;
        *response.headers_mut() = answer.headers;
        Ok(response)
    }
}

/// The library's view of a [`Transport`].
#[derive(Clone, Debug)]
pub(super) struct LibraryClient(pub(super) Arc<Transport>);

impl HttpClient for LibraryClient {
    fn request(
        &self,
        request: Request<BodyWrapper<Bytes>>,
    ) -> Pin<Box<dyn Future<Output = Result<BytesResponse, instant_acme::Error>> + Send>> {
        let transport = Arc::clone(&self.0);
        Box::pin(async move {
            let (parts, body) = request.into_parts();
            let Ok(body) = body.collect().await;
            let (method, url) = (parts.method, parts.uri.to_string());
            match transport.serve_library(method, url, body.to_bytes()).await {
                Ok(response) => Ok(BytesResponse::from(response)),
                Err(error) => Err(instant_acme::Error::Other(Box::new(error))),
            }
        })
    }
}

/// Clamps `Retry-After` and rewrites it to seconds, or drops it if it says nothing.
fn tame_retry_after(headers: &mut HeaderMap) -> Option<Duration> {
    let value = headers.remove(RETRY_AFTER)?;
    let date = headers.get(http::header::DATE).and_then(|date| date.to_str().ok());
    let demand = parse_retry_after(value.to_str().ok()?, date)?;
    headers.insert(RETRY_AFTER, HeaderValue::from(demand.as_secs()));
    Some(demand)
}

/// `Retry-After` in either form (RFC 9110 §10.2.3). A date is taken relative to the answer's own
/// `Date`, so that a wrong clock here does not matter.
pub(super) fn parse_retry_after(value: &str, date: Option<&str>) -> Option<Duration> {
    let value = value.trim();
    let demand = if value.bytes().all(|b| b.is_ascii_digit()) && !value.is_empty() {
        Duration::from_secs(value.parse().unwrap_or(u64::MAX))
    } else {
        http_date(value)?.since(http_date(date?)?)
    };
    Some(demand.clamp(SHORTEST_DEMAND, LONGEST_DEMAND))
}

/// IMF-fixdate: `Tue, 24 Nov 2026 07:00:00 GMT`.
fn http_date(text: &str) -> Option<Timestamp> {
    const FORMAT: &[time::format_description::BorrowedFormatItem<'_>] = time::macros::format_description!(
        "[weekday repr:short], [day] [month repr:short] [year] [hour]:[minute]:[second] GMT"
    );
    let parsed = time::PrimitiveDateTime::parse(text.trim(), FORMAT).ok()?;
    Some(Timestamp::from_unix(parsed.assume_utc().unix_timestamp()))
}

fn origin(url: &str) -> Option<String> {
    let uri: http::Uri = url.parse().ok()?;
    (uri.scheme_str() == Some("https")).then_some(())?;
    let authority = uri.authority().filter(|authority| !authority.as_str().contains('@'))?;
    Some(with_port(authority.as_str()))
}

fn with_port(host: &str) -> String {
    let host = host.to_ascii_lowercase();
    let has_port = host.rsplit_once(':').is_some_and(|(_, port)| {
        !port.is_empty() && port.bytes().all(|b| b.is_ascii_digit()) && !host.ends_with(']')
    });
    if has_port { host } else { format!("{host}:443") }
}

fn roots_from(path: &std::path::Path) -> Result<Vec<reqwest::Certificate>, TransportError> {
    let pem = disk::read_file(path, LARGEST_BODY)?;
    match reqwest::Certificate::from_pem_bundle(&pem) {
        Ok(roots) if !roots.is_empty() => Ok(roots),
        _ => Err(TransportError::NoRoots(path.display().to_string())),
    }
}

fn bundled_roots(agent: &str) -> Result<reqwest::Client, TransportError> {
    let roots = webpki_root_certs::TLS_SERVER_ROOT_CERTS
        .iter()
        .filter_map(|der| reqwest::Certificate::from_der(der).ok());
    reqwest::Client::builder()
        .user_agent(agent)
        .https_only(true)
        .redirect(reqwest::redirect::Policy::none())
        .connect_timeout(CONNECT_TIME)
        .read_timeout(IDLE_TIME)
        .timeout(TOTAL_TIME)
        .tls_certs_only(roots)
        .build()
        .map_err(TransportError::Setup)
}

/// Nonces and the directory are plain data: a panic elsewhere leaves them usable.
fn lock<T>(mutex: &Mutex<T>) -> std::sync::MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn retry_after_is_clamped_whatever_it_says() {
        let date = Some("Tue, 24 Nov 2026 07:00:00 GMT");
        let seconds = |value: &str| parse_retry_after(value, date).map(|d| d.as_secs());
        assert_eq!(seconds("7"), Some(7));
        assert_eq!(seconds("0"), Some(1));
        assert_eq!(seconds("18446744073709551615"), Some(86_400));
        assert_eq!(seconds("99999999999999999999999"), Some(86_400));
        assert_eq!(seconds("Tue, 24 Nov 2026 07:01:00 GMT"), Some(60));
        assert_eq!(seconds("Fri, 31 Dec 9999 23:59:59 GMT"), Some(86_400));
        assert_eq!(seconds("Fri, 31 Dec 1999 23:59:59 GMT"), Some(1));
        for nonsense in ["", "-1", "soon", "1.5", "Tue, 24 Nov 2026"] {
            assert_eq!(seconds(nonsense), None, "{nonsense}");
        }
    }

    #[test]
    fn origins_compare_scheme_host_and_port() {
        assert_eq!(origin("https://CA.example/dir").as_deref(), Some("ca.example:443"));
        assert_eq!(origin("https://ca.example:14000/x").as_deref(), Some("ca.example:14000"));
        assert_eq!(origin("https://[::1]/x").as_deref(), Some("[::1]:443"));
        for bad in ["http://ca.example/", "file:///etc/passwd", "https://ca.example@evil/", "x"] {
            assert_eq!(origin(bad), None, "{bad}");
        }
    }
}
