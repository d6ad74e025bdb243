//! Notices by mail: plain text over SMTP, one connection a mail. The mail's id derives from the notice's.

use lettre::message::Mailbox;
use lettre::transport::smtp::authentication::Credentials;
use lettre::{AsyncSmtpTransport, AsyncTransport, Message, Tokio1Executor};
use serde_json::Value;

use super::destinations::{Security, Server};

/// Sends one notice.
pub(super) async fn send(
    server: &Server,
    (from, to): (&Mailbox, &Mailbox),
    id: &str,
    event: &Value,
) -> Result<(), String> {
    let data = |name: &str| event["data"][name].as_str().unwrap_or_default();
    let kind = event["type"].as_str().unwrap_or_default().rsplit('.').next().unwrap_or_default();
    let message = Message::builder()
        .from(from.clone())
        .to(to.clone())
        .message_id(Some(format!("<{id}@kapelle>")))
        .subject(format!("[Kapelle] {kind}: {}", one_line(data("title"))))
        .body(text(kind, event))
        .map_err(|e| e.to_string())?;
    transport(server).await?.send(message).await.map(drop).map_err(|e| e.to_string())
}

async fn transport(server: &Server) -> Result<AsyncSmtpTransport<Tokio1Executor>, String> {
    let Server { host, port, security, login } = server;
    let builder = match security {
        Security::StartTls => AsyncSmtpTransport::<Tokio1Executor>::starttls_relay(host),
        Security::Tls => AsyncSmtpTransport::<Tokio1Executor>::relay(host),
        Security::None => Ok(AsyncSmtpTransport::<Tokio1Executor>::builder_dangerous(host)),
    };
    let mut builder = builder.map_err(|e| e.to_string())?.port(*port);
    if let Some((user, file)) = login {
        // Read each time, so that a password is changed without a restart.
        let password = tokio::fs::read_to_string(file).await.map_err(|e| format!("{}: {e}", file.display()))?;
        builder = builder.credentials(Credentials::new(user.clone(), password.trim().to_owned()));
    }
    Ok(builder.build())
}

/// The mail's text: what it is about, and where to look. Nothing in it lets anybody decide.
fn text(kind: &str, event: &Value) -> String {
    let data = &event["data"];
    let told = match kind {
        "asked" => "People are asked to agree to this.",
        "changed" => "Somebody changed what would be done; who agreed before has not agreed to this.",
        "reminded" => "Nobody has decided this yet.",
        "escalated" => "Nobody has decided this yet; from now on your group may decide it too.",
        "approved" => "It was agreed to.",
        "rejected" => "It was rejected, and is not done.",
        "expired" => "Nobody decided it in time, so it is not done.",
        _ => "It does not have to be decided any more.",
    };
    let list = |name: &str| {
        let items = data[name].as_array().into_iter().flatten().filter_map(Value::as_str);
        items.collect::<Vec<_>>().join(", ")
    };
    let mut lines = vec![told.to_owned(), String::new()];
    let (title, groups, by) = (data["title"].as_str().map(one_line).unwrap_or_default(), list("groups"), list("by"));
    let text = |name: &str| data[name].as_str().unwrap_or_default().to_owned();
    for (name, value) in [
        ("what", title),
        ("workflow", text("workflow")),
        ("run", text("run_id")),
        ("step", text("step")),
        ("digest", text("digest")),
        ("groups", groups),
        ("by", by),
        ("asked at", text("asked_at")),
        ("denied at", text("expires_at")),
        ("look at it", text("look")),
    ] {
        if !value.is_empty() {
            lines.push(format!("{name:<11}{value}"));
        }
    }
    lines.extend([String::new(), "To decide, sign in: this mail lets nobody decide.".to_owned(), String::new()]);
    lines.join("\n")
}

/// A title ends no header and begins none.
fn one_line(text: &str) -> String {
    text.chars().map(|c| if c.is_control() { ' ' } else { c }).collect()
}
