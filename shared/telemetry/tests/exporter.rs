//! The listener as Prometheus meets it. One test, because a process has one recorder.
#![allow(missing_docs, clippy::unwrap_used)]

use std::io::{Read, Write};
use std::net::{SocketAddr, TcpListener, TcpStream};

use kapelle_telemetry::metrics::{self, Kind};
use kapelle_types::{Code, Diagnosis};

fn scrape(addr: SocketAddr) -> String {
    let mut stream = TcpStream::connect(addr).unwrap();
    stream.write_all(b"GET /metrics HTTP/1.1\r\nHost: x\r\nConnection: close\r\n\r\n").unwrap();
    let mut answer = String::new();
    stream.read_to_string(&mut answer).unwrap();
    assert!(answer.starts_with("HTTP/1.1 200"), "{answer}");
    answer
}

#[tokio::test]
async fn every_metric_is_served_with_help_type_and_buckets() {
    let taken = TcpListener::bind("127.0.0.1:0").unwrap();
    let refused = metrics::install(taken.local_addr().unwrap()).err().unwrap();
    let diagnosis = Diagnosis::from(&refused);
    assert_eq!(diagnosis.code, Code::PORT_TAKEN);
    assert!(diagnosis.message.contains(&taken.local_addr().unwrap().to_string()), "{diagnosis}");

    let handle = metrics::install("127.0.0.1:0".parse().unwrap()).unwrap();
    for metric in metrics::ALL {
        let values: Vec<_> = metric.labels.iter().map(|_| "x").collect();
        match metric.kind {
            Kind::Counter => metric.counter(&values).increment(1),
            Kind::Gauge => metric.gauge(&values).set(1.0),
            Kind::Histogram => metric.histogram(&values).record(0.5),
        }
    }
    let addr = handle.addr();
    let answer = tokio::task::spawn_blocking(move || scrape(addr)).await.unwrap();
    for metric in metrics::ALL {
        let name = metric.name;
        assert!(answer.contains(&format!("# HELP {name} {}\n", metric.help)), "{name}");
        let kind = format!("{:?}", metric.kind).to_lowercase();
        assert!(answer.contains(&format!("# TYPE {name} {kind}\n")), "{name}");
        for label in metric.labels {
            assert!(answer.contains(&format!("{label}=\"x\"")), "{name}");
        }
        if metric.kind == Kind::Histogram {
            let buckets = answer.lines().filter(|l| l.starts_with(&format!("{name}_bucket"))).count();
            assert_eq!(buckets, metric.buckets.len() + 1, "{name}: its own and +Inf");
        }
    }
    assert!(handle.render().contains("kapelle_runs_started_total 1\n"));
    assert!(metrics::install("127.0.0.1:0".parse().unwrap()).is_err(), "one recorder a process");
}
