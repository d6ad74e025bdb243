//! The fixed default ports, and what is said when one is taken.

use std::net::{Ipv4Addr, SocketAddr, TcpListener};

use kapelle_telemetry::metrics::{Handle, install};
use kapelle_types::{Code, Diagnosis};

use crate::failure::Failure;

/// The coordinator's gRPC API.
pub(crate) const GRPC: SocketAddr = local(7450);
/// The coordinator's metrics, and those of `kapelle dev`.
pub(crate) const METRICS_COORDINATOR: SocketAddr = local(7451);
/// The worker's metrics.
pub(crate) const METRICS_WORKER: SocketAddr = local(7452);
/// The embedded broker. Not 4222, where a NATS of one's own is.
pub(crate) const NATS: u16 = 7422;

const fn local(port: u16) -> SocketAddr {
    SocketAddr::new(std::net::IpAddr::V4(Ipv4Addr::LOCALHOST), port)
}

/// Fails early, and names the flag that mends it, if somebody listens there.
pub(crate) fn must_be_free(address: SocketAddr, flag: &str) -> Result<(), Failure> {
    match TcpListener::bind(address) {
        Ok(_) => Ok(()),
        Err(error) => Err(taken(&format!("{address} cannot be listened on: {error}."), address.port(), flag)),
    }
}

/// Serves this process's metrics.
pub(crate) fn metrics(address: SocketAddr) -> Result<Handle, Failure> {
    install(address).map_err(|error| {
        let diagnosis = Diagnosis::from(&error);
        taken(&diagnosis.message, address.port(), "--metrics-address")
    })
}

/// A coordinator that did not start; a taken port is its API's.
pub(crate) fn taken_grpc(diagnosis: Diagnosis) -> Failure {
    if diagnosis.code != Code::PORT_TAKEN {
        return diagnosis.into();
    }
    let hint = "Stop what holds it, or name another with `--grpc-address` (port 0 takes a free one).";
    Failure::from(diagnosis).hint(hint)
}

fn taken(message: &str, port: u16, flag: &str) -> Failure {
    let hint = format!(
        "See who holds it with `ss -ltnp 'sport = :{port}'`, or name another with `{flag}` (port 0 takes a free one)."
    );
    Failure::coded(Code::PORT_TAKEN, message, hint)
}

/// The embedded broker's port is taken.
pub(super) fn taken_nats(port: u16) -> Failure {
    taken(&format!("Port {port} on 127.0.0.1 is taken by another process."), port, "--nats-port")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_taken_port_names_its_flag() {
        let held = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).unwrap();
        let failure = must_be_free(held.local_addr().unwrap(), "--grpc-address").unwrap_err();
        assert_eq!(failure.code(), Some(Code::PORT_TAKEN));
        assert!(failure.advice().contains("`--grpc-address`"), "{}", failure.advice());
        assert!(must_be_free(local(0), "--grpc-address").is_ok());
    }
}
