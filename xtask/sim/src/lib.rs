//! Many nodes in one thread, under virtual time, with faults, from one seed; and a checker of what they promise.
//!
//! What runs is the daemon's own code: service, store, peers with their handshakes and links. Only what is around it is made up, through the seams
//! of `memnode::simulation`: [`network`] in the place of TCP, [`host`] in the place of the machine. A run is drawn from its seed ([`plan`]), the
//! same seed gives the same run to the last byte ([`trace`]), and what programs were answered ([`history`]) is looked over by the [`checker`].
//!
//! It never ships: `cargo xtask sim` builds and runs it.

pub mod asking;
pub mod checker;
pub mod defect;
pub mod faults;
pub mod finale;
pub mod history;
pub mod host;
pub mod network;
pub mod node;
pub mod plan;
pub mod program;
mod question;
pub mod random;
pub mod run;
pub mod scale;
pub mod seeds;
pub mod streams;
pub mod trace;
pub mod world;
