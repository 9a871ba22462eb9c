//! The binary `memcli`: see the library.

use std::process::ExitCode;

fn main() -> ExitCode {
    memcli::main()
}
