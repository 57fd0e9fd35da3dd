//! Keys, requests and chains: bytes in, values out.
//!
//! Invariant: nothing cryptographic is made here; rcgen, x509-parser and aws-lc-rs do the work.
//! A [`Chain`] exists only if it could be read; whether it is the one that was wanted is
//! [`Chain::inspect`]'s question.

mod chain;
mod key;

pub use chain::{Chain, ChainError, Rejection, Wanted};
pub use key::{KeyError, PrivateKey};

/// SHA-256 in lower-case hexadecimal.
pub fn sha256_hex(bytes: &[u8]) -> String {
    hex(aws_lc_rs::digest::digest(&aws_lc_rs::digest::SHA256, bytes).as_ref())
}

/// Lower-case hexadecimal.
pub fn hex(bytes: &[u8]) -> String {
    const DIGITS: &[u8; 16] = b"0123456789abcdef";
    let mut text = String::with_capacity(bytes.len() * 2);
    for byte in bytes {
        text.push(char::from(DIGITS[usize::from(byte >> 4)]));
        text.push(char::from(DIGITS[usize::from(byte & 15)]));
    }
    text
}
