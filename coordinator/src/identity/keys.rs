//! An issuer's public keys, read again and again: an issuer changes them, and must be able to withdraw one.
//!
//! ```text
//!   every REFRESH ──▶ JWKS ──▶ keys by id      a key that nobody knows ──▶ JWKS, but not more often than ASK_PAUSE
//! ```
//!
//! Keys that could not be read again for `AGE_MAX` are used no more: what was withdrawn meanwhile is not known.

use std::collections::HashMap;
use std::sync::{Arc, PoisonError, RwLock};
use std::time::Duration;

use jsonwebtoken::jwk::{AlgorithmParameters, Jwk, PublicKeyUse};
use jsonwebtoken::{Algorithm, AlgorithmFamily, DecodingKey};
use kapelle_retry::{Delays, Policy};
use serde::Deserialize;
use serde_json::Value;
use tokio::sync::{Notify, watch};
use tokio::time::{Instant, timeout};
use tokio_util::sync::CancellationToken;

use super::Refused;
use super::fetch::Fetcher;

/// Keys of one issuer.
const KEYS_MAX: usize = 256;

/// How often, how long.
#[derive(Debug, Clone, Copy)]
pub(super) struct Timing {
    /// How often the keys are read without a reason.
    pub(super) refresh: Duration,
    /// How old keys may be.
    pub(super) age_max: Duration,
    /// The least time between two readings that unknown keys cause: strangers must not make us ask without end.
    pub(super) ask_pause: Duration,
    /// How long a call waits for a reading.
    pub(super) patience: Duration,
}

impl Default for Timing {
    fn default() -> Self {
        Self {
            refresh: Duration::from_secs(300),
            age_max: Duration::from_secs(3600),
            ask_pause: Duration::from_secs(10),
            patience: Duration::from_secs(6),
        }
    }
}

/// One issuer's keys.
pub(super) struct Keys {
    timing: Timing,
    held: RwLock<Held>,
    wanted: Notify,
    /// Counts readings, those that failed too.
    readings: watch::Sender<u64>,
}

#[derive(Default)]
struct Held {
    by_id: HashMap<String, Arc<Key>>,
    read_at: Option<Instant>,
    /// When they last came.
    answered_at: Option<Instant>,
    /// When a reading was last begun.
    asked_at: Option<Instant>,
    /// Whether one is under way.
    reading: bool,
}

/// A public key.
pub(super) struct Key {
    pub(super) decoding: DecodingKey,
    /// The only algorithm that it is for, if the issuer says so.
    algorithm: Option<String>,
}

impl Key {
    /// Whether a signature with this algorithm can be this key's at all.
    pub(super) fn is_for(&self, algorithm: Algorithm) -> bool {
        let named = self.algorithm.as_deref().is_none_or(|name| name == format!("{algorithm:?}"));
        named && self.decoding.family() == algorithm.family() && algorithm.family() != AlgorithmFamily::Hmac
    }
}

impl Keys {
    /// Reads the keys and reads them again, until `stop`.
    pub(super) fn start(fetcher: Fetcher, timing: Timing, stop: CancellationToken) -> Arc<Self> {
        let (readings, _) = watch::channel(0);
        // The first is as good as begun: whoever comes before it ends waits for it.
        let held = RwLock::new(Held { reading: true, ..Held::default() });
        let keys = Arc::new(Self { timing, held, wanted: Notify::new(), readings });
        let reading = Arc::clone(&keys);
        tokio::spawn(async move {
            tokio::select! {
                () = stop.cancelled() => {}
                () = reading.read_on(&fetcher) => {}
            }
        });
        keys
    }

    /// The key with this id. One that is not known is looked for at the issuer: it may be new.
    pub(super) async fn key(&self, id: &str) -> Result<Arc<Key>, Refused> {
        let mut readings = self.readings.subscribe();
        if let Ok(key) = self.known(id) {
            return Ok(key);
        }
        let asked = Instant::now();
        // The issuer was asked just now: whether it has this key by now is not known, and the call may be repeated.
        if !self.ask() {
            return Err(Refused::Stale);
        }
        let _ = timeout(self.timing.patience, readings.changed()).await;
        match self.known(id) {
            Err(Refused::Unknown) if !self.read_since(asked) => Err(Refused::Stale),
            known => known,
        }
    }

    /// Resolves when the keys are too old to be used.
    pub(super) async fn stale(&self) {
        loop {
            let read_at = self.held.read().unwrap_or_else(PoisonError::into_inner).read_at;
            match read_at.map(|at| at + self.timing.age_max).filter(|until| *until >= Instant::now()) {
                Some(until) => tokio::time::sleep_until(until + Duration::from_millis(1)).await,
                None => return,
            }
        }
    }

    /// Whether the issuer answered a question that was under way then, or put later.
    fn read_since(&self, moment: Instant) -> bool {
        let held = self.held.read().unwrap_or_else(PoisonError::into_inner);
        held.answered_at.is_some_and(|at| at >= moment)
    }

    pub(super) fn known(&self, id: &str) -> Result<Arc<Key>, Refused> {
        let held = self.held.read().unwrap_or_else(PoisonError::into_inner);
        if held.read_at.is_none_or(|at| at.elapsed() > self.timing.age_max) {
            return Err(Refused::Stale);
        }
        held.by_id.get(id).cloned().ok_or(Refused::Unknown)
    }

    /// Whether a reading is under way, or one was begun for us.
    fn ask(&self) -> bool {
        self.change(|held| {
            let rested = held.asked_at.is_none_or(|at| at.elapsed() >= self.timing.ask_pause);
            if !held.reading && rested {
                held.reading = true;
                self.wanted.notify_one();
            }
            held.reading
        })
    }

    async fn read_on(&self, fetcher: &Fetcher) {
        let policy =
            Policy { initial: Duration::from_secs(1), max: Duration::from_secs(60), total: None, ..Policy::default() };
        let mut delays = Delays::new(&policy);
        loop {
            let asked = Instant::now();
            self.change(|held| (held.asked_at, held.reading) = (Some(asked), true));
            let pause = match fetcher.read().await.and_then(|bytes| parse(&bytes)) {
                Ok(by_id) => {
                    self.change(|held| {
                        (held.by_id, held.read_at) = (by_id, Some(asked));
                        held.answered_at = Some(Instant::now());
                    });
                    delays.reset();
                    self.timing.refresh
                }
                Err(error) => {
                    tracing::warn!(place = fetcher.place(), error, "the keys of an issuer cannot be read");
                    delays.next().min(self.timing.refresh)
                }
            };
            self.change(|held| held.reading = false);
            self.readings.send_modify(|n| *n += 1);
            let _ = timeout(pause, self.wanted.notified()).await;
        }
    }

    fn change<T>(&self, change: impl FnOnce(&mut Held) -> T) -> T {
        change(&mut self.held.write().unwrap_or_else(PoisonError::into_inner))
    }
}

/// The usable keys of a JWKS: public, for signatures, with an id. One that cannot be read does not spoil the others.
fn parse(bytes: &[u8]) -> Result<HashMap<String, Arc<Key>>, String> {
    #[derive(Deserialize)]
    struct Jwks {
        keys: Vec<Value>,
    }
    let jwks: Jwks = serde_json::from_slice(bytes).map_err(|e| format!("this is no JWKS: {e}"))?;
    let mut by_id = HashMap::new();
    for value in jwks.keys.into_iter().take(KEYS_MAX) {
        let algorithm = value.get("alg").and_then(Value::as_str).map(str::to_owned);
        let Ok(jwk) = serde_json::from_value::<Jwk>(value) else { continue };
        let for_signatures = jwk.common.public_key_use.as_ref().is_none_or(|u| *u == PublicKeyUse::Signature);
        let is_secret = matches!(jwk.algorithm, AlgorithmParameters::OctetKey(_));
        let (Some(id), Ok(decoding)) = (jwk.common.key_id.clone(), DecodingKey::from_jwk(&jwk)) else { continue };
        if for_signatures && !is_secret {
            by_id.insert(id, Arc::new(Key { decoding, algorithm }));
        }
    }
    if by_id.is_empty() { Err("it has no key that can be used".into()) } else { Ok(by_id) }
}
