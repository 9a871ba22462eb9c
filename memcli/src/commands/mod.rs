//! What the commands do: one file per noun. What can be typed is in [`crate::cli`].

mod batch;
mod bench;
mod block;
mod completions;
mod connect;
mod consent;
mod doctor;
mod flush;
mod key;
mod keys;
mod logs;
mod named_tree;
mod node;
mod pair;
mod peer;
mod peer_update;
mod pull;
mod push;
mod stats;
mod stream;
mod trust;
mod ttl;
mod version;

use crate::cli::{Command, NodeCommand, PeerCommand, TrustCommand};
use crate::completion;
use crate::context::Context;
use crate::exit::{Failure, Outcome};

/// Does what was typed.
pub(crate) async fn run(command: Command, context: &Context) -> Outcome {
    match command {
        Command::Node(NodeCommand::Start(args)) => node::start(args, context).await,
        Command::Node(NodeCommand::Stop) => node::stop(context).await,
        Command::Node(NodeCommand::Restart) => node::restart(context).await,
        Command::Node(NodeCommand::Status) => node::status(context).await,
        Command::Logs(args) => logs::logs(args, context).await,
        Command::Set(args) => key::set(args, context).await,
        Command::Get(args) => key::get(args, context).await,
        Command::Del(args) => batch::del(args, context).await,
        Command::Mget(args) => batch::mget(args, context).await,
        Command::Mset(args) => batch::mset(args, context).await,
        Command::Ttl(args) => ttl::ttl(args, context).await,
        Command::Expire(args) => ttl::expire(args, context).await,
        Command::Persist(args) => ttl::persist(args, context).await,
        Command::Keys(args) => keys::keys(args, context).await,
        Command::Store(args) => block::store(args, context).await,
        Command::Load(args) => block::load(args, context).await,
        Command::Free(args) => block::free(args, context).await,
        Command::Stats(args) => stats::stats(args, context).await,
        Command::Bench(args) => bench::bench(args, context).await,
        Command::Stream(args) => stream::stream(args, context).await,
        Command::Push(args) => push::push(args, context).await,
        Command::Pull(args) => pull::pull(args, context).await,
        Command::Connect(args) => connect::connect(args, context).await,
        Command::Pair(args) => pair::pair(args, context).await,
        Command::Peer(PeerCommand::List(args)) => peer::list(args, context).await,
        Command::Peer(PeerCommand::Disconnect { name }) => peer::disconnect(&name, context).await,
        Command::Peer(PeerCommand::Update(args)) => peer_update::update(args, context).await,
        Command::Consent(args) => consent::consent(args, context).await,
        Command::Trust(TrustCommand::List) => trust::list(context).await,
        Command::Trust(TrustCommand::Key) => trust::key(context).await,
        Command::Trust(TrustCommand::Add(args)) => trust::add(args, context).await,
        Command::Trust(TrustCommand::Remove(args)) => trust::remove(args, context).await,
        Command::Doctor(args) => doctor::doctor(args, context).await,
        Command::Flush(args) => flush::flush(args, context).await,
        Command::Completions(args) => completions::completions(&args, context),
        Command::Complete(args) => {
            // The engine that walks through the words is synchronous, and asks the node from within: not on a thread of this runtime.
            blocking(move || {
                completion::answer(args.shell, &args.told);
                Ok(())
            })
            .await
        }
        Command::Version => version::version(context).await,
    }
}

/// Does what waits for the disk on another thread, so that signals are heard and replies taken meanwhile.
async fn blocking<T: Send + 'static>(work: impl FnOnce() -> Outcome<T> + Send + 'static) -> Outcome<T> {
    let done = tokio::task::spawn_blocking(work).await;
    done.map_err(|error| Failure::Other(format!("a task failed: {error}")))?
}
