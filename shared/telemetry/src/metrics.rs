//! The metrics: one table of names, labels, help and buckets, and the listener that Prometheus scrapes.
//!
//! A metric is in the table when code moves it. The hot path takes a handle once, after [`install`], and keeps it; a
//! handle costs one atomic operation a use, looking one up by its labels some hundred nanoseconds:
//!
//! ```
//! use kapelle_telemetry::metrics::{RUNS_FINISHED, RUNS_STARTED};
//! let started = RUNS_STARTED.counter(&[]);
//! started.increment(1);
//! RUNS_FINISHED.counter(&["COMPLETED"]).increment(1);
//! ```
//!
//! No label is ever a run id, an idempotency key or anything else that grows with the number of runs.

mod exporter;
mod metric;

pub use exporter::{Error, Handle, install};
pub use metric::{Kind, Metric};

/// From a tenth of a millisecond to ten seconds: what a broker, a disk or a queue takes.
const IO_SECONDS: &[f64] =
    &[0.000_1, 0.000_25, 0.000_5, 0.001, 0.002_5, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1.0, 2.5, 5.0, 10.0];
/// From a microsecond to a tenth of a second: what a computation takes.
const CPU_SECONDS: &[f64] =
    &[0.000_001, 0.000_002_5, 0.000_005, 0.000_01, 0.000_025, 0.000_05, 0.000_1, 0.000_25, 0.000_5, 0.001, 0.01, 0.1];
/// From a millisecond to an hour: what waits for a worker, or is one.
const WORK_SECONDS: &[f64] =
    &[0.001, 0.002_5, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1.0, 2.5, 5.0, 10.0, 30.0, 60.0, 300.0, 900.0, 3600.0];
/// From a millisecond to a week: a run may wait for people.
const RUN_SECONDS: &[f64] = &[
    0.001, 0.005, 0.01, 0.05, 0.1, 0.5, 1.0, 5.0, 10.0, 30.0, 60.0, 300.0, 900.0, 3600.0, 14_400.0, 86_400.0, 604_800.0,
];
/// From 64 bytes to the limit of one payload, 16 MiB; 64 KiB is where payloads leave the log.
const PAYLOAD_SIZES: &[f64] =
    &[64.0, 256.0, 1_024.0, 4_096.0, 16_384.0, 65_536.0, 262_144.0, 1_048_576.0, 4_194_304.0, 16_777_216.0];

/// Defines each metric once: as a constant, and as a row of the table.
macro_rules! metrics {
    ($($constant:ident $kind:ident $name:literal [$($label:literal),*] $help:literal $(in $buckets:ident)?;)*) => {
        $(
            #[doc = concat!("`", $name, "`: ", $help, ".")]
            pub const $constant: Metric = Metric {
                name: $name,
                kind: Kind::$kind,
                labels: &[$($label),*],
                help: $help,
                buckets: metrics!(@buckets $($buckets)?),
            };
        )*

        /// Every metric there is.
        pub const ALL: &[Metric] = &[$($constant),*];
    };
    (@buckets) => { &[] };
    (@buckets $buckets:ident) => { $buckets };
}

metrics! {
    // Runs
    RUNS_STARTED Counter "kapelle_runs_started_total" [] "Runs whose submission this coordinator applied";
    RUNS_FINISHED Counter "kapelle_runs_finished_total" ["status"] "Runs that ended, by how";
    RUNS_OPEN Gauge "kapelle_runs_open" [] "Runs of this coordinator's partitions that have not ended";
    RUN_DURATION Histogram "kapelle_run_duration_seconds" [] "Time from a run's submission to its end" in RUN_SECONDS;
    STALLED_RUNS Gauge "kapelle_stalled_runs" [] "Open runs that wait for a person or a rule to mend them";
    SUBMISSIONS_REFUSED Counter "kapelle_submissions_refused_total" ["code"] "Submissions refused, by error code";

    // Schedules
    SCHEDULE_TIMES Counter "kapelle_schedule_times_total" ["outcome"]
        "Times of schedules that this coordinator decided: started, skipped, missed or failed";
    SCHEDULE_LATENESS Histogram "kapelle_schedule_lateness_seconds" []
        "Time from when a scheduled run was due until it was recorded" in WORK_SECONDS;

    // Steps and their queues
    STEPS Counter "kapelle_steps_total" ["agent", "version", "outcome"] "Reports of steps that were accepted, by outcome";
    STEP_DURATION Histogram "kapelle_step_duration_seconds" ["agent", "version"]
        "Time that an agent took for one attempt" in WORK_SECONDS;
    SCHEDULE_TO_START Histogram "kapelle_schedule_to_start_seconds" ["agent", "version"]
        "Time that a task waited in its queue" in WORK_SECONDS;
    QUEUE_BACKLOG Gauge "kapelle_queue_backlog" ["agent", "version"] "Tasks that wait in the queue";
    TURNS_GIVEN Counter "kapelle_turns_given_total" ["agent", "version"]
        "Tasks that waited for their turn, by priority, fairness key or a limit by key, and were queued";
    QUEUE_IN_FLIGHT Gauge "kapelle_queue_in_flight" ["agent", "version"] "Tasks that workers hold";
    DEAD_LETTERS Gauge "kapelle_dead_letters" ["agent", "version"] "Dead letters that wait for a decision";

    // Workers
    WORKER_SLOTS_AVAILABLE Gauge "kapelle_worker_slots_available" [] "Tasks that this worker could take on now";
    WORKER_SLOTS_USED Gauge "kapelle_worker_slots_used" [] "Tasks that this worker is executing";
    TASK_ATTEMPTS Counter "kapelle_task_attempts_total" ["outcome"] "Attempts that this worker reported, by outcome";
    TASK_REDELIVERIES Counter "kapelle_task_redeliveries_total" []
        "Tasks that came a second time because a worker was lost, and were not executed again";

    MODEL_REQUESTS Counter "kapelle_model_requests_total" ["agent", "version", "outcome"]
        "Requests of model agents to their models, by outcome";
    MODEL_TOKENS Counter "kapelle_model_tokens_total" ["agent", "version", "kind"]
        "Tokens that model agents read (input) and wrote (output)";
    TOOL_CALLS Counter "kapelle_tool_calls_total" ["agent", "version", "tool", "outcome"]
        "Calls that models made of the tools of their agents, by outcome";

    AGENT_HELD Gauge "kapelle_agent_held" ["agent", "version", "limit"]
        "1 while this worker takes no tasks of the agent because of a limit";
    BUDGET_REMAINING Gauge "kapelle_budget_remaining_usd" ["agent", "version"]
        "What an agent with a daily limit may still spend today, in US dollars";

    // Partitions
    PARTITION_LAG Gauge "kapelle_partition_lag" ["partition"] "Entries that are recorded and not yet applied";
    PARTITION_OWNER Gauge "kapelle_partition_owner" ["partition"] "1 while this coordinator owns the partition";
    APPLY Histogram "kapelle_apply_seconds" [] "Time the engine took to apply one entry" in CPU_SECONDS;
    PUBLISH Histogram "kapelle_publish_seconds" [] "Time until the broker acknowledged a publish" in IO_SECONDS;
    REBUILDS Counter "kapelle_rebuilds_total" [] "Runs rebuilt from their log because they were not cached";
    RECONCILED_RUNS Counter "kapelle_reconciled_runs_total" ["cause"]
        "Runs whose outstanding commands the reconciler gave again, by cause";
    OLDEST_OVERDUE_TIMER Gauge "kapelle_oldest_overdue_timer_seconds" []
        "How long the most overdue timer has been due";
    ENTRIES_IGNORED Counter "kapelle_entries_ignored_total" ["reason"] "Entries that changed nothing, by reason";
    ENTRIES_REFUSED Counter "kapelle_entries_refused_total" ["reason"] "Messages on our subjects that are no entries";

    // Approvals
    APPROVALS_OPEN Gauge "kapelle_approvals_open" [] "Steps of the runs of our partitions that wait for people";
    APPROVAL_AGE Gauge "kapelle_approval_age_seconds" [] "How long the oldest of them has been waiting";
    NOTICES Counter "kapelle_notices_total" ["destination", "outcome"]
        "Notices of approvals that were delivered, that failed for now, or were given up";

    LINEAGE_EVENTS Counter "kapelle_lineage_events_total" [] "OpenLineage events that the broker acknowledged";

    // Releases
    RELEASE_RAMPING Gauge "kapelle_release_ramping_ratio" ["kind", "name", "version"]
        "Share of the runs to come that a version gets which is being brought in, 0 to 1";
    RELEASE_DECISIONS Counter "kapelle_release_decisions_total" ["kind", "name", "decision"]
        "What rollouts decided by themselves: advanced, promoted or rolled_back";
    DEPRECATED_SUNSET Gauge "kapelle_deprecated_sunset_timestamp_seconds" ["agent", "version"]
        "From when on no new run gets an agent version that is deprecated, in seconds since 1970";
    DEPRECATED_RUNS Counter "kapelle_deprecated_runs_total" ["agent", "version"]
        "Runs submitted to this coordinator that got an agent version which is deprecated";

    // Who calls
    CREDENTIALS_REFUSED Counter "kapelle_credentials_refused_total" ["reason"]
        "Calls whose credential was not accepted, by reason";
    POLICY_DECISIONS Counter "kapelle_policy_decisions_total" ["verdict", "policy"]
        "Decisions on calls, by verdict and the policy that decided";

    // The audit trail
    AUDIT_RECORDS Counter "kapelle_audit_records_total" ["component", "verb"] "Records written to the audit trail";
    AUDIT_FAILED Counter "kapelle_audit_failed_total" ["reason"]
        "Records that are not in the audit trail: acts that were refused for it, and denials that are only counted";
    AUDIT_FILL Gauge "kapelle_audit_fill_ratio" [] "How full the audit trail is; 1 takes no more";

    // Broker and payloads
    PAYLOAD_BYTES Histogram "kapelle_payload_bytes" [] "Size of inputs and outputs" in PAYLOAD_SIZES;
    NATS_SERVER_ERRORS Counter "kapelle_nats_server_errors_total" []
        "Errors that the broker sent outside any reply, such as a denied publish";
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_table_follows_the_conventions_of_prometheus() {
        for metric in ALL {
            let Metric { name, kind, help, buckets, .. } = metric;
            assert!(name.starts_with("kapelle_"), "{name}");
            assert!(name.bytes().all(|b| b.is_ascii_lowercase() || b == b'_'), "{name}");
            assert_eq!(name.ends_with("_total"), *kind == Kind::Counter, "{name}");
            assert_eq!(buckets.is_empty(), *kind != Kind::Histogram, "{name}");
            assert!(buckets.is_sorted_by(|a, b| a < b), "{name}: {buckets:?}");
            assert!(!help.is_empty() && !help.ends_with('.'), "{name}: {help}");
            assert!(!metric.labels.contains(&"run"), "{name}: one series a run is a series too many");
        }
        let mut names: Vec<_> = ALL.iter().map(|m| m.name).collect();
        names.sort_unstable();
        names.dedup();
        assert_eq!(names.len(), ALL.len(), "no name twice");
    }
}
