//! `kapelle run watch --text`: what the models of a run's agents write, as they write it.
//!
//! Each answer stands under a heading. Where several models write at once, a heading says whose words go on. What a model
//! writes is nobody's whom a terminal should obey: its control characters are not printed.

use std::collections::BTreeMap;

use kapelle_proto::v1;

use super::watch;
use crate::app::{App, End};
use crate::client::follow_text;
use crate::output::{bold, dim};
use crate::view::{Run, Text};

/// What stands for a character that a terminal would act on.
const UNPRINTABLE: char = '\u{fffd}';

/// `kapelle run watch --text`.
pub(crate) async fn read_along(app: &App, run_id: String, step: Option<String>) -> End {
    let client = app.client().await?;
    let request = v1::WatchTextRequest { run_id, step: step.unwrap_or_default() };
    let mut page = Page::default();
    let last = follow_text(&client, &request, |piece| app.output.flow(&Text::from(piece), |text| page.piece(text)));
    let last = Run::from(last.await?);
    app.output.ending(|| format!("{}{}", page.end(), watch::line(&last)))?;
    Ok(watch::exit(&last))
}

/// Which answer words are of.
type Answer = (String, u32, u32);

/// What stands on the terminal.
#[derive(Default)]
struct Page {
    /// Whose words stand last, and whether in the middle of a line.
    now: Option<(Answer, bool)>,
    /// How far each answer that goes on was told.
    told: BTreeMap<Answer, u64>,
}

impl Page {
    /// What is to be printed for a piece.
    fn piece(&mut self, piece: &Text) -> String {
        let answer = (piece.step.clone(), piece.attempt, piece.answer);
        let mut page = String::new();
        if self.now.as_ref().is_none_or(|(now, _)| *now != answer) {
            page.push_str(self.end());
            let Text { step, attempt, agent, answer, .. } = piece;
            page.push_str(&bold(&format!("── {step}, attempt {attempt}, answer {answer}, {agent}")));
            page.push('\n');
        }
        let told = self.told.remove(&answer).unwrap_or(0);
        if let Some(missed) = piece.offset.checked_sub(told).filter(|it| *it > 0) {
            page.push_str(&dim(&format!("… {missed} bytes missed … ")));
        }
        page.extend(piece.text.chars().map(shown));
        let was_mid_line = self.now.take().is_some_and(|(_, mid_line)| mid_line);
        let mid_line = if page.is_empty() { was_mid_line } else { !page.ends_with('\n') };
        if piece.last {
            page.push_str(if mid_line { "\n" } else { "" });
        } else {
            self.told.insert(answer.clone(), piece.offset + piece.text.len() as u64);
            self.now = Some((answer, mid_line));
        }
        page
    }

    /// What ends the line that words stand in.
    fn end(&mut self) -> &'static str {
        if self.now.take().is_some_and(|(_, mid_line)| mid_line) { "\n" } else { "" }
    }
}

/// A character as it may be printed: controls, and marks that turn the direction of what is around them, are not.
fn shown(it: char) -> char {
    match it {
        '\n' | '\t' => it,
        '\u{200e}' | '\u{200f}' | '\u{202a}'..='\u{202e}' | '\u{2066}'..='\u{2069}' => UNPRINTABLE,
        it if it.is_control() => UNPRINTABLE,
        it => it,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn piece(step: &str, attempt: u32, answer: u32, offset: u64, text: &str, last: bool) -> Text {
        Text { step: step.into(), attempt, agent: "judge@1.0.0".into(), answer, offset, text: text.into(), last }
    }

    fn printed(pieces: &[Text]) -> String {
        let mut page = Page::default();
        let mut text: String = pieces.iter().map(|it| page.piece(it)).collect();
        text.push_str(page.end());
        anstream::adapter::strip_str(&text).to_string()
    }

    #[test]
    fn words_stand_under_headings_and_gaps_are_named() {
        insta::assert_snapshot!(printed(&[
            piece("judge:0", 1, 1, 0, "It is ", false),
            piece("judge:0", 1, 1, 6, "bad.", true),
            piece("judge:0", 1, 2, 0, "{\"verdict\":", false),
            piece("judge:1", 1, 1, 20, "in the middle,\nand", false),
            piece("judge:0", 1, 2, 11, "\"bad\"}\n", true),
            piece("judge:1", 1, 1, 138, "later", false),
            piece("judge:1", 2, 1, 0, "again", false),
            piece("judge:1", 2, 1, 5, "", true),
            piece("judge:2", 1, 1, 0, "cut off", false),
        ]), @r#"
        ── judge:0, attempt 1, answer 1, judge@1.0.0
        It is bad.
        ── judge:0, attempt 1, answer 2, judge@1.0.0
        {"verdict":
        ── judge:1, attempt 1, answer 1, judge@1.0.0
        … 20 bytes missed … in the middle,
        and
        ── judge:0, attempt 1, answer 2, judge@1.0.0
        "bad"}
        ── judge:1, attempt 1, answer 1, judge@1.0.0
        … 100 bytes missed … later
        ── judge:1, attempt 2, answer 1, judge@1.0.0
        again
        ── judge:2, attempt 1, answer 1, judge@1.0.0
        cut off
        "#);
    }

    #[test]
    fn no_control_character_of_a_model_reaches_the_terminal() {
        let hostile = "a\u{1b}[2J\u{1b}]0;title\u{7}b\r\u{8}\u{9b}31m\u{7f}\u{202e}c\td\ne";
        let shown = printed(&[piece("s", 1, 1, 0, hostile, true)]);
        assert!(shown.chars().all(|it| matches!(it, '\n' | '\t') || !it.is_control()), "{shown:?}");
        assert!(!shown.contains('\u{202e}') && shown.ends_with("c\td\ne\n"), "{shown:?}");
        let mut page = Page::default();
        let raw = page.piece(&piece("s", 1, 1, 0, "x\u{1b}[31m", true));
        assert_eq!(raw.matches('\u{1b}').count(), bold("").matches('\u{1b}').count(), "the heading's own: {raw:?}");
    }
}
