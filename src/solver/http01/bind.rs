//! Opening the socket that validations come in by, and saying what to do when that fails.

use std::io;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr, TcpListener};
use std::os::fd::OwnedFd;

use rustix::io::Errno;
use rustix::net::{AddressFamily, SocketFlags, SocketType, sockopt};
use thiserror::Error;

/// Connections that the kernel keeps for us until they are accepted.
const BACKLOG: i32 = 512;

/// An address that could not be listened on. Cloneable: every certificate that needs the listener
/// reports it.
#[derive(Clone, Debug, Error)]
#[error("cannot listen on {address}: {reason}; {advice}")]
pub struct BindError {
    /// The address.
    pub address: SocketAddr,
    reason: String,
    advice: String,
}

/// Listens on an address. `[::]` takes IPv4 as well; without IPv6 on this machine it falls back
/// to `0.0.0.0`.
pub fn bind(address: SocketAddr) -> Result<TcpListener, BindError> {
    let listener = match listen(address) {
        Err(Errno::AFNOSUPPORT | Errno::ADDRNOTAVAIL)
            if address.ip() == IpAddr::V6(Ipv6Addr::UNSPECIFIED) =>
        {
            listen(SocketAddr::new(IpAddr::V4(Ipv4Addr::UNSPECIFIED), address.port()))
        }
        other => other,
    };
    listener.map_err(|errno| BindError {
        address,
        reason: io::Error::from(errno).to_string(),
        advice: advice(errno, address.port()),
    })
}

fn listen(address: SocketAddr) -> Result<TcpListener, Errno> {
    let family = if address.is_ipv4() { AddressFamily::INET } else { AddressFamily::INET6 };
    let flags = SocketFlags::CLOEXEC | SocketFlags::NONBLOCK;
    let socket: OwnedFd = rustix::net::socket_with(family, SocketType::STREAM, flags, None)?;
    sockopt::set_socket_reuseaddr(&socket, true)?;
    if address.is_ipv6() {
        let is_wildcard = address.ip().is_unspecified();
        sockopt::set_ipv6_v6only(&socket, !is_wildcard)?;
    }
    rustix::net::bind(&socket, &address)?;
    rustix::net::listen(&socket, BACKLOG)?;
    Ok(TcpListener::from(socket))
}

fn advice(errno: Errno, port: u16) -> String {
    match errno {
        Errno::ADDRINUSE => format!(
            "`ss -ltnp 'sport = :{port}'` shows which program has it; let that web server serve \
             the challenges with `webroot:` instead of `listen:`"
        ),
        Errno::ACCESS | Errno::PERM => {
            "ports below 1024 need privileges: enable certs-http.socket, which hands the socket \
             over"
                .to_owned()
        }
        Errno::ADDRNOTAVAIL => "no interface of this machine has that address".to_owned(),
        _ => "see `solvers:` in the configuration".to_owned(),
    }
}

#[cfg(test)]
mod tests {
    use std::net::TcpStream;

    use super::*;

    #[test]
    fn the_wildcard_takes_both_families() {
        let listener = bind("[::]:0".parse().unwrap()).unwrap();
        let port = listener.local_addr().unwrap().port();
        TcpStream::connect((Ipv4Addr::LOCALHOST, port)).unwrap();
        if listener.local_addr().unwrap().is_ipv6() {
            TcpStream::connect((Ipv6Addr::LOCALHOST, port)).unwrap();
        }
    }

    #[test]
    fn a_port_in_use_is_named_with_what_to_do() {
        let first = bind("127.0.0.1:0".parse().unwrap()).unwrap();
        let address = first.local_addr().unwrap();
        let text = bind(address).unwrap_err().to_string();
        for part in [&address.to_string(), "in use", "ss -ltnp", "webroot"] {
            assert!(text.contains(part), "{text}");
        }
    }

    #[test]
    fn an_address_of_another_machine_is_refused_clearly() {
        let text = bind("192.0.2.1:8080".parse().unwrap()).unwrap_err().to_string();
        assert!(text.contains("no interface"), "{text}");
    }
}
