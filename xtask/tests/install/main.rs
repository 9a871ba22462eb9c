//! Tests of install.sh and uninstall.sh: the real scripts, run by the shells that are here, with the programs of this build, in folders of
//! their own. Whatever goes wrong must leave these folders as they were, byte for byte.
//!
//! They pack an archive first, so they are ignored unless asked for: `cargo xtask test scripts` builds the programs and asks. By hand, after
//! `cargo build --workspace`: `cargo test -p xtask --test install -- --ignored [NAME]`.
//!
//! install.ps1 cannot be run here: that it is PowerShell at all is what is looked at.

mod failures;
mod fresh;
mod machine;
mod powershell;
mod release;
mod service;
mod uninstall;
mod upgrade;
