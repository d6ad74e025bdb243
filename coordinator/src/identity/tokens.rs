//! The tokens that there are, in memory: looked up without a round trip, kept current by watching the bucket.
//!
//! A watch that hears nothing looks like one that has nothing to hear. So the broker is asked twice a second for the
//! sequence of the latest change; only while that is one that was seen are the tokens known to be current. When they have
//! not been for `STALE_AFTER`, no token is accepted until they are again.

use std::collections::HashMap;
use std::sync::{Arc, PoisonError, RwLock};
use std::time::Duration;

use kapelle_bus::tokens::{Change, Record, Secret, State, TokenId, Tokens};
use kapelle_bus::{Bus, Error};
use kapelle_types::{AuditWho, Caller, Code, Diagnosis, Timestamp};
use tokio::sync::{mpsc, watch};
use tokio::time::{Instant, MissedTickBehavior};
use tokio_util::sync::CancellationToken;

use super::Refused;
use super::session::{Session, until};

/// How often the broker is asked whether something was missed.
const ASK_EVERY: Duration = Duration::from_millis(500);
/// How long a watch may be silent while the broker has more before it is made anew.
const LAG_MAX: Duration = Duration::from_secs(1);
/// How long tokens are accepted without knowing that they are current: longer than a broker's fail-over takes (10 s).
const STALE_AFTER: Duration = Duration::from_secs(15);
/// How soon a watch that ended or could not begin is begun again.
const WATCH_AGAIN: Duration = Duration::from_millis(250);
/// How long whoever wrote a token waits until it is known here.
const KNOWN_MAX: Duration = Duration::from_secs(1);
/// How long opening waits for the tokens.
const OPEN_PATIENCE: Duration = Duration::from_secs(10);

/// The tokens.
pub(crate) struct TokenCache {
    bucket: Tokens,
    known: RwLock<Known>,
    /// Counts changes; whoever waits for a token's end looks again.
    changed: watch::Sender<u64>,
}

#[derive(Default)]
struct Known {
    records: HashMap<TokenId, Record>,
    /// When the broker last had nothing that was not seen.
    current_at: Option<Instant>,
}

impl TokenCache {
    /// Reads all tokens and follows what comes, until `stop`.
    ///
    /// # Errors
    /// The broker is not ready.
    pub(crate) async fn open(bus: &Bus, stop: CancellationToken) -> Result<Arc<Self>, Error> {
        let (changed, mut news) = watch::channel(0);
        let bucket = Tokens::open(bus).await?;
        let cache = Arc::new(Self { bucket, known: RwLock::default(), changed });
        tokio::spawn(Arc::clone(&cache).follow(stop));
        match tokio::time::timeout(OPEN_PATIENCE, news.changed()).await {
            Ok(_) => Ok(cache),
            Err(_) => Err(Error::Unavailable("the tokens cannot be read".into())),
        }
    }

    /// The bucket, to make and revoke tokens in.
    pub(crate) const fn bucket(&self) -> &Tokens {
        &self.bucket
    }

    /// Who holds this token.
    pub(super) fn session(self: &Arc<Self>, secret: &Secret, now: Timestamp) -> Result<Session, Refused> {
        let known = self.known.read().unwrap_or_else(PoisonError::into_inner);
        let record = known.accepted(secret, now, Instant::now())?;
        Ok(Session::with_token(record.caller(), Arc::clone(self), record.id.clone()))
    }

    /// Resolves when the token is no longer good, or not known to be.
    pub(super) async fn ended(&self, id: &TokenId) -> Refused {
        let mut news = self.changed.subscribe();
        loop {
            let record = self.record(id);
            let Some(record) = record.filter(|r| r.revoked_at.is_none()) else { return Refused::Unknown };
            tokio::select! {
                () = until(record.expires_at) => return Refused::Expired,
                () = self.stale() => return Refused::Stale,
                _ = news.changed() => {}
            }
        }
    }

    /// Resolves when the tokens are not known to be current any more.
    async fn stale(&self) {
        loop {
            let current_at = self.known.read().unwrap_or_else(PoisonError::into_inner).current_at;
            match current_at.map(|at| at + STALE_AFTER).filter(|until| *until >= Instant::now()) {
                Some(until) => tokio::time::sleep_until(until + Duration::from_millis(1)).await,
                None => return,
            }
        }
    }

    /// Who holds a token that is refused, if the secret is its own; and its id, if there is such a token at all.
    pub(super) fn named_in(&self, secret: &Secret) -> (AuditWho, Option<String>) {
        let Some(record) = self.record(secret.id()) else { return Default::default() };
        let who = if record.is_of(secret) { AuditWho::from(&record.caller()) } else { AuditWho::default() };
        (who, Some(record.id.to_string()))
    }

    /// A holder of tokens with what they may be now: the roles of all their tokens of one namespace that are good.
    ///
    /// # Errors
    /// `DENIED` if there is none, `IDENTITY_UNAVAILABLE` while that is not known.
    pub(crate) fn holder(&self, was: &Caller, now: Timestamp) -> Result<Caller, Diagnosis> {
        let known = self.known.read().unwrap_or_else(PoisonError::into_inner);
        if !known.is_current(Instant::now()) {
            return Err(Refused::Stale.told());
        }
        let good = known.records.values().filter(|record| record.state(now) == State::Active).map(Record::caller);
        let own = good.filter(|it| it.principal == was.principal && it.namespace == was.namespace);
        own.reduce(|mut all, one| {
            all.roles.extend(one.roles);
            all
        })
        .ok_or_else(|| {
            let message = format!("{} has no token that is good", was.principal);
            Diagnosis::new(Code::DENIED, message)
                .hint("make a token of that name, or apply the schedule as somebody else")
        })
    }

    /// Waits until the watch has brought a change that was just written, so that whoever made it can count on it with the
    /// next call. Not for ever: it is written, whether or not it is known here.
    pub(crate) async fn has(&self, record: &Record) {
        let mut news = self.changed.subscribe();
        let known = async {
            while self.record(&record.id).as_ref() != Some(record) {
                if news.changed().await.is_err() {
                    return;
                }
            }
        };
        let _ = tokio::time::timeout(KNOWN_MAX, known).await;
    }

    fn record(&self, id: &TokenId) -> Option<Record> {
        let known = self.known.read().unwrap_or_else(PoisonError::into_inner);
        known.records.get(id).cloned()
    }

    async fn follow(self: Arc<Self>, stop: CancellationToken) {
        loop {
            let followed = async {
                match self.bucket.watch().await {
                    Ok(changes) => self.follow_one(changes).await,
                    Err(error) => tracing::debug!(%error, "the tokens cannot be watched right now"),
                }
                tokio::time::sleep(WATCH_AGAIN).await;
            };
            tokio::select! {
                () = stop.cancelled() => return,
                () = followed => {}
            }
        }
    }

    /// Follows one watch until it ends or lags. What it says replaces what was known once it has caught up.
    async fn follow_one(&self, mut changes: mpsc::Receiver<Change>) {
        let mut ticks = tokio::time::interval(ASK_EVERY);
        ticks.set_missed_tick_behavior(MissedTickBehavior::Delay);
        let (mut seen, mut caught_up, mut heard) = (0, false, Instant::now());
        let mut first: HashMap<TokenId, Record> = HashMap::new();
        loop {
            tokio::select! {
                change = changes.recv() => {
                    let Some(change) = change else { return };
                    (seen, heard) = (seen.max(change.seq), Instant::now());
                    if caught_up {
                        self.learn(change);
                    } else {
                        take(&mut first, change);
                    }
                }
                _ = ticks.tick() => {
                    let asked = Instant::now();
                    match self.bucket.last_seq().await {
                        Ok(last) if last == seen => {
                            let first = (!caught_up).then(|| std::mem::take(&mut first));
                            caught_up = true;
                            self.is_current(asked, first);
                        }
                        // A bucket that went back is another one: what is known of the old one counts for nothing.
                        Ok(last) if last < seen => return,
                        Ok(_) if heard.elapsed() > LAG_MAX => {
                            tracing::debug!(seen, "the watch of the tokens lags; watching anew");
                            return;
                        }
                        Ok(_) => {}
                        Err(error) => tracing::debug!(%error, "whether the tokens are current is not known"),
                    }
                }
            }
        }
    }

    fn learn(&self, change: Change) {
        let mut known = self.known.write().unwrap_or_else(PoisonError::into_inner);
        take(&mut known.records, change);
        drop(known);
        self.changed.send_modify(|n| *n += 1);
    }

    fn is_current(&self, asked: Instant, first: Option<HashMap<TokenId, Record>>) {
        let mut known = self.known.write().unwrap_or_else(PoisonError::into_inner);
        known.current_at = Some(asked);
        let replaced = first.map(|records| known.records = records).is_some();
        drop(known);
        if replaced {
            self.changed.send_modify(|n| *n += 1);
        }
    }
}

impl Known {
    /// Whether they are known to be current.
    fn is_current(&self, moment: Instant) -> bool {
        self.current_at.is_some_and(|at| moment.saturating_duration_since(at) <= STALE_AFTER)
    }

    /// The record of a token that is accepted now.
    fn accepted(&self, secret: &Secret, now: Timestamp, moment: Instant) -> Result<&Record, Refused> {
        if !self.is_current(moment) {
            return Err(Refused::Stale);
        }
        let record = self.records.get(secret.id()).filter(|r| r.is_of(secret));
        let record = record.ok_or(Refused::Unknown)?;
        match record.state(now) {
            State::Active => Ok(record),
            State::Expired => Err(Refused::Expired),
            State::Revoked => Err(Refused::Unknown),
        }
    }
}

fn take(records: &mut HashMap<TokenId, Record>, change: Change) {
    match change.record {
        Some(record) => drop(records.insert(change.id, record)),
        None => drop(records.remove(&change.id)),
    }
}
