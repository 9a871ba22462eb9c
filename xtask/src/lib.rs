//! The chores of MemCloud, as a library, so that the multi-host tests use the same hosts as `cargo xtask lab`.
//!
//! - [`demo`]: what MemCloud is for, shown on one machine in under a minute.
//! - [`mod@bench`]: MemCloud measured, also beside what people use today.
//! - [`mod@test`]: everything that must hold before a change lands; `.ci/run` is nothing else.
//! - [`sim`]: many nodes in one process, under virtual time and faults, and what they must not do then.
//! - [`dist`]: the archive of a release.
//! - [`fuzz`]: bytes that nobody would think of, for everything that reads foreign ones.
//! - [`release`]: what must agree before a release is made.
//! - [`docs`]: man pages, completions and the reference, from the definitions of the command lines.
//! - [`package`]: the packages of Debian and Fedora, and a clean machine on which they are tried.
//! - [`units`]: what service managers read, checked where they do not run.
//! - [`lab`]: several hosts on this machine, in network namespaces, and what breaks them.
//! - [`host`]: a place where the real `memnode` and `memcli` run; demo, test and lab build on it.
//!
//! Chores print to stdout and stderr: they are programs for people, not parts of the product.

pub mod bench;
pub mod build;
pub mod demo;
pub mod dist;
pub mod docs;
pub mod fuzz;
pub mod host;
pub mod interrupt;
pub mod lab;
pub mod node;
pub mod package;
pub mod process;
pub mod release;
pub mod sim;
pub mod size;
pub mod test;
pub mod tools;
pub mod units;
pub mod wait;
