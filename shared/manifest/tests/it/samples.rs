//! Manifests and agents that tests start from.

use std::sync::Arc;

use kapelle_manifest::{Agent, Agents, Manifest, Problem, check, parse};

/// An agent that uses everything there is.
pub(crate) const AGENT: &str = "\
apiVersion: kapelle.dev/v1
kind: Agent
metadata: { name: licence-review, version: 1.2.0, owner: legal-platform@example.com, labels: { domain: intake } }
spec:
  role:
    purpose: Say which licence a component carries and what it obliges us to.
    responsibilities: [classify licence, list obligations]
    capabilities: [licence.classify]
    limits: { concurrency: 32, timeout: 20s }
  input:
    schema:
      type: object
      required: [component]
      additionalProperties: false
      properties: { component: { type: object }, strict: { type: boolean } }
  output:
    schema:
      type: object
      properties: { licence: { type: string }, obligations: { type: array, items: { type: string } } }
  runtime: { process: { command: [python3, licence_review.py], protocol: jsonl } }
  retry: { max_attempts: 4, initial: 200ms, multiplier: 2, max: 10s, total: 2m, non_retryable: [invalid_input] }
";

/// The other agents of [`WORKFLOW`].
pub(crate) const AGENTS: &str = "\
apiVersion: kapelle.dev/v1
kind: Agent
metadata: { name: inventory, version: 1.0.0, owner: platform@example.com }
spec:
  role: { purpose: List what a lock file locks. }
  output:
    schema:
      type: object
      properties:
        components:
          type: array
          items: { type: object, properties: { name: { type: string }, version: { type: string } } }
  runtime: { native: {} }
---
apiVersion: kapelle.dev/v1
kind: Agent
metadata: { name: risk-score, version: 1.4.2, owner: platform@example.com }
spec:
  role: { purpose: Weigh the reviews. }
  output: { schema: { type: object, properties: { risk: { type: number } } } }
  runtime: { native: {} }
";

/// A workflow that uses everything there is.
pub(crate) const WORKFLOW: &str = "\
apiVersion: kapelle.dev/v1
kind: Workflow
metadata: { name: software-intake, version: 1.0.0, owner: platform@example.com }
spec:
  input: { schema: { type: object, required: [lockfile], properties: { lockfile: { type: string } } } }
  deadline: 1h
  steps:
    - { id: inventory, agent: inventory@^1, with: { lockfile: \"${input.lockfile}\" } }
    - id: review
      foreach: \"${steps.inventory.output.components}\"
      agent: licence-review@^1
      with: { component: \"${item}\" }
      max_parallel: 64
      timeout: 30s
      retry: { max_attempts: 2 }
    - id: score
      when: ${size(steps.review.outputs) > 0}
      needs: [inventory]
      agent: risk-score
      with: { reviews: \"${steps.review.outputs}\", first: \"${steps.review.outputs[0].licence}\" }
      on_give_up: fail
  output: { risk: \"${steps.score.output.risk}\", of: \"run ${run.id}\" }
";

/// The agents that [`WORKFLOW`] names.
pub(crate) fn agents() -> Agents {
    let parsed = [AGENT, AGENTS].into_iter().flat_map(|text| parse("agents.yaml", text).unwrap());
    parsed.map(|it| Arc::new(agent(it.manifest))).collect()
}

fn agent(manifest: Manifest) -> Agent {
    match manifest {
        Manifest::Agent(agent) => agent,
        Manifest::Workflow(it) => panic!("{} is no agent", it.version()),
    }
}

/// All problems of a text, from reading or from checking.
pub(crate) fn problems(text: &str) -> Vec<Problem> {
    match parse("intake.yaml", text) {
        Ok(manifests) => manifests.iter().flat_map(|it| check(it, &agents())).collect(),
        Err(problems) => problems,
    }
}
