//! The `certs` program: see the library.

use std::process::ExitCode;

fn main() -> ExitCode {
    certs::cli::main()
}
