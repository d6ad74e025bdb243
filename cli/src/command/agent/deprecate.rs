//! `kapelle agent deprecate`: until when a version is used, and who depends on it.

use std::str::FromStr;

use kapelle_proto::v1;
use kapelle_telemetry::clock;
use kapelle_types::Timestamp;
use serde::Serialize;

use super::retire::{parse, refused};
use crate::app::{App, End};
use crate::exit::Exit;
use crate::output::Table;
use crate::view;

/// What is to be used no more.
#[derive(Debug, clap::Args)]
#[command(after_help = "\
Until its sunset runs get the version as before, and whoever starts one that does, or applies a workflow that would, is told.
From then on no new run gets it; runs that are open keep it. Then it can be retired.")]
pub(crate) struct Args {
    /// The agent version
    #[arg(value_name = "NAME@VERSION")]
    agent: String,
    /// From when on no new run gets it: in how long (90d), a day (2027-01-31, from its beginning in UTC), or a moment
    /// (2027-01-31T18:00:00Z). Default: none, it has to be said
    #[arg(long, value_name = "TIME", required_unless_present = "undo")]
    sunset: Option<Sunset>,
    /// The version of the same agent that takes its place. Default: none is named
    #[arg(long, value_name = "VERSION", conflicts_with = "undo")]
    successor: Option<String>,
    /// Why; whoever depends on it is told. Default: nothing
    #[arg(long, default_value = "", hide_default_value = true, value_name = "TEXT", conflicts_with = "undo")]
    why: String,
    /// Take it back: the version is used as long as it is there
    #[arg(long, conflicts_with = "sunset")]
    undo: bool,
}

/// A moment to come.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Sunset(Timestamp);

impl FromStr for Sunset {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        let day = || Timestamp::parse(&format!("{text}T00:00:00Z"));
        if let Some(at) = Timestamp::parse(text).or_else(day) {
            return Ok(Self(at));
        }
        let left = humantime::parse_duration(text)
            .map_err(|_| "say in how long (90d), a day (2027-01-31) or a moment in RFC 3339 (2027-01-31T18:00:00Z)")?;
        Ok(Self(clock::now().plus(left)))
    }
}

/// What is said of a version now, and who depends on it.
#[derive(Debug, Serialize)]
struct Told {
    agent: String,
    /// Null: it is not deprecated.
    deprecation: Option<view::Deprecation>,
    /// Whether anything changed.
    changed: bool,
    /// The steps of current workflows that get the version now.
    dependants: Vec<Dependant>,
    /// Open runs that have it, as far as is known; they keep it.
    open_runs: u64,
}

/// A step.
#[derive(Debug, Serialize)]
struct Dependant {
    workflow: String,
    step: String,
    /// What it gets after the sunset; null is nothing: runs of the workflow are refused then.
    then: Option<String>,
}

/// `kapelle agent deprecate`.
pub(crate) async fn run(app: &App, args: Args) -> End {
    let agent = parse(&args.agent)?;
    let client = app.client().await?;
    let (name, version) = (agent.name.to_string(), agent.version.to_string());
    let told = match args.sunset {
        Some(Sunset(at)) => {
            let request = v1::DeprecateRequest {
                agent: name,
                version,
                sunset_unix_nanos: at.nanos(),
                successor: args.successor.unwrap_or_default(),
                why: args.why,
            };
            let answer = client.registry().deprecate(request).await.map_err(|s| refused(&client, s))?.into_inner();
            let dependant = |it: v1::Dependant| Dependant {
                workflow: it.workflow,
                step: it.step,
                then: Some(it.then).filter(|it| !it.is_empty()),
            };
            Told {
                agent: args.agent,
                deprecation: answer.deprecation.map(view::Deprecation::from),
                changed: !answer.existed,
                dependants: answer.dependants.into_iter().map(dependant).collect(),
                open_runs: answer.open_runs,
            }
        }
        None => {
            let request = v1::UndeprecateRequest { agent: name, version };
            let answer = client.registry().undeprecate(request).await.map_err(|s| refused(&client, s))?.into_inner();
            let (deprecation, dependants) = (None, Vec::new());
            Told { agent: args.agent, deprecation, changed: !answer.existed, dependants, open_runs: 0 }
        }
    };
    app.output.show(&told, page)?;
    Ok(Exit::Ok)
}

fn page(told: &Told) -> String {
    let Told { agent, deprecation, changed, dependants, open_runs } = told;
    let Some(deprecation) = deprecation else {
        let already = if *changed { "" } else { " It was not before." };
        return format!("{agent} is not deprecated: runs get it as long as it is there.{already}");
    };
    let mut text = format!("{agent} is deprecated: {}.", deprecation.until());
    if !changed {
        text += " It was before.";
    }
    if *open_runs > 0 {
        let runs = if *open_runs == 1 {
            "1 open run has it and keeps".to_owned()
        } else {
            format!("{open_runs} open runs have it and keep")
        };
        text += &format!(" {runs} it.");
    }
    let mut table = Table::new(&["workflow", "step", "gets then"]);
    for it in dependants {
        table.row([it.workflow.as_str(), it.step.as_str(), it.then.as_deref().unwrap_or("nothing: runs are refused")]);
    }
    format!("{text}\n\n{}", table.render("No current workflow gets it."))
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use super::*;

    #[test]
    fn a_sunset_is_a_day_a_moment_or_so_long_from_now() {
        let at = |text: &str| text.parse::<Sunset>().unwrap().0;
        assert_eq!(at("2027-01-31").rfc3339(), "2027-01-31T00:00:00.000Z");
        assert_eq!(at("2027-01-31T18:00:00Z").rfc3339(), "2027-01-31T18:00:00.000Z");
        let days = at("90d").since(clock::now());
        assert!(days > Duration::from_secs(90 * 86_400 - 60) && days <= Duration::from_secs(90 * 86_400), "{days:?}");
        for text in ["", "soon", "2027-13-01", "-1d", "31.1.2027"] {
            assert!(text.parse::<Sunset>().is_err(), "{text}");
        }
    }

    #[test]
    fn who_depends_on_it_is_named() {
        let deprecation = view::Deprecation {
            sunset: "2027-01-31T00:00:00.000Z".into(),
            successor: Some("2.0.0".into()),
            by: "user:ada".into(),
            at: Some("2026-11-22T10:00:00.000Z".into()),
            why: "slower".into(),
            over: false,
        };
        let step = |step: &str, then: Option<&str>| Dependant {
            workflow: "intake@1.4.0".into(),
            step: step.into(),
            then: then.map(str::to_owned),
        };
        let told = Told {
            agent: "review@1.0.0".into(),
            deprecation: Some(deprecation),
            changed: true,
            dependants: vec![step("first", Some("review@1.1.0")), step("second", None)],
            open_runs: 3,
        };
        insta::assert_snapshot!(anstream::adapter::strip_str(&page(&told)).to_string());
        let none = Told { deprecation: None, changed: false, dependants: vec![], open_runs: 0, ..told };
        assert_eq!(
            page(&none),
            "review@1.0.0 is not deprecated: runs get it as long as it is there. It was not before."
        );
    }
}
