//! A step that runs another workflow.

use std::sync::Arc;

use kapelle_types::{Code, WorkflowName};
use semver::VersionReq;

use crate::Workflow;
use crate::catalog::Catalog;
use crate::issue::{Issue, suggestion};
use crate::performer::{InvalidRequirement, Nobody, Requirement};
use crate::read::{Issues, Part};

/// A workflow and the versions of it that will do: `review@^1`; the name alone takes any.
pub type WorkflowRequirement = Requirement<WorkflowName>;

/// A step that runs another workflow: `workflow` and `detach`.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Call {
    /// Which.
    pub wanted: WorkflowRequirement,
    /// Whether the step ends when the run is begun, instead of with it.
    pub detach: bool,
}

impl Call {
    /// The workflow version that is run now: the highest that matches and is no pre-release, unless one is asked for.
    ///
    /// # Errors
    /// There is no such workflow or version.
    pub fn resolve(&self, catalog: &dyn Catalog) -> Result<Arc<Workflow>, Nobody> {
        let WorkflowRequirement { name, versions } = &self.wanted;
        let found = catalog.workflow(name, versions);
        found.ok_or_else(|| {
            let highest = catalog.workflow(name, &VersionReq::STAR);
            let (message, label, hint) = match highest {
                Some(it) => (
                    format!("no version of the workflow `{name}` matches `{versions}`"),
                    "no such version",
                    format!("the highest version is {}", it.metadata.version),
                ),
                None => (
                    format!("there is no workflow `{name}`"),
                    "no such workflow",
                    suggestion(name.as_str(), catalog.workflow_names().iter().map(|it| it.as_str())),
                ),
            };
            Nobody { code: Code::UNKNOWN_WORKFLOW, message, label, hint }
        })
    }

    /// Reads the step's fields `workflow` and `detach`.
    pub(crate) fn read(part: &Part<'_>, detach: Option<&Part<'_>>, issues: &mut Issues) -> Option<Self> {
        let wanted = part.text(issues).and_then(|text| {
            let invalid = |InvalidRequirement(why)| {
                let hint = "write the workflow's name and the versions that will do: `name@^1`";
                issues.push(Issue::rule(&part.pointer, why).label("not a workflow").hint(hint));
            };
            text.parse().map_err(invalid).ok()
        });
        let detach = match detach {
            None => Some(false),
            Some(part) => part.value.as_bool().or_else(|| part.expected("`true` or `false`", "", issues)),
        };
        Some(Self { wanted: wanted?, detach: detach? })
    }
}
