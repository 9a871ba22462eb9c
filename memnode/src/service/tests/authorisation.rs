//! What each request of a peer may do, and what it may not: the table in section 5.8 of docs/protocol/peer.md, line by line.

use memproto::peer::message::{ChunkForm, KeyVersion};
use memproto::stream::Codec;
use memproto::{ChunkHash, Version};

use super::*;
use crate::store::Place;

/// Its own process; an earlier one is `INCARNATION - 1`.
const INCARNATION: u64 = 2;

/// The bytes of each block here.
const VALUE: &[u8] = b"a value of some length";

/// A node with a block, a key and a stream of its own, and three peers: two with a block and an unfinished stream here, one with no grant.
struct Scene {
    host: TestNode,
    peer: NodeId,
    third: NodeId,
    reader: NodeId,
    own_block: BlockId,
    own_stream: BlockId,
    own_chunk: BlockId,
}

fn size() -> u64 {
    VALUE.len() as u64
}

fn id_of(peer: NodeId, number: u64) -> BlockId {
    BlockId::from_parts(peer.home_hint(), number).unwrap()
}

/// The numbers of the block and the chunk of each peer, and of its stream.
const BLOCK: u64 = 1;
const CHUNK: u64 = 2;
const STREAM: u64 = 3;
const FREE: u64 = 4;

fn store(id: BlockId, size: u64) -> PeerRequest {
    PeerRequest::Store {
        id,
        size,
        class: BlockClass::Pinned,
        chunk: None,
        ttl: None,
    }
}

fn chunk(id: BlockId, stream: BlockId) -> PeerRequest {
    PeerRequest::Store {
        id,
        size: size(),
        class: BlockClass::Pinned,
        chunk: Some(ChunkForm {
            stream,
            hash: ChunkHash::from_bytes([7; 32]),
            length: size() as u32,
            codec: Codec::Raw,
        }),
        ttl: None,
    }
}

fn manifest(id: BlockId) -> PeerRequest {
    PeerRequest::Manifest {
        id,
        offset: 0,
        beyond: 0,
    }
}

fn load(id: BlockId, offset: u64) -> PeerRequest {
    PeerRequest::Load {
        id,
        offset,
        length: u64::MAX,
        relay: false,
    }
}

fn read(key: &str) -> PeerRequest {
    PeerRequest::Read {
        key: key.to_owned(),
        offset: 0,
        length: u64::MAX,
    }
}

fn keys(patterns: &[&str]) -> PeerRequest {
    PeerRequest::Keys {
        patterns: patterns.iter().map(|&pattern| pattern.to_owned()).collect(),
        cursor: 0,
        limit: 10,
        details: false,
    }
}

fn lifetime(id: BlockId, change: LifetimeChange) -> PeerRequest {
    PeerRequest::Lifetime {
        name: id.into(),
        change,
    }
}

impl Scene {
    async fn new() -> Self {
        let host = TestNode::start("host", 4 * MIB).await;
        let [peer, third, reader] = [1, 2, 3].map(|n| NodeId::from_bytes([n; 16]));
        let own_block = host.store(VALUE.into(), Placement::Local).await.unwrap().id;
        host.set("key", "of this host").await;
        let own_stream = host.stream(&VALUE.into(), Placement::Local).await.unwrap().id;
        let Some(Place::Stream(manifest)) = host.service.store.object(own_stream).map(|it| it.place) else {
            panic!("it is a stream");
        };
        let scene = Self {
            host,
            peer,
            third,
            reader,
            own_block,
            own_stream,
            own_chunk: manifest.chunks()[0].id,
        };
        for (peer, quota) in [(peer, MIB), (third, 64 * MIB), (reader, 0)] {
            scene.host.service.peer_connected(peer, INCARNATION, quota);
        }
        for owner in [peer, third] {
            for request in [
                store(id_of(owner, BLOCK), size()),
                chunk(id_of(owner, CHUNK), id_of(owner, STREAM)),
            ] {
                let reply = scene.ask(owner, request).await;
                assert!(matches!(reply, PeerReply::Stored(_)), "{reply:?}");
            }
        }
        scene
    }

    /// Asks as a peer does; what is stored has [`VALUE`] as its bytes.
    async fn ask(&self, peer: NodeId, request: PeerRequest) -> PeerReply {
        self.ask_as(peer, INCARNATION, request).await
    }

    async fn ask_as(&self, peer: NodeId, incarnation: u64, request: PeerRequest) -> PeerReply {
        let body = match &request {
            PeerRequest::Store { .. } => Body::from(Bytes::from_static(VALUE)),
            _ => Body::empty(),
        };
        let service = &self.host.service;
        service
            .handle_peer_request(peer, incarnation, request, body)
            .await
            .0
    }

    /// All that a refused request could have changed.
    async fn state(&self) -> Vec<String> {
        let service = &self.host.service;
        let stats = service.stats();
        let mut state = vec![
            format!("{} blocks, {} bytes", stats.blocks, stats.used_bytes),
            format!("{:?}", service.store.key("key")),
            format!("{:?}", self.host.get("key").await),
        ];
        for peer in [self.peer, self.third, self.reader] {
            let (lent, expires) = (service.lent(peer), service.store.meta(id_of(peer, BLOCK)));
            state.push(format!("{lent:?} {expires:?}"));
        }
        state.push(format!("{:?}", service.store.meta(self.own_block)));
        state.push(format!(
            "{:?}",
            self.host.load(self.own_stream, ByteRange::ALL).await
        ));
        state
    }
}

#[tokio::test]
async fn what_a_peer_may_not_is_refused_and_changes_nothing() {
    let scene = Scene::new().await;
    let (peer, third) = (scene.peer, scene.third);
    let hour = LifetimeChange::Expire(HOUR.try_into().unwrap());
    let of_third = KeyVersion {
        key: "key".to_owned(),
        version: Version {
            time: u64::MAX >> 20,
            node: third,
        },
        deleted: false,
    };
    let outdate = PeerRequest::Outdate {
        key: of_third.key.clone(),
        version: of_third.version,
        deleted: false,
    };
    let reconcile = PeerRequest::Reconcile {
        keys: vec![of_third],
        complete: true,
        clock: 0,
    };
    let free = |id| PeerRequest::Free { ids: vec![id] };
    let fresh = id_of(peer, FREE);
    let before = scene.state().await;
    for (what, asker, request, code) in [
        (
            "an id that another node made",
            peer,
            store(id_of(third, FREE), size()),
            ErrorCode::InvalidArgument,
        ),
        (
            "an id that is taken",
            peer,
            store(id_of(peer, BLOCK), size()),
            ErrorCode::InvalidArgument,
        ),
        (
            "fewer bytes than it says",
            peer,
            store(fresh, size() + 1),
            ErrorCode::InvalidArgument,
        ),
        (
            "more bytes than it says",
            peer,
            store(fresh, size() - 1),
            ErrorCode::InvalidArgument,
        ),
        (
            "more than its grant",
            peer,
            store(fresh, MIB),
            ErrorCode::QuotaExceeded,
        ),
        (
            "anything without a grant",
            scene.reader,
            store(id_of(scene.reader, FREE), size()),
            ErrorCode::QuotaExceeded,
        ),
        (
            "more than the budget",
            third,
            store(id_of(third, FREE), 8 * MIB),
            ErrorCode::OutOfMemory,
        ),
        (
            "a range behind the end",
            peer,
            load(scene.own_block, 100),
            ErrorCode::InvalidArgument,
        ),
        (
            "the manifest of a block",
            peer,
            manifest(scene.own_block),
            ErrorCode::NotFound,
        ),
        ("keys by no pattern", peer, keys(&[]), ErrorCode::InvalidArgument),
        (
            "the block of a third",
            peer,
            free(id_of(third, BLOCK)),
            ErrorCode::Denied,
        ),
        (
            "a chunk of a third",
            peer,
            free(id_of(third, CHUNK)),
            ErrorCode::Denied,
        ),
        (
            "a chunk of this host",
            peer,
            free(scene.own_chunk),
            ErrorCode::InvalidArgument,
        ),
        (
            "how long the block of a third lives",
            peer,
            lifetime(id_of(third, BLOCK), hour),
            ErrorCode::Denied,
        ),
        (
            "that it lives for good",
            peer,
            lifetime(id_of(third, BLOCK), LifetimeChange::Persist),
            ErrorCode::Denied,
        ),
        (
            "how long a chunk lives",
            peer,
            lifetime(scene.own_chunk, hour),
            ErrorCode::InvalidArgument,
        ),
        ("a write in another's name", peer, outdate, ErrorCode::Denied),
        ("writes in another's name", peer, reconcile, ErrorCode::Denied),
    ] {
        let reply = scene.ask(asker, request).await;
        let PeerReply::Failed(error) = &reply else {
            panic!("{what}: {reply:?}");
        };
        assert_eq!(error.code, code, "{what}: {error}");
        assert_eq!(scene.state().await, before, "{what}");
    }
    // An earlier process of a peer stores nothing any more.
    let reply = scene.ask_as(peer, INCARNATION - 1, store(fresh, size())).await;
    let is_cancelled = matches!(&reply, PeerReply::Failed(error) if error.code == ErrorCode::Cancelled);
    assert!(is_cancelled, "{reply:?}");
    assert_eq!(scene.state().await, before);
}

#[tokio::test]
async fn what_is_not_there_or_anothers_is_answered_with_nothing() {
    let scene = Scene::new().await;
    let (peer, third) = (scene.peer, scene.third);
    let ids = vec![
        scene.own_block,
        id_of(third, BLOCK),
        id_of(third, CHUNK),
        id_of(peer, FREE),
    ];
    let expire = PeerRequest::Expire {
        ids,
        ttl: for_an_hour().ttl,
    };
    let before = scene.state().await;
    for (request, reply) in [
        (expire, PeerReply::Expiring { blocks: 0 }),
        (
            PeerRequest::Finish {
                stream: id_of(third, STREAM),
            },
            PeerReply::Finished { chunks: 0 },
        ),
        (load(id_of(peer, FREE), 0), PeerReply::Missing),
        (read("nobody"), PeerReply::Missing),
        (
            PeerRequest::Newest {
                key: "nobody".to_owned(),
            },
            PeerReply::Newest(None),
        ),
        (
            PeerRequest::Locate {
                id: id_of(peer, FREE),
            },
            PeerReply::Located(None),
        ),
        (
            lifetime(id_of(peer, FREE), LifetimeChange::Persist),
            PeerReply::Missing,
        ),
    ] {
        assert_eq!(scene.ask(peer, request).await, reply);
        assert_eq!(scene.state().await, before);
    }
    // What the peer asked to finish is still the third's to finish.
    let hold = PeerRequest::Hold {
        stream: id_of(third, STREAM),
        ids: vec![id_of(third, CHUNK), id_of(peer, CHUNK)],
    };
    assert_eq!(scene.ask(third, hold).await, PeerReply::Held(vec![true, false]));
    let finish = PeerRequest::Finish {
        stream: id_of(third, STREAM),
    };
    assert_eq!(scene.ask(third, finish).await, PeerReply::Finished { chunks: 1 });
}

#[tokio::test]
async fn what_a_peer_may_is_done() {
    let scene = Scene::new().await;
    let (peer, third, reader) = (scene.peer, scene.third, scene.reader);
    // A grant of 0 reads and shares keys.
    for id in [
        scene.own_block,
        id_of(peer, BLOCK),
        id_of(third, BLOCK),
        scene.own_chunk,
    ] {
        let reply = scene.ask(reader, load(id, 0)).await;
        assert!(
            matches!(reply, PeerReply::Loaded { size: got, .. } if got == size()),
            "{reply:?}"
        );
        let told = scene.ask(reader, lifetime(id, LifetimeChange::Tell)).await;
        assert_eq!(told, PeerReply::Lives(None));
    }
    let reply = scene.ask(reader, read("key")).await;
    assert!(matches!(reply, PeerReply::Loaded { size: 12, .. }), "{reply:?}");
    let listed = scene.ask(reader, keys(&["*"])).await;
    let PeerReply::Keys { keys: listed, .. } = listed else {
        panic!("{listed:?}");
    };
    let listed: Vec<&str> = listed.iter().map(|listed| listed.key.as_str()).collect();
    assert_eq!(listed, ["key"]);
    assert!(matches!(
        scene.ask(reader, manifest(scene.own_stream)).await,
        PeerReply::Loaded { .. }
    ));
    let usage = scene.ask(reader, PeerRequest::Usage).await;
    assert_eq!(usage, PeerReply::Usage(GrantUse::default()));

    // Its own, and what belongs to this host as a whole; what is a third's is left out of a list.
    let expire = PeerRequest::Expire {
        ids: vec![id_of(peer, BLOCK), id_of(third, BLOCK)],
        ttl: for_an_hour().ttl,
    };
    assert_eq!(scene.ask(peer, expire).await, PeerReply::Expiring { blocks: 1 });
    let hour = LifetimeChange::Expire(HOUR.try_into().unwrap());
    assert_eq!(
        scene.ask(peer, lifetime(scene.own_block, hour)).await,
        PeerReply::Lives(None)
    );
    let ids = vec![
        id_of(third, BLOCK),
        id_of(peer, BLOCK),
        id_of(peer, CHUNK),
        scene.own_block,
        scene.own_stream,
    ];
    let reply = scene.ask(peer, PeerRequest::Free { ids }).await;
    assert!(matches!(reply, PeerReply::Freed { blocks: 4, .. }), "{reply:?}");
    let service = &scene.host.service;
    assert_eq!(service.lent(peer).used_bytes, 0);
    assert!(service.store.meta(id_of(third, BLOCK)).is_some());
    assert!(service.store.object(scene.own_stream).is_none());

    // A key of this host is replaced by a write of the peer's own.
    let PeerReply::Newest(Some(state)) = scene
        .ask(
            peer,
            PeerRequest::Newest {
                key: "key".to_owned(),
            },
        )
        .await
    else {
        panic!("the key is known");
    };
    let outdate = PeerRequest::Outdate {
        key: "key".to_owned(),
        version: Version {
            time: state.version.time + 1,
            node: peer,
        },
        deleted: false,
    };
    let reply = scene.ask(peer, outdate).await;
    assert!(
        matches!(
            reply,
            PeerReply::Outdated {
                dropped: true,
                newer: None
            }
        ),
        "{reply:?}"
    );
}
