//! Every limit that a user can meet, with its reason. Parts of Kapelle name these; none repeats a number.

use std::time::Duration;

/// Characters of a name: fits a DNS label, a subject token and a file name.
pub const NAME_CHARS_MAX: usize = 63;
/// Bytes of JSON that travel inside an entry or a task; larger payloads go to the object store by hash.
pub const PAYLOAD_INLINE_BYTES_MAX: usize = 64 * 1024;
/// Bytes of one payload at all; beyond it a submit is refused and an output is a failure of its attempt.
pub const PAYLOAD_BYTES_MAX: usize = 16 * 1024 * 1024;
/// Members of one `foreach`: keeps a run's log and its state within what one rebuild can read.
pub const FAN_OUT_MAX: usize = 10_000;
/// Steps of one workflow.
pub const STEPS_MAX: usize = 500;
/// Entries of one run at which a warning is logged.
pub const ENTRIES_WARN: u64 = 10_000;
/// Entries of one run at which it is STALLED instead of growing without end.
pub const ENTRIES_MAX: u64 = 50_000;
/// Signals that a run keeps until something waits for them: a sender that nobody listens to must not fill the memory.
pub const SIGNALS_KEPT_MAX: usize = 1_000;
/// Queries that a workflow may declare: each is compiled with its plan, and a reader has to keep them in view.
pub const QUERIES_MAX: usize = 32;
/// Rounds of a step that is repeated: each is some entries of a log whose length is bounded.
pub const ROUNDS_MAX: u32 = 1_000;
/// Agents that a step may be handed to: each is pinned by every run of the workflow, and a reader has to keep them in view.
pub const HANDOFF_AGENTS_MAX: usize = 32;
/// How often a step may be handed on: every task and every view of the step has all who had it before.
pub const HANDOFFS_MAX: u32 = 100;
/// How long a run may be closing where its workflow does not say: a night and a day, so that whoever comes in the morning
/// can still mend a compensation that gave up.
pub const CLOSING_DEFAULT: Duration = Duration::from_secs(24 * 3600);
/// How long an approval waits where nobody says otherwise: a weekend and a day, as a proposal does.
pub const APPROVAL_LIFE_DEFAULT: Duration = Duration::from_secs(72 * 3600);
/// Persons that an approval may need: each is written into the run's log and checked again before its use.
pub const APPROVAL_QUORUM_MAX: u32 = 20;
/// Groups that an approval may name.
pub const APPROVAL_GROUPS_MAX: usize = 20;
/// Runs that may stand above a run: deeper is nobody's plan but a workflow that runs itself, and each takes its memory.
pub const RUN_DEPTH_MAX: u32 = 8;
/// Times that those who are asked are told once more: who did not answer ten times does not answer the eleventh.
pub const APPROVAL_REMINDERS_MAX: usize = 10;
/// How far ahead the end of a delegation may lie: a quarter, after which whoever is away says it again.
pub const DELEGATION_LIFE_MAX: Duration = Duration::from_secs(92 * 24 * 3600);
/// Delegations of one person that stand at once: each decision looks through those to whoever decides.
pub const DELEGATIONS_MAX: usize = 20;
/// Rungs of an approval's ladder: each widens who may decide, and an organisation has few levels.
pub const APPROVAL_RUNGS_MAX: usize = 5;
/// Bytes of one expression's source.
pub const EXPRESSION_BYTES_MAX: usize = 4 * 1024;
/// Nesting of one expression's syntax tree: 48 levels fit a 2 MiB stack many times over.
pub const EXPRESSION_DEPTH_MAX: u32 = 48;
/// Nodes of one expression's syntax tree.
pub const EXPRESSION_NODES_MAX: u32 = 2_000;
/// Comprehensions (`map`, `all`, `filter` …) inside each other: two over 2,000 items take a second, so one.
pub const EXPRESSION_NESTING_MAX: u32 = 1;
/// Items of a list that a comprehension may walk.
pub const EXPRESSION_LIST_MAX: usize = 10_000;
/// Bytes that one evaluation may copy at most, by an estimate from above: a few evaluations at once fit any machine.
pub const EXPRESSION_MEMORY_BYTES_MAX: u64 = 256 * 1024 * 1024;
/// Bytes of one manifest file.
pub const MANIFEST_BYTES_MAX: usize = 1024 * 1024;
/// Nesting of a payload's JSON; `serde_json` itself stops at 128.
pub const JSON_DEPTH_MAX: usize = 128;
/// Nesting of an input or an output: leaves templates room to put them into something without meeting `JSON_DEPTH_MAX`.
pub const PAYLOAD_DEPTH_MAX: usize = 64;
/// How long an API token lives where nobody says otherwise: a quarter, so that what was forgotten ends by itself.
pub const TOKEN_LIFE_DEFAULT: Duration = Duration::from_secs(90 * 24 * 3600);
/// The longest that an API token may live: a year and a day, so that a yearly rotation is possible.
pub const TOKEN_LIFE_MAX: Duration = Duration::from_secs(366 * 24 * 3600);
/// API tokens at once: each coordinator keeps them all in memory.
pub const TOKENS_MAX: usize = 10_000;
/// How long NATS credentials hold where nobody says otherwise: a month, because renewing them restarts nobody.
pub const CREDENTIALS_LIFE_DEFAULT: Duration = Duration::from_secs(30 * 24 * 3600);
/// The longest that NATS credentials may hold: a year and a day, as for API tokens.
pub const CREDENTIALS_LIFE_MAX: Duration = Duration::from_secs(366 * 24 * 3600);
/// How long ended NATS credentials are still listed: a quarter, for whoever asks who was there.
pub const CREDENTIALS_KEPT: Duration = Duration::from_secs(90 * 24 * 3600);
/// Bytes of storage that a namespace is made with at least: three streams reserve a GiB each, and runs need some.
pub const NAMESPACE_STORAGE_MIN: u64 = 4 << 30;
/// NATS credentials that one namespace keeps a record of: revocations are part of its account, which every node holds.
pub const CREDENTIALS_MAX: usize = 10_000;
/// Runs that one operation on many runs is done to: its selection is held in memory, and whoever means more narrows it.
pub const BULK_RUNS_MAX: usize = 100_000;
/// Runs of one operation on many runs that are acted on in a second: their logs are read beside everybody else's work.
pub const BULK_RUNS_PER_SECOND: u32 = 100;
/// Characters of an idempotency key.
pub const KEY_CHARS_MAX: usize = 256;
/// Times that an attempt may be lost with its worker before the step gives up.
pub const LEASE_LOST_MAX: u32 = 5;
/// Bytes of evidence (last lines of stderr) that a report carries.
pub const EVIDENCE_BYTES_MAX: usize = 4 * 1024;
/// Policies of one set: every decision evaluates all of them, some microseconds each.
pub const POLICIES_MAX: usize = 500;
/// Bytes of one policy: what its reader makes of the longest chain of operators fits a 2 MiB stack.
pub const POLICY_BYTES_MAX: usize = 4 * 1024;
/// Brackets inside each other in one policy: each level costs its reader stack.
pub const POLICY_DEPTH_MAX: usize = 24;
/// Bytes of the served policies with the names of their files: one message at the broker (1 MiB), as JSON.
pub const POLICY_SET_BYTES_MAX: usize = 512 * 1024;
/// Files of the served policies.
pub const POLICY_FILES_MAX: usize = 100;
/// Characters of what somebody says to a decision of theirs, which the audit trail keeps: some sentences.
pub const REASON_CHARS_MAX: usize = 500;
/// How long a proposal waits for its second person: a weekend and a day.
pub const PROPOSAL_LIFE: Duration = Duration::from_secs(72 * 3600);
/// Proposals that may be open at once.
pub const PROPOSALS_MAX: usize = 32;
/// Bytes of the audit trail: two million records and more; beyond it acts are refused, and nothing is dropped.
pub const AUDIT_BYTES_MAX: u64 = 1 << 30;
/// How long a worker holds a task without a sign of life before the broker gives it to another.
pub const LEASE: Duration = Duration::from_secs(10);
/// The time an agent gets for one attempt where its manifest names none.
pub const TIMEOUT_DEFAULT: Duration = Duration::from_secs(60);
/// Samples of an agent that is being onboarded: each is a real execution, which may cost money.
pub const SAMPLES_MAX: usize = 100;
/// Bytes of an archive that an agent is onboarded from: source code with a small model beside it.
pub const ARCHIVE_BYTES_MAX: u64 = 64 * 1024 * 1024;
/// Bytes of all that an archive or a repository unfolds to: an archive that unfolds further than any source code is hostile.
pub const UNPACKED_BYTES_MAX: u64 = 512 * 1024 * 1024;
/// Files and folders of an archive or a repository: an agent with its dependencies, not a machine's image.
pub const UNPACKED_FILES_MAX: usize = 20_000;
/// Schedules of one namespace: each coordinator keeps them all in memory.
pub const SCHEDULES_MAX: usize = 10_000;
/// Cron lines of one schedule: what needs more is two schedules.
pub const SCHEDULE_LINES_MAX: usize = 16;
/// How late a time of a schedule is still run where nobody says otherwise: an outage of the broker at night loses no nightly run.
pub const SCHEDULE_CATCH_UP_DEFAULT: Duration = Duration::from_secs(3600);
/// Bytes of the input of a schedule: all of a schedule is one message at the broker.
pub const SCHEDULE_INPUT_BYTES_MAX: usize = 64 * 1024;
/// The highest rate that an agent may be given: each worker waits for its turn in steps of a millisecond or so.
pub const RATE_PER_SECOND_MAX: u64 = 10_000;
/// The most tokens that the limit of an agent may name: far above what any model reads and writes in one task.
pub const TOKENS_LIMIT_MAX: u32 = 1_000_000_000;
/// The most tool calls that the limit of an agent may name.
pub const TOOL_CALLS_LIMIT_MAX: u32 = 1_000_000;
/// Bytes of one prompt template: pages of instructions and examples; what is longer belongs into the input.
pub const PROMPT_SOURCE_BYTES_MAX: usize = 64 * 1024;
/// What rendering one prompt may use up: a unit for each step of the template and for each 64 bytes that it makes, so that
/// a prompt is 16 MiB at most and rendered in well under a second.
pub const PROMPT_FUEL: u64 = 250_000;
/// Tools that one model agent may have; a model that is offered more calls the wrong ones.
pub const MODEL_TOOLS_MAX: usize = 64;
/// Requests that one task may make to its model where its manifest names no number.
pub const MODEL_TURNS_DEFAULT: u32 = 8;
/// The most requests that a manifest may allow one task.
pub const MODEL_TURNS_MAX: u32 = 100;
/// How often a model is asked to mend an answer that breaks its contract, where its manifest names no number.
pub const MODEL_REPAIRS_DEFAULT: u32 = 2;
/// The most repairs that a manifest may allow: a model that has not understood after so many does not.
pub const MODEL_REPAIRS_MAX: u32 = 10;
/// How long a model may say nothing once it has begun to answer: servers that live write something, if only a comment.
pub const MODEL_SILENCE_MAX: Duration = Duration::from_secs(60);
/// Bytes of a piece of what a model writes, as whoever reads along takes it; workers tell smaller ones.
pub const WORDS_BYTES_MAX: usize = 32 * 1024;
/// Bytes of what a tool answers that its model gets to see; the rest is cut off, and the model is told.
pub const TOOL_RESULT_BYTES_MAX: usize = 64 * 1024;
/// Bytes of a key that attempts are shared out or limited by: it travels in a header of each.
pub const FLOW_KEY_BYTES_MAX: usize = 128;
/// The weight of a fairness key, at most: beside it the share of a key of weight 1 can still be seen.
pub const FAIRNESS_WEIGHT_MAX: u32 = 1_000;
/// Fairness keys with a weight of their own in one workflow.
pub const FAIRNESS_WEIGHTS_MAX: usize = 1_000;
