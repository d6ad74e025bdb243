//! Questions to policies about one caller: `explain` and `permissions`.

use kapelle_policy::{Action, Agents, Decision, Permissions, Place, Policies, Resource, permissions};
use kapelle_types::{AgentVersion, Caller, Namespace, Partitions, Principal, Role};

use super::Source;
use crate::app::App;
use crate::failure::Failure;
use crate::output::{bold, dim};

/// How the caller of a question is named; policies look at names only to compare them with owners.
const SOMEBODY: &str = "somebody";

/// A caller who does something.
#[derive(Debug, clap::Args)]
pub(crate) struct Question {
    /// A role of the caller; repeat it for more
    #[arg(long = "role", value_name = "ROLE", required = true)]
    roles: Vec<Role>,
    /// What the caller does: a method such as kapelle.v1.RunService/Submit, see_payloads, or nats/… as `check` lists them
    #[arg(long)]
    action: String,
    /// The caller's namespace
    #[arg(long, default_value_t)]
    namespace: Namespace,
    /// The namespace that it is done in
    #[arg(long, value_name = "NAMESPACE", default_value_t)]
    of: Namespace,
    /// It is done to a run that the caller submitted
    #[arg(long)]
    own: bool,
    /// The caller was given payload access
    #[arg(long)]
    sees_payloads: bool,
    /// The person that the caller's credential stands for. Default: none, it stands for a system
    #[arg(long)]
    person: Option<String>,
    #[command(flatten)]
    source: Source,
}

impl Question {
    pub(super) async fn explain(self, app: &App) -> Result<(), Failure> {
        let policies = self.source.load(app).await?;
        let caller = Caller {
            principal: Principal(SOMEBODY.to_owned()),
            person: self.person,
            roles: self.roles.into_iter().collect(),
            namespace: Some(self.namespace),
            sees_payloads: self.sees_payloads,
            groups: std::collections::BTreeSet::new(),
        };
        let resource = Resource::of(self.of);
        let resource = if self.own { resource.owned_by(caller.principal.clone()) } else { resource };
        let decision = policies.decide(&caller, &Action::rpc(&self.action), &resource);
        app.output.show(&*decision, |decision| page(&policies, decision))
    }
}

/// The verdict, why, and the policy as it was written.
pub(super) fn page(policies: &Policies, decision: &Decision) -> String {
    let mut lines =
        vec![format!("{}  by {}", bold(&decision.verdict.to_string()), decision.policy), decision.why.clone()];
    lines.extend(decision.log_only.iter().map(|id| format!("LOG_ONLY: {id} would have decided otherwise")));
    lines.extend(decision.errors.iter().map(|error| format!("error: {error}")));
    if let Some(rule) = policies.rule(&decision.policy) {
        lines.push(format!("\n{}\n{}", dim(&rule.file), rule.text.trim()));
    }
    lines.join("\n")
}

/// A connection to the broker.
#[derive(Debug, clap::Args)]
pub(crate) struct Connection {
    /// A role of who connects; repeat it for more
    #[arg(long = "role", value_name = "ROLE", required = true)]
    roles: Vec<Role>,
    /// An agent whose tasks a worker takes, as name@version; repeat it for more
    #[arg(long = "agent", value_name = "AGENT")]
    agents: Vec<AgentVersion>,
    /// The id of the worker or coordinator, as its presence shows it. Default: any
    #[arg(long, default_value = "*")]
    id: String,
    /// What the connection's inboxes begin with: of Kapelle's parts, _INBOX_<user>. The default is that of NATS clients; who
    /// may read one such inbox may read all
    #[arg(long, value_name = "PREFIX", default_value = "_INBOX")]
    inbox: String,
    /// The number of partitions that are provisioned
    #[arg(long, value_name = "N", default_value = "4", value_parser = partitions)]
    partitions: Partitions,
    /// The namespace of who connects, and of the account
    #[arg(long, default_value_t)]
    namespace: Namespace,
    #[command(flatten)]
    source: Source,
}

fn partitions(text: &str) -> Result<Partitions, String> {
    text.parse().ok().and_then(Partitions::new).ok_or_else(|| "a number from 1 to 65535".to_owned())
}

impl Connection {
    pub(super) async fn permissions(self, app: &App) -> Result<(), Failure> {
        let policies = self.source.load(app).await?;
        let caller = Caller {
            principal: Principal(SOMEBODY.to_owned()),
            person: None,
            roles: self.roles.into_iter().collect(),
            namespace: Some(self.namespace.clone()),
            sees_payloads: false,
            groups: std::collections::BTreeSet::new(),
        };
        let place = Place {
            namespace: self.namespace,
            id: self.id,
            inbox: self.inbox,
            partitions: self.partitions,
            agents: Agents::of(caller.roles.iter().copied(), Agents::Named(self.agents)),
        };
        app.output.show(&permissions(&policies, &caller, &place), Permissions::to_string)
    }
}
