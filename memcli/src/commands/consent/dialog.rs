//! The rules of the live screen: which question is on it, what each key does, and what it shows.
//!
//! Without a terminal and without a clock: keys, lists of questions and times are arguments, and what is to be done comes back.

use std::time::Duration;

use memproto::NodeId;
use memproto::control::{ConsentAnswer, ConsentDecision, ConsentRequest};

use super::show::{show_facts, warning_lines};
use crate::keyboard::Key;
use crate::output::printable;
use crate::panel::Line;
use crate::size::{parse_size, show_size};

/// The longest size that can be typed: no size is longer.
const SIZE_LEN_MAX: usize = 20;

/// What is to be done after a key, or after other nodes wait than before.
#[derive(Clone, PartialEq, Eq, Debug)]
pub(super) enum Effect {
    /// Draw it anew.
    Draw,
    /// Tell the node the answer.
    Decide(ConsentDecision),
    /// Tell the person that the question on the screen is no more.
    Gone(Box<ConsentRequest>),
    /// End, as the person asked: nothing is answered.
    End,
    /// The same, by Ctrl-C.
    Interrupt,
}

/// The screen.
#[derive(Debug)]
pub(super) struct Dialog {
    /// What `--quota` says, which is then not asked.
    quota: Option<u64>,
    requests: Vec<ConsentRequest>,
    /// Questions that the person put off.
    put_off: Vec<Question>,
    step: Step,
}

/// One question: a peer that asks anew has another code.
type Question = (NodeId, String);

#[derive(Clone, PartialEq, Eq, Debug)]
enum Step {
    /// Which answer?
    Answer {
        /// Where the person stands among [`CHOICES`].
        at: usize,
    },
    /// How much may it use?
    Grant {
        answer: ConsentAnswer,
        typed: String,
        /// What is wrong with what was typed.
        error: Option<String>,
    },
}

/// The answers, and putting it off.
const CHOICES: [(Option<ConsentAnswer>, &str); 4] = [
    (
        Some(ConsentAnswer::Allow),
        "Allow once    (until the connection ends)",
    ),
    (
        Some(ConsentAnswer::Trust),
        "Trust always  (it may come back without asking)",
    ),
    (Some(ConsentAnswer::Deny), "Deny"),
    (None, "Answer later"),
];

/// Where Deny stands: what Enter alone does where something is odd.
const DENY_AT: usize = 2;

impl Dialog {
    /// A screen without questions.
    pub(super) fn new(quota: Option<u64>) -> Self {
        Self {
            quota,
            requests: Vec::new(),
            put_off: Vec::new(),
            step: Step::Answer { at: 0 },
        }
    }

    /// Takes note of who waits now.
    pub(super) fn set_requests(&mut self, requests: Vec<ConsentRequest>) -> Effect {
        let before = self.current().cloned();
        self.requests = requests;
        let requests = &self.requests;
        self.put_off
            .retain(|put_off| requests.iter().any(|request| question(request) == *put_off));
        let Some(before) = before else {
            self.begin();
            return Effect::Draw;
        };
        if let Some(at) = self
            .requests
            .iter()
            .position(|request| question(request) == question(&before))
        {
            // It stays on the screen, also where the node now lists another one before it.
            self.requests[..=at].rotate_right(1);
            return Effect::Draw;
        }
        self.begin();
        Effect::Gone(Box::new(before))
    }

    /// Takes note that the question on the screen was answered.
    pub(super) fn answered(&mut self) {
        if let Some(current) = self.current().map(question) {
            self.requests.retain(|request| question(request) != current);
        }
        self.begin();
    }

    /// The question on the screen.
    pub(super) fn current(&self) -> Option<&ConsentRequest> {
        self.requests
            .iter()
            .find(|request| !self.put_off.contains(&question(request)))
    }

    /// Does what a key means.
    pub(super) fn press(&mut self, key: Key) -> Effect {
        if key == Key::Interrupt {
            return Effect::Interrupt;
        }
        let Some(current) = self.current() else {
            return match key {
                Key::Escape | Key::Char('q') => Effect::End,
                _ => Effect::Draw,
            };
        };
        let (id, question) = (current.id, question(current));
        match &mut self.step {
            Step::Answer { at } => match key {
                Key::Up | Key::Char('k') => *at = (*at + CHOICES.len() - 1) % CHOICES.len(),
                Key::Down | Key::Char('j') => *at = (*at + 1) % CHOICES.len(),
                Key::Escape => self.put_off(question),
                Key::Enter => return self.choose(id, question),
                Key::Char('q') => return Effect::End,
                _ => {}
            },
            Step::Grant { answer, typed, error } => match key {
                Key::Char(c) if !c.is_control() && typed.len() < SIZE_LEN_MAX => {
                    typed.push(c);
                    *error = None;
                }
                Key::Backspace => {
                    typed.pop();
                    *error = None;
                }
                Key::Enter if typed.trim().is_empty() => return decide(id, *answer, None),
                Key::Enter => match parse_size(typed.trim()) {
                    Ok(bytes) => return decide(id, *answer, Some(bytes)),
                    Err(wrong) => *error = Some(wrong),
                },
                Key::Escape => self.begin(),
                _ => {}
            },
        }
        Effect::Draw
    }

    /// What is on the screen, so long after the node told who waits.
    pub(super) fn lines(&self, since: Duration) -> Vec<Line> {
        let mut lines = Vec::new();
        let put_off = self.put_off.len();
        let Some(request) = self.current() else {
            lines.push(Line::Plain(match put_off {
                0 => "No node waits for an answer. This screen shows whoever asks.".to_owned(),
                1 => "One node waits that you answer later. This screen shows whoever else asks.".to_owned(),
                more => {
                    format!("{more} nodes wait that you answer later. This screen shows whoever else asks.")
                }
            }));
            lines.push(Line::Plain("q ends it.".to_owned()));
            return lines;
        };
        lines.extend(
            show_facts(request, self.quota, since)
                .lines()
                .map(|line| Line::Plain(line.to_owned())),
        );
        for line in request.warning.map(warning_lines).into_iter().flatten() {
            lines.push(Line::Warning(format!("  {line}")));
        }
        match self.requests.len() - put_off - 1 {
            0 => {}
            1 => lines.push(Line::Plain("One more node waits behind it.".to_owned())),
            more => lines.push(Line::Plain(format!("{more} more nodes wait behind it."))),
        }
        lines.push(Line::Plain(String::new()));
        lines.extend(self.question_lines(request));
        lines
    }

    fn question_lines(&self, request: &ConsentRequest) -> Vec<Line> {
        let mut lines = Vec::new();
        match &self.step {
            Step::Answer { at } => {
                for (number, (_, text)) in CHOICES.iter().enumerate() {
                    lines.push(match number == *at {
                        true => Line::Chosen(format!("> {text}")),
                        false => Line::Plain(format!("  {text}")),
                    });
                }
                lines.push(Line::Plain(
                    "Up and down choose, Enter answers; q ends without an answer.".to_owned(),
                ));
            }
            Step::Grant { answer, typed, error } => {
                let for_how_long = match answer {
                    ConsentAnswer::Trust => "for good",
                    _ => "until the connection ends",
                };
                lines.push(Line::Plain(format!(
                    "How much of this machine's memory may it use, {for_how_long}?"
                )));
                lines.push(Line::Chosen(format!("> {}_", printable(typed))));
                match error {
                    Some(error) => lines.push(Line::Warning(format!("  {error}"))),
                    None => lines.push(Line::Plain(format!(
                        "  such as 512mb or 4gb; 0 for reading only; nothing for {}",
                        show_size(request.default_quota_bytes)
                    ))),
                }
                lines.push(Line::Plain(
                    "Enter answers, Escape goes back; Ctrl-C ends without an answer.".to_owned(),
                ));
            }
        }
        lines
    }

    /// Begins with the question that is on the screen now.
    fn begin(&mut self) {
        let is_odd = self.current().is_some_and(|request| request.warning.is_some());
        self.step = Step::Answer {
            at: if is_odd { DENY_AT } else { 0 },
        };
    }

    fn put_off(&mut self, question: Question) {
        self.put_off.push(question);
        self.begin();
    }

    /// Takes the choice at which the person stands.
    fn choose(&mut self, id: NodeId, question: Question) -> Effect {
        let Step::Answer { at } = self.step else {
            return Effect::Draw;
        };
        match (CHOICES[at].0, self.quota) {
            (None, _) => self.put_off(question),
            (Some(ConsentAnswer::Deny), _) => return decide(id, ConsentAnswer::Deny, None),
            (Some(answer), Some(quota)) => return decide(id, answer, Some(quota)),
            (Some(answer), None) => {
                self.step = Step::Grant {
                    answer,
                    typed: String::new(),
                    error: None,
                };
            }
        }
        Effect::Draw
    }
}

fn question(request: &ConsentRequest) -> Question {
    (request.id, request.code.clone())
}

fn decide(id: NodeId, answer: ConsentAnswer, quota_bytes: Option<u64>) -> Effect {
    Effect::Decide(ConsentDecision {
        peer: id.to_string(),
        answer,
        quota_bytes,
    })
}

#[cfg(test)]
mod tests;
