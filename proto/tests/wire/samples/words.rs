//! Samples of `words.proto`.

use kapelle_proto::v1::{TextPiece, WatchTextRequest, WordsMessage};

use super::RUN;
use crate::golden::Sample;

pub(super) fn samples() -> Vec<Sample> {
    vec![
        Sample::new(WordsMessage {
            version: 1,
            step: "review:17".into(),
            attempt: 2,
            token: vec![7; 16].into(),
            answer: 3,
            offset: 4_096,
            text: "Grüße".into(),
            last: true,
        }),
        Sample::new(WatchTextRequest { run_id: RUN.into(), step: "review:17".into() }),
        Sample::new(TextPiece {
            step: "review:17".into(),
            attempt: 2,
            agent: "licence-review@2.0.0-rc.1".into(),
            answer: 3,
            offset: 4_096,
            text: "Grüße".into(),
            last: true,
        }),
    ]
}
