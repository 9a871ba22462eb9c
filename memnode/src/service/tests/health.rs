//! Whether a node makes progress, as its service manager is told.

use super::*;
use crate::local::Workers;
use crate::supervisor::Health;

/// How long a look takes at most that is to fail.
const SHORT: Duration = Duration::from_millis(50);

#[tokio::test]
async fn a_thread_that_hangs_and_a_task_that_ended_are_noticed() {
    let node = TestNode::start("watched", 64 * MIB).await;
    let workers = Workers::start().unwrap();
    let accepts = tokio::spawn(std::future::pending::<()>());
    let accepting = vec![("the door", accepts.abort_handle())];
    let health = Health::new(Arc::clone(&node.service), workers.handles(), accepting);
    let status = health.look(PATIENCE).await.unwrap();
    assert_eq!(status.name, "watched");

    let (let_go, held) = std::sync::mpsc::channel::<()>();
    let (hangs, is_held) = tokio::sync::oneshot::channel();
    let last = workers.handles().last().unwrap();
    let hanging = last.spawn(async move {
        hangs.send(()).unwrap();
        held.recv().unwrap();
    });
    is_held.await.unwrap();
    let reason = health.look(SHORT).await.unwrap_err();
    let count = workers.handles().len();
    assert_eq!(
        reason,
        format!("thread {count} of the {count} that serve programs does not answer")
    );
    let_go.send(()).unwrap();
    hanging.await.unwrap();
    health.look(PATIENCE).await.unwrap();

    accepts.abort();
    accepts.await.unwrap_err();
    assert_eq!(health.look(PATIENCE).await.unwrap_err(), "the door has ended");
}
