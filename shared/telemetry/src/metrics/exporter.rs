//! The HTTP listener that Prometheus scrapes.

use std::io;
use std::net::{SocketAddr, TcpListener};

use ::metrics::{describe_counter, describe_gauge, describe_histogram};
use kapelle_types::{Code, Diagnosis};
use metrics_exporter_prometheus::{BuildError, Matcher, PrometheusBuilder, PrometheusHandle};
use tracing::{info, warn};

use super::{ALL, Kind};

/// Why there are no metrics.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// The address is taken or may not be listened on.
    #[error("metrics cannot be served on {addr}: {source}")]
    Listen {
        /// The address that was asked for.
        addr: SocketAddr,
        /// What the operating system says.
        source: io::Error,
    },
    /// The recorder cannot be set up; most likely there is one in this process already.
    #[error("metrics cannot be recorded")]
    Recorder(#[from] BuildError),
}

impl From<&Error> for Diagnosis {
    fn from(error: &Error) -> Self {
        match error {
            Error::Listen { addr, .. } => Self::new(Code::PORT_TAKEN, error.to_string()).hint(format!(
                "See who holds it with `ss -ltnp 'sport = :{}'`, or name another address for the metrics.",
                addr.port()
            )),
            // The port was lost between our look and the exporter's; a second recorder is a mistake that tests meet.
            Error::Recorder(cause) => Self::new(Code::PORT_TAKEN, format!("{error}: {cause}")),
        }
    }
}

/// The metrics of this process, being served until the runtime ends.
#[derive(Clone)]
pub struct Handle {
    addr: SocketAddr,
    prometheus: PrometheusHandle,
}

impl Handle {
    /// Where they are served: every path but `/health`, which says OK, answers with them.
    #[must_use]
    pub const fn addr(&self) -> SocketAddr {
        self.addr
    }

    /// What a scrape would get now.
    #[must_use]
    pub fn render(&self) -> String {
        self.prometheus.render()
    }
}

/// Records this process's metrics and serves them. Call it once, before any handle of a metric is taken: one that was
/// taken earlier records nothing. Port 0 picks a free one.
///
/// # Errors
/// If the address cannot be listened on, or the process records metrics already.
///
/// # Panics
/// Outside a tokio runtime.
pub fn install(addr: SocketAddr) -> Result<Handle, Error> {
    // The exporter binds by itself and tells of a failure as text only, and not which port it got for 0.
    let addr = TcpListener::bind(addr).and_then(|l| l.local_addr()).map_err(|source| Error::Listen { addr, source })?;
    // `build` also spawns the upkeep without which histograms grow for ever; `install_recorder` would not.
    let (recorder, exporter) = builder()?.with_http_listener(addr).build()?;
    let prometheus = recorder.handle();
    ::metrics::set_global_recorder(recorder).map_err(BuildError::from)?;
    describe();
    tokio::spawn(async move {
        if let Err(error) = exporter.await {
            warn!(?error, "metrics are no longer served");
        }
    });
    info!(%addr, "metrics are served");
    Ok(Handle { addr, prometheus })
}

/// Without buckets a histogram would come out as a summary, which cannot be added up over processes.
fn builder() -> Result<PrometheusBuilder, BuildError> {
    ALL.iter().filter(|m| m.kind == Kind::Histogram).try_fold(PrometheusBuilder::new(), |builder, metric| {
        builder.set_buckets_for_metric(Matcher::Full(metric.name.to_owned()), metric.buckets)
    })
}

fn describe() {
    for metric in ALL {
        match metric.kind {
            Kind::Counter => describe_counter!(metric.name, metric.help),
            Kind::Gauge => describe_gauge!(metric.name, metric.help),
            Kind::Histogram => describe_histogram!(metric.name, metric.help),
        }
    }
}
