//! CloudEvents 1.0 on `kapelle.event.<type>`, for anyone who wants to know.

use async_nats::HeaderMap;
use kapelle_proto::subject::EventSubject;
use serde_json::{Value, json};

use crate::{Acknowledgement, Bus, Error};

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

    /// Publishes an event with headers of its own, and waits for no answer yet: it is stored when it is acknowledged.
    ///
    /// # Errors
    /// [`Error::Unavailable`] if the connection is closed, [`Error::Unreadable`] if `kind` is no type of events.
    pub async fn publish_event(&self, kind: &str, headers: HeaderMap, body: Vec<u8>) -> Result<Acknowledgement, Error> {
        let kind = kind.parse().map_err(|_| Error::Unreadable(format!("`{kind}` is no type of events")))?;
        self.publisher().publish(EventSubject { kind }.to_string(), Some(headers), body.into()).await
    }
}
