//! A thread of the benchmark and the connections that it serves.

use std::time::Instant;

use rustix::event::{PollFd, PollFlags, Timespec, poll};

use super::asker::Asker;
use super::connection::{Connection, SILENCE_MAX, silent};
use super::{Control, Load, Tally};
use crate::exit::{Failure, Outcome};

/// A connection at work: requests in one write, then all their replies, and again.
#[derive(Debug)]
pub(super) struct Client<'a> {
    connection: Connection,
    asker: Asker<'a>,
    load: &'a Load,
    control: &'a Control,
    in_flight: usize,
    /// Whether what is in flight puts things in order and is not measured.
    in_between: bool,
    asked_at: Instant,
}

impl<'a> Client<'a> {
    /// The client of this number; it has not asked anything yet.
    pub(super) fn new(connection: Connection, load: &'a Load, control: &'a Control, number: usize) -> Self {
        Self {
            connection,
            asker: Asker::new(load, number),
            load,
            control,
            in_flight: 0,
            in_between: false,
            asked_at: Instant::now(),
        }
    }

    /// Sends the next requests, unless there are no more. Returns whether there were.
    fn begin(&mut self, now: Instant, until: Option<Instant>) -> Outcome<bool> {
        if self.control.is_stopped() || until.is_some_and(|until| now >= until) {
            return Ok(false);
        }
        self.in_between = self.asker.free_share(&mut self.connection);
        if self.in_between {
            self.in_flight = 1;
        } else {
            let numbers = self.control.take(self.load.pipeline, self.load.requests_max);
            self.in_flight = (numbers.end - numbers.start) as usize;
            numbers.for_each(|number| self.asker.ask(number, &mut self.connection));
        }
        self.asked_at = now;
        self.connection.write()?;
        Ok(self.in_flight > 0)
    }

    /// Takes what arrived, and goes on where all was answered. Returns whether more is to come.
    fn go_on(&mut self, until: Option<Instant>, tally: &mut Tally) -> Outcome<bool> {
        let now = Instant::now();
        let elapsed_ns = u64::try_from((now - self.asked_at).as_nanos()).unwrap_or(u64::MAX);
        while let Some(answer) = self.connection.answer()? {
            if !self.in_between {
                self.asker.check(&answer)?;
                // The histogram grows by itself and takes every time.
                let _ = tally.times_ns.record(elapsed_ns);
            }
            self.in_flight = self
                .in_flight
                .checked_sub(1)
                .ok_or_else(|| Failure::Other("the node answers what was not asked".to_owned()))?;
        }
        if self.in_flight == 0 {
            return self.begin(now, until);
        }
        // Credit that came or is to be given lets large values go on.
        self.connection.write()?;
        Ok(true)
    }

    fn poll_flags(&self) -> PollFlags {
        if self.connection.has_output() {
            PollFlags::IN | PollFlags::OUT
        } else {
            PollFlags::IN
        }
    }
}

/// Serves its clients until there is nothing left to ask. A failure of one ends all, of the other threads too.
///
/// # Errors
/// Where nothing could begin.
pub(super) fn serve(mut clients: Vec<Client<'_>>, control: &Control) -> Outcome<Tally> {
    let mut tally = Tally::new()?;
    let served = match clients.as_mut_slice() {
        // One connection waits in its read, which saves asking the system whether there is something to read.
        [client] => serve_one(client, &mut tally),
        clients => serve_many(clients, &mut tally),
    };
    if let Err(failure) = served {
        control.stop();
        tally.failure = Some(failure);
    }
    for client in clients {
        tally.ids.extend(client.asker.into_stored());
    }
    Ok(tally)
}

fn until(load: &Load, start: Instant) -> Option<Instant> {
    load.duration.map(|duration| start + duration)
}

fn serve_one(client: &mut Client<'_>, tally: &mut Tally) -> Outcome {
    let start = Instant::now();
    let until = until(client.load, start);
    let mut more = client.begin(start, until)?;
    while more {
        client.connection.read()?;
        more = client.go_on(until, tally)?;
    }
    Ok(())
}

fn serve_many(clients: &mut [Client<'_>], tally: &mut Tally) -> Outcome {
    let silence_max = Timespec::try_from(SILENCE_MAX).ok();
    let start = Instant::now();
    let mut active: Vec<&mut Client<'_>> = Vec::with_capacity(clients.len());
    for client in clients {
        client.connection.never_block()?;
        if client.begin(start, until(client.load, start))? {
            active.push(client);
        }
    }
    while !active.is_empty() {
        let mut waited: Vec<PollFd<'_>> = active
            .iter()
            .map(|client| PollFd::new(&client.connection, client.poll_flags()))
            .collect();
        match poll(&mut waited, silence_max.as_ref()) {
            Ok(0) => return Err(silent()),
            Ok(_) | Err(rustix::io::Errno::INTR) => {}
            Err(error) => return Err(Failure::reading("from the node", &error.into())),
        }
        let ready: Vec<PollFlags> = waited.iter().map(PollFd::revents).collect();
        let mut ended = Vec::new();
        for (at, ready) in ready.into_iter().enumerate() {
            let client = &mut active[at];
            if ready.is_empty() {
                continue;
            }
            client.connection.write()?;
            if ready != PollFlags::OUT {
                client.connection.read()?;
            }
            if !client.go_on(until(client.load, start), tally)? {
                ended.push(at);
            }
        }
        for at in ended.into_iter().rev() {
            active.swap_remove(at);
        }
    }
    Ok(())
}
