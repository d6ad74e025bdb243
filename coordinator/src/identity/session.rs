//! A caller for as long as the credential is good: calls may be streams that outlive it.

use std::sync::Arc;
use std::time::Duration;

use kapelle_bus::tokens::TokenId;
use kapelle_telemetry::clock;
use kapelle_types::{Caller, Timestamp};

use super::keys::Keys;
use super::{Refused, TokenCache};

/// A caller, and until when.
#[derive(Clone)]
pub(crate) struct Session {
    pub(crate) caller: Arc<Caller>,
    ends: Ends,
}

/// What ends a session.
#[derive(Clone)]
enum Ends {
    Never,
    At(Timestamp, Arc<Keys>),
    With(Arc<TokenCache>, TokenId),
}

impl Session {
    /// For as long as the process lives.
    pub(super) fn endless(caller: Caller) -> Self {
        Self { caller: Arc::new(caller), ends: Ends::Never }
    }

    /// Until a moment that the credential names, while the keys that it was checked with are known to be current.
    pub(super) fn until(caller: Caller, at: Timestamp, keys: Arc<Keys>) -> Self {
        Self { caller: Arc::new(caller), ends: Ends::At(at, keys) }
    }

    /// Until the token expires or is revoked.
    pub(super) fn with_token(caller: Caller, tokens: Arc<TokenCache>, id: TokenId) -> Self {
        Self { caller: Arc::new(caller), ends: Ends::With(tokens, id) }
    }

    /// Resolves when the credential is no longer good, with why.
    pub(crate) async fn ended(self) -> Refused {
        match self.ends {
            Ends::Never => std::future::pending().await,
            Ends::At(at, keys) => tokio::select! {
                () = until(at) => Refused::Expired,
                () = keys.stale() => Refused::Stale,
            },
            Ends::With(tokens, id) => tokens.ended(&id).await,
        }
    }
}

/// Waits for a moment of this machine's clock.
pub(super) async fn until(at: Timestamp) {
    /// The clock may be set meanwhile, so no wait is longer.
    const LOOK_EVERY: Duration = Duration::from_secs(60);
    loop {
        let left = at.since(clock::now());
        if left.is_zero() {
            return;
        }
        tokio::time::sleep(left.min(LOOK_EVERY)).await;
    }
}
