//! The stable codes of user-visible errors. A code is never reused; `docs/errors/<code>.md` explains each.

use std::fmt;

/// Defines the codes once, as constants and as a list that tests walk.
macro_rules! codes {
    ($($(#[$doc:meta])* $name:ident = $text:literal;)*) => {
        /// A stable error code such as `K0101`.
        #[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
        pub struct Code(&'static str);

        impl Code {
            $($(#[$doc])* pub const $name: Self = Self($text);)*

            /// Every code there is.
            pub const ALL: &'static [Self] = &[$(Self::$name),*];
        }
    };
}

codes! {
    // 00xx: the machine and the broker
    /// No nats-server binary was found and none could be fetched.
    BROKER_MISSING = "K0001";
    /// The nats-server is older than the version floor.
    BROKER_TOO_OLD = "K0002";
    /// The broker does not answer.
    BROKER_UNAVAILABLE = "K0003";
    /// The nats-server child did not start.
    BROKER_START = "K0004";
    /// A stream, consumer or bucket is missing or differs from what is declared.
    PROVISIONING = "K0005";
    /// A port that was asked for is taken.
    PORT_TAKEN = "K0006";
    /// The data folder is in use or cannot be written.
    DATA_DIR = "K0007";
    /// The coordinator does not answer.
    COORDINATOR_UNAVAILABLE = "K0008";

    // 01xx: manifests
    /// A manifest is not valid YAML or does not have the shape of its kind.
    MANIFEST_SYNTAX = "K0101";
    /// A manifest breaks a rule (a name, a limit, a value out of range).
    MANIFEST_RULE = "K0102";
    /// A step needs or names a step that is not there.
    MANIFEST_UNKNOWN_STEP = "K0103";
    /// Steps depend on each other in a circle.
    MANIFEST_CYCLE = "K0104";
    /// An expression has a syntax error.
    EXPRESSION_SYNTAX = "K0105";
    /// An expression refers to something that is not there.
    EXPRESSION_REFERENCE = "K0106";
    /// An expression exceeds a bound.
    EXPRESSION_BOUND = "K0107";
    /// An agent that a workflow names is not registered.
    UNKNOWN_AGENT = "K0108";
    /// This version is registered already with another content; versions are immutable.
    VERSION_EXISTS = "K0109";
    /// A declared JSON Schema is not valid.
    SCHEMA_INVALID = "K0110";
    /// A manifest exceeds the size or node budget.
    MANIFEST_BOUND = "K0111";
    /// No such file or folder, or nothing in it to apply.
    MANIFEST_FILE = "K0112";
    /// What a step is given does not fit what its agent takes.
    CONTRACT_MISFIT = "K0113";
    /// A new version breaks what the contract of the one before promised, under a number that says it does not.
    BREAKING_CHANGE = "K0114";
    /// A new agent version breaks registered workflows that would get it.
    BREAKS_WORKFLOWS = "K0115";
    /// What onboarding found is not enough, or not clear enough, to make a manifest of.
    ONBOARD_INCOMPLETE = "K0117";
    /// The trial of an agent that is being onboarded did not end well.
    ONBOARD_TRIAL = "K0118";
    /// Where an agent is to be onboarded from cannot be taken in.
    ONBOARD_SOURCE = "K0119";
    /// A schedule has no times: its cron line, time zone or bounds cannot be used.
    SCHEDULE_TIMES = "K0120";
    /// A model agent or one of its tools reaches a host that its access does not name.
    MODEL_HOST = "K0125";
    /// A model agent has a tool that its access does not name, or is granted one that it does not have.
    MODEL_TOOL = "K0126";
    /// A prompt has a mistake, or names what the input does not have.
    PROMPT_INVALID = "K0127";
    /// A model agent uses a secret that its access does not name.
    MODEL_SECRET = "K0128";
    /// A workflow runs itself, without a condition.
    RUNS_ITSELF = "K0130";
    /// An agent's contract lets it hand a step to somebody who may not have it.
    HANDOFF_NAMES = "K0135";

    // 02xx: submitting and steering runs
    /// The workflow is not registered.
    UNKNOWN_WORKFLOW = "K0201";
    /// The input does not match the workflow's contract.
    INPUT_INVALID = "K0202";
    /// A payload exceeds the limit.
    PAYLOAD_TOO_LARGE = "K0203";
    /// The input is not JSON.
    INPUT_SYNTAX = "K0204";
    /// No such run.
    UNKNOWN_RUN = "K0205";
    /// The run's state does not allow what was asked.
    WRONG_STATE = "K0206";
    /// New runs are refused for now: too many are open, or the disk is nearly full.
    ADMISSION = "K0207";
    /// The idempotency key is empty, too long, or was used for another workflow version or input.
    KEY_INVALID = "K0208";
    /// A request field is malformed.
    REQUEST_INVALID = "K0209";
    /// The broker did not take the entry in time; the same request may be repeated.
    NOT_RECORDED = "K0210";
    /// No such dead letter.
    UNKNOWN_DEAD_LETTER = "K0211";
    /// Every version of the agent that a step may get is retired, or about to be.
    AGENT_RETIRED = "K0212";
    /// An agent version cannot be retired: workflows or open runs need it.
    AGENT_IN_USE = "K0213";
    /// Whether an agent version is in use is not known for now, so it is not retired.
    AGENT_USE_UNKNOWN = "K0214";
    /// No such schedule.
    UNKNOWN_SCHEDULE = "K0215";
    /// The schedule was changed by somebody else at the same time.
    SCHEDULE_CHANGED = "K0216";
    /// Too many schedules, or too many times that would wait.
    SCHEDULES_FULL = "K0217";
    /// A run cannot be forked from that step: it is not there, or what it needs has no recorded outcome.
    NOTHING_TO_FORK = "K0219";
    /// With the latest versions, a step that a fork would keep is not the step that it was.
    STEP_DIFFERS = "K0220";
    /// A bulk operation names no filter, and not that it is meant for all.
    FILTER_MISSING = "K0221";
    /// A coordinator of an older release is still there, which cannot decide such a run.
    OLDER_COORDINATOR = "K0222";
    /// Not every coordinator answered, so which runs there are is not known.
    RUNS_UNKNOWN = "K0223";
    /// The run's workflow declares no such signal.
    UNKNOWN_SIGNAL = "K0228";
    /// What a signal says breaks the contract that the workflow declares for it.
    SIGNAL_INVALID = "K0229";
    /// A priority is none.
    PRIORITY_INVALID = "K0230";
    /// The run's workflow declares no such query.
    UNKNOWN_QUERY = "K0235";
    /// A query has no value as the run stands.
    QUERY_FAILED = "K0236";
    /// The run's workflow declares no answer for this signal, so it can be told and not waited for.
    NO_ANSWER = "K0237";
    /// An update has no answer: the run ended before it took it, or what the answer refers to never came to be.
    UPDATE_FAILED = "K0238";
    /// An update was recorded and there is no answer yet.
    UPDATE_PENDING = "K0239";
    /// No worker takes tasks of the agent version that runs are to get.
    RELEASE_UNSERVED = "K0240";
    /// A certificate was changed, was signed with another key, or is none.
    CERTIFICATE_INVALID = "K0241";
    /// A step was put back to its queue too often: it fails again each time.
    REPLAYED_TOO_OFTEN = "K0242";

    // 03xx: why a run is STALLED or FAILED
    /// A step gave up.
    STEP_GAVE_UP = "K0301";
    /// An expression failed while the run was going on.
    EXPRESSION_FAILED = "K0302";
    /// A `foreach` did not yield a list, or a list that is too long.
    FAN_OUT = "K0303";
    /// The run has more entries than one may have.
    TOO_MANY_ENTRIES = "K0304";
    /// A stored payload cannot be found.
    PAYLOAD_MISSING = "K0305";
    /// The run exceeded its deadline.
    DEADLINE = "K0306";
    /// The run's definition cannot be loaded.
    PLAN_MISSING = "K0307";
    /// What an agent reported breaks its output contract.
    OUTPUT_CONTRACT = "K0308";
    /// What a step would be given breaks its agent's input contract.
    INPUT_CONTRACT = "K0309";
    /// The output of a run breaks the workflow's `result` contract.
    RESULT_CONTRACT = "K0310";
    /// What the tasks of an agent have cost in one run is what they may cost.
    COST_PER_RUN = "K0311";
    /// What a step would be given is larger than its agent may be given.
    INPUT_LIMIT = "K0312";
    /// No case of a switch applies.
    NO_CASE = "K0314";
    /// What a wait should wait for is no time.
    NOT_A_TIME = "K0315";
    /// Somebody who may decide said no to what a step would do.
    APPROVAL_REJECTED = "K0330";
    /// Nobody, or too few, said yes in time to what a step would do.
    APPROVAL_EXPIRED = "K0331";
    /// A signal did not come in time.
    SIGNAL_TIMEOUT = "K0316";
    /// A run keeps as many signals that nobody waits for as it may.
    TOO_MANY_SIGNALS = "K0317";
    /// A step would begin a run below too many others.
    RUN_TOO_DEEP = "K0318";
    /// The run that a step waited for was ended by somebody.
    CHILD_ENDED = "K0319";
    /// A step was repeated as often as it may be, and was not good enough.
    REPEAT_MAX = "K0323";
    /// Too few of the steps that a step joins succeeded.
    JOIN_UNMET = "K0324";
    /// An agent handed a step to somebody who may not have it.
    HANDOFF_STRANGER = "K0325";
    /// A step was handed on as often as it may be, and was to be handed on again.
    HANDOFF_MAX = "K0326";
    /// What an expression gives for a priority, a key or a weight is none.
    FLOW_INVALID = "K0340";
    /// A run was not done in time with what it does last.
    CLOSING_OVERDUE = "K0322";

    // 04xx: failures of an attempt that the worker names
    /// The agent did not answer within its timeout.
    AGENT_TIMEOUT = "K0401";
    /// The agent process ended without an answer.
    AGENT_EXITED = "K0402";
    /// The agent wrote something that is not the protocol.
    AGENT_GARBAGE = "K0403";
    /// The agent's output exceeds the payload limit.
    AGENT_OUTPUT_TOO_LARGE = "K0404";
    /// The agent process could not be started.
    AGENT_START = "K0405";
    /// The worker was lost while it held the task.
    LEASE_LOST = "K0406";
    /// The task cannot be read or its input cannot be fetched.
    TASK_INVALID = "K0407";
    /// The worker gave the task back unexecuted.
    TASK_RETURNED = "K0408";
    /// The agent panicked.
    AGENT_PANICKED = "K0409";
    /// The sandbox cannot be what the agent's access needs, so the agent is not started.
    AGENT_SANDBOX = "K0410";
    /// The agent exceeded a resource limit.
    AGENT_RESOURCES = "K0411";
    /// A secret that the agent needs is missing or cannot be used.
    SECRET_MISSING = "K0412";
    /// The agent put a secret into its output.
    SECRET_IN_OUTPUT = "K0413";
    /// The agent's output is larger than its own limit.
    OUTPUT_LIMIT = "K0414";
    /// The agent used more tokens than one task may.
    TOKENS_LIMIT = "K0415";
    /// The agent called more tools than one task may.
    TOOL_CALLS_LIMIT = "K0416";
    /// The server of a model does not answer, or asks to be asked later.
    MODEL_UNAVAILABLE = "K0417";
    /// The server of a model refuses the request, and would again.
    MODEL_REFUSED = "K0418";
    /// The server of a model does not accept the key.
    MODEL_KEY = "K0419";
    /// The conversation is longer than the model can read.
    MODEL_CONTEXT = "K0420";
    /// The model, or a filter before or behind it, declines to answer.
    MODEL_DECLINED = "K0421";
    /// The model's answer was cut off at its limit of tokens.
    MODEL_CUT_OFF = "K0422";
    /// The model's answer breaks the agent's output contract, and was not mended when it was told so.
    MODEL_OUTPUT = "K0423";
    /// The model did not come to an end within its turns.
    MODEL_TURNS = "K0424";
    /// A model agent's request would reach, or was sent on to, a host that it may not.
    HOST_DENIED = "K0425";
    /// A tool of a model agent does not answer.
    TOOL_UNAVAILABLE = "K0426";

    // 05xx: who may do what
    /// A policy has a mistake.
    POLICY_INVALID = "K0501";
    /// The call brings no credential, or one that is not accepted.
    UNAUTHENTICATED = "K0502";
    /// The caller is known and may not do this.
    DENIED = "K0503";
    /// Credentials cannot be checked for now: what they are checked against is not known to be current.
    IDENTITY_UNAVAILABLE = "K0504";
    /// No such API token.
    UNKNOWN_TOKEN = "K0505";
    /// The file that says whose identities are accepted is not valid.
    IDENTITY_INVALID = "K0506";
    /// A certificate, key or certificate authority cannot be used.
    TLS_INVALID = "K0507";
    /// The folder of the broker's operator is missing, there already, or cannot be used.
    OPERATOR_INVALID = "K0510";
    /// No such namespace at the broker, or no such credentials in it.
    UNKNOWN_ACCOUNT = "K0511";
    /// The namespace is still in use.
    NAMESPACE_IN_USE = "K0512";
    /// The broker does not take the NATS credentials: expired, revoked, or not of this broker.
    BROKER_CREDENTIALS = "K0513";
    /// The broker does not take an account.
    ACCOUNT_REFUSED = "K0514";
    /// An act was refused because it could not be written into the audit trail.
    AUDIT_UNAVAILABLE = "K0515";
    /// The served policies are not known to be current, or cannot be used, so everything is denied.
    POLICIES_UNAVAILABLE = "K0516";
    /// Under these policies whoever applies them could apply none any more.
    POLICY_LOCK_OUT = "K0517";
    /// A change that weakens policies takes two persons whom issuers vouch for.
    SECOND_PERSON = "K0518";
    /// There is no such open proposal: it was applied, it expired, or the policies changed meanwhile.
    PROPOSAL_GONE = "K0519";
    /// The step waits for no decision: nothing was asked, it is decided, it expired, or its run ended.
    NOT_HELD = "K0525";
    /// What was decided about is not what the step would do now.
    STALE_DIGEST = "K0526";
    /// Whoever decides is no person whom an issuer vouches for.
    NO_PERSON = "K0527";
    /// Whoever submitted a run cannot agree to what it does.
    SELF_APPROVAL = "K0528";
    /// The person has agreed already.
    SAME_PERSON = "K0529";
    /// Whoever decides is in none of the groups that are asked.
    NOT_IN_GROUP = "K0530";
    /// What was put in the place of a step's arguments is not what its agent takes.
    BAD_EDIT = "K0531";
    /// Whoever agrees may not see what they would agree to.
    APPROVAL_UNSEEN = "K0532";
    /// Whom notices go to cannot be read, or is not safe.
    NOTIFY_INVALID = "K0533";
    /// Somebody cannot decide in somebody's place like this.
    DELEGATION_INVALID = "K0534";
    /// Nobody decides in that person's place.
    UNKNOWN_DELEGATION = "K0535";
}

impl Code {
    /// The code as text.
    #[must_use]
    pub const fn as_str(self) -> &'static str {
        self.0
    }

    /// Finds a code by its text.
    #[must_use]
    pub fn parse(text: &str) -> Option<Self> {
        Self::ALL.iter().copied().find(|c| c.0 == text)
    }
}

impl fmt::Display for Code {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.0)
    }
}

impl serde::Serialize for Code {
    fn serialize<S: serde::Serializer>(&self, s: S) -> Result<S::Ok, S::Error> {
        s.serialize_str(self.0)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn no_code_twice() {
        let mut seen: Vec<_> = Code::ALL.iter().map(|c| c.as_str()).collect();
        seen.sort_unstable();
        seen.dedup();
        assert_eq!(seen.len(), Code::ALL.len());
        assert_eq!(Code::parse("K0101"), Some(Code::MANIFEST_SYNTAX));
        assert_eq!(Code::parse("K9999"), None);
    }
}
