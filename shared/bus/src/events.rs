//! CloudEvents 1.0 on `kapelle.event.<type>`, for anyone who wants to know.

use kapelle_proto::subject::EventSubject;
use serde_json::{Value, json};

use crate::Bus;

impl Bus {
    /// Publishes an event in the structured JSON form of CloudEvents 1.0, at most once: an event is news, never truth.
    pub async fn emit(
        &self,
        kind: &'static str,
        subject: &str,
        id: &str,
        time: kapelle_types::Timestamp,
        data: &Value,
    ) {
        let event = json!({
            "specversion": "1.0",
            "id": id,
            "source": "kapelle/coordinator",
            "type": format!("dev.kapelle.{kind}"),
            "subject": subject,
            "time": time.rfc3339(),
            "datacontenttype": "application/json",
            "data": data,
        });
        let Ok(body) = serde_json::to_vec(&event) else { return };
        let Ok(event_type) = kind.parse() else { return };
        let to = EventSubject { kind: event_type }.to_string();
        if let Err(error) = self.client().publish(to, body.into()).await {
            tracing::debug!(%error, kind, "an event was not published");
        }
    }
}
