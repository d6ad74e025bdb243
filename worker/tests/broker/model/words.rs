//! What a model writes, as it is heard by whoever reads along.

use std::sync::Arc;

use futures::{FutureExt, Stream, StreamExt};
use kapelle_bus::words::Heard;
use kapelle_engine::TaskToken;
use kapelle_proto::Words;
use tokio::sync::Notify;

use super::*;
use crate::rig::run_id;

type Heards = std::pin::Pin<Box<dyn Stream<Item = Heard> + Send>>;

const TOKEN: [u8; 16] = [7; 16];

impl Scene {
    /// Listens to the words of the next task.
    async fn listen(&self) -> Heards {
        Box::pin(self.rig.bus.words(run_id(&format!("run-{}", self.count + 1))).await.unwrap())
    }

    /// One task, and what was heard of it.
    async fn heard(
        &mut self,
        lines: &str,
        output: &str,
        replies: impl IntoIterator<Item = Reply>,
        change: impl FnOnce(&mut Task),
    ) -> (Outcome, Vec<Words>) {
        let mut words = self.listen().await;
        let done = self.run_within(lines, output, replies, with_token(change)).await;
        // They were said before the report on the same connection, and it has been read.
        let mut heard = Vec::new();
        while let Some(Some(Heard { agent, words })) = words.next().now_or_never() {
            assert_eq!(agent.name.as_str(), "judge");
            assert_eq!(words.token, TaskToken::from_bytes(&TOKEN));
            assert_eq!(words.task.to_string(), "s:0#1");
            heard.push(words);
        }
        (done, heard)
    }
}

fn with_token(change: impl FnOnce(&mut Task)) -> impl FnOnce(&mut Task) {
    |task| {
        task.token = TaskToken::from_bytes(&TOKEN);
        change(task);
    }
}

/// The answers that pieces are of, by their numbers, and whether each was told to its end. Nothing is missing.
fn joined(words: &[Words]) -> Vec<(u32, String, bool)> {
    let mut answers: Vec<(u32, String, bool)> = Vec::new();
    for piece in words {
        if answers.last().is_none_or(|(answer, ..)| *answer != piece.answer) {
            answers.push((piece.answer, String::new(), false));
        }
        let (_, text, last) = answers.last_mut().unwrap();
        assert!(!*last, "nothing comes behind the last: {words:?}");
        assert_eq!(piece.offset, text.len() as u64, "{words:?}");
        text.push_str(&piece.text);
        *last = piece.last;
    }
    answers
}

fn delta(text: &str) -> String {
    json!({ "choices": [{ "delta": { "content": text } }] }).to_string()
}

#[tokio::test]
async fn what_a_model_writes_is_heard_while_it_writes() {
    let mut scene = Scene::start().await;
    let (go_on, mut words) = (Arc::new(Notify::new()), scene.listen().await);
    let reply = Reply::Murmur("tick ", Arc::clone(&go_on), "tock.");
    let run = scene.run_within("stream: true", "{}", [reply], with_token(|_| {}));
    let hear = async {
        // Three pieces, before the model is let go on to its end.
        let mut heard = Vec::new();
        while heard.len() < 3 {
            heard.push(words.next().await.unwrap().words);
        }
        go_on.notify_one();
        heard
    };
    let (done, mut heard) = tokio::join!(run, hear);
    while let Some(Some(it)) = words.next().now_or_never() {
        heard.push(it.words);
    }
    assert!(heard.iter().take(3).all(|it| !it.last));
    let text = done.output().0["text"].as_str().unwrap().to_owned();
    assert_eq!(joined(&heard), [(1, text, true)]);
}

#[tokio::test]
async fn pieces_join_to_the_answer() {
    let mut scene = Scene::start().await;
    let said = "Grüße aus der Kapelle. ".repeat(400);
    for (lines, pieces_min, pieces_max) in [("stream: true", 2, 40), ("stream: false", 1, 1)] {
        let (done, heard) = scene.heard(lines, "{}", [text(&said)], |_| {}).await;
        assert_eq!(done.output().0["text"].as_str(), Some(said.as_str()));
        assert_eq!(joined(&heard), [(1, said.clone(), true)]);
        assert!((pieces_min..=pieces_max).contains(&heard.len()), "{lines}: {} pieces", heard.len());
    }
}

#[tokio::test]
async fn every_answer_is_told_by_its_number_and_calls_of_tools_are_not() {
    let mut scene = Scene::start().await;
    let good = r#"{"verdict":"good"}"#;
    let calls = call("look_up", json!({ "word": "confidential" }));
    let replies = [calls, answers("a letter"), text("It is good."), text(good)];
    let (done, heard) = scene.heard(TOOLS, VERDICT, replies, |_| {}).await;
    assert_eq!(done.output().0, json!({ "verdict": "good" }));
    let told = [(2, "It is good.".to_owned(), true), (3, good.to_owned(), true)];
    assert_eq!(joined(&heard), told, "the first answer was a call");
    assert!(!format!("{heard:?}").contains("confidential"));

    for silent in [Reply::Refusal("I cannot help with that."), text("")] {
        let (_, heard) = scene.heard("stream: true", "{}", [silent], |_| {}).await;
        assert_eq!(heard, []);
    }
}

/// The key's first bytes wait until they are none of it, however long that is; nothing else does.
#[tokio::test]
async fn no_part_of_a_secret_is_told() {
    let mut scene = Scene::start().await;
    for lines in ["stream: true", "stream: false"] {
        let (done, heard) = scene.heard(lines, "{}", [text(&format!("{KEY} it is."))], |_| {}).await;
        done.failure("K0413", "`model-key`");
        assert_eq!(joined(&heard), [(1, "[secret:model-key]".to_owned(), true)], "{lines}");
    }
    // It falls silent in the middle of the key: what was before it is told all the same.
    let open = Reply::Open(vec![delta("It "), delta("is: "), delta(&KEY[..KEY.len() - 1])]);
    let late = |task: &mut Task| task.timeout = Duration::from_millis(800);
    let (done, heard) = scene.heard("stream: true", "{}", [open], late).await;
    done.failure("K0401", "0.800 s");
    assert_eq!(joined(&heard), [(1, "It is: ".to_owned(), false)]);
}

/// What is said where nobody hears it is gone, and costs the attempt nothing.
#[tokio::test]
async fn nothing_waits_for_a_connection_that_is_lost() {
    let mut rig = Rig::start().await;
    let subject = kapelle_proto::subject::WordsSubject { agent: crate::rig::echo(), run_id: run_id("gone") };
    assert!(rig.bus.tell_words(&subject, "words".into()));
    rig.server.kill9().await;
    crate::rig::eventually("the connection is lost", || async {
        (!rig.bus.tell_words(&subject, "words".into())).then_some(())
    })
    .await;
    rig.server.restart().await;
    crate::rig::eventually("it is there again", || async {
        rig.bus.tell_words(&subject, "words".into()).then_some(())
    })
    .await;
}
