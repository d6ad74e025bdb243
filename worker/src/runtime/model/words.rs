//! What a model writes, told to whoever reads along: in pieces, without secrets, and never at the cost of the attempt.
//!
//! ```text
//!   an answer as it grows ──▶ Telling: as much as surely is no part of a secret, every 100 ms or 4 KiB
//!                                 │
//!                                 └──Words──▶ kapelle.words.<agent>.<version>.<run>     heard now, or never
//! ```
//!
//! A piece is handed to the connection, or dropped where there is no room for it; the next one's offset shows the gap. Words
//! are a payload as the output is, which has no secrets by value and is not searched for names: so it is here. An answer
//! that holds a secret is told as far as the secret, and no further.

use kapelle_bus::Bus;
use kapelle_proto::Words;
use kapelle_proto::subject::WordsSubject;
use kapelle_types::AgentVersion;
use tokio::time::{Duration, Instant};

use crate::runtime::Attempt;
use crate::secrets::Secrets;

/// How far pieces of an answer are apart: people read no faster, and a model writes some ten tokens meanwhile.
const PIECE_INTERVAL: Duration = Duration::from_millis(100);
/// Bytes that do not wait for that.
const WAITING_BYTES_MAX: usize = 4 * 1024;
/// Bytes of one piece, well below what is taken: an answer that comes at once is told in several.
const PIECE_BYTES_MAX: usize = 16 * 1024;

/// Tells the answers of one attempt.
pub(super) struct Teller<'a> {
    bus: &'a Bus,
    secrets: &'a Secrets,
    attempt: Attempt<'a>,
    subject: WordsSubject,
    answer: u32,
    telling: Telling,
}

impl<'a> Teller<'a> {
    pub(super) fn new(bus: &'a Bus, secrets: &'a Secrets, agent: &AgentVersion, attempt: Attempt<'a>) -> Self {
        let subject = WordsSubject { agent: agent.clone(), run_id: attempt.task.run_id };
        Self { bus, secrets, attempt, subject, answer: 0, telling: Telling::default() }
    }

    /// The model begins its next answer.
    pub(super) fn begin(&mut self) {
        self.answer += 1;
        self.telling = Telling::default();
    }

    /// Tells what is due of an answer's text so far.
    pub(super) fn say(&mut self, text: &str) {
        self.tell(text, false);
    }

    /// Tells the rest of an answer.
    pub(super) fn end(&mut self, text: &str) {
        self.tell(text, true);
    }

    /// When the text so far is to be told, if some of it is not.
    pub(super) fn due(&self, text: &str) -> Option<Instant> {
        self.telling.due.filter(|_| !self.telling.ended && text.len() > self.telling.taken)
    }

    fn tell(&mut self, text: &str, whole: bool) {
        while let Some(Piece { offset, text, last }) = self.telling.next(text, whole, Instant::now(), self.secrets) {
            let task = self.attempt.task;
            let words = Words { task: task.task.clone(), token: task.token, answer: self.answer, offset, text, last };
            if !self.bus.tell_words(&self.subject, words.encode()) {
                tracing::debug!(run = %task.run_id, task = %task.task, offset, "there is no way to tell some words");
            }
        }
    }
}

/// A piece of an answer, as it is told.
#[derive(Debug, PartialEq, Eq)]
struct Piece {
    offset: u64,
    text: String,
    last: bool,
}

/// How far an answer is told.
#[derive(Debug, Default)]
struct Telling {
    /// Bytes of the answer that are told or left out.
    taken: usize,
    /// Bytes as they were told: where a secret stood, its name did.
    told: u64,
    /// When the next piece is due; `None` before the first, which waits for nothing.
    due: Option<Instant>,
    ended: bool,
}

impl Telling {
    /// The next piece of an answer that is `text` so far, or as a whole; `None` if nothing is due.
    fn next(&mut self, text: &str, whole: bool, now: Instant, secrets: &Secrets) -> Option<Piece> {
        let rest = text.get(self.taken..)?;
        let due = self.due.is_none_or(|due| now >= due) || rest.len() >= WAITING_BYTES_MAX;
        if self.ended || !(due || whole) {
            return None;
        }
        let secret = secrets.first_in(rest);
        let before = secret.as_ref().map_or(rest.len(), |(_, at)| *at);
        let safe = if whole { before } else { secrets.begun_in(rest).unwrap_or(before).min(before) };
        let len = rest.floor_char_boundary(safe.min(PIECE_BYTES_MAX));
        let mut said = rest.get(..len)?.to_owned();
        match secret {
            Some((name, at)) if at == len => {
                said.push_str(&format!("[secret:{name}]"));
                self.ended = true;
            }
            _ => self.ended = whole && len == rest.len(),
        }
        if said.is_empty() && !(self.ended && self.told > 0) {
            return None;
        }
        let offset = self.told;
        self.taken += len;
        self.told += said.len() as u64;
        self.due = Some(now + PIECE_INTERVAL);
        Some(Piece { offset, text: said, last: self.ended })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const SECRET: &str = "sk-0123456789";

    fn secrets(values: &[(&str, &str)]) -> Secrets {
        let environment =
            values.iter().map(|(name, value)| (format!("KAPELLE_SECRET_{name}").into(), (*value).into())).collect();
        let names: Vec<_> = values.iter().map(|(name, _)| name.to_lowercase().parse().unwrap()).collect();
        Secrets::find(&names, None, &environment).unwrap()
    }

    /// Lets an answer grow by so many bytes at a time, half an interval each, and gives the pieces that are told of it.
    fn told(text: &str, step: usize, secrets: &Secrets) -> Vec<Piece> {
        let (mut telling, mut now, mut pieces) = (Telling::default(), Instant::now(), Vec::new());
        for end in (0..text.len()).step_by(step).chain([text.len()]) {
            let so_far = &text[..text.floor_char_boundary(end)];
            while let Some(piece) = telling.next(so_far, false, now, secrets) {
                pieces.push(piece);
            }
            now += PIECE_INTERVAL / 2;
        }
        while let Some(piece) = telling.next(text, true, now, secrets) {
            pieces.push(piece);
        }
        pieces
    }

    fn joined(pieces: &[Piece]) -> String {
        let mut text = String::new();
        for piece in pieces {
            assert_eq!(piece.offset, text.len() as u64, "{pieces:?}");
            text.push_str(&piece.text);
        }
        assert!(pieces.iter().rev().skip(1).all(|it| !it.last), "{pieces:?}");
        assert!(pieces.last().is_none_or(|it| it.last), "{pieces:?}");
        text
    }

    #[test]
    fn pieces_join_to_the_answer_however_it_grows() {
        let text = "Grüße aus der Kapelle. ".repeat(40);
        let secrets = secrets(&[("KEY", SECRET)]);
        for step in [1, 3, 50, 10_000] {
            let pieces = told(&text, step, &secrets);
            assert_eq!(joined(&pieces), text, "{step}");
            assert!(pieces.len() <= text.len() / step / 2 + 3, "{step}: {} pieces", pieces.len());
        }
        assert_eq!(told("", 1, &secrets), []);
    }

    #[test]
    fn a_piece_waits_for_its_time_or_for_its_size() {
        let none = Secrets::default();
        let (mut telling, start) = (Telling::default(), Instant::now());
        let next = |telling: &mut Telling, len: usize, ms| {
            let piece = telling.next(&"x".repeat(len), false, start + Duration::from_millis(ms), &none);
            piece.map(|it| (it.offset, it.text.len()))
        };
        assert_eq!(next(&mut telling, 5, 0), Some((0, 5)), "the first waits for nothing");
        assert_eq!(next(&mut telling, 9, 99), None);
        assert_eq!(next(&mut telling, 9, 100), Some((5, 4)));
        assert_eq!(next(&mut telling, 9, 900), None, "nothing new is nothing to tell");
        assert_eq!(next(&mut telling, 9 + WAITING_BYTES_MAX, 901), Some((9, WAITING_BYTES_MAX)));
        let much = 9 + WAITING_BYTES_MAX + 2 * PIECE_BYTES_MAX;
        assert_eq!(next(&mut telling, much, 902), Some((9 + WAITING_BYTES_MAX as u64, PIECE_BYTES_MAX)));
    }

    /// However an answer is cut into pieces, not one byte of a secret is told, nor anything behind it.
    #[test]
    fn a_secret_is_told_by_its_name_and_is_the_last_that_is_told() {
        let secrets = secrets(&[("KEY", SECRET), ("LONGER", "sk-0123456789-and-more"), ("QUOTED", "a\"quoted\" one")]);
        for step in 1..40 {
            for (text, says) in [
                (format!("the key is {SECRET}, and so on"), "the key is [secret:key]"),
                (format!("the key is {SECRET}-and-more."), "the key is [secret:longer]"),
                (SECRET.to_owned(), "[secret:key]"),
                (r#"{"it": "a\"quoted\" one"}"#.to_owned(), r#"{"it": "[secret:quoted]"#),
                ("sk-012 and sk-0123 are none: sk-".to_owned(), "sk-012 and sk-0123 are none: sk-"),
            ] {
                let pieces = told(&text, step, &secrets);
                let heard = joined(&pieces);
                // A secret that is the beginning of another is known before it is known which one it is.
                assert!(heard == says || (says.contains("longer") && heard == "the key is [secret:key]"), "{heard}");
            }
        }
    }

    #[test]
    fn what_may_be_a_secret_is_held_back_until_it_is_none() {
        let secrets = secrets(&[("KEY", SECRET)]);
        let (mut telling, mut now) = (Telling::default(), Instant::now());
        let mut next = |text: &str| {
            now += PIECE_INTERVAL;
            telling.next(text, false, now, &secrets).map(|it| it.text)
        };
        assert_eq!(next("so: sk-012345"), Some("so: ".to_owned()));
        assert_eq!(next("so: sk-012345678"), None);
        assert_eq!(next("so: sk-012345678x"), Some("sk-012345678x".to_owned()));
    }
}
