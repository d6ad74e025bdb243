//! What Prometheus would read from a process.

use std::collections::BTreeMap;

use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;

/// One answer of a metrics listener.
#[derive(Debug, Clone)]
pub struct Metrics {
    /// The page as it came.
    pub text: String,
    series: BTreeMap<String, f64>,
}

impl Metrics {
    /// Asks `http://<address>/metrics`.
    ///
    /// # Panics
    /// If nobody answers, or otherwise than with 200.
    pub async fn of(address: &str) -> Self {
        let mut stream = TcpStream::connect(address).await.expect("the metrics listener accepts");
        let request = format!("GET /metrics HTTP/1.1\r\nHost: {address}\r\nConnection: close\r\n\r\n");
        stream.write_all(request.as_bytes()).await.expect("the metrics listener reads");
        let mut answer = Vec::new();
        stream.read_to_end(&mut answer).await.expect("the metrics listener answers");
        let answer = String::from_utf8(answer).expect("metrics are text");
        let (head, body) = answer.split_once("\r\n\r\n").expect("an HTTP answer");
        assert!(head.starts_with("HTTP/1.1 200"), "{head}");
        let body =
            if head.to_lowercase().contains("transfer-encoding: chunked") { unchunked(body) } else { body.into() };
        let series = body.lines().filter(|l| !l.starts_with('#') && !l.is_empty()).map(|line| {
            let (name, value) = line.rsplit_once(' ').expect("a series has a value");
            (name.to_owned(), value.parse().unwrap_or_else(|_| panic!("no number: {line}")))
        });
        Self { series: series.collect(), text: body.clone() }
    }

    /// The sum of all series of this name whose labels contain `label` (empty: all); `None` if there is none.
    #[must_use]
    pub fn sum(&self, name: &str, label: &str) -> Option<f64> {
        let of_name = |series: &str| series.split('{').next() == Some(name) && series.contains(label);
        let found: Vec<f64> = self.series.iter().filter(|(s, _)| of_name(s)).map(|(_, v)| *v).collect();
        (!found.is_empty()).then(|| found.iter().sum())
    }

    /// The names of everything that is there, histograms by their own name.
    #[must_use]
    pub fn names(&self) -> std::collections::BTreeSet<String> {
        let declared = self.text.lines().filter_map(|l| l.strip_prefix("# TYPE ")?.split(' ').next());
        declared.map(str::to_owned).collect()
    }
}

/// Puts an answer in chunks together.
fn unchunked(mut body: &str) -> String {
    let mut whole = String::new();
    while let Some((size, rest)) = body.split_once("\r\n") {
        let size = usize::from_str_radix(size.trim(), 16).unwrap_or(0);
        if size == 0 {
            break;
        }
        whole.push_str(&rest[..size]);
        body = rest[size..].trim_start_matches("\r\n");
    }
    whole
}
