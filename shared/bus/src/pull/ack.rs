//! What an acknowledgement subject tells about a delivery.

use kapelle_types::Timestamp;

/// The facts that stand in the reply subject of a delivered message.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct AckInfo {
    /// How often the message was delivered, this time included.
    pub(super) delivered: u64,
    /// Its sequence in TASKS.
    pub(super) stream_seq: u64,
    /// When TASKS took it.
    pub(super) stored_at: Timestamp,
    /// How many messages waited behind it then.
    pub(super) pending: u64,
}

impl AckInfo {
    /// Reads both forms of ADR-15:
    /// `$JS.ACK.<stream>.<consumer>.<delivered>.<sseq>.<cseq>.<time>.<pending>` and
    /// `$JS.ACK.<domain>.<account>.<stream>.<consumer>.<delivered>.…`, the latter with further tokens allowed.
    pub(super) fn parse(reply: &str) -> Option<Self> {
        let mut tokens = reply.strip_prefix("$JS.ACK.")?.split('.');
        let skip = match reply.bytes().filter(|b| *b == b'.').count() + 1 {
            9 => 2,
            11.. => 4,
            _ => return None,
        };
        let delivered = tokens.nth(skip)?.parse().ok()?;
        let stream_seq = tokens.next()?.parse().ok()?;
        let stored_at = Timestamp::from_nanos(tokens.nth(1)?.parse().ok()?);
        let pending = tokens.next()?.parse().ok()?;
        Some(Self { delivered, stream_seq, stored_at, pending })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn both_forms_are_read_and_nothing_else() {
        let want = AckInfo { delivered: 3, stream_seq: 100, stored_at: Timestamp::from_nanos(1_700), pending: 42 };
        for good in [
            "$JS.ACK.TASKS.echo-1_0_0.3.100.7.1700.42",
            "$JS.ACK._.szMpdrwD.TASKS.echo-1_0_0.3.100.7.1700.42",
            "$JS.ACK.hub.szMpdrwD.TASKS.echo-1_0_0.3.100.7.1700.42.random.more",
        ] {
            assert_eq!(AckInfo::parse(good), Some(want), "{good}");
        }
        for bad in ["", "$JS.ACK.", "$JS.ACK.TASKS.c.3.100.7.1700", "$JS.ACK.TASKS.c.x.100.7.1700.42", "_INBOX.a.b"] {
            assert_eq!(AckInfo::parse(bad), None, "{bad}");
        }
    }
}
