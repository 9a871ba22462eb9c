//! One process of a node: the daemon's own parts, as `memnode::node` puts them together, on a simulated host.

use std::path::PathBuf;
use std::sync::Arc;

use anyhow::Context as _;
use memnode::hex;
use memnode::identity::Identity;
use memnode::memory_file::MemoryFiles;
use memnode::peer::{Peers, PeersConfig};
use memnode::service::{
    ABSENT_GRACE, ANNOUNCE_INTERVAL, DELETION_MEMORY, FlushAllowed, Service, ServiceConfig, StartedAs,
};
use memnode::store::{Store, StoreConfig};
use memnode::surroundings::Surroundings;
use memnode::trust::TrustStore;
use memproto::control::TrustedDevice;
use memproto::{NodeId, Ttl};
use tokio_util::sync::CancellationToken;

use crate::defect::Front;
use crate::host::Host;
use crate::network::Network;
use crate::plan::Plan;
use crate::random::Random;

/// Shards of each store: fewer than a real node has, so that a small number of keys meet in them.
const SHARDS: usize = 2;

/// Who a node is: the same for all its processes.
#[derive(Clone)]
pub struct Device {
    identity: Identity,
}

impl Device {
    /// The device on a machine, which follows from the seed.
    pub fn of_machine(seed: u64, machine: usize) -> Self {
        let mut secret = [0; 32];
        Random::new(seed, "identity", machine as u64).fill(&mut secret);
        Self {
            identity: Identity::from_secret(&secret),
        }
    }

    /// Its id.
    pub fn id(&self) -> NodeId {
        self.identity.node_id()
    }

    /// As the others know it.
    fn as_trusted(&self, machine: usize, quota_bytes: u64) -> TrustedDevice {
        TrustedDevice {
            id: self.id(),
            public_key: hex::encode(&self.identity.public_key()),
            name: name_of(machine),
            quota_bytes,
            trusted_at_unix_secs: 0,
            addresses: vec![Network::address_of(machine)],
        }
    }
}

/// The name of the node on a machine.
pub fn name_of(machine: usize) -> String {
    format!("n{machine}")
}

/// See the module.
pub struct Process {
    /// The machine under it.
    pub host: Arc<Host>,
    /// What it does.
    pub service: Arc<Service>,
    /// Which process of its node it is, counted from 0.
    pub generation: u64,
    stop: CancellationToken,
}

impl Process {
    /// Starts a node that trusts all others.
    ///
    /// # Errors
    /// As those of the node itself: that is a fault of the simulation.
    pub async fn start(
        devices: &[Device],
        machine: usize,
        generation: u64,
        host: Arc<Host>,
        random: &mut Random,
        plan: &Plan,
    ) -> anyhow::Result<Self> {
        let device = &devices[machine];
        let resources = plan.resources();
        let others = devices.iter().enumerate().filter(|(other, _)| *other != machine);
        let trust = TrustStore::in_memory(
            others.map(|(other, device)| device.as_trusted(other, resources.grant_bytes)),
        );
        let surroundings = Surroundings::simulated(Arc::clone(&host) as _);
        let peers = PeersConfig {
            listen: vec![Network::address_of(machine)],
            discovery: false,
            surroundings: surroundings.clone(),
            ..PeersConfig::new(name_of(machine), random.bits(), resources.grant_bytes)
        };
        let peers = Peers::new(peers, device.identity.clone(), trust);
        let config = ServiceConfig {
            name: name_of(machine),
            node_id: device.id(),
            home: PathBuf::new(),
            socket: PathBuf::new(),
            deletion_memory: DELETION_MEMORY,
            announce_interval: ANNOUNCE_INTERVAL,
            absent_grace: Ttl::try_from(ABSENT_GRACE)?,
            allow_flush: FlushAllowed::new(&[]),
            abandoned_grace: resources.abandoned_grace,
            files: MemoryFiles::new(0),
            started: StartedAs::default(),
        };
        let store = StoreConfig {
            budget_bytes: resources.budget_bytes,
            node_id: device.id(),
            first_block_id: random.bits(),
        };
        let store = Store::seeded(store, SHARDS, random.bits());
        let stop = CancellationToken::new();
        let service = Service::new(config, store, Arc::clone(&peers), stop.clone());
        let events = Front::of(&service, plan.defect);
        peers
            .start(events)
            .await
            .context("a simulated node does not start")?;
        let sweeper = Arc::clone(&service);
        tokio::spawn(surroundings.task(async move {
            tokio::join!(sweeper.sweep_expired(), sweeper.sweep_unfinished());
        }));
        let sweeper = Arc::clone(&service);
        tokio::spawn(surroundings.task(async move { sweeper.sweep_deletions().await }));
        Ok(Self {
            host,
            service,
            generation,
            stop,
        })
    }

    /// Ends it as a person would: the peers are told.
    pub async fn stop(&self) {
        self.stop.cancel();
        self.service.peers().stop().await;
        self.service.finish().await;
        self.host.kill();
    }
}
