//! Finding other nodes on the LAN by multicast DNS (RFC 6762, RFC 6763).
//!
//! A node announces the service [`SERVICE_TYPE`] on the interfaces that [`crate::interfaces`] leaves in, with its protocol
//! version, id, name and incarnation in the TXT record, and listens for the same service of others. What it hears is a hint and nothing else: mDNS is not authenticated, names and addresses
//! may be wrong or invented, and a node that died is announced for minutes. Who answers at an address is decided by the
//! handshake, and whether a peer is alive by its link; see [`crate::peer`].

#[cfg(any(test, fuzzing))]
pub(crate) mod fuzzing;

use std::cmp::Reverse;
use std::collections::{BTreeMap, BTreeSet, HashMap};
use std::net::{IpAddr, SocketAddr, SocketAddrV6};
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, MutexGuard};
use std::thread::JoinHandle;
use std::time::Duration;

use mdns_sd::{IfKind, IfPredicate, ResolvedService, ScopedIp, ServiceDaemon, ServiceEvent, ServiceInfo};
use memproto::NodeId;
use memproto::limits::NODE_NAME_LEN_MAX;
use tracing::{debug, info, warn};

use crate::hex;
use crate::interfaces::InterfaceRules;

/// The mDNS service of MemCloud's peer protocol.
pub const SERVICE_TYPE: &str = "_memcloud._tcp.local.";

/// The key of the TXT record under which the incarnation stands, in 16 hexadecimal digits.
const RUN_KEY: &str = "run";

/// How many announced nodes are remembered, so that a flood of inventions does not fill the memory.
pub const ANNOUNCED_MAX: usize = 1_024;

/// How many addresses of one announced node are kept: a host with four interfaces has about twelve, IPv6 included.
pub const ANNOUNCED_ADDRESSES_MAX: usize = 16;

/// How long [`Discovery::stop`] waits for each of its two steps, the goodbye and the end of mDNS: both take milliseconds.
const GOODBYE_STEP_TIMEOUT: Duration = Duration::from_millis(500);

/// How often mDNS looks whether addresses of this host came or went. A look takes some ten microseconds.
const ADDRESSES_LOOKED_AT_EVERY_SECS: u32 = 1;

/// How long to wait before the mDNS service is asked again after it refused, which it does while its queue is full.
const RETRY_PAUSE: Duration = Duration::from_millis(500);

/// What a node says about itself.
#[derive(Clone, Debug)]
pub struct Announcement {
    /// The version of the peer protocol.
    pub protocol_version: u16,
    /// Its id.
    pub id: NodeId,
    /// Its name.
    pub name: String,
    /// The random number of its process, by which it knows its own announcement from that of a copy of its home.
    pub incarnation: u64,
    /// Which interfaces are used.
    pub interfaces: InterfaceRules,
    /// Where it accepts peers. Where an address is unspecified (`0.0.0.0`, `[::]`) all interfaces are announced.
    pub listen: Vec<SocketAddr>,
}

/// What was heard of others.
#[derive(Clone, PartialEq, Eq, Debug)]
pub enum DiscoveryEvent {
    /// A node is announced, or its name or addresses changed.
    Found {
        /// The id it gives itself.
        id: NodeId,
        /// The name it gives itself.
        name: String,
        /// Where it may answer, the likeliest first.
        addresses: Vec<SocketAddr>,
    },
    /// A node said goodbye, or was not heard of for the lifetime of its announcement.
    Gone {
        /// Its id.
        id: NodeId,
    },
    /// Another process announces the id of this node: the home of one of them was copied.
    Twin {
        /// The name it gives itself.
        name: String,
        /// Where it is.
        addresses: Vec<SocketAddr>,
    },
    /// That process is announced no longer.
    TwinGone,
}

/// What is heard by mDNS now.
#[derive(Clone, PartialEq, Eq, Debug, Default)]
pub struct Heard {
    /// The names of the interfaces on which this node's own announcement came back. The system gives a sender its own
    /// multicast, so where it does not come back something on this host keeps it away.
    pub own_on: BTreeSet<String>,
    /// How many other nodes are announced.
    pub others: usize,
    /// Announcements of nodes that speak another version of the protocol, and which.
    pub other_versions: BTreeMap<String, u16>,
}

/// A running announcement and search. Ends with [`stop`](Self::stop); when dropped without it, others see this node
/// until its announcement expires.
pub struct Discovery {
    daemon: ServiceDaemon,
    service: ServiceInfo,
    heard: Arc<Mutex<Heard>>,
    stopping: Arc<AtomicBool>,
    thread: Option<JoinHandle<()>>,
}

impl std::fmt::Debug for Discovery {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Discovery")
            .field("fullname", &self.service.get_fullname())
            .finish_non_exhaustive()
    }
}

impl Discovery {
    /// Announces this node and calls `on_event`, on a thread of its own, with what is heard of others.
    ///
    /// # Errors
    /// Where the system gives no thread or socket, or the announcement does not fit DNS.
    pub fn start(
        announcement: &Announcement,
        on_event: impl FnMut(DiscoveryEvent) + Send + 'static,
    ) -> Result<Self, mdns_sd::Error> {
        let service = service_info(announcement)?;
        let daemon = ServiceDaemon::new()?;
        let rules = announcement.interfaces.clone();
        let is_left_out = move |interface: &if_addrs::Interface| {
            let why = rules.left_out(&interface.name, interface.is_oper_up(), interface.is_p2p());
            why.is_some()
        };
        // Before the service is registered: nothing is announced where nothing should be.
        daemon.disable_interface(IfKind::Predicate(IfPredicate::new(is_left_out)))?;
        daemon.set_ip_check_interval(ADDRESSES_LOOKED_AT_EVERY_SECS)?;
        daemon.register(service.clone())?;
        let stopping = Arc::new(AtomicBool::new(false));
        let heard = Arc::new(Mutex::default());
        let listener = Listener {
            daemon: daemon.clone(),
            stopping: Arc::clone(&stopping),
            own_id: announcement.id,
            incarnation: announcement.incarnation,
            protocol_version: announcement.protocol_version,
            announced: HashMap::new(),
            twin: None,
            heard: Arc::clone(&heard),
            on_event,
        };
        let thread = std::thread::Builder::new()
            .name("discovery".to_owned())
            .spawn(move || listener.run())
            .map_err(|error| mdns_sd::Error::Msg(format!("cannot start a thread for mDNS: {error}")))?;
        info!(service = service.get_fullname(), "announcing this node by mDNS");
        Ok(Self {
            daemon,
            service,
            heard,
            stopping,
            thread: Some(thread),
        })
    }

    /// Announces this node again and asks anew for others: for a machine that slept, while others' memory of it and its
    /// own of others ran out.
    pub fn refresh(&self) {
        let announced = self.daemon.register(self.service.clone());
        // The listener begins a new search when this one ends.
        let asked = self.daemon.stop_browse(SERVICE_TYPE);
        if let Err(error) = announced.and(asked) {
            debug!(%error, "mDNS takes no news now");
        }
    }

    /// What is heard now.
    pub fn heard(&self) -> Heard {
        lock(&self.heard).clone()
    }

    /// Says goodbye and ends the threads. Blocks for up to about a second.
    pub fn stop(mut self) {
        self.stopping.store(true, Ordering::Release);
        match self.daemon.unregister(self.service.get_fullname()) {
            Ok(done) => drop(done.recv_timeout(GOODBYE_STEP_TIMEOUT)),
            Err(error) => debug!(%error, "no goodbye was sent by mDNS"),
        }
        match self.daemon.shutdown() {
            Ok(done) => drop(done.recv_timeout(GOODBYE_STEP_TIMEOUT)),
            Err(error) => debug!(%error, "mDNS did not shut down"),
        }
        if let Some(thread) = self.thread.take()
            && thread.join().is_err()
        {
            warn!("the thread of mDNS panicked");
        }
    }
}

/// The instance's label: the name for people who browse, and part of the id, so that two nodes never claim one label.
fn instance_name(name: &str, id: NodeId) -> String {
    let suffix = format!(" [{}]", id.short());
    let mut end = name.len().min(NODE_NAME_LEN_MAX - suffix.len());
    while !name.is_char_boundary(end) {
        end -= 1;
    }
    format!("{}{suffix}", &name[..end])
}

fn service_info(announcement: &Announcement) -> Result<ServiceInfo, mdns_sd::Error> {
    let port = announcement.listen.first().map_or(0, SocketAddr::port);
    let everywhere = announcement
        .listen
        .iter()
        .any(|address| address.ip().is_unspecified());
    let addresses: Vec<IpAddr> = if everywhere {
        Vec::new()
    } else {
        announcement.listen.iter().map(SocketAddr::ip).collect()
    };
    // The host's own name may be claimed by its mDNS responder or by its twin; this one is the node's alone.
    let host = format!("memcloud-{}.local.", announcement.id);
    let properties = [
        ("v", announcement.protocol_version.to_string()),
        ("id", announcement.id.to_string()),
        ("name", announcement.name.clone()),
        (RUN_KEY, hex::encode(&announcement.incarnation.to_be_bytes())),
    ];
    let instance = instance_name(&announcement.name, announcement.id);
    let service = ServiceInfo::new(
        SERVICE_TYPE,
        &instance,
        &host,
        addresses.as_slice(),
        port,
        &properties[..],
    )?;
    Ok(if everywhere {
        service.enable_addr_auto()
    } else {
        service
    })
}

fn lock(heard: &Mutex<Heard>) -> MutexGuard<'_, Heard> {
    heard
        .lock()
        .expect("no code panics while it holds what was heard")
}

struct Listener<F> {
    daemon: ServiceDaemon,
    stopping: Arc<AtomicBool>,
    own_id: NodeId,
    incarnation: u64,
    protocol_version: u16,
    /// A goodbye names the instance only, not the id.
    announced: HashMap<String, NodeId>,
    /// The instance of another process that has this node's id.
    twin: Option<String>,
    heard: Arc<Mutex<Heard>>,
    on_event: F,
}

impl<F: FnMut(DiscoveryEvent)> Listener<F> {
    fn run(mut self) {
        while !self.stopping.load(Ordering::Acquire) {
            match self.daemon.browse(SERVICE_TYPE) {
                // The subscription ends when the daemon does, and when this thread was too slow: then it is renewed.
                Ok(events) => events.iter().for_each(|event| self.handle(event)),
                Err(mdns_sd::Error::DaemonShutdown) => break,
                Err(error) => {
                    debug!(%error, "mDNS takes no search now");
                    std::thread::sleep(RETRY_PAUSE);
                }
            }
        }
    }

    fn handle(&mut self, event: ServiceEvent) {
        match event {
            ServiceEvent::ServiceResolved(service) => self.resolved(&service),
            ServiceEvent::ServiceRemoved(_, fullname) => self.removed(&fullname),
            _ => {}
        }
    }

    fn resolved(&mut self, service: &ResolvedService) {
        let (id, name) = match who(service, self.protocol_version) {
            Ok(who) => who,
            Err(stranger) => return self.resolved_stranger(service, stranger),
        };
        if id == self.own_id {
            return self.resolved_own(service, name);
        }
        if !self.announced.contains_key(&service.fullname) && self.announced.len() >= ANNOUNCED_MAX {
            debug!(
                service = service.fullname,
                "too many nodes are announced, this one is passed over"
            );
            return;
        }
        self.announced.insert(service.fullname.clone(), id);
        lock(&self.heard).others = self.announced.len();
        let addresses = addresses_of(&service.addresses, service.port);
        (self.on_event)(DiscoveryEvent::Found { id, name, addresses });
    }

    /// Something was announced that is no node that this one could speak with.
    fn resolved_stranger(&mut self, service: &ResolvedService, stranger: Stranger) {
        debug!(service = service.fullname, ?stranger, "not a node to speak with");
        let mut heard = lock(&self.heard);
        if let Stranger::OtherVersion(version) = stranger
            && heard.other_versions.len() < ANNOUNCED_MAX
        {
            heard.other_versions.insert(service.fullname.clone(), version);
        }
    }

    /// This node's own id was announced: by itself, or by a process that has a copy of its home.
    fn resolved_own(&mut self, service: &ResolvedService, name: String) {
        let Some(run) = service.txt_properties.get_property_val_str(RUN_KEY) else {
            return;
        };
        if run == hex::encode(&self.incarnation.to_be_bytes()) {
            lock(&self.heard).own_on = interfaces_of(&service.addresses);
            return;
        }
        self.twin = Some(service.fullname.clone());
        let addresses = addresses_of(&service.addresses, service.port);
        (self.on_event)(DiscoveryEvent::Twin { name, addresses });
    }

    fn removed(&mut self, fullname: &str) {
        if self.twin.as_deref() == Some(fullname) {
            self.twin = None;
            (self.on_event)(DiscoveryEvent::TwinGone);
        }
        lock(&self.heard).other_versions.remove(fullname);
        let Some(id) = self.announced.remove(fullname) else {
            return;
        };
        lock(&self.heard).others = self.announced.len();
        // A node that was renamed has a new instance already when its old one is forgotten.
        if !self.announced.values().any(|other| *other == id) {
            (self.on_event)(DiscoveryEvent::Gone { id });
        }
    }
}

/// What an announcement is that is none of a node that this one could speak with.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
enum Stranger {
    /// A node with another version of the protocol.
    OtherVersion(u16),
    /// The TXT record is not that of a node.
    NoNode,
}

/// Id and name from the TXT record.
fn who(service: &ResolvedService, protocol_version: u16) -> Result<(NodeId, String), Stranger> {
    let property = |key| {
        let value = service.txt_properties.get_property_val_str(key);
        value.ok_or(Stranger::NoNode)
    };
    match property("v")?.parse() {
        Ok(version) if version == protocol_version => {}
        Ok(version) => return Err(Stranger::OtherVersion(version)),
        Err(_) => return Err(Stranger::NoNode),
    }
    let id: NodeId = property("id")?.parse().map_err(|_| Stranger::NoNode)?;
    let name = property("name")?;
    match name.len() {
        1..=NODE_NAME_LEN_MAX => Ok((id, name.to_owned())),
        _ => Err(Stranger::NoNode),
    }
}

/// The names of the interfaces on which these addresses were heard.
fn interfaces_of<'a>(announced: impl IntoIterator<Item = &'a ScopedIp>) -> BTreeSet<String> {
    let mut names = BTreeSet::new();
    for address in announced {
        match address {
            ScopedIp::V4(v4) => names.extend(v4.interface_ids().iter().map(|id| id.name.clone())),
            ScopedIp::V6(v6) => drop(names.insert(v6.scope_id().name.clone())),
            _ => {}
        }
    }
    names
}

/// The addresses of a node with its port, the likeliest to answer first.
fn addresses_of<'a>(announced: impl IntoIterator<Item = &'a ScopedIp>, port: u16) -> Vec<SocketAddr> {
    let mut addresses: Vec<SocketAddr> = announced.into_iter().map(|ip| socket_addr(ip, port)).collect();
    addresses.sort_by_key(|address| (Reverse(reach(address.ip())), *address));
    addresses.dedup();
    addresses.truncate(ANNOUNCED_ADDRESSES_MAX);
    addresses
}

fn socket_addr(ip: &ScopedIp, port: u16) -> SocketAddr {
    match ip {
        ScopedIp::V6(v6) if v6.addr().is_unicast_link_local() => {
            SocketAddrV6::new(*v6.addr(), port, 0, v6.scope_id().index).into()
        }
        _ => SocketAddr::new(ip.to_ip_addr(), port),
    }
}

/// How likely an address is to reach another host. Link-local IPv6 addresses may come with the wrong scope, and a
/// loopback address only leads to a node of this host.
fn reach(ip: IpAddr) -> u8 {
    match ip {
        _ if ip.is_loopback() => 0,
        IpAddr::V6(v6) if v6.is_unicast_link_local() => 1,
        IpAddr::V4(v4) if v4.is_link_local() => 2,
        IpAddr::V6(_) => 3,
        IpAddr::V4(_) => 4,
    }
}

#[cfg(test)]
mod tests;
