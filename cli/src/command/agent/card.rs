//! `kapelle agent card`: an agent as an A2A agent card (protocol 1.0), made from its manifest and from nothing else.
//!
//! What Kapelle does not do is said to be false. Where the agent answers is not in the manifest: whoever puts an A2A server
//! in front of it says so.

use kapelle_manifest::{Agent, Manifest};
use serde::Serialize;

use crate::app::{App, End};
use crate::exit::Exit;
use crate::failure::Failure;
use crate::output::{Format, Output};

/// The version of A2A that a card's interface speaks.
const PROTOCOL: &str = "1.0";
/// How an interface is spoken to, as A2A names it.
const BINDING: &str = "JSONRPC";
/// What agents take and give.
const MODE: &str = "application/json";

/// Which agent.
#[derive(Debug, clap::Args)]
pub(crate) struct Args {
    /// The name, or name@version; without a version the highest
    name: String,
    /// Where an A2A server answers for the agent, with JSON-RPC. Default: none; the card then names no interface
    #[arg(long, value_name = "URL")]
    url: Option<String>,
}

/// An agent card. The names of its fields are A2A's.
#[derive(Debug, Serialize)]
#[serde(rename_all = "camelCase")]
struct Card {
    name: String,
    description: String,
    supported_interfaces: Vec<Interface>,
    /// A2A wants an address with it: an owner without one is not named.
    #[serde(skip_serializing_if = "Option::is_none")]
    provider: Option<Provider>,
    version: String,
    capabilities: Capabilities,
    default_input_modes: [&'static str; 1],
    default_output_modes: [&'static str; 1],
    skills: Vec<Skill>,
}

#[derive(Debug, Serialize)]
#[serde(rename_all = "camelCase")]
struct Interface {
    url: String,
    protocol_binding: &'static str,
    protocol_version: &'static str,
}

#[derive(Debug, Serialize)]
struct Provider {
    organization: String,
    url: String,
}

#[derive(Debug, Serialize)]
#[serde(rename_all = "camelCase")]
struct Capabilities {
    streaming: bool,
    push_notifications: bool,
    extended_agent_card: bool,
}

#[derive(Debug, Serialize)]
struct Skill {
    id: String,
    name: String,
    description: String,
    tags: Vec<String>,
}

/// `kapelle agent card`.
pub(crate) async fn run(app: &App, args: Args) -> End {
    let (name, version) = args.name.split_once('@').unwrap_or((&args.name, ""));
    let Manifest::Agent(agent) = app.client().await?.manifest("Agent", name, version).await? else {
        return Err(Failure::plain(Exit::Failed, format!("{name} is registered as an agent and is none.")));
    };
    // A card is JSON wherever it is read.
    let output = match app.output.format() {
        Format::Yaml => app.output,
        Format::Table | Format::Json => Output::new(Format::Json),
    };
    output.show(&Card::of(&agent, args.url), |_| String::new())?;
    Ok(Exit::Ok)
}

impl Card {
    fn of(agent: &Agent, url: Option<String>) -> Self {
        let interface = url.map(|url| Interface { url, protocol_binding: BINDING, protocol_version: PROTOCOL });
        let owner = &agent.metadata.owner;
        let provider = Some(owner)
            .filter(|it| it.contains('@'))
            .map(|it| Provider { organization: it.clone(), url: format!("mailto:{it}") });
        Self {
            name: agent.metadata.name.to_string(),
            description: agent.spec.role.purpose.clone(),
            supported_interfaces: interface.into_iter().collect(),
            provider,
            version: agent.metadata.version.to_string(),
            capabilities: Capabilities { streaming: false, push_notifications: false, extended_agent_card: false },
            default_input_modes: [MODE],
            default_output_modes: [MODE],
            skills: skills(agent),
        }
    }
}

/// A skill for each capability; an agent that declares none has one, which is itself.
fn skills(agent: &Agent) -> Vec<Skill> {
    let role = &agent.spec.role;
    let own = [agent.metadata.name.to_string()];
    let ids = if role.capabilities.is_empty() { &own[..] } else { &role.capabilities };
    let skill = |id: &String| Skill {
        id: id.clone(),
        name: id.clone(),
        description: role.purpose.clone(),
        tags: id.split('.').filter(|it| !it.is_empty()).map(str::to_owned).collect(),
    };
    ids.iter().map(skill).collect()
}

#[cfg(test)]
mod tests {
    use std::path::Path;

    use serde_json::Value;

    use super::super::graph::of_files;
    use super::*;

    /// Reads the card as A2A's own types do, and gives what they write: a field that they do not know would be missing.
    fn as_a2a_has_it(card: &Value) -> Value {
        serde_json::to_value(serde_json::from_value::<a2a::AgentCard>(card.clone()).unwrap()).unwrap()
    }

    fn examples() -> Vec<Agent> {
        let root = Path::new(env!("CARGO_MANIFEST_DIR")).join("../examples");
        let folders = ["software-intake", "native-worker/manifests", "ticket-triage"].map(|folder| root.join(folder));
        let graph = of_files(&folders).unwrap();
        graph.agents().map(|agent| agent.as_ref().clone()).collect()
    }

    #[test]
    fn the_card_of_every_agent_is_one_to_a2a() {
        let agents = examples();
        assert_eq!(agents.len(), 6);
        for agent in &agents {
            for url in [None, Some("https://agents.example.com/a2a".to_owned())] {
                let card = serde_json::to_value(Card::of(agent, url)).unwrap();
                assert_eq!(as_a2a_has_it(&card), card, "{}", agent.version());
            }
        }
        assert_eq!(PROTOCOL, a2a::VERSION);
        assert_eq!(BINDING, a2a::TRANSPORT_PROTOCOL_JSONRPC);
    }

    #[test]
    fn a_card_says_what_the_manifest_says() {
        let agent = examples().into_iter().find(|it| it.metadata.name.as_str() == "licence-review").unwrap();
        let card = Card::of(&agent, Some("https://agents.example.com/a2a".to_owned()));
        insta::assert_snapshot!("card", serde_json::to_string_pretty(&card).unwrap());
    }

    #[test]
    fn what_a_manifest_does_not_say_is_not_made_up() {
        let mut agent = examples().remove(0);
        agent.metadata.owner = "The platform team".to_owned();
        agent.spec.role.capabilities.clear();
        let card = serde_json::to_value(Card::of(&agent, None)).unwrap();
        assert_eq!((&card["provider"], &card["supportedInterfaces"]), (&Value::Null, &serde_json::json!([])));
        assert_eq!((&card["skills"][0]["id"], &card["skills"][1]), (&card["name"], &Value::Null));
        assert_eq!(as_a2a_has_it(&card), card);
    }
}
