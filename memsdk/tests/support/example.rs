// What the examples in the documentation begin with, out of sight. Included, so that it has no inner documentation.

mod node {
    include!(concat!(env!("CARGO_MANIFEST_DIR"), "/tests/support/node.rs"));
}

/// Starts a node and makes it the one that clients of this process find.
fn default_node() -> node::RunningNode {
    let home = node::new_home();
    // SAFETY: this is the first line of a program of its own, which has no other thread yet.
    unsafe { std::env::set_var("MEMCLOUD_SOCKET", node::socket_in(&home)) };
    node::RunningNode::start_in(home, "64mb")
}

/// Runs an example on a runtime, beside a node.
#[allow(dead_code)]
fn beside_a_node(example: impl Future<Output = Result<(), Box<dyn std::error::Error>>>) {
    let _node = default_node();
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
    runtime.block_on(example).unwrap();
}
