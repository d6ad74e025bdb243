//! The policies that are served: what the broker has, compiled, and known to be current.
//!
//! ```text
//!   bucket `policies` ──twice a second: anything new?──▶ read, compile ──▶ Serving ──▶ every decision
//! ```
//!
//! A set is taken whole and at once. When it is not known to be current for `STALE_AFTER`, when it cannot be compiled, or when
//! it is gone, everything is denied: nobody falls back to other policies than the ones that were applied. Where none were
//! ever applied, those that come with Kapelle are served.

mod change;

use std::sync::Arc;
use std::time::Duration;

use arc_swap::ArcSwap;
use kapelle_bus::policies::{File, PolicySets, Proposal, Set, digest};
use kapelle_bus::{Bus, Error};
use kapelle_policy::Policies;
use kapelle_telemetry::clock;
use kapelle_types::{AuditWhat, AuditWho, Code, Diagnosis, Principal, Timestamp};
use tokio::sync::{Notify, watch};
use tokio::time::{Instant, MissedTickBehavior, interval, timeout};
use tokio_util::sync::CancellationToken;

use crate::audit::{Fact, Trail};

pub(crate) use change::{Desk, Outcome, Wanted};

/// How often the broker is asked whether there is something new.
const ASK_EVERY: Duration = Duration::from_millis(500);
/// How long policies are served without knowing that they are current: longer than a broker's fail-over takes (10 s).
const STALE_AFTER: Duration = Duration::from_secs(15);
/// How long opening waits for the policies.
const OPEN_PATIENCE: Duration = Duration::from_secs(10);
/// How long whoever wrote a set waits until it is served here.
const SERVED_MAX: Duration = Duration::from_secs(2);

/// One set, compiled.
#[derive(Debug)]
pub(crate) struct Served {
    /// As it is stored; version 0 are the policies that come with Kapelle.
    pub(crate) set: Set,
    /// What it means.
    pub(crate) policies: Policies,
}

/// What is served now.
#[derive(Debug)]
pub(crate) struct Serving {
    state: ArcSwap<State>,
    /// The version that is served; whoever waits for one looks again.
    version: watch::Sender<u64>,
    /// Asks for a look before its time.
    look: Notify,
}

#[derive(Debug, Clone)]
struct State {
    /// What is served, or why nothing is.
    served: Result<Arc<Served>, String>,
    proposals: Arc<[Proposal]>,
    /// When the broker last had nothing that was not seen.
    current_at: Instant,
}

impl Serving {
    /// Reads the policies and follows what comes, until `stop`.
    ///
    /// # Errors
    /// The broker is not ready.
    pub(crate) async fn open(bus: &Bus, trail: Arc<Trail>, stop: CancellationToken) -> Result<Arc<Self>, Error> {
        let follower = Follower { sets: PolicySets::open(bus).await?, trail, seen: None, last: None };
        let serving = Arc::new(Self::holding(Err("the policies are not read yet".into())));
        let mut news = serving.version.subscribe();
        let follow = tokio::spawn(follower.follow(Arc::clone(&serving), stop));
        if timeout(OPEN_PATIENCE, news.changed()).await.is_err() {
            follow.abort();
            return Err(Error::Unavailable("the policies cannot be read".into()));
        }
        Ok(serving)
    }

    /// The policies that come with Kapelle and nothing else.
    #[cfg(test)]
    pub(crate) fn embedded() -> Arc<Self> {
        Arc::new(Self::holding(compile(embedded()).map(Arc::new)))
    }

    fn holding(served: Result<Arc<Served>, String>) -> Self {
        let state = State { served, proposals: Arc::default(), current_at: Instant::now() };
        Self { state: ArcSwap::from_pointee(state), version: watch::channel(0).0, look: Notify::new() }
    }

    /// What is served.
    ///
    /// # Errors
    /// `POLICIES_UNAVAILABLE`.
    pub(crate) fn served(&self) -> Result<Arc<Served>, Diagnosis> {
        self.state.load().served_at(Instant::now())
    }

    /// What waits for a second person.
    pub(crate) fn proposals(&self) -> Arc<[Proposal]> {
        Arc::clone(&self.state.load().proposals)
    }

    /// Waits until a version that was just written is served, so that whoever wrote it can count on it. Not for ever: it is
    /// written, whether or not it is served here yet.
    pub(crate) async fn has(&self, version: u64) {
        self.look.notify_one();
        let mut news = self.version.subscribe();
        let _ = timeout(SERVED_MAX, news.wait_for(|served| *served >= version)).await;
    }

    /// Looks again, since something was written that is no set.
    pub(crate) fn look_again(&self) {
        self.look.notify_one();
    }

    fn is_current(&self, asked: Instant) {
        let state = State { current_at: asked, ..State::clone(&self.state.load()) };
        self.state.store(Arc::new(state));
    }

    fn take(&self, state: State) {
        let version = state.served.as_ref().map_or(0, |served| served.set.version);
        self.state.store(Arc::new(state));
        self.version.send_replace(version);
    }
}

impl State {
    fn served_at(&self, now: Instant) -> Result<Arc<Served>, Diagnosis> {
        let unavailable = |why: &str| {
            Diagnosis::new(Code::POLICIES_UNAVAILABLE, format!("everything is denied: {why}"))
                .hint("try again; the coordinator's log says what is wrong")
        };
        if now.saturating_duration_since(self.current_at) > STALE_AFTER {
            return Err(unavailable("the served policies are not known to be current"));
        }
        self.served.clone().map_err(|why| unavailable(&why))
    }
}

/// Keeps what is served current.
struct Follower {
    sets: PolicySets,
    trail: Arc<Trail>,
    /// The last sequence of the bucket that was read.
    seen: Option<u64>,
    /// The last set that was served: what comes is not less than that, even if something else came between.
    last: Option<Arc<Served>>,
}

impl Follower {
    async fn follow(mut self, serving: Arc<Serving>, stop: CancellationToken) {
        let mut ticks = interval(ASK_EVERY);
        ticks.set_missed_tick_behavior(MissedTickBehavior::Delay);
        loop {
            tokio::select! {
                () = stop.cancelled() => return,
                () = serving.look.notified() => {}
                _ = ticks.tick() => {}
            }
            if let Err(error) = self.look(&serving).await {
                tracing::debug!(%error, "whether the policies are current is not known");
            }
            self.sweep(&serving).await;
        }
    }

    async fn look(&mut self, serving: &Serving) -> Result<(), Error> {
        let asked = Instant::now();
        let seq = self.sets.last_seq().await?;
        if self.seen == Some(seq) {
            serving.is_current(asked);
            return Ok(());
        }
        let served = match self.sets.served().await {
            Ok(set) => next(self.last.clone(), set).await,
            Err(Error::Unreadable(why)) => Err(format!("the served set cannot be read: {why}")),
            Err(error) => return Err(error),
        };
        match &served {
            Ok(served) => tracing::info!(version = served.set.version, digest = %served.set.digest, "serving policies"),
            Err(why) => tracing::error!(why, "no policies can be served; everything is denied"),
        }
        self.last = served.as_ref().ok().cloned().or_else(|| self.last.take());
        // What is served does not wait for what is proposed.
        let proposals = self.sets.proposals().await;
        let known = proposals.as_ref().map_or_else(|_| serving.proposals(), |it| it.clone().into());
        serving.take(State { served, proposals: known, current_at: asked });
        proposals?;
        self.seen = Some(seq);
        Ok(())
    }

    /// Removes proposals that can be approved no more, each with a record of it that all coordinators write as one.
    async fn sweep(&self, serving: &Serving) {
        let Ok(served) = serving.served() else { return };
        for proposal in serving.proposals().iter() {
            let Some(verb) = ended(proposal, &served.set, clock::now()) else { continue };
            let record = self.trail.once(format!("proposal-{}-{verb}", proposal.id), ending(proposal, verb)).await;
            let removed = match record {
                Ok(()) => self.sets.remove_proposal(&proposal.id).await,
                Err(error) => Err(error),
            };
            if let Err(error) = removed {
                tracing::debug!(id = proposal.id, %error, "a proposal that has ended stays for now");
                return; // each may take seconds, in which nobody looks whether the policies are current
            }
        }
    }
}

/// How a proposal ended, if it can be approved no more.
fn ended(proposal: &Proposal, served: &Set, now: Timestamp) -> Option<&'static str> {
    // Whoever approved it recorded that.
    if served.proposal.as_deref() == Some(proposal.id.as_str()) {
        return None;
    }
    let is_replaced = served.version == proposal.replaces && served.digest != proposal.replaces_digest;
    // Held against a later set than is served here, it is somebody's who knows more.
    if served.version > proposal.replaces || is_replaced {
        return Some("void");
    }
    (now >= proposal.expires_at).then_some("expired")
}

fn ending(proposal: &Proposal, verb: &'static str) -> Fact {
    let what = AuditWhat { kind: "proposal".into(), name: proposal.id.clone(), ..AuditWhat::default() };
    let reason = match verb {
        "void" => format!("version {} is served no more", proposal.replaces),
        _ => "no second person approved it in time".to_owned(),
    };
    let who = AuditWho { principal: proposal.set.applied_by.clone(), ..AuditWho::default() };
    let code = Some(Code::PROPOSAL_GONE);
    Fact { component: "policies", verb, who, what, policy: String::new(), code, reason }
}

/// What is served after what was served before: never less than was there.
async fn next(before: Option<Arc<Served>>, set: Option<Set>) -> Result<Arc<Served>, String> {
    let there = before.as_ref().map_or(0, |served| served.set.version);
    let set = match set {
        None if there > 0 => return Err(format!("version {there} is gone from the broker")),
        None => embedded(),
        Some(set) if set.version < there => return Err(format!("version {there} is gone from the broker")),
        Some(set) => set,
    };
    match before {
        Some(served) if served.set == set => Ok(served),
        _ => compiled(set).await.map(Arc::new),
    }
}

/// Compiles on a thread of its own: a large set takes longer than calls may wait for.
async fn compiled(set: Set) -> Result<Served, String> {
    tokio::task::spawn_blocking(|| compile(set)).await.map_err(|error| error.to_string())?
}

fn compile(set: Set) -> Result<Served, String> {
    if digest(&set.files) != set.digest {
        return Err(format!("version {} is not what its digest says", set.version));
    }
    match load(&set.files) {
        Ok(policies) => Ok(Served { set, policies }),
        Err(invalid) => Err(format!("version {} cannot be used by this release: {invalid}", set.version)),
    }
}

fn load(files: &[File]) -> Result<Policies, kapelle_policy::Invalid> {
    Policies::load(&files.iter().map(|file| (&file.name, &file.text)).collect::<Vec<_>>())
}

/// The policies that come with Kapelle, as a set.
pub(crate) fn embedded() -> Set {
    let file = |(name, text): &(&str, &str)| File { name: (*name).to_owned(), text: (*text).to_owned() };
    let files: Vec<File> = Policies::embedded_files().iter().map(file).collect();
    Set {
        version: 0,
        digest: digest(&files),
        files,
        applied_by: Principal("kapelle".into()),
        person: None,
        applied_at: Timestamp::default(),
        why: "the policies that come with Kapelle".into(),
        again: None,
        proposal: None,
        approved_by: None,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn version(version: u64) -> Set {
        Set { version, ..embedded() }
    }

    fn proposal() -> Proposal {
        Proposal {
            id: "ab".into(),
            set: version(3),
            replaces: 2,
            replaces_digest: embedded().digest,
            weakens: Vec::new(),
            expires_at: Timestamp::from_millis(1_000),
        }
    }

    #[tokio::test]
    async fn what_was_applied_is_never_replaced_by_less() {
        let first = next(None, None).await.unwrap();
        assert_eq!(first.set.version, 0, "nothing was ever applied");
        let second = next(Some(first), Some(version(2))).await.unwrap();
        assert!(Arc::ptr_eq(&second, &next(Some(Arc::clone(&second)), Some(version(2))).await.unwrap()));
        for gone in [None, Some(version(1))] {
            let why = next(Some(Arc::clone(&second)), gone).await.unwrap_err();
            assert_eq!(why, "version 2 is gone from the broker");
        }
    }

    #[tokio::test]
    async fn a_set_that_cannot_be_used_is_not_served() {
        let mut changed = version(1);
        changed.files[0].text.push(' ');
        assert_eq!(next(None, Some(changed.clone())).await.unwrap_err(), "version 1 is not what its digest says");
        changed.files[0].text = "permit (principal, action, resource) when { newer.than.we };".into();
        changed.digest = digest(&changed.files);
        let why = next(None, Some(changed)).await.unwrap_err();
        assert!(why.starts_with("version 1 cannot be used by this release"), "{why}");
    }

    #[tokio::test(start_paused = true)]
    async fn policies_that_may_be_out_of_date_deny() {
        let serving = Serving::embedded();
        assert!(serving.served().is_ok());
        tokio::time::advance(STALE_AFTER + Duration::from_millis(1)).await;
        assert_eq!(serving.served().unwrap_err().code, Code::POLICIES_UNAVAILABLE);
        serving.is_current(Instant::now());
        assert!(serving.served().is_ok());
    }

    #[test]
    fn a_proposal_ends_when_its_time_or_its_ground_does() {
        let (early, late) = (Timestamp::from_millis(999), Timestamp::from_millis(1_000));
        assert_eq!(ended(&proposal(), &version(2), early), None);
        assert_eq!(ended(&proposal(), &version(2), late), Some("expired"));
        assert_eq!(ended(&proposal(), &version(3), early), Some("void"));
        let other = Set { digest: digest(&[]), ..version(2) };
        assert_eq!(ended(&proposal(), &other, early), Some("void"));
        let applied = Set { proposal: Some("ab".into()), ..version(3) };
        assert_eq!(ended(&proposal(), &applied, late), None, "it was approved");
    }
}
