//! One direction of a connection.

use std::collections::VecDeque;
use std::io;
use std::task::Waker;

use tokio::time::Instant;

/// How many bytes may be on their way or unread before a write has to wait: about what a system's two buffers hold.
const WINDOW: usize = 1024 * 1024;

/// What is on its way.
pub(super) enum Item {
    /// Bytes.
    Bytes(Vec<u8>),
    /// The writer has closed its end.
    End,
    /// The other machine knows nothing of this connection.
    Reset,
}

/// See the module.
pub(super) struct Pipe {
    pub(super) from: usize,
    pub(super) to: usize,
    in_flight: VecDeque<(Instant, Item)>,
    arrived: VecDeque<u8>,
    /// Bytes in flight and arrived.
    unread: usize,
    /// The end arrived; behind the bytes.
    ended: bool,
    /// It broke: what was not read is lost.
    broken: bool,
    pub(super) writer_is_gone: bool,
    pub(super) reader_is_gone: bool,
    pub(super) reader: Option<Waker>,
    pub(super) writer: Option<Waker>,
}

impl Pipe {
    pub(super) fn new(from: usize, to: usize) -> Self {
        Self {
            from,
            to,
            in_flight: VecDeque::new(),
            arrived: VecDeque::new(),
            unread: 0,
            ended: false,
            broken: false,
            writer_is_gone: false,
            reader_is_gone: false,
            reader: None,
            writer: None,
        }
    }

    /// Sends something that arrives then, or with what is before it where that is later.
    pub(super) fn push(&mut self, arrives_at: Instant, item: Item) {
        if let Item::Bytes(bytes) = &item {
            self.unread += bytes.len();
        }
        let arrives_at = self
            .in_flight
            .back()
            .map_or(arrives_at, |(at, _)| arrives_at.max(*at));
        self.in_flight.push_back((arrives_at, item));
        self.wake_reader();
    }

    /// How many more bytes it takes.
    pub(super) fn room(&self) -> usize {
        WINDOW.saturating_sub(self.unread)
    }

    pub(super) fn is_broken(&self) -> bool {
        self.broken
    }

    /// Takes in what has arrived by now. Returns when the next will.
    pub(super) fn advance(&mut self, now: Instant) -> Option<Instant> {
        while let Some((at, _)) = self.in_flight.front() {
            if *at > now {
                return Some(*at);
            }
            match self.in_flight.pop_front() {
                Some((_, Item::Bytes(bytes))) => self.arrived.extend(bytes),
                Some((_, Item::End)) => self.ended = true,
                Some((_, Item::Reset)) => self.broken = true,
                None => {}
            }
        }
        None
    }

    pub(super) fn has_byte(&self) -> bool {
        !self.arrived.is_empty()
    }

    /// Whether a read has something to tell.
    pub(super) fn is_readable(&self) -> bool {
        self.broken || self.ended || self.has_byte()
    }

    pub(super) fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        if self.broken {
            return Err(io::ErrorKind::ConnectionReset.into());
        }
        if self.arrived.is_empty() {
            return match self.ended {
                true => Ok(0),
                false => Err(io::ErrorKind::WouldBlock.into()),
            };
        }
        let count = buffer.len().min(self.arrived.len());
        let (front, back) = self.arrived.as_slices();
        let of_front = count.min(front.len());
        buffer[..of_front].copy_from_slice(&front[..of_front]);
        buffer[of_front..count].copy_from_slice(&back[..count - of_front]);
        self.arrived.drain(..count);
        self.unread -= count;
        if let Some(writer) = self.writer.take() {
            writer.wake();
        }
        Ok(count)
    }

    /// Nothing arrives before then.
    pub(super) fn delay_until(&mut self, then: Instant) {
        for (at, _) in &mut self.in_flight {
            *at = then.max(*at);
        }
        self.wake_reader();
    }

    pub(super) fn break_now(&mut self) {
        self.broken = true;
        self.wake_reader();
        if let Some(writer) = self.writer.take() {
            writer.wake();
        }
    }

    /// Nobody reads any more.
    pub(super) fn abandon(&mut self) {
        self.reader_is_gone = true;
        self.arrived.clear();
        self.in_flight.clear();
        self.unread = 0;
        if let Some(writer) = self.writer.take() {
            writer.wake();
        }
    }

    fn wake_reader(&mut self) {
        if let Some(reader) = self.reader.take() {
            reader.wake();
        }
    }
}
