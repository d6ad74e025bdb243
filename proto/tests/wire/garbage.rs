//! Whatever is not ours is refused for a named reason, and what a newer release wrote is told from garbage.

use bytes::Bytes;
use kapelle_engine::{Channel, Record, Stamp};
use kapelle_proto::subject::{
    DeadSubject, EventSubject, RunSubject, SubmitSubject, TaskSubject, TimerSubject, WordsSubject,
};
use kapelle_proto::v1::log_entry::Body;
use kapelle_proto::v1::payload_data::Content;
use kapelle_proto::{
    DeadLetterRecord, DecodeError, INLINE_BYTES_ACCEPTED_MAX, Task, Words, decode_record, encode_record, v1,
};
use kapelle_types::limits::{JSON_DEPTH_MAX, WORDS_BYTES_MAX};
use proptest::collection::vec;
use proptest::prelude::*;
use prost::Message;

use crate::arbitrary;

proptest! {
    #[test]
    fn bytes_are_refused_or_read(bytes in vec(any::<u8>(), 0..400)) {
        decode_everything(&bytes.into());
    }

    #[test]
    fn a_spoilt_record_is_refused_or_read(
        entries in vec(arbitrary::entry(), 1..3), at: prop::sample::Index, byte: u8, cut: prop::sample::Index,
    ) {
        let mut bytes = encode_record(&entries).to_vec();
        let at = at.index(bytes.len());
        bytes[at] = byte;
        decode_everything(&bytes.clone().into());
        bytes.truncate(cut.index(bytes.len() + 1));
        decode_everything(&bytes.into());
    }

    #[test]
    fn a_spoilt_task_is_refused_or_read(task in arbitrary::task(), at: prop::sample::Index, byte: u8) {
        let mut bytes = task.encode().to_vec();
        let at = at.index(bytes.len());
        bytes[at] = byte;
        decode_everything(&bytes.into());
    }

    /// What is read prints as it was: no second spelling of a subject is taken for the first.
    #[test]
    fn texts_are_no_subjects_or_their_own(text in prop_oneof![
        any::<String>(),
        "kapelle\\.(run|live\\.run|timer|task|words|dead|submit|event)(\\.[a-z0-9_:=*>A-F-]{0,8}){0,7}",
        "kapelle\\.(run|live\\.run|timer)\\.[0-9+]{1,5}\\.[0-9a-fA-F]{8}(-[0-9a-f]{4}){3}-[0-9a-f]{12}\\.[a-z=0-9.]{0,20}",
    ]) {
        parse_everything(&text);
    }
}

fn decode_everything(bytes: &Bytes) {
    let _ = record(bytes);
    let _ = Task::decode(bytes);
    let _ = DeadLetterRecord::decode(bytes);
    let _ = Words::decode(bytes);
}

fn parse_everything(text: &str) {
    own::<RunSubject>(text);
    own::<TimerSubject>(text);
    own::<TaskSubject>(text);
    own::<DeadSubject>(text);
    own::<WordsSubject>(text);
    own::<SubmitSubject>(text);
    own::<EventSubject>(text);
}

fn own<S: std::str::FromStr + ToString>(text: &str) {
    if let Ok(subject) = text.parse::<S>() {
        assert_eq!(subject.to_string(), text);
    }
}

fn record(bytes: &Bytes) -> Result<Record, DecodeError> {
    decode_record(Channel::Report, Stamp::default(), bytes)
}

fn refused(version: u32, entries: Vec<v1::LogEntry>) -> DecodeError {
    record(&v1::LogRecord { version, entries }.encode_to_vec().into()).unwrap_err()
}

fn entry(body: Body) -> Vec<v1::LogEntry> {
    vec![v1::LogEntry { body: Some(body), ..Default::default() }]
}

fn succeeded(content: Content) -> Vec<v1::LogEntry> {
    let output = Some(v1::PayloadData { content: Some(content) });
    entry(Body::StepSucceeded(v1::StepSucceeded { step: "a".into(), output, ..Default::default() }))
}

/// A field that no message of this release has, with three bytes in it.
const NEWS: [u8; 6] = [0xfa, 0x3e, 3, 1, 2, 3]; // tag 1007, length-delimited

/// A record with one entry, written by hand.
fn by_hand(entry: &[u8]) -> Bytes {
    let mut bytes = vec![8, 1, 0x12, u8::try_from(entry.len()).unwrap()];
    bytes.extend_from_slice(entry);
    bytes.into()
}

#[test]
fn garbage_is_not_news() {
    for error in [
        record(&Bytes::new()).unwrap_err(),
        record(&Bytes::from_static(b"{\"version\":1}")).unwrap_err(),
        refused(0, entry(Body::ResumeRequested(v1::ResumeRequested {}))),
        refused(1, vec![]),
        refused(1, vec![v1::LogEntry::default()]),
        refused(1, entry(Body::StepFailed(v1::StepFailed { step: "a".into(), ..Default::default() }))),
        refused(1, entry(Body::TimerFired(v1::TimerFired { timer: "tea".into() }))),
        refused(1, entry(Body::RunFinished(v1::RunFinished::default()))),
        record(&by_hand(&[])).unwrap_err(),
    ] {
        assert!(!error.is_newer(), "{error}");
    }
}

#[test]
fn a_newer_version_is_named() {
    let error = refused(2, entry(Body::ResumeRequested(v1::ResumeRequested {})));
    assert!(matches!(error, DecodeError::Version(2)) && error.is_newer());
    let task = Bytes::from(v1::TaskMessage { version: 3, ..Default::default() }.encode_to_vec());
    assert!(matches!(Task::decode(&task), Err(DecodeError::Version(3))));
}

#[test]
fn words_are_of_an_answer_of_an_attempt_and_no_longer_than_a_piece() {
    let words = v1::WordsMessage { version: 1, step: "a".into(), attempt: 1, answer: 1, ..Default::default() };
    let read = |wire: v1::WordsMessage| Words::decode(&Bytes::from(wire.encode_to_vec()));
    let long = v1::WordsMessage { text: "x".repeat(WORDS_BYTES_MAX), ..words.clone() };
    assert!(read(words.clone()).is_ok() && read(long.clone()).is_ok());
    for wrong in [
        v1::WordsMessage { answer: 0, ..words.clone() },
        v1::WordsMessage { step: "A".into(), ..words.clone() },
        v1::WordsMessage { token: vec![7; 15].into(), ..words.clone() },
        v1::WordsMessage { text: format!("{}y", long.text), ..words.clone() },
    ] {
        assert!(!read(wrong).unwrap_err().is_newer());
    }
    assert!(read(v1::WordsMessage { version: 2, ..words }).unwrap_err().is_newer());
}

#[test]
fn a_newer_kind_of_entry_is_named() {
    let error = record(&by_hand(&NEWS)).unwrap_err();
    assert!(matches!(error, DecodeError::Unknown("body")), "{error}");
    let finished = v1::RunFinished { status: 42, ..Default::default() };
    assert!(refused(1, entry(Body::RunFinished(finished))).is_newer());
}

#[test]
fn a_newer_kind_of_payload_is_named() {
    let mut output = vec![0x5a, 11, 0x0a, 1, b'a', 0x1a, 6]; // step_succeeded { step: "a", output: news }
    output.extend_from_slice(&NEWS);
    let error = record(&by_hand(&output)).unwrap_err();
    assert!(matches!(error, DecodeError::Unknown("output")), "{error}");
}

#[test]
fn a_newer_field_beside_a_known_body_is_passed_over() {
    let mut bytes = vec![0x8a, 1, 0]; // resume_requested {}
    bytes.extend_from_slice(&NEWS);
    assert_eq!(record(&by_hand(&bytes)).unwrap().entries.len(), 1);
}

#[test]
fn a_million_empty_entries_are_refused_at_the_first() {
    let mut bytes = vec![8, 1];
    bytes.extend([0x12, 0].repeat(1_000_000));
    assert!(matches!(record(&bytes.into()), Err(DecodeError::Missing("body"))));
}

#[test]
fn payloads_are_bounded() {
    let text = |bytes: usize| Bytes::from(format!("\"{}\"", "x".repeat(bytes - 2)));
    let error = refused(1, succeeded(Content::Inline(text(INLINE_BYTES_ACCEPTED_MAX + 1))));
    assert!(matches!(error, DecodeError::TooLarge { field: "output", .. }), "{error}");
    let fits = succeeded(Content::Inline(text(INLINE_BYTES_ACCEPTED_MAX)));
    record(&v1::LogRecord { version: 1, entries: fits }.encode_to_vec().into()).unwrap();

    let nested = |levels: usize| succeeded(Content::Inline(("[".repeat(levels) + &"]".repeat(levels)).into()));
    let deepest = v1::LogRecord { version: 1, entries: nested(JSON_DEPTH_MAX - 1) };
    record(&deepest.encode_to_vec().into()).unwrap();
    assert!(matches!(refused(1, nested(JSON_DEPTH_MAX)), DecodeError::Invalid { field: "output", .. }));
    assert!(matches!(refused(1, nested(10_000)), DecodeError::Invalid { field: "output", .. }));
    assert!(matches!(refused(1, succeeded(Content::Inline("{".into()))), DecodeError::Invalid { .. }));
    let short = v1::PayloadReference { sha256: Bytes::from_static(b"short"), size_bytes: 1 };
    assert!(matches!(refused(1, succeeded(Content::Reference(short))), DecodeError::Invalid { .. }));
}
