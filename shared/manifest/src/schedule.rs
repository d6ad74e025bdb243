//! `kind: Schedule`: when a workflow is run, and with what.
//!
//! A schedule has no version: people change it and the next time follows. What it starts is a run of whatever version its
//! requirement gets then, as with any job.

use kapelle_schedule::{Cron, Invalid, Overlap, Rule, Rules, Timetable, Zone};
use kapelle_types::{Code, ScheduleName, Timestamp, WorkflowName, limits};
use semver::VersionReq;
use serde_json::{Map, Value, json};

use crate::issue::Issue;
use crate::manifest::API_VERSION;
use crate::problem::Problem;
use crate::read::{Fields, Issues, Part, optional};
use crate::sourced::documents_with_places;

/// How a manifest of its kind says so.
pub(crate) const KIND: &str = "Schedule";

/// A schedule as people declare it.
#[derive(Debug, Clone, PartialEq)]
pub struct Schedule {
    /// Its name.
    pub name: ScheduleName,
    /// Who answers for it.
    pub owner: String,
    /// The workflow that is run.
    pub workflow: WorkflowName,
    /// The versions of it that will do, as a requirement.
    pub versions: String,
    /// What the runs are given.
    pub input: Value,
    /// Its times, and what it does at them.
    pub rules: Rules,
    /// Whether it stands still when one of its runs ends in failure.
    pub pause_on_failure: bool,
    /// The document, as it was read.
    document: Value,
}

impl Schedule {
    /// Reads one that was stored or sent.
    ///
    /// # Errors
    /// Everything that is wrong with it, with its places.
    pub fn read(document: &Value) -> Result<Self, Vec<Problem>> {
        let located = |issues: Issues| {
            issues.into_iter().map(|issue| Problem::locate(issue, None, &Default::default())).collect::<Vec<_>>()
        };
        Self::read_document(document).map_err(located)
    }

    /// The document that it was read from.
    #[must_use]
    pub const fn document(&self) -> &Value {
        &self.document
    }

    /// The workflow with the versions that will do: `intake@^1`.
    #[must_use]
    pub fn wanted(&self) -> String {
        if self.versions.is_empty() {
            self.workflow.to_string()
        } else {
            format!("{}@{}", self.workflow, self.versions)
        }
    }

    fn read_document(document: &Value) -> Result<Self, Issues> {
        let mut issues = Issues::new();
        match read_into(&Part::root(document), &mut issues) {
            Some(schedule) if issues.is_empty() => Ok(Self { document: document.clone(), ..schedule }),
            _ => Err(issues),
        }
    }
}

/// Reads the schedules of a file; manifests of other kinds are left out.
///
/// # Errors
/// Everything in it that is not YAML, or a schedule that is none.
pub fn schedules(file_name: &str, text: &str) -> Result<Vec<Schedule>, Vec<Problem>> {
    let (mut schedules, mut problems) = (Vec::new(), Vec::new());
    for document in documents_with_places(file_name, text)? {
        if !is_one(&document.value) {
            continue;
        }
        match Schedule::read_document(&document.value) {
            Ok(schedule) => schedules.push(schedule),
            Err(issues) => problems.extend(issues.into_iter().map(|issue| document.problem(issue))),
        }
    }
    if problems.is_empty() { Ok(schedules) } else { Err(problems) }
}

/// Whether a document says that it is a schedule.
pub(crate) fn is_one(document: &Value) -> bool {
    document.get("kind").and_then(Value::as_str) == Some(KIND)
}

fn read_into(part: &Part<'_>, issues: &mut Issues) -> Option<Schedule> {
    let mut fields = part.fields(issues)?;
    if let Some(part) = fields.required("apiVersion", issues).filter(|it| it.value != API_VERSION) {
        issues.push(Issue::shape(&part.pointer, format!("`apiVersion` is `{API_VERSION}`, not {}", part.value)));
    }
    fields.required("kind", issues)?;
    let metadata = fields.required("metadata", issues).and_then(|it| read_metadata(&it, issues));
    let spec = fields.required("spec", issues);
    fields.close(&[], issues);
    let (name, owner) = metadata?;
    read_spec(&spec?, name, owner, issues)
}

fn read_metadata(part: &Part<'_>, issues: &mut Issues) -> Option<(ScheduleName, String)> {
    let mut fields = part.fields(issues)?;
    let name = fields.required("name", issues).and_then(|it| it.name(issues));
    let owner = fields.required("owner", issues).and_then(|it| it.text(issues)).map(str::to_owned);
    fields.close(&[], issues);
    Some((name?, owner?))
}

fn read_spec(part: &Part<'_>, name: ScheduleName, owner: String, issues: &mut Issues) -> Option<Schedule> {
    let mut fields = part.fields(issues)?;
    let workflow = fields.required("workflow", issues).and_then(|it| read_workflow(&it, issues));
    let input = fields.optional("input").map_or(Some(json!({})), |it| read_input(&it, issues));
    let overlap = fields.optional("overlap").map_or(Some(Overlap::default()), |it| it.word(&Overlap::ALL, issues));
    let catch_up = optional(fields.optional("catch_up"), |it| it.duration(issues));
    let words = |it: &Part<'_>, issues: &mut Issues| match it.value {
        Value::Bool(is) => Some(*is),
        _ => it.expected("true or false", "", issues),
    };
    let pause = optional(fields.optional("pause_on_failure"), |it| words(it, issues));
    let times = read_times(&mut fields, part, issues);
    fields.close(&[], issues);
    let (workflow, versions) = workflow?;
    let catch_up = catch_up?.unwrap_or(limits::SCHEDULE_CATCH_UP_DEFAULT);
    let rules = Rules { name: name.to_string(), times: times?, overlap: overlap?, catch_up };
    let (input, pause_on_failure) = (input?, pause?.unwrap_or(false));
    let document = Value::Object(Map::new());
    Some(Schedule { name, owner, workflow, versions, input, rules, pause_on_failure, document })
}

fn read_workflow(part: &Part<'_>, issues: &mut Issues) -> Option<(WorkflowName, String)> {
    let text = part.text(issues)?;
    let (name, versions) = text.split_once('@').unwrap_or((text, ""));
    let mut refuse = |why: String| issues.push(Issue::rule(&part.pointer, why).hint("write `name` or `name@^1`"));
    if !versions.is_empty() && VersionReq::parse(versions).is_err() {
        refuse(format!("`{versions}` does not say versions"));
        return None;
    }
    name.parse()
        .map_err(|invalid: kapelle_types::InvalidName| refuse(invalid.to_string()))
        .ok()
        .map(|it| (it, versions.to_owned()))
}

fn read_input(part: &Part<'_>, issues: &mut Issues) -> Option<Value> {
    let bytes = part.value.to_string().len();
    if bytes > limits::SCHEDULE_INPUT_BYTES_MAX {
        let message =
            format!("the input has {bytes} bytes, a schedule's has {} at most", limits::SCHEDULE_INPUT_BYTES_MAX);
        issues.push(
            Issue::new(Code::MANIFEST_BOUND, &part.pointer, message).on_key().hint("pass large data by reference"),
        );
        return None;
    }
    Some(part.value.clone())
}

fn read_times(fields: &mut Fields<'_>, spec: &Part<'_>, issues: &mut Issues) -> Option<Timetable> {
    let cron = fields.optional("cron");
    let every = optional(fields.optional("every"), |it| it.duration(issues));
    let offset = optional(fields.optional("offset"), |it| it.duration(issues));
    let jitter = optional(fields.optional("jitter"), |it| it.duration(issues));
    let zone = fields.optional("time_zone");
    let zone = zone.map_or_else(|| Zone::named("UTC").ok(), |it| usable(Zone::named(it.text(issues)?), &it, issues));
    let from = optional(fields.optional("from"), |it| read_moment(it, issues));
    let until = optional(fields.optional("until"), |it| read_moment(it, issues));
    let rule = match (cron, every?, offset?) {
        (Some(cron), None, None) => Rule::Crons(read_lines(&cron, issues)?),
        (None, Some(every), offset) => Rule::Every { every, offset: offset.unwrap_or_default() },
        (cron, every, _) => {
            let what = if cron.is_some() && every.is_some() { "names two kinds of times" } else { "names no times" };
            let issue = Issue::shape(
                &spec.pointer,
                format!("a schedule has `cron`, or `every` with or without `offset`; this one {what}"),
            );
            issues.push(issue.on_key().hint("write `cron: \"30 6 * * MON-FRI\"` or `every: 15m`"));
            return None;
        }
    };
    usable(Timetable::new(rule, zone?, jitter?.unwrap_or_default(), from?, until?), spec, issues)
}

fn read_lines(part: &Part<'_>, issues: &mut Issues) -> Option<Vec<Cron>> {
    let lines = match part.value {
        Value::Array(_) => part.items(issues)?,
        _ => vec![part.clone()],
    };
    if lines.len() > limits::SCHEDULE_LINES_MAX {
        let message = format!("a schedule has {} cron lines at most", limits::SCHEDULE_LINES_MAX);
        issues.push(Issue::rule(&part.pointer, message).on_key().hint("make two schedules of it"));
        return None;
    }
    let lines: Vec<_> = lines.iter().map(|it| usable(Cron::parse(it.text(issues)?), it, issues)).collect();
    lines.into_iter().collect()
}

fn read_moment(part: &Part<'_>, issues: &mut Issues) -> Option<Timestamp> {
    let text = part.text(issues)?;
    let moment = Timestamp::parse(text);
    if moment.is_none() {
        let issue = Issue::rule(&part.pointer, format!("`{text}` is not a moment"));
        issues.push(issue.hint("write `2026-12-01T00:00:00Z`, or with an offset such as `+01:00`"));
    }
    moment
}

fn usable<T>(result: Result<T, Invalid>, part: &Part<'_>, issues: &mut Issues) -> Option<T> {
    result
        .map_err(|invalid| {
            issues.push(Issue::new(Code::SCHEDULE_TIMES, &part.pointer, invalid.what).hint(invalid.hint));
        })
        .ok()
}
