//! Keys as they are typed, one by one, for a question that stays live while it is on the screen.

use std::io;
use std::thread;

use crossterm::event::{Event, KeyCode, KeyEvent, KeyEventKind, KeyModifiers};
use rustix::termios::{LocalModes, OptionalActions, SpecialCodeIndex, Termios, tcgetattr, tcsetattr};
use tokio::sync::mpsc;

use crate::exit::{Failure, Outcome, reason};

/// A key that means something to a question.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(crate) enum Key {
    /// The arrow, or Ctrl-P.
    Up,
    /// The arrow, or Ctrl-N.
    Down,
    /// Enter.
    Enter,
    /// Escape.
    Escape,
    /// Backspace.
    Backspace,
    /// Ctrl-C, and Ctrl-D, after which nothing can be typed.
    Interrupt,
    /// Anything that writes.
    Char(char),
}

/// The keyboard of the terminal on stdin. What is typed is not shown by the terminal until this is dropped.
#[derive(Debug)]
pub(crate) struct Keyboard {
    before: Termios,
    keys: mpsc::Receiver<Key>,
}

impl Keyboard {
    /// Takes the keyboard.
    pub(crate) fn open() -> Outcome<Self> {
        let cannot = |error: io::Error| {
            Failure::Other(format!("cannot read keys from this terminal: {}", reason(&error)))
        };
        let before = tcgetattr(io::stdin()).map_err(|error| cannot(error.into()))?;
        let mut typed = before.clone();
        // Output stays as it is, so that lines end as everywhere.
        typed
            .local_modes
            .remove(LocalModes::ICANON | LocalModes::ECHO | LocalModes::ISIG);
        typed.special_codes[SpecialCodeIndex::VMIN] = 1;
        typed.special_codes[SpecialCodeIndex::VTIME] = 0;
        tcsetattr(io::stdin(), OptionalActions::Now, &typed).map_err(|error| cannot(error.into()))?;
        // A person types no faster than a question takes keys.
        let (sender, keys) = mpsc::channel(16);
        // It ends with the program: nothing wakes a read of a terminal but a key.
        thread::spawn(move || read_keys(&sender));
        Ok(Self { before, keys })
    }

    /// The next key; `None` where there is no terminal any more.
    ///
    /// # Cancel safety
    /// No key is lost.
    pub(crate) async fn next(&mut self) -> Option<Key> {
        self.keys.recv().await
    }
}

impl Drop for Keyboard {
    fn drop(&mut self) {
        // Where the terminal is gone there is nothing to put back.
        let _ = tcsetattr(io::stdin(), OptionalActions::Now, &self.before);
    }
}

fn read_keys(keys: &mpsc::Sender<Key>) {
    while let Ok(event) = crossterm::event::read() {
        let Some(key) = meaning(&event) else { continue };
        if keys.blocking_send(key).is_err() {
            return;
        }
    }
}

/// What a key means, where it means anything.
fn meaning(event: &Event) -> Option<Key> {
    let Event::Key(KeyEvent {
        code,
        modifiers,
        kind: KeyEventKind::Press | KeyEventKind::Repeat,
        ..
    }) = event
    else {
        return None;
    };
    let with_control = modifiers.contains(KeyModifiers::CONTROL);
    Some(match code {
        KeyCode::Char('c' | 'd') if with_control => Key::Interrupt,
        KeyCode::Char('p') if with_control => Key::Up,
        KeyCode::Char('n') if with_control => Key::Down,
        // The terminal turns the Enter key into a line end, which is Ctrl-J.
        KeyCode::Char('j' | 'm') if with_control => Key::Enter,
        KeyCode::Char('h') if with_control => Key::Backspace,
        KeyCode::Char(c) if !with_control && !modifiers.contains(KeyModifiers::ALT) => Key::Char(*c),
        KeyCode::Up => Key::Up,
        KeyCode::Down => Key::Down,
        KeyCode::Enter => Key::Enter,
        KeyCode::Esc => Key::Escape,
        KeyCode::Backspace => Key::Backspace,
        _ => return None,
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    fn press(code: KeyCode, modifiers: KeyModifiers) -> Option<Key> {
        meaning(&Event::Key(KeyEvent::new(code, modifiers)))
    }

    #[test]
    fn keys_have_their_usual_meanings() {
        let none = KeyModifiers::NONE;
        assert_eq!(press(KeyCode::Enter, none), Some(Key::Enter));
        assert_eq!(press(KeyCode::Char('j'), KeyModifiers::CONTROL), Some(Key::Enter));
        assert_eq!(
            press(KeyCode::Char('c'), KeyModifiers::CONTROL),
            Some(Key::Interrupt)
        );
        assert_eq!(
            press(KeyCode::Char('d'), KeyModifiers::CONTROL),
            Some(Key::Interrupt)
        );
        assert_eq!(press(KeyCode::Char('c'), none), Some(Key::Char('c')));
        assert_eq!(
            press(KeyCode::Char('G'), KeyModifiers::SHIFT),
            Some(Key::Char('G'))
        );
        assert_eq!(press(KeyCode::Char('x'), KeyModifiers::ALT), None);
        assert_eq!(press(KeyCode::Down, none), Some(Key::Down));
        assert_eq!(press(KeyCode::F(1), none), None);
        assert_eq!(meaning(&Event::Resize(80, 24)), None);
    }

    #[test]
    fn a_key_that_is_let_go_means_nothing() {
        let event = KeyEvent::new_with_kind(KeyCode::Enter, KeyModifiers::NONE, KeyEventKind::Release);
        assert_eq!(meaning(&Event::Key(event)), None);
    }
}
