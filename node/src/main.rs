//! The program `exchange-node`: all of it is in the library, where tests can reach it.

use std::process::ExitCode;

fn main() -> ExitCode {
    exchange_node::cli::main()
}
