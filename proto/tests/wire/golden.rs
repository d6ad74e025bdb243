//! Golden files: bytes that every release from now on must read as the same values.
//!
//! `golden/<Message>.binpb` holds the bytes, `.txtpb` the same for people, written and read by a decoder that knows only the
//! descriptors. `KAPELLE_GOLDEN=write` writes what is missing and never touches what is there: a message that gets a field
//! keeps its old sample (which does not set it) and gets another one with the field, `<Message>.<what>.binpb`. Maps have one
//! key in samples, since the other decoder does not sort them.

use std::collections::BTreeSet;
use std::fmt::Debug;
use std::fs;
use std::io::Write;
use std::path::{Path, PathBuf};

use bytes::Bytes;
use kapelle_engine::{Channel, Stamp};
use kapelle_proto::{
    DESCRIPTORS, DeadLetterRecord, Task, Words, decode_audit, decode_record, encode_audit, encode_record,
};
use prost::Message;
use prost_reflect::text_format::FormatOptions;
use prost_reflect::{DescriptorPool, DynamicMessage, MessageDescriptor};

use crate::samples;

/// One value of one message with the name of its files.
pub(crate) struct Sample {
    message: &'static str,
    file: String,
    bytes: Vec<u8>,
    reread: Reread,
}

/// Decodes stored bytes, compares the value with the sample's and encodes it again.
type Reread = Box<dyn Fn(&[u8]) -> Vec<u8>>;

impl Sample {
    /// The sample of a message that needs one only.
    pub(crate) fn new<M: Message + Default + PartialEq + Debug + 'static>(value: M) -> Self {
        Self::named("", value)
    }

    /// One sample of several.
    pub(crate) fn named<M: Message + Default + PartialEq + Debug + 'static>(what: &str, value: M) -> Self {
        let message = std::any::type_name::<M>().rsplit("::").next().unwrap();
        let file = if what.is_empty() { message.to_owned() } else { format!("{message}.{what}") };
        let bytes = value.encode_to_vec();
        let reread = move |stored: &[u8]| {
            let read = M::decode(stored).unwrap();
            assert_eq!(read, value);
            read.encode_to_vec()
        };
        Self { message, file, bytes, reread: Box::new(reread) }
    }
}

#[test]
fn every_sample_is_what_its_file_says() {
    for sample in samples::all() {
        let stored = stored(&sample.file, "binpb", &sample.bytes);
        assert_eq!(stored, sample.bytes, "{}: the sample is not written as before", sample.file);
        assert_eq!((sample.reread)(&stored), stored, "{}: what was read is not written as before", sample.file);
    }
}

#[test]
fn the_text_beside_the_bytes_says_the_same() {
    let options = FormatOptions::new().pretty(true).print_message_fields_in_index_order(true);
    for sample in samples::all() {
        let descriptor = descriptor(sample.message);
        let message = DynamicMessage::decode(descriptor.clone(), sample.bytes.as_slice()).unwrap();
        assert_eq!(message.unknown_fields().count(), 0, "{}", sample.file);
        let text = message.to_text_format_with_options(&options) + "\n";
        let stored = String::from_utf8(stored(&sample.file, "txtpb", text.as_bytes())).unwrap();
        let read = DynamicMessage::parse_text_format(descriptor, &stored).unwrap();
        assert_eq!(read.encode_to_vec(), sample.bytes, "{}", sample.file);
    }
}

#[test]
fn every_field_of_every_message_is_in_a_sample() {
    let samples = samples::all();
    for message in pool().all_messages().filter(|m| !m.is_map_entry()) {
        let values: Vec<DynamicMessage> = samples
            .iter()
            .filter(|sample| sample.message == message.name())
            .map(|sample| DynamicMessage::decode(message.clone(), sample.bytes.as_slice()).unwrap())
            .collect();
        assert!(!values.is_empty(), "{} has no sample", message.name());
        for field in message.fields() {
            let set = values.iter().any(|value| value.has_field(&field));
            assert!(set, "{}.{} is in no sample", message.name(), field.name());
        }
    }
}

#[test]
fn every_file_has_its_sample() {
    let expected: BTreeSet<String> =
        samples::all().iter().flat_map(|s| [format!("{}.binpb", s.file), format!("{}.txtpb", s.file)]).collect();
    let found = fs::read_dir(folder()).unwrap().map(|file| file.unwrap().file_name().into_string().unwrap());
    let strays: Vec<String> = found.filter(|name| !expected.contains(name)).collect();
    assert!(strays.is_empty(), "golden files that nothing reads any more: {strays:?}");
    let names = samples::all().len();
    assert_eq!(expected.len(), 2 * names, "two samples have one name");
}

#[test]
fn what_is_stored_becomes_domain_values_and_back() {
    let stamp = Stamp { seq: 7, ..Stamp::default() };
    for sample in samples::all() {
        let bytes = Bytes::from(sample.bytes);
        let again = match sample.message {
            "LogRecord" => encode_record(&decode_record(Channel::Control, stamp, &bytes).unwrap().entries),
            "TaskMessage" => Task::decode(&bytes).unwrap().encode(),
            "WordsMessage" => Words::decode(&bytes).unwrap().encode(),
            "DeadLetterMessage" => DeadLetterRecord::decode(&bytes).unwrap().encode(),
            "AuditRecord" => encode_audit(&decode_audit(&bytes).unwrap()),
            "LogEntry" => in_record(&bytes),
            _ => continue,
        };
        assert_eq!(again, bytes, "{}", sample.file);
    }
}

/// Sends an entry through a record of its own.
fn in_record(entry: &Bytes) -> Bytes {
    use kapelle_proto::v1::{LogEntry, LogRecord};
    let entry = LogEntry::decode(entry.clone()).unwrap();
    let record = Bytes::from(LogRecord { version: 1, entries: vec![entry] }.encode_to_vec());
    let read = decode_record(Channel::Report, Stamp::default(), &record).unwrap();
    let again = LogRecord::decode(encode_record(&read.entries)).unwrap();
    again.entries[0].encode_to_vec().into()
}

/// The stored file; a missing one is written if that was asked for, an existing one never.
fn stored(file: &str, extension: &str, new: &[u8]) -> Vec<u8> {
    let path = folder().join(format!("{file}.{extension}"));
    let wanted = std::env::var("KAPELLE_GOLDEN").is_ok_and(|mode| mode == "write");
    if wanted && let Ok(mut created) = fs::File::create_new(&path) {
        created.write_all(new).unwrap();
    }
    fs::read(&path).unwrap_or_else(|e| panic!("{}: {e}; KAPELLE_GOLDEN=write writes what is missing", path.display()))
}

fn folder() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("golden")
}

fn pool() -> DescriptorPool {
    DescriptorPool::decode(DESCRIPTORS).unwrap()
}

fn descriptor(message: &str) -> MessageDescriptor {
    pool().get_message_by_name(&format!("kapelle.v1.{message}")).unwrap()
}
