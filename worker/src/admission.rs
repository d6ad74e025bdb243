//! Whether a delivered task is executed, and if not, what is reported instead.

use kapelle_bus::pull::Delivery;
use kapelle_engine::{Failure, FailureKind};
use kapelle_proto::Task;
use kapelle_types::{Code, Timestamp};

use crate::failure;

/// What becomes of a delivery. `now` is this worker's clock.
///
/// # Errors
/// What is reported instead of executing it.
pub(crate) fn admit(delivery: &Delivery, now: Timestamp) -> Result<Task, Failure> {
    if delivery.delivered > 1 {
        let again = delivery.delivered;
        return Err(failure::lost(format!("delivery {again} of this attempt: the worker that had it before was lost")));
    }
    let task = Task::decode(&delivery.payload).map_err(|error| {
        let message = format!("the task cannot be read: {error}");
        // A newer worker may be able to.
        if error.is_newer() {
            failure::transient(Code::TASK_INVALID, message)
        } else {
            failure::permanent(Code::TASK_INVALID, message)
        }
    })?;
    let subject = &delivery.subject;
    if (task.run_id, &task.task, &task.agent) != (subject.run_id, &subject.task, &subject.agent) {
        let message = format!("the task says {} {} for {}, its subject {subject}", task.run_id, task.task, task.agent);
        return Err(failure::permanent(Code::TASK_INVALID, message));
    }
    if task.deadline.is_some_and(|deadline| deadline <= now) {
        let late = failure::permanent(Code::DEADLINE, "the run's deadline was over before the task could start");
        return Err(Failure { kind: FailureKind::Timeout, ..late });
    }
    Ok(task)
}
