//! Whatever is written is read as the same value, and one value has one writing.

use kapelle_engine::{Channel, Entry, Failure, RunStatus, Stamp};
use kapelle_proto::subject::{DeadSubject, RunSubject, SubmitSubject, TaskSubject, TimerSubject, WordsSubject};
use kapelle_proto::{DeadLetterRecord, Task, Words, decode_record, encode_record, v1};
use kapelle_types::{Payload, PayloadRef, Sha256, Timestamp};
use proptest::collection::vec;
use proptest::prelude::*;

use crate::arbitrary;

proptest! {
    #[test]
    fn records(entries in vec(arbitrary::entry(), 1..5), seq: u64, at: i64, control: bool) {
        let stamp = Stamp { seq, at: Timestamp::from_nanos(at) };
        let channel = if control { Channel::Control } else { Channel::Report };
        let bytes = encode_record(&entries);
        let record = decode_record(channel, stamp, &bytes).unwrap();
        prop_assert_eq!((record.stamp, record.channel), (stamp, channel));
        prop_assert_eq!(&record.entries, &entries);
        prop_assert_eq!(encode_record(&record.entries), bytes);
    }

    #[test]
    fn entries_alone(entry in arbitrary::entry()) {
        prop_assert_eq!(Entry::try_from(v1::LogEntry::from(&entry)).unwrap(), entry);
    }

    #[test]
    fn tasks(task in arbitrary::task()) {
        let bytes = task.encode();
        prop_assert_eq!(&Task::decode(&bytes).unwrap(), &task);
        prop_assert_eq!(task.encode(), bytes);
    }

    #[test]
    fn words(words in arbitrary::words()) {
        prop_assert_eq!(Words::decode(&words.clone().encode()).unwrap(), words);
    }

    #[test]
    fn words_subjects(agent in arbitrary::agent(), run_id in arbitrary::run_id()) {
        let subject = WordsSubject { agent, run_id };
        prop_assert_eq!(subject.to_string().parse::<WordsSubject>().unwrap(), subject);
    }

    #[test]
    fn dead_letters(record in arbitrary::dead_letter()) {
        prop_assert_eq!(&DeadLetterRecord::decode(&record.encode()).unwrap(), &record);
    }

    #[test]
    fn failures(failure in arbitrary::failure()) {
        prop_assert_eq!(Failure::try_from(v1::StepFailure::from(&failure)).unwrap(), failure);
    }

    #[test]
    fn statuses(status in arbitrary::status()) {
        prop_assert_eq!(RunStatus::try_from(v1::RunStatus::from(status)).unwrap(), status);
    }

    #[test]
    fn run_subjects(partition in arbitrary::partition(), run_id in arbitrary::run_id(), control: bool) {
        let channel = if control { Channel::Control } else { Channel::Report };
        let subject = RunSubject { partition, run_id, channel };
        prop_assert_eq!(subject.to_string().parse::<RunSubject>().unwrap(), subject);
    }

    #[test]
    fn timer_subjects(
        partition in arbitrary::partition(), run_id in arbitrary::run_id(), timer in arbitrary::timer(),
    ) {
        let subject = TimerSubject { partition, run_id, timer };
        prop_assert_eq!(subject.to_string().parse::<TimerSubject>().unwrap(), subject);
    }

    #[test]
    fn task_subjects(agent in arbitrary::agent(), run_id in arbitrary::run_id(), task in arbitrary::task_id()) {
        let dead = DeadSubject { agent: agent.clone(), run_id, step: task.step.clone() };
        prop_assert_eq!(dead.to_string().parse::<DeadSubject>().unwrap(), dead);
        let subject = TaskSubject { agent, run_id, task };
        prop_assert_eq!(subject.to_string().parse::<TaskSubject>().unwrap(), subject);
    }

    #[test]
    fn submit_subjects(workflow in arbitrary::workflow_name()) {
        let subject = SubmitSubject { workflow };
        prop_assert_eq!(subject.to_string().parse::<SubmitSubject>().unwrap(), subject);
    }
}

#[test]
fn a_stored_payload_travels_as_its_reference_alone() {
    let stored = PayloadRef { sha256: Sha256([9; 32]), size_bytes: 70_000 };
    let fetched = Payload { stored: Some(stored), ..Payload::inline("a large text".into()) };
    let reference = v1::PayloadData::from(&Payload::reference(stored));
    assert_eq!(v1::PayloadData::from(&fetched), reference);
}
