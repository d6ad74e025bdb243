//! W3C trace context: the `traceparent` that travels in NATS headers, gRPC metadata and the envelope of entries.
//!
//! Pure: whoever starts a trace or a span brings the random numbers. <https://www.w3.org/TR/trace-context/>

use std::fmt;
use std::num::{NonZeroU64, NonZeroU128};
use std::str::FromStr;

/// One span's place in a trace.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub struct TraceParent {
    trace_id: NonZeroU128,
    span_id: NonZeroU64,
    sampled: bool,
}

/// A header that is not a `traceparent`. It is treated as if there were none.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("not a W3C traceparent")]
pub struct Invalid;

impl TraceParent {
    /// The first span of a new trace, from random numbers (a run's trace id may be its run id). Zero, which the
    /// standard forbids, becomes one.
    #[must_use]
    pub fn root(trace_id: u128, span_id: u64, sampled: bool) -> Self {
        Self { trace_id: trace_id.try_into().unwrap_or(NonZeroU128::MIN), span_id: nonzero(span_id), sampled }
    }

    /// A span below this one, in the same trace.
    #[must_use]
    pub fn child(self, span_id: u64) -> Self {
        Self { span_id: nonzero(span_id), ..self }
    }

    /// The id that all spans of the trace share.
    #[must_use]
    pub const fn trace_id(self) -> u128 {
        self.trace_id.get()
    }

    /// The id of this span.
    #[must_use]
    pub const fn span_id(self) -> u64 {
        self.span_id.get()
    }

    /// Whether whoever started the trace records it.
    #[must_use]
    pub const fn sampled(self) -> bool {
        self.sampled
    }
}

fn nonzero(id: u64) -> NonZeroU64 {
    id.try_into().unwrap_or(NonZeroU64::MIN)
}

impl fmt::Display for TraceParent {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "00-{:032x}-{:016x}-{:02x}", self.trace_id, self.span_id, u8::from(self.sampled))
    }
}

impl FromStr for TraceParent {
    type Err = Invalid;

    fn from_str(text: &str) -> Result<Self, Invalid> {
        let mut parts = text.split('-');
        let mut hex = |digits: usize| {
            let part = parts.next().filter(|p| p.len() == digits).ok_or(Invalid)?;
            let lower = part.bytes().all(|b| matches!(b, b'0'..=b'9' | b'a'..=b'f'));
            if lower { u128::from_str_radix(part, 16).map_err(|_| Invalid) } else { Err(Invalid) }
        };
        let (version, trace_id, span_id, flags) = (hex(2)?, hex(32)?, hex(16)?, hex(2)?);
        // A later version may add parts at the end; version 0 has none, and 255 is no version.
        if version == 0xff || (version == 0 && parts.next().is_some()) {
            return Err(Invalid);
        }
        let span_id = u64::try_from(span_id).map_err(|_| Invalid)?;
        Ok(Self {
            trace_id: trace_id.try_into().map_err(|_| Invalid)?,
            span_id: span_id.try_into().map_err(|_| Invalid)?,
            sampled: flags & 1 == 1,
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const GOOD: &str = "00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01";

    #[test]
    fn it_prints_what_it_reads() {
        let parent: TraceParent = GOOD.parse().unwrap();
        assert_eq!(parent.to_string(), GOOD);
        assert!(parent.sampled());
        let child = parent.child(7);
        assert_eq!(child.to_string(), "00-0af7651916cd43dd8448eb211c80319c-0000000000000007-01");
        assert_eq!(child.trace_id(), parent.trace_id());
    }

    #[test]
    fn later_versions_are_read_as_far_as_they_are_known() {
        let later = "42-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-fe-what-the-future-brings";
        let parent: TraceParent = later.parse().unwrap();
        assert_eq!((parent.span_id(), parent.sampled()), (0xb7ad_6b71_6920_3331, false));
    }

    #[test]
    fn everything_else_is_refused() {
        for bad in [
            "",
            "00",
            "00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331",
            "00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01-more",
            "00-0AF7651916CD43DD8448EB211C80319C-b7ad6b7169203331-01",
            "00-00000000000000000000000000000000-b7ad6b7169203331-01",
            "00-0af7651916cd43dd8448eb211c80319c-0000000000000000-01",
            "ff-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01",
            "00-+af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01",
            "00-0af7651916cd43dd8448eb211c80319-b7ad6b7169203331-01",
            "00-é0af7651916cd43dd8448eb211c8031-b7ad6b7169203331-01",
        ] {
            assert_eq!(bad.parse::<TraceParent>(), Err(Invalid), "{bad}");
        }
    }

    #[test]
    fn zero_is_never_an_id() {
        let parent = TraceParent::root(0, 0, false);
        assert_eq!(parent.to_string().parse(), Ok(parent));
    }
}
