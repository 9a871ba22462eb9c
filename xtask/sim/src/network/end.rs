//! One end of a connection, as a node holds it.

use std::io;
use std::pin::Pin;
use std::sync::{Arc, Mutex};
use std::task::{Context, Poll, ready};

use memnode::simulation::SimulatedConnection;
use tokio::time::{Instant, Sleep};

use super::pipe::Item;
use super::{Network, Side};

/// See the module. Closed when it is dropped.
pub(super) struct End {
    network: Arc<Network>,
    connection: u64,
    side: Side,
    /// Wakes the reader when the next bytes arrive.
    arrival: Mutex<Option<Pin<Box<Sleep>>>>,
}

impl End {
    pub(super) fn new(network: &Arc<Network>, connection: u64, side: Side) -> Self {
        Self {
            network: Arc::clone(network),
            connection,
            side,
            arrival: Mutex::default(),
        }
    }

    /// Takes in what has arrived. Returns when the next will, where that is known.
    fn advance(&self) -> Option<Instant> {
        let mut state = self.network.lock();
        let state = &mut *state;
        let pipe = state.pipes.get_mut(&(self.connection, self.side.other()))?;
        if state.cut.contains(&(pipe.from, pipe.to)) {
            return None;
        }
        pipe.advance(Instant::now())
    }

    fn poll_arrival(&self, at: Instant, context: &mut Context<'_>) -> Poll<()> {
        let mut arrival = self
            .arrival
            .lock()
            .expect("no code panics while it holds a timer");
        let sleep = arrival.get_or_insert_with(|| Box::pin(tokio::time::sleep_until(at)));
        if sleep.deadline() != at {
            sleep.as_mut().reset(at);
        }
        sleep.as_mut().poll(context)
    }
}

impl SimulatedConnection for End {
    fn try_read(&self, buffer: &mut [u8]) -> io::Result<usize> {
        self.advance();
        let mut state = self.network.lock();
        match state.pipes.get_mut(&(self.connection, self.side.other())) {
            Some(pipe) => pipe.read(buffer),
            None => Err(io::ErrorKind::ConnectionReset.into()),
        }
    }

    fn try_write(&self, bytes: &[u8]) -> io::Result<usize> {
        let mut state = self.network.lock();
        let state = &mut *state;
        let back = state.pipes.get(&(self.connection, self.side.other()));
        if back.is_none_or(super::Pipe::is_broken) {
            return Err(io::ErrorKind::ConnectionReset.into());
        }
        let name = (self.connection, self.side);
        let Some(pipe) = state.pipes.get(&name) else {
            return Err(io::ErrorKind::BrokenPipe.into());
        };
        let (from, to, room) = (pipe.from, pipe.to, pipe.room());
        if pipe.is_broken() {
            return Err(io::ErrorKind::ConnectionReset.into());
        }
        let delay = state.delay(from, to, &self.network.delays);
        let arrives_at = Instant::now() + delay;
        if pipe_is_deserted(state, name) {
            // Its machine says that it knows nothing of this, if it can say anything.
            let answered = state.has_way(from, to);
            if let Some(back) = state.pipes.get_mut(&(self.connection, self.side.other()))
                && answered
            {
                back.push(arrives_at, Item::Reset);
            }
            return Ok(bytes.len());
        }
        let count = bytes.len().min(room);
        if count == 0 {
            return Err(io::ErrorKind::WouldBlock.into());
        }
        self.network
            .trace
            .note_bytes(self.connection, from, &bytes[..count]);
        for traffic in [&mut state.traffic, &mut state.machines[from].sent] {
            traffic.bytes += count as u64;
            traffic.writes += 1;
        }
        let arrives_at = state.sent_at(from, count, &self.network.delays) + delay;
        if let Some(pipe) = state.pipes.get_mut(&name) {
            pipe.push(arrives_at, Item::Bytes(bytes[..count].to_vec()));
        }
        Ok(count)
    }

    fn poll_readable(&self, context: &mut Context<'_>) -> Poll<io::Result<()>> {
        loop {
            let next = self.advance();
            {
                let mut state = self.network.lock();
                let Some(pipe) = state.pipes.get_mut(&(self.connection, self.side.other())) else {
                    return Poll::Ready(Ok(()));
                };
                if pipe.is_readable() {
                    return Poll::Ready(Ok(()));
                }
                pipe.reader = Some(context.waker().clone());
            }
            let Some(at) = next else { return Poll::Pending };
            ready!(self.poll_arrival(at, context));
        }
    }

    fn poll_writable(&self, context: &mut Context<'_>) -> Poll<io::Result<()>> {
        let mut state = self.network.lock();
        match state.pipes.get_mut(&(self.connection, self.side)) {
            Some(pipe) if pipe.room() == 0 && !pipe.is_broken() && !pipe.reader_is_gone => {
                pipe.writer = Some(context.waker().clone());
                Poll::Pending
            }
            _ => Poll::Ready(Ok(())),
        }
    }

    fn has_byte(&self) -> bool {
        self.advance();
        let state = self.network.lock();
        let pipe = state.pipes.get(&(self.connection, self.side.other()));
        pipe.is_some_and(super::Pipe::has_byte)
    }
}

impl Drop for End {
    fn drop(&mut self) {
        let jitter_ms = self.network.delays.jitter_ms;
        let mut state = self.network.lock();
        // A crash has closed it already, and said as much as there was to say.
        let is_open = state
            .pipes
            .get(&(self.connection, self.side))
            .is_some_and(|pipe| !pipe.writer_is_gone);
        if is_open {
            state.close_end(jitter_ms, self.connection, self.side, true);
        }
    }
}

fn pipe_is_deserted(state: &super::State, name: (u64, Side)) -> bool {
    state.pipes.get(&name).is_none_or(|pipe| pipe.reader_is_gone)
}
