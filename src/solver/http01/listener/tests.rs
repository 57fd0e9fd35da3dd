//! The listener as a CA and as strangers see it: over real sockets, with raw bytes.

use std::net::SocketAddr;

use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::time::Instant;

use super::*;
use crate::solver::http01::bind;

const TOKEN: &str = "LoqXcYV8q5ONbJQxbmR7SCTNo3tiAXDfowyjxAjEuX0";

fn task() -> Task {
    Task {
        identifier: "a.example".parse().unwrap(),
        kind: ChallengeKind::Http01,
        token: Token::parse(TOKEN).unwrap(),
        key_authorization: format!("{TOKEN}.thumbprint"),
    }
}

struct Server {
    listener: Arc<Http01Listener>,
    address: SocketAddr,
    stop: CancellationToken,
}

impl Drop for Server {
    fn drop(&mut self) {
        self.stop.cancel();
    }
}

async fn serve(redirect: bool, limits: Limits) -> Server {
    let socket = bind("127.0.0.1:0".parse().unwrap()).unwrap();
    let address = socket.local_addr().unwrap();
    let listener = Http01Listener::new("web", redirect, None);
    let stop = CancellationToken::new();
    tokio::spawn(Arc::clone(&listener).serve(vec![socket], limits, stop.clone()));
    listener.present(&task()).await.unwrap();
    Server { listener, address, stop }
}

async fn send(address: SocketAddr, request: &[u8]) -> String {
    let mut stream = TcpStream::connect(address).await.unwrap();
    stream.write_all(request).await.unwrap();
    let mut response = Vec::new();
    // A reset after an answer to an over-long request is as good as a close.
    drop(stream.read_to_end(&mut response).await);
    String::from_utf8_lossy(&response).into_owned()
}

async fn get(address: SocketAddr, path: &str) -> String {
    send(address, format!("GET {path} HTTP/1.1\r\nHost: a.example\r\n\r\n").as_bytes()).await
}

#[tokio::test]
async fn a_known_token_is_answered_exactly_until_it_is_taken_away() {
    let server = serve(false, Limits::default()).await;
    let path = format!("{CHALLENGE_PATH}{TOKEN}");
    let response = get(server.address, &path).await;
    assert!(response.starts_with("HTTP/1.1 200 OK\r\n"), "{response}");
    assert!(response.ends_with(&format!("\r\n\r\n{TOKEN}.thumbprint")), "{response}");
    assert!(!response.to_lowercase().contains("server:"), "{response}");
    let head = format!("HEAD {path} HTTP/1.1\r\nHost: x\r\n\r\n");
    let response = send(server.address, head.as_bytes()).await;
    assert!(response.starts_with("HTTP/1.1 200") && response.ends_with("\r\n\r\n"), "{response}");
    let presented = server.listener.place(&task());
    server.listener.clean_up(&presented).await.unwrap();
    server.listener.clean_up(&presented).await.unwrap();
    assert!(get(server.address, &path).await.starts_with("HTTP/1.1 404"));
}

#[tokio::test]
async fn everything_else_is_not_found_or_refused() {
    let server = serve(false, Limits::default()).await;
    for path in [
        "/",
        "/.well-known/acme-challenge/",
        "/.well-known/acme-challenge/unknown-token-0000000000",
        "/.well-known/acme-challenge/..%2f..%2fetc%2fpasswd",
        "/.well-known/acme-challenge/../../etc/passwd",
        &format!("//.well-known/acme-challenge/{TOKEN}"),
        &format!("{CHALLENGE_PATH}{TOKEN}/"),
        &format!("{CHALLENGE_PATH}{TOKEN}%00"),
    ] {
        let response = get(server.address, path).await;
        assert!(response.starts_with("HTTP/1.1 404"), "{path}: {response}");
    }
    for (request, expected) in [
        (format!("POST {CHALLENGE_PATH}{TOKEN} HTTP/1.1\r\nHost: x\r\n\r\n"), "405"),
        ("GARBAGE\r\n\r\n".to_owned(), "400"),
        ("GET /\0 HTTP/1.1\r\n\r\n".to_owned(), "400"),
        (format!("GET / HTTP/1.1\r\nX: {}\r\n\r\n", "x".repeat(20_000)), "431"),
        (format!("GET / HTTP/1.1\r\n{}\r\n", "A: b\r\n".repeat(40)), "431"),
    ] {
        let response = send(server.address, request.as_bytes()).await;
        let status = response.split(' ').nth(1);
        // hyper may also just close on what it cannot parse.
        assert!(status.is_none_or(|status| status == expected), "{request:.40}: {response}");
    }
}

#[tokio::test]
async fn others_are_sent_to_https_if_asked_for_and_their_host_is_a_name() {
    let server = serve(true, Limits::default()).await;
    let location = |response: &str| {
        let line = response.lines().find(|line| line.to_lowercase().starts_with("location:"))?;
        Some(line.split_once(' ')?.1.to_owned())
    };
    let ask = |host: &str| format!("GET /a?b=c HTTP/1.1\r\nHost: {host}\r\n\r\n");
    let response = send(server.address, ask("A.example:8080").as_bytes()).await;
    assert!(response.starts_with("HTTP/1.1 308"), "{response}");
    assert_eq!(location(&response).as_deref(), Some("https://a.example/a?b=c"));
    for bad in ["evil.example/@x", "a b", "*.example.com", "<script>"] {
        let response = send(server.address, ask(bad).as_bytes()).await;
        assert_eq!(location(&response), None, "{bad}: {response}");
    }
    let response = get(server.address, &format!("{CHALLENGE_PATH}{TOKEN}")).await;
    assert!(response.starts_with("HTTP/1.1 200"), "challenges are never redirected");
}

#[tokio::test]
async fn idle_and_slow_clients_do_not_keep_a_ca_waiting() {
    let limits = Limits {
        connections: 32,
        head: Duration::from_millis(300),
        lifetime: Duration::from_millis(600),
    };
    let server = serve(false, limits).await;
    let mut idle = Vec::new();
    for _ in 0..100 {
        let mut stream = TcpStream::connect(server.address).await.unwrap();
        stream.write_all(b"GET / HT").await.unwrap();
        idle.push(stream);
    }
    let begun = Instant::now();
    let response = get(server.address, &format!("{CHALLENGE_PATH}{TOKEN}")).await;
    assert!(response.starts_with("HTTP/1.1 200"), "{response}");
    assert!(begun.elapsed() < Duration::from_secs(5), "{:?}", begun.elapsed());
}

#[tokio::test]
async fn a_listener_without_socket_says_why() {
    let taken = bind("127.0.0.1:0".parse().unwrap()).unwrap();
    let failed = bind(taken.local_addr().unwrap()).unwrap_err();
    let listener = Http01Listener::new("web", false, Some(failed));
    let error = listener.present(&task()).await.unwrap_err();
    let text = crate::error::Chain(&error).to_string();
    assert!(text.contains("cannot listen on 127.0.0.1"), "{text}");
}
