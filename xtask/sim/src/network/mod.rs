//! A network in memory: machines with one address each, connections with delays, and what goes wrong with them.
//!
//! Each connection behaves as TCP does. Bytes of one direction arrive in their order; those of two connections may overtake each other. Where a
//! way is cut nothing is lost but time: the bytes arrive some time after it is whole again. An end that is closed lets
//! what was sent before arrive; one that a killed process leaves behind as well; a machine without power leaves nothing, and answers what
//! comes for its old connections with a reset once it runs again.

mod end;
mod pipe;

use std::collections::{BTreeMap, BTreeSet, VecDeque};
use std::io;
use std::net::{Ipv4Addr, SocketAddr};
use std::sync::{Arc, Mutex, MutexGuard};
use std::task::{Context, Poll, Waker};
use std::time::Duration;

use memnode::simulation::{SimulatedAcceptor, SimulatedConnection};
use tokio::time::Instant;

use crate::random::Random;
use crate::trace::Trace;
use end::End;
use pipe::{Item, Pipe};

/// The port of every node.
const PORT: u16 = 8080;

/// The first port of those that dial.
const DIALLING_PORT_FIRST: u16 = 20_000;

/// How long after a cut way is whole again what was sent meanwhile arrives at the latest: TCP sends it again after pauses that
/// grow with the outage. A small part of a long outage is enough to show what the order of arrivals does.
const SENT_AGAIN_MS_MAX: u64 = 400;

/// How the machines are linked.
#[derive(Clone, Debug)]
pub struct Delays {
    /// The range from which the one-way delay of each pair is drawn, in milliseconds. At least 1.
    pub base_ms: (u64, u64),
    /// How much later single writes may arrive, in milliseconds.
    pub jitter_ms: u64,
    /// How many bytes a machine sends in a millisecond, to all others together; `None` is at once.
    pub bytes_per_ms: Option<u64>,
}

impl Delays {
    /// The longest that a byte is on its way while nothing is wrong.
    pub fn max_ms(&self) -> u64 {
        self.base_ms.1 + self.jitter_ms
    }
}

/// After how long a system asks again for a connection when nothing came back; then after twice as long, and so on (RFC 6298, 2.1 and 5.5).
const SYN_AGAIN_FIRST: Duration = Duration::from_secs(1);

/// What crossed the network so far.
#[derive(Clone, Copy, Default, Debug)]
pub struct Traffic {
    /// Bytes that were written.
    pub bytes: u64,
    /// Writes, each of which is about a packet or several.
    pub writes: u64,
}

/// See the module.
pub struct Network {
    delays: Delays,
    trace: Arc<Trace>,
    state: Mutex<State>,
}

struct State {
    random: Random,
    base_ms: BTreeMap<(usize, usize), u64>,
    /// Ways on which nothing passes, from where to where.
    cut: BTreeSet<(usize, usize)>,
    machines: Vec<Machine>,
    /// Both directions of each connection that an end may still use.
    pipes: BTreeMap<(u64, Side), Pipe>,
    next_connection: u64,
    traffic: Traffic,
}

/// What the network knows of a machine.
struct Machine {
    has_power: bool,
    /// Whether dialling it is refused whatever runs there.
    refuses: bool,
    listener: Option<Listener>,
    sent: Traffic,
    /// When the last byte that it was given has left it.
    sending_until: Option<Instant>,
}

struct Listener {
    generation: u64,
    waiting: VecDeque<(End, SocketAddr)>,
    waker: Option<Waker>,
}

/// Which end of a connection: a pipe is named by the end that writes into it.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Debug)]
enum Side {
    Dialled,
    Accepted,
}

impl Side {
    fn other(self) -> Self {
        match self {
            Side::Dialled => Side::Accepted,
            Side::Accepted => Side::Dialled,
        }
    }
}

impl Network {
    /// A network of so many machines, all of them on and all ways whole.
    pub fn new(machines: usize, delays: Delays, random: Random, trace: Arc<Trace>) -> Arc<Self> {
        let machine = || Machine {
            has_power: true,
            refuses: false,
            listener: None,
            sent: Traffic::default(),
            sending_until: None,
        };
        Arc::new(Self {
            delays,
            trace,
            state: Mutex::new(State {
                random,
                base_ms: BTreeMap::new(),
                cut: BTreeSet::new(),
                machines: std::iter::repeat_with(machine).take(machines).collect(),
                pipes: BTreeMap::new(),
                next_connection: 1,
                traffic: Traffic::default(),
            }),
        })
    }

    /// Where the node of a machine listens.
    pub fn address_of(machine: usize) -> SocketAddr {
        let [high, low] = (machine as u16 + 1).to_be_bytes();
        (Ipv4Addr::new(10, 0, high, low), PORT).into()
    }

    /// Cuts the way from one machine to another, which says nothing of the way back.
    pub fn cut(&self, from: usize, to: usize) {
        self.lock().cut.insert((from, to));
    }

    /// Makes a way whole again. What was sent meanwhile arrives in a while.
    pub fn mend(&self, from: usize, to: usize) {
        let mut state = self.lock();
        if !state.cut.remove(&(from, to)) {
            return;
        }
        let state = &mut *state;
        for pipe in state.pipes.values_mut() {
            if (pipe.from, pipe.to) == (from, to) {
                let late = Duration::from_millis(state.random.between(1..=SENT_AGAIN_MS_MAX));
                pipe.delay_until(Instant::now() + late);
            }
        }
    }

    /// Breaks all connections between two machines.
    pub fn reset(&self, a: usize, b: usize) {
        let mut state = self.lock();
        for pipe in state.pipes.values_mut() {
            if (pipe.from, pipe.to) == (a, b) || (pipe.from, pipe.to) == (b, a) {
                pipe.break_now();
            }
        }
    }

    /// Has a machine refuse who dials it, or no longer.
    pub fn set_refusing(&self, machine: usize, refuses: bool) {
        self.lock().machines[machine].refuses = refuses;
    }

    /// The process on a machine is gone. Its system closes what it left, unless there is no power either.
    pub fn crash(&self, machine: usize, power_goes: bool) {
        let listener = {
            let mut state = self.lock();
            let state = &mut *state;
            state.machines[machine].has_power = !power_goes;
            let ended: Vec<(u64, Side)> = state
                .pipes
                .iter()
                .filter(|(_, pipe)| pipe.from == machine)
                .map(|(name, _)| *name)
                .collect();
            for (connection, side) in ended {
                state.close_end(self.delays.jitter_ms, connection, side, !power_goes);
            }
            state.machines[machine].listener.take()
        };
        // Each end that waits there locks the network when it goes.
        drop(listener);
    }

    /// Ends everything, so that nothing keeps the network but who looks at it.
    pub fn close(&self) {
        let listeners: Vec<_> = {
            let mut state = self.lock();
            state
                .machines
                .iter_mut()
                .filter_map(|machine| machine.listener.take())
                .collect()
        };
        // As in a crash.
        drop(listeners);
    }

    /// A machine has power again.
    pub fn power_on(&self, machine: usize) {
        self.lock().machines[machine].has_power = true;
    }

    /// What crossed the network so far.
    pub fn traffic(&self) -> Traffic {
        self.lock().traffic
    }

    /// What a machine has sent so far.
    pub fn sent_by(&self, machine: usize) -> Traffic {
        self.lock().machines[machine].sent
    }

    /// How many connections there are.
    pub fn connections(&self) -> usize {
        self.lock().pipes.len() / 2
    }

    /// Opens a connection, which takes a round trip, or as long as it takes until there is a way.
    ///
    /// # Errors
    /// `ConnectionRefused` where nobody listens.
    ///
    /// # Cancel safety
    /// Dropped, there is no connection.
    pub async fn connect(
        self: &Arc<Self>,
        from: usize,
        address: SocketAddr,
    ) -> io::Result<Box<dyn SimulatedConnection>> {
        let mut pause = SYN_AGAIN_FIRST;
        let to = self.machine_at(address).ok_or(io::ErrorKind::HostUnreachable)?;
        loop {
            let round_trip = {
                let mut state = self.lock();
                state
                    .has_way(from, to)
                    .then(|| state.delay(from, to, &self.delays) + state.delay(to, from, &self.delays))
            };
            if let Some(round_trip) = round_trip {
                tokio::time::sleep(round_trip).await;
                if let Some(connected) = self.open(from, to) {
                    return connected;
                }
            }
            tokio::time::sleep(pause).await;
            pause *= 2;
        }
    }

    /// `None` where the way was cut meanwhile.
    fn open(self: &Arc<Self>, from: usize, to: usize) -> Option<io::Result<Box<dyn SimulatedConnection>>> {
        let mut state = self.lock();
        if !state.has_way(from, to) {
            return None;
        }
        let connection = state.next_connection;
        let machine = &mut state.machines[to];
        let listener = machine.listener.as_mut().filter(|_| !machine.refuses);
        let Some(listener) = listener else {
            return Some(Err(io::ErrorKind::ConnectionRefused.into()));
        };
        let port = DIALLING_PORT_FIRST + (connection % 20_000) as u16;
        let source = SocketAddr::new(Self::address_of(from).ip(), port);
        let accepted = End::new(self, connection, Side::Accepted);
        listener.waiting.push_back((accepted, source));
        if let Some(waker) = listener.waker.take() {
            waker.wake();
        }
        state.next_connection += 1;
        state
            .pipes
            .insert((connection, Side::Dialled), Pipe::new(from, to));
        state
            .pipes
            .insert((connection, Side::Accepted), Pipe::new(to, from));
        drop(state);
        self.trace.note(
            Some(from),
            format_args!("reaches n{to} by connection {connection}"),
        );
        Some(Ok(Box::new(End::new(self, connection, Side::Dialled))))
    }

    /// Takes the address of a machine for its node.
    ///
    /// # Errors
    /// `AddrInUse`.
    pub fn listen(
        self: &Arc<Self>,
        machine: usize,
        generation: u64,
    ) -> io::Result<Box<dyn SimulatedAcceptor>> {
        let mut state = self.lock();
        let listener = &mut state.machines[machine].listener;
        if listener.is_some() {
            return Err(io::ErrorKind::AddrInUse.into());
        }
        *listener = Some(Listener {
            generation,
            waiting: VecDeque::new(),
            waker: None,
        });
        Ok(Box::new(AcceptorEnd {
            network: Arc::clone(self),
            machine,
            generation,
        }))
    }

    fn machine_at(&self, address: SocketAddr) -> Option<usize> {
        let machines = self.lock().machines.len();
        (0..machines).find(|&machine| Self::address_of(machine) == address)
    }

    fn lock(&self) -> MutexGuard<'_, State> {
        self.state
            .lock()
            .expect("no code panics while it holds the network")
    }
}

impl State {
    /// Whether a packet and its answer pass between two machines.
    fn has_way(&self, a: usize, b: usize) -> bool {
        let is_on = |machine: usize| self.machines[machine].has_power;
        is_on(a) && is_on(b) && !self.cut.contains(&(a, b)) && !self.cut.contains(&(b, a))
    }

    /// How long the next bytes take.
    fn delay(&mut self, from: usize, to: usize, delays: &Delays) -> Duration {
        let State { random, base_ms, .. } = self;
        let base_ms = base_ms
            .entry((from, to))
            .or_insert_with(|| random.between(delays.base_ms.0..=delays.base_ms.1));
        let jitter_ms = random.between(0..=delays.jitter_ms);
        Duration::from_millis(*base_ms + jitter_ms)
    }

    /// When bytes have left a machine that it is given now, behind those that it was given before.
    fn sent_at(&mut self, from: usize, bytes: usize, delays: &Delays) -> Instant {
        let now = Instant::now();
        let Some(bytes_per_ms) = delays.bytes_per_ms else {
            return now;
        };
        let machine = &mut self.machines[from];
        let begins = machine.sending_until.map_or(now, |until| until.max(now));
        let sent = begins + Duration::from_micros(bytes as u64 * 1_000 / bytes_per_ms);
        machine.sending_until = Some(sent);
        sent
    }

    /// One end of a connection is closed: what it sent arrives, and then, where its system lives to say so, the end.
    fn close_end(&mut self, jitter_ms: u64, connection: u64, side: Side, tells: bool) {
        let now = Instant::now();
        if let Some(incoming) = self.pipes.get_mut(&(connection, side.other())) {
            incoming.abandon();
        }
        let late = Duration::from_millis(1 + self.random.between(0..=jitter_ms));
        if let Some(outgoing) = self.pipes.get_mut(&(connection, side)) {
            outgoing.writer_is_gone = true;
            if tells {
                outgoing.push(now + late, Item::End);
            }
        }
        let is_over =
            |pipe: Option<&Pipe>| pipe.is_none_or(|pipe| pipe.writer_is_gone && pipe.reader_is_gone);
        if is_over(self.pipes.get(&(connection, side)))
            && is_over(self.pipes.get(&(connection, side.other())))
        {
            self.pipes.remove(&(connection, side));
            self.pipes.remove(&(connection, side.other()));
        }
    }
}

/// See [`Network::listen`].
struct AcceptorEnd {
    network: Arc<Network>,
    machine: usize,
    generation: u64,
}

impl SimulatedAcceptor for AcceptorEnd {
    fn address(&self) -> SocketAddr {
        Network::address_of(self.machine)
    }

    fn poll_accept(
        &self,
        context: &mut Context<'_>,
    ) -> Poll<io::Result<(Box<dyn SimulatedConnection>, SocketAddr)>> {
        let mut state = self.network.lock();
        let listener = state.machines[self.machine].listener.as_mut();
        // A crashed node's place may be another one's by now; its own tasks no longer run.
        let Some(listener) = listener.filter(|listener| listener.generation == self.generation) else {
            return Poll::Pending;
        };
        match listener.waiting.pop_front() {
            Some((end, from)) => Poll::Ready(Ok((Box::new(end), from))),
            None => {
                listener.waker = Some(context.waker().clone());
                Poll::Pending
            }
        }
    }
}

impl Drop for AcceptorEnd {
    fn drop(&mut self) {
        let waiting = {
            let mut state = self.network.lock();
            let listener = &mut state.machines[self.machine].listener;
            listener
                .take_if(|listener| listener.generation == self.generation)
                .map(|listener| listener.waiting)
        };
        // As in a crash.
        drop(waiting);
    }
}
