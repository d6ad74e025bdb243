//! `kapelle agent …` and `kapelle workflow …`: what is registered.

use clap::Subcommand;
use kapelle_proto::v1;

use crate::app::{App, End};
use crate::exit::Exit;
use crate::failure::Failure;
use crate::output::{Table, bold, yaml};
use crate::view;

/// What can be asked about registered manifests.
#[derive(Debug, Subcommand)]
pub(crate) enum Verb {
    /// Every registered version
    List,
    /// One version: who owns it, where it came from, its manifest
    Describe {
        /// The name, or name@version; without a version the highest
        name: String,
    },
}

/// `kind` is `Agent` or `Workflow`.
pub(crate) async fn run(app: &App, kind: &str, verb: Verb) -> End {
    match verb {
        Verb::List => list(app, kind).await?,
        Verb::Describe { name } => describe(app, kind, &name).await?,
    }
    Ok(Exit::Ok)
}

async fn list(app: &App, kind: &str) -> Result<(), Failure> {
    let client = app.client().await?;
    let request = v1::ListManifestsRequest { kind: kind.to_owned() };
    let answer = client.registry().list_manifests(request).await.map_err(|s| client.failure(s))?.into_inner();
    let manifests: Vec<view::Manifest> = answer.manifests.into_iter().map(Into::into).collect();
    app.output.show(&manifests, |manifests| table(kind, manifests))
}

async fn describe(app: &App, kind: &str, name: &str) -> Result<(), Failure> {
    let (name, version) = name.split_once('@').unwrap_or((name, ""));
    let client = app.client().await?;
    let manifest = view::Manifest::from(client.stored(kind, name, version).await?);
    app.output.show(&manifest, page)
}

fn table(kind: &str, manifests: &[view::Manifest]) -> String {
    // Only agents have a risk and are retired, so only they have these columns.
    let columns: &[&str] = if kind == "Agent" {
        &["name", "version", "owner", "digest", "risk", "standing"]
    } else {
        &["name", "version", "owner", "digest"]
    };
    let mut table = Table::new(columns);
    for m in manifests {
        let digest: String = m.digest.chars().take(12).collect();
        let deprecated = if m.deprecation.is_some() { "DEPRECATED" } else { "-" };
        let standing = m.standing.as_ref().map_or(deprecated, |it| &it.status);
        let cells = [m.name.as_str(), &m.version, &m.owner, &digest, m.risk.as_deref().unwrap_or("-"), standing];
        table.row(cells.into_iter().take(columns.len()));
    }
    table.render(&format!("No {}s are registered. Register some with `kapelle apply -f FILE`.", kind.to_lowercase()))
}

fn page(m: &view::Manifest) -> String {
    let origin = if m.origin.is_empty() { "-" } else { &m.origin };
    let title = bold(&format!("{} {}@{}", m.kind, m.name, m.version));
    let manifest = yaml(&m.manifest).unwrap_or_else(|e| e.message().to_owned());
    let risk = m.risk.as_ref().map(|it| format!("risk    {it}\n")).unwrap_or_default();
    let told = |it: &view::Standing| format!("status  {} {}\n", it.status, it.told());
    let standing = m.standing.as_ref().map(told).unwrap_or_default();
    let until = |it: &view::Deprecation| format!("sunset  DEPRECATED by {}: {}\n", it.by, it.until());
    let deprecation = m.deprecation.as_ref().map(until).unwrap_or_default();
    let forced = if m.force_reason.is_empty() { String::new() } else { format!("forced  {}\n", m.force_reason) };
    let owner = &m.owner;
    format!(
        "{title}\nowner   {owner}\n{risk}{standing}{deprecation}{forced}digest  {}\norigin  {origin}\n\n{manifest}",
        m.digest
    )
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    #[test]
    fn lists_and_pages() {
        let manifest = view::Manifest {
            kind: "Agent".into(),
            name: "inventory".into(),
            version: "1.0.0".into(),
            owner: "platform@example.com".into(),
            risk: Some("limited".into()),
            standing: Some(view::Standing {
                status: "RETIRED".into(),
                by: "ada@example.com".into(),
                at: Some("2026-11-22T10:00:00.000Z".into()),
                why: "replaced by 2.0.0".into(),
            }),
            deprecation: Some(view::Deprecation {
                sunset: "2027-01-31T00:00:00.000Z".into(),
                successor: Some("2.0.0".into()),
                by: "ada@example.com".into(),
                at: Some("2026-11-22T10:00:00.000Z".into()),
                why: "slower".into(),
                over: false,
            }),
            force_reason: "agreed with all owners".into(),
            digest: "0123456789abcdef".into(),
            origin: String::new(),
            manifest: json!({ "kind": "Agent", "spec": { "runtime": { "process": { "command": ["python3", "a.py"] } } } }),
        };
        insta::assert_snapshot!("list", table("Agent", std::slice::from_ref(&manifest)));
        insta::assert_snapshot!("describe", anstream::adapter::strip_str(&page(&manifest)).to_string());
        assert_eq!(table("Workflow", &[]), "No workflows are registered. Register some with `kapelle apply -f FILE`.");
    }
}
