//! `cargo xtask lab`: hosts with running nodes, to try things by hand.

use std::time::Duration;

use anyhow::Result;

use super::{Lab, LabHost};
use crate::build::{Profile, Programs};
use crate::interrupt;
use crate::node::Node;

/// The arguments of `cargo xtask lab`.
#[derive(Clone, Debug, clap::Args)]
pub struct Args {
    /// How many hosts
    #[arg(long, default_value_t = 3)]
    hosts: usize,
    /// The RAM that each node gives to the pool
    #[arg(long, default_value = "1gb")]
    memory: String,
    /// Build the programs as they ship (slower to build, faster to run)
    #[arg(long)]
    release: bool,
}

/// Builds, opens a lab with a node on each host, tells how to enter it and waits for Ctrl-C.
///
/// # Errors
/// When anything of that fails; the lab is removed all the same.
pub fn run(args: &Args) -> Result<()> {
    let programs = Programs::build(if args.release {
        Profile::Release
    } else {
        Profile::Debug
    })?;
    interrupt::catch()?;
    let lab = Lab::create(args.hosts, &programs)?;
    let nodes = lab
        .hosts()
        .iter()
        .map(|host| host.start_node(["--port", "8080", "--memory", &args.memory]))
        .collect::<Result<Vec<_>>>()?;
    println!(
        "{} hosts on one bridge, each with a running node. They reach each other and nothing else.",
        nodes.len()
    );
    for (host, node) in lab.hosts().iter().zip(&nodes) {
        print_host(host, node, &programs);
    }
    println!("\nTry in the shell of host a:  memcli peer list;  memcli connect b");
    println!("and in the shell of host b:  memcli consent");
    println!("\nCtrl-C ends the nodes and removes the hosts.");
    while !interrupt::is_caught() {
        // Every signal interrupts the sleep of the thread that gets it, but that may be another one.
        std::thread::sleep(Duration::from_millis(100));
    }
    println!();
    drop(nodes);
    drop(lab);
    println!("All hosts are gone.");
    Ok(())
}

fn print_host(host: &LabHost, node: &Node, programs: &Programs) {
    let folder = programs
        .memcli
        .parent()
        .expect("a program lies in a folder")
        .display();
    println!(
        "\nhost {}  address {}  node {}  pid {}",
        host.name(),
        host.address(),
        node.status().node_id,
        node.pid()
    );
    print!(
        "  ip netns exec {} env",
        host.namespace().expect("a host of a lab has a namespace")
    );
    for (name, value) in host.environment() {
        print!(" {name}={}", value.display());
    }
    println!(" PATH={folder}:\"$PATH\" bash --norc");
}
