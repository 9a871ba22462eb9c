//! Which processors the client and the servers may use.
//!
//! Left alone, the scheduler puts a client and its server on one processor or on two, as it likes and sometimes for a whole run:
//! a round trip on one costs a switch of context, on two the wake-up of the other one, several times as much. So two
//! servers can differ for no reason of their own. With both on one processor the work of a round trip is compared, with each
//! on its own the way between them is part of it.

use std::str::FromStr;

use anyhow::{Context, Result};
use rustix::thread::{CpuSet, sched_setaffinity};

/// A choice of processors: `0` for all on one, `0:1` for the client on the first and the servers on the second one. `2-3,6` and
/// the like name several.
#[derive(Clone, PartialEq, Eq, Debug)]
pub(crate) struct Cpus {
    text: String,
    client: Vec<usize>,
    servers: Vec<usize>,
}

impl Cpus {
    /// Lets this thread, and what it starts, run where the client may.
    pub(crate) fn be_client(&self) -> Result<()> {
        self.keep_to(&self.client)
    }

    /// Lets this thread, and what it starts, run where servers may.
    pub(crate) fn be_server(&self) -> Result<()> {
        self.keep_to(&self.servers)
    }

    /// As it was typed.
    pub(crate) fn as_str(&self) -> &str {
        &self.text
    }

    fn keep_to(&self, cpus: &[usize]) -> Result<()> {
        let mut set = CpuSet::new();
        for &cpu in cpus {
            set.set(cpu);
        }
        sched_setaffinity(None, &set)
            .with_context(|| format!("this machine does not have the processors {}", self.text))
    }
}

impl FromStr for Cpus {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        let (client, servers) = text.split_once(':').unwrap_or((text, text));
        Ok(Self {
            text: text.to_owned(),
            client: list(client)?,
            servers: list(servers)?,
        })
    }
}

fn list(text: &str) -> Result<Vec<usize>, String> {
    let wrong =
        || format!("'{text}' are no processors: write them like 0 or 0,2-3, the servers' behind a colon");
    let number = |text: &str| -> Result<usize, String> {
        let number = text.trim().parse().map_err(|_| wrong())?;
        if number < CpuSet::MAX_CPU {
            Ok(number)
        } else {
            Err(wrong())
        }
    };
    let mut cpus = Vec::new();
    for part in text.split(',') {
        let (first, last) = part.split_once('-').unwrap_or((part, part));
        let (first, last) = (number(first)?, number(last)?);
        if first > last {
            return Err(wrong());
        }
        cpus.extend(first..=last);
    }
    Ok(cpus)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn processors_are_named_as_for_taskset() {
        let cpus: Cpus = "0:1,3-4".parse().unwrap();
        assert_eq!((cpus.client, cpus.servers), (vec![0], vec![1, 3, 4]));
        let cpus: Cpus = "2".parse().unwrap();
        assert_eq!((&cpus.client, &cpus.servers), (&vec![2], &vec![2]));
        for wrong in ["", "a", "0:", "3-1", "-1", "0,,1", "99999"] {
            assert!(wrong.parse::<Cpus>().is_err(), "{wrong}");
        }
    }
}
