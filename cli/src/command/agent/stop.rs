//! `kapelle agent suspend`, `quarantine` and `resume`: an agent is stopped everywhere at once, and goes on.

use kapelle_proto::v1;
use serde::Serialize;

use super::retire::refused;
use crate::app::{App, End};
use crate::exit::Exit;
use crate::view;

/// What to stop.
#[derive(Debug, clap::Args)]
pub(crate) struct Args {
    /// The agent, or one version of it
    #[arg(value_name = "NAME[@VERSION]")]
    agent: String,
    /// Why, for whoever finds its runs waiting. Default: nothing
    #[arg(long, default_value = "", hide_default_value = true, value_name = "TEXT")]
    why: String,
}

/// What goes on.
#[derive(Debug, clap::Args)]
pub(crate) struct Resume {
    /// The agent, or one version of it
    #[arg(value_name = "NAME[@VERSION]")]
    agent: String,
}

/// One version that is stopped.
#[derive(Debug, Serialize)]
struct Stopped {
    agent: String,
    standing: Option<view::Standing>,
    /// Whether anything changed.
    changed: bool,
    /// Attempts that workers still hold.
    in_flight: u64,
}

/// `kapelle agent suspend` and `kapelle agent quarantine`.
pub(crate) async fn run(app: &App, args: Args, quarantine: bool) -> End {
    let (name, version) = parts(&args.agent);
    let client = app.client().await?;
    let request = v1::SuspendRequest { agent: name.clone(), version, why: args.why, quarantine };
    let answer = client.registry().suspend(request).await.map_err(|s| refused(&client, s))?.into_inner();
    let stopped = answer.agents.into_iter().map(|it| Stopped {
        agent: format!("{name}@{}", it.version),
        standing: it.standing.map(view::Standing::from),
        changed: !it.existed,
        in_flight: it.in_flight,
    });
    let stopped: Vec<Stopped> = stopped.collect();
    app.output.show(&stopped, |all| all.iter().map(sentence).collect::<Vec<_>>().join("\n"))?;
    // Whoever stops an agent in an emergency has to know that it is not stopped everywhere yet.
    Ok(if stopped.iter().all(|it| it.in_flight == 0) { Exit::Ok } else { Exit::Failed })
}

/// `kapelle agent resume`.
pub(crate) async fn resume(app: &App, args: Resume) -> End {
    let (name, version) = parts(&args.agent);
    let client = app.client().await?;
    let request = v1::ResumeAgentRequest { agent: name.clone(), version };
    let answer = client.registry().resume_agent(request).await.map_err(|s| refused(&client, s))?.into_inner();
    let resumed: Vec<String> = answer.versions.iter().map(|version| format!("{name}@{version}")).collect();
    app.output.show(&resumed, |all| match all.as_slice() {
        [] => format!("Nothing of {name} was suspended."),
        all => format!("{} goes on.", all.join(", ")),
    })?;
    Ok(Exit::Ok)
}

/// Name and version; the version may be empty.
fn parts(text: &str) -> (String, String) {
    let (name, version) = text.split_once('@').unwrap_or((text, ""));
    (name.to_owned(), version.to_owned())
}

fn sentence(it: &Stopped) -> String {
    let status = it.standing.as_ref().map_or("stopped", |standing| standing.status.as_str());
    let already = if it.changed { "" } else { " already" };
    let left = match it.in_flight {
        0 => "Nothing of it is being worked at; its runs wait.".to_owned(),
        1 => "1 attempt is still with a worker that does not answer; nothing new begins.".to_owned(),
        n => format!("{n} attempts are still with workers that do not answer; nothing new begins."),
    };
    format!("{} is {status}{already}. {left}", it.agent)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_version_may_be_left_out() {
        assert_eq!(parts("review"), ("review".into(), String::new()));
        assert_eq!(parts("review@1.0.0"), ("review".into(), "1.0.0".into()));
    }

    #[test]
    fn whoever_stops_an_agent_is_told_what_is_still_at_work() {
        let stopped = |changed, in_flight| {
            let standing = v1::StandingView { status: "SUSPENDED".into(), ..v1::StandingView::default() };
            sentence(&Stopped { agent: "review@1.0.0".into(), standing: Some(standing.into()), changed, in_flight })
        };
        insta::assert_snapshot!([stopped(true, 0), stopped(false, 1), stopped(true, 7)].join("\n"), @r"
        review@1.0.0 is SUSPENDED. Nothing of it is being worked at; its runs wait.
        review@1.0.0 is SUSPENDED already. 1 attempt is still with a worker that does not answer; nothing new begins.
        review@1.0.0 is SUSPENDED. 7 attempts are still with workers that do not answer; nothing new begins.
        ");
    }
}
