//! Requests and their bodies over a link.

use memproto::peer::Link;

use super::*;

const MIB: u64 = 1 << 20;

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn bodies_of_many_mib_pass_both_ways_at_once() {
    let (a, b) = pair().await;
    let (there, back) = (a.peers.link(b.id()).unwrap(), b.peers.link(a.id()).unwrap());
    let upload = |link: Arc<super::super::PeerLink>, body: Body, size| async move {
        let (reply, _) = link.request(store(size), body).await.unwrap();
        assert_eq!(
            reply,
            PeerReply::Stored(GrantUse {
                quota_bytes: 0,
                used_bytes: size
            })
        );
    };
    let download = |link: Arc<super::super::PeerLink>, size| async move {
        let (reply, body) = link.request(load(size), Body::empty()).await.unwrap();
        assert_eq!(
            reply,
            PeerReply::Loaded {
                id: BLOCK,
                size,
                length: size,
                version: None,
            }
        );
        assert_eq!(body.size(), Some(size));
        assert_eq!(check(body).await, Ok(size));
    };
    let size = 9 * MIB + 12_345;
    within(async {
        tokio::join!(
            upload(Arc::clone(&there), in_pieces(size, true), size),
            upload(Arc::clone(&there), in_pieces(size, false), size),
            upload(Arc::clone(&back), pattern(0, size as usize).into(), size),
            download(Arc::clone(&there), size),
            download(Arc::clone(&back), size),
            download(Arc::clone(&back), MIB),
            download(Arc::clone(&back), 1),
            download(Arc::clone(&back), 0),
        );
    })
    .await;
    assert_eq!(b.service.stored_bytes.load(Ordering::Relaxed) as u64, 2 * size);
    let info = a.peers.info(b.id()).unwrap();
    assert!(
        info.sent_bytes > 3 * size && info.received_bytes > 2 * size,
        "{info:?}"
    );
    assert!(info.round_trip_us.is_some());
}

#[tokio::test]
async fn a_body_that_nobody_reads_holds_up_its_sender_and_nobody_else() {
    let (a, b) = pair().await;
    let link = a.peers.link(b.id()).unwrap();
    let (_, unread) = within(link.request(load(64 * MIB), Body::empty())).await.unwrap();
    // Another one passes, and with it is known that the first one's window was sent.
    let (_, body) = within(link.request(load(4 * MIB), Body::empty())).await.unwrap();
    assert_eq!(within(check(body)).await, Ok(4 * MIB));
    let received = a.peers.info(b.id()).unwrap().received_bytes;
    assert!(
        received < 8 * MIB,
        "{received} bytes came for a body that nobody reads"
    );
    // Dropped, it is given up at the other side as well.
    drop(unread);
    let mut pending = b.service.pending.subscribe();
    within(pending.wait_for(|pending| *pending == 0)).await.unwrap();
    within(b.until(|peers| {
        let link = peers.link(a.id())?;
        let idle = link.wire().peek(|link| link.requests_in_flight() == 0);
        // Nothing tells of the end of a body, so look again.
        if !idle {
            peers.touch();
        }
        idle.then_some(())
    }))
    .await;
}

#[tokio::test]
async fn a_failure_is_the_requests_alone() {
    let (a, b) = pair().await;
    let link = a.peers.link(b.id()).unwrap();
    let request = PeerRequest::Free { ids: vec![] };
    let error = within(link.request(request, Body::empty())).await.unwrap_err();
    assert_eq!(error.code, ErrorCode::NotFound);
    let panics = PeerRequest::Locate { id: BLOCK };
    let error = within(link.request(panics, Body::empty())).await.unwrap_err();
    assert_eq!(error.code, ErrorCode::Internal);
    let (_, body) = within(link.request(load(5), Body::empty())).await.unwrap();
    assert_eq!(check(body).await, Ok(5));
}

#[tokio::test]
async fn a_reply_before_the_end_of_the_body_ends_the_body() {
    let (a, b) = pair().await;
    let link = a.peers.link(b.id()).unwrap();
    let request = PeerRequest::Free { ids: vec![] };
    let error = within(link.request(request, in_pieces(64 * MIB, true)))
        .await
        .unwrap_err();
    assert_eq!(error.code, ErrorCode::NotFound);
    let (_, body) = within(link.request(load(5), Body::empty())).await.unwrap();
    assert_eq!(check(body).await, Ok(5));
}

#[tokio::test]
async fn a_body_that_fails_gives_up_its_request() {
    let (a, b) = pair().await;
    let link = a.peers.link(b.id()).unwrap();
    let (sender, body) = Body::channel(Some(10 * MIB), |_| ());
    sender.send(pattern(0, 1_000_000));
    sender.fail(ApiError::new(ErrorCode::Cancelled, "the program went away"));
    let error = within(link.request(store(10 * MIB), body)).await.unwrap_err();
    assert_eq!(
        error,
        ApiError::new(ErrorCode::Cancelled, "the program went away")
    );
    let mut pending = b.service.pending.subscribe();
    within(pending.wait_for(|pending| *pending == 0)).await.unwrap();
    assert_eq!(b.service.stored_bytes.load(Ordering::Relaxed), 0);
}

#[tokio::test]
async fn a_dropped_request_is_cancelled_at_the_peer() {
    let (a, b) = pair().await;
    let link = a.peers.link(b.id()).unwrap();
    let mut pending = b.service.pending.subscribe();
    {
        let request = link.request(PeerRequest::Usage, Body::empty());
        tokio::pin!(request);
        tokio::select! {
            biased;
            _ = &mut request => panic!("this is never answered"),
            there = within(pending.wait_for(|pending| *pending == 1)) => drop(there.unwrap()),
        }
    }
    within(pending.wait_for(|pending| *pending == 0)).await.unwrap();
    assert_eq!(link.wire().peek(Link::requests_in_flight), 0);
}

#[tokio::test]
async fn a_link_that_dies_in_mid_body_fails_everyone_who_waits() {
    let (a, b) = pair().await;
    let link = a.peers.link(b.id()).unwrap();
    let (_, mut reply_body) = within(link.request(load(64 * MIB), Body::empty())).await.unwrap();
    assert!(within(reply_body.next()).await.unwrap().is_ok());
    let (feed, request_body) = Body::channel(Some(64 * MIB), |_| ());
    feed.send(pattern(0, 100_000));
    let mut pending = b.service.pending.subscribe();
    let kill = async {
        within(pending.wait_for(|pending| *pending >= 2)).await.unwrap();
        // A process that is killed says no goodbye: its system closes the socket.
        let at_b = b.peers.link(a.id()).unwrap();
        rustix::net::shutdown(
            std::os::fd::AsFd::as_fd(&at_b.wire().stream),
            rustix::net::Shutdown::Both,
        )
        .unwrap();
    };
    let (stored, usage, ()) = within(async {
        tokio::join!(
            link.request(store(64 * MIB), request_body),
            link.request(PeerRequest::Usage, Body::empty()),
            kill
        )
    })
    .await;
    assert_eq!(stored.unwrap_err().code, ErrorCode::PeerUnreachable);
    assert_eq!(usage.unwrap_err().code, ErrorCode::PeerUnreachable);
    let error = within(async {
        loop {
            match reply_body.next().await {
                Some(Ok(_)) => {}
                Some(Err(error)) => break error,
                None => panic!("the body ended as if it were whole"),
            }
        }
    })
    .await;
    assert_eq!(error.code, ErrorCode::PeerUnreachable);
    within(pending.wait_for(|pending| *pending == 0)).await.unwrap();
    let error = within(link.request(load(1), Body::empty())).await.unwrap_err();
    assert_eq!(error.code, ErrorCode::PeerUnreachable);
}
