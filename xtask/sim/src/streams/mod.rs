//! Streams in a run: programs that write, break off, go on, finish and free them, others that read and follow them on any node, and a look
//! at what each node holds meanwhile.
//!
//! What a stream has from a byte on is settled before that byte is handed to a node ([`content`]), and a program that was broken off goes on
//! with the same bytes. So a byte that is read tells whether it is right, whoever reads it and when.

pub mod asking;
pub mod content;
pub mod finale;
pub mod follower;
pub mod monitor;
pub mod plan;
pub mod record;
pub mod sum;
pub mod writer;
