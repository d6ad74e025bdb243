//! Lines of a child's stdout, never more of one in memory than a line may have.

use kapelle_types::limits::PAYLOAD_BYTES_MAX;
use tokio::io::{AsyncBufReadExt, AsyncRead, BufReader};

/// Bytes of one line: a payload and what the protocol puts around it.
const LINE_BYTES_MAX: usize = PAYLOAD_BYTES_MAX + 64 * 1024;
/// Bytes that a line's buffer may keep between tasks, so that one large answer does not cost memory for ever.
const KEPT_BYTES_MAX: usize = 64 * 1024;

/// Reads lines with a bound. Cancel-safe: a line that was begun is gone on with.
#[derive(Debug)]
pub(super) struct Lines<R> {
    reader: BufReader<R>,
    line: Vec<u8>,
    complete: bool,
    max: usize,
}

/// What came instead of a line.
#[derive(Debug)]
pub(super) enum NoLine {
    /// The stream has ended, or cannot be read any more.
    End,
    /// A line has more bytes than one may have.
    TooLong,
}

impl<R: AsyncRead + Unpin> Lines<R> {
    pub(super) fn new(reader: R) -> Self {
        Self::with_limit(reader, LINE_BYTES_MAX)
    }

    fn with_limit(reader: R, max: usize) -> Self {
        Self { reader: BufReader::new(reader), line: Vec::new(), complete: true, max }
    }

    /// The next line without its end. What stands before the end of the stream counts as one.
    pub(super) async fn next(&mut self) -> Result<&[u8], NoLine> {
        if self.complete {
            self.line.clear();
            self.line.shrink_to(KEPT_BYTES_MAX);
            self.complete = false;
        }
        while !self.complete {
            let chunk = self.reader.fill_buf().await.map_err(|_| NoLine::End)?;
            if chunk.is_empty() {
                if self.line.is_empty() {
                    return Err(NoLine::End);
                }
                self.complete = true;
                break;
            }
            let end = chunk.iter().position(|b| *b == b'\n');
            let text = &chunk[..end.unwrap_or(chunk.len())];
            if self.line.len() + text.len() > self.max {
                return Err(NoLine::TooLong);
            }
            self.line.extend_from_slice(text);
            let used = text.len() + usize::from(end.is_some());
            self.complete = end.is_some();
            self.reader.consume(used);
        }
        Ok(&self.line)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn lines_come_one_by_one_and_the_last_needs_no_end() {
        let mut lines = Lines::with_limit(&b"one\n\ntwo"[..], 3);
        for want in ["one", "", "two"] {
            assert_eq!(lines.next().await.unwrap(), want.as_bytes());
        }
        assert!(matches!(lines.next().await, Err(NoLine::End)));
    }

    #[tokio::test]
    async fn a_line_without_end_is_cut_off_at_the_limit() {
        let mut lines = Lines::with_limit(tokio::io::repeat(b'x'), 100_000);
        assert!(matches!(lines.next().await, Err(NoLine::TooLong)));
        assert!(lines.line.capacity() < 300_000, "{}", lines.line.capacity());
    }
}
