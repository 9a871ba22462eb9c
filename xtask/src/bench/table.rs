//! Results as a Markdown table, beside the marks that MemCloud is to reach.

use std::fmt::Write as _;

use super::client::Request;
use super::load::{Sample, Shape};
use super::servers::Kind;

/// The runs of all servers with one kind of load.
pub(super) struct Row {
    pub(super) shape: Shape,
    pub(super) request: Request,
    /// For each server, in the order of [`Kind::ALL`], its runs; empty where this load is not for it.
    pub(super) runs: Vec<Vec<Sample>>,
}

/// What MemCloud's figure is compared with.
enum Mark {
    /// At most so many times that of this server.
    AtMost(f64, Kind),
    /// Not above the better store.
    NotAboveBest,
    /// At least so many times those of both stores, memcached's and Redis's.
    AtLeast { memcached: f64, redis: f64 },
    /// At least so many times the better store's.
    AtLeastBest(f64),
}

/// One figure of each server.
struct Line {
    what: String,
    figures: Vec<Option<f64>>,
    decimals: usize,
    mark: Option<Mark>,
}

/// All rows as Markdown.
pub(super) fn render(rows: &[Row]) -> String {
    let mut out = String::from("| Unix socket |");
    for kind in Kind::ALL {
        let _ = write!(out, " {} |", kind.name());
    }
    out.push_str(" MemCloud to the others | mark |\n|---|");
    out.push_str(&"---:|".repeat(Kind::ALL.len()));
    out.push_str("---|---|\n");
    for line in rows.iter().flat_map(Row::lines) {
        line.render(&mut out);
    }
    out
}

impl Row {
    fn lines(&self) -> Vec<Line> {
        let request = match self.request {
            Request::Set => "SET",
            Request::Get => "GET",
        };
        let line = |what: String, decimals, mark, figure: &dyn Fn(&Sample) -> f64| Line {
            what: format!("{request} {what}"),
            figures: self.runs.iter().map(|runs| median(runs, figure)).collect(),
            decimals,
            mark,
        };
        let thousands = |sample: &Sample| sample.rate / 1_000.0;
        match self.shape {
            Shape::OneAtATime => {
                let echo = Mark::AtMost(1.15, Kind::EchoBlocking);
                let ahead = Mark::AtLeast {
                    memcached: 1.1,
                    redis: 1.25,
                };
                vec![
                    line("1 KiB, p50 us".into(), 1, Some(echo), &|sample| sample.p50),
                    line("1 KiB, p99 us".into(), 1, None, &|sample| sample.p99),
                    line("1 KiB, p99.9 us".into(), 1, Some(Mark::NotAboveBest), &|sample| {
                        sample.p999
                    }),
                    line("1 KiB, thousand/s".into(), 1, Some(ahead), &thousands),
                ]
            }
            Shape::InFlight(depth) => {
                let what = format!("1 KiB, {depth} in flight, thousand/s");
                vec![line(what, 0, Some(Mark::AtLeastBest(1.2)), &thousands)]
            }
            Shape::Clients(clients) => {
                let what = format!("1 KiB, {clients} clients, thousand/s");
                vec![line(what, 0, Some(Mark::AtLeastBest(1.2)), &thousands)]
            }
            Shape::Large(mib) => {
                let what = format!("{mib} MiB, MiB/s");
                let rate = move |sample: &Sample| sample.rate * mib as f64;
                vec![line(what, 0, Some(Mark::AtLeastBest(1.0)), &rate)]
            }
        }
    }
}

impl Line {
    fn figure(&self, kind: Kind) -> Option<f64> {
        let index = Kind::ALL.iter().position(|&other| other == kind)?;
        self.figures[index]
    }

    fn render(&self, out: &mut String) {
        let _ = write!(out, "| {} |", self.what);
        for figure in &self.figures {
            let _ = match figure {
                Some(figure) => write!(out, " {figure:.*} |", self.decimals),
                None => write!(out, " |"),
            };
        }
        match self.judge() {
            Some((ratios, mark)) => {
                let _ = writeln!(out, " {ratios} | {mark} |");
            }
            None => out.push_str(" | |\n"),
        }
    }

    /// The ratios that the mark speaks of, and whether it is reached.
    fn judge(&self) -> Option<(String, String)> {
        let ours = self.figure(Kind::MemCloud)?;
        let (memcached, redis) = (self.figure(Kind::Memcached)?, self.figure(Kind::Redis)?);
        let verdict = |reached| if reached { "reached" } else { "missed" };
        Some(match *self.mark.as_ref()? {
            Mark::AtMost(limit, kind) => {
                let ratio = ours / self.figure(kind)?;
                let mark = format!("at most {limit}: {}", verdict(ratio <= limit));
                (format!("{ratio:.2} of {}", kind.name()), mark)
            }
            Mark::NotAboveBest => {
                let ratio = ours / memcached.min(redis);
                let mark = format!("at most 1: {}", verdict(ratio <= 1.0));
                (format!("{ratio:.2} of the better store"), mark)
            }
            Mark::AtLeast {
                memcached: limit_memcached,
                redis: limit_redis,
            } => {
                let (to_memcached, to_redis) = (ours / memcached, ours / redis);
                let reached = to_memcached >= limit_memcached && to_redis >= limit_redis;
                let mark = format!(
                    "at least {limit_memcached} and {limit_redis}: {}",
                    verdict(reached)
                );
                (
                    format!("{to_memcached:.2} of memcached, {to_redis:.2} of Redis"),
                    mark,
                )
            }
            Mark::AtLeastBest(limit) => {
                let ratio = ours / memcached.max(redis);
                let mark = format!("at least {limit}: {}", verdict(ratio >= limit));
                (format!("{ratio:.2} of the better store"), mark)
            }
        })
    }
}

fn median(runs: &[Sample], figure: &dyn Fn(&Sample) -> f64) -> Option<f64> {
    let mut figures: Vec<f64> = runs.iter().map(figure).collect();
    figures.sort_by(f64::total_cmp);
    figures.get(figures.len() / 2).copied()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn row(shape: Shape, rates: [f64; 5]) -> Row {
        let run = |rate| {
            let sample = |rate| Sample {
                rate,
                p50: rate,
                p99: rate,
                p999: rate,
            };
            vec![sample(rate), sample(rate * 1000.0), sample(rate)]
        };
        Row {
            shape,
            request: Request::Get,
            runs: rates.map(run).to_vec(),
        }
    }

    #[test]
    fn marks_are_judged_by_medians() {
        let text = render(&[row(
            Shape::InFlight(16),
            [1000.0, 1000.0, 100_000.0, 200_000.0, 260_000.0],
        )]);
        assert!(
            text.contains("| 100 | 200 | 260 | 1.30 of the better store | at least 1.2: reached |"),
            "{text}"
        );
        let text = render(&[row(Shape::OneAtATime, [10.0, 11.0, 15.0, 20.0, 16.0])]);
        assert!(
            text.contains("1.60 of echo, blocking | at most 1.15: missed"),
            "{text}"
        );
        assert!(
            text.contains("1.07 of the better store | at most 1: missed"),
            "{text}"
        );
        assert!(
            text.contains("1.07 of memcached, 0.80 of Redis | at least 1.1 and 1.25: missed"),
            "{text}"
        );
    }
}
