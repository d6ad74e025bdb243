//! The gate in front of every service: who calls, and may they?
//!
//! ```text
//!   call ──▶ credential ──Identity──▶ caller ────Access────▶ service, with the caller beside the request
//!                 └─ K0502, K0504            └─ K0503           └─ what goes on ends when the credential does
//! ```
//!
//! Health alone is open: whoever probes a coordinator has no credential. Nothing else knows how a caller is established,
//! and no service is reached without one.

use std::convert::Infallible;
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll};

use kapelle_types::{AuditWho, Code, Diagnosis};
use tonic::Status;
use tonic::body::Body;
use tonic::codegen::http::header::AUTHORIZATION;
use tonic::codegen::http::{HeaderMap, Request, Response};
use tonic::codegen::{Body as HttpBody, Bytes};
use tower::{Layer, Service};

use super::status::status;
use crate::access::Access;
use crate::identity::{Identity, Refused, Session, TokenCache};

/// What anybody may ask.
const OPEN: &str = "/grpc.health.v1.Health/Check";

/// Puts the gate in front of services.
#[derive(Clone)]
pub(crate) struct Gate {
    identity: Arc<Identity>,
    access: Arc<Access>,
}

/// Services behind the gate.
#[derive(Clone)]
pub(crate) struct Gated<S> {
    gate: Gate,
    inner: S,
}

impl Gate {
    pub(crate) fn new(identity: Arc<Identity>, access: Arc<Access>) -> Self {
        Self { identity, access }
    }

    /// The tokens that open it.
    pub(super) fn tokens(&self) -> &Arc<TokenCache> {
        self.identity.tokens()
    }

    /// Who makes this call, if they may.
    async fn admit(&self, path: &str, headers: &HeaderMap) -> Result<Session, Diagnosis> {
        let rpc = path.trim_start_matches('/');
        let mut credentials = headers.get_all(AUTHORIZATION).iter();
        let credential = credentials.next().map(tonic::codegen::http::HeaderValue::as_bytes);
        if credentials.next().is_some() {
            let message = "the call brings more than one credential";
            let refused = Diagnosis::new(Code::UNAUTHENTICATED, message).hint("send one `authorization` header");
            self.access.unauthenticated(rpc, AuditWho::default(), None, &refused);
            return Err(refused);
        }
        let session = self.identity.session(credential).await.inspect_err(|refused| {
            let (who, token) = credential.map(|credential| self.identity.named_in(credential)).unwrap_or_default();
            self.access.unauthenticated(rpc, who, token, refused);
        })?;
        self.access.call(&session.caller, rpc)?;
        Ok(session)
    }
}

impl<S> Layer<S> for Gate {
    type Service = Gated<S>;

    fn layer(&self, inner: S) -> Gated<S> {
        Gated { gate: self.clone(), inner }
    }
}

impl<S> Service<Request<Body>> for Gated<S>
where
    S: Service<Request<Body>, Response = Response<Body>, Error = Infallible> + Clone + Send + 'static,
    S::Future: Send,
{
    type Response = Response<Body>;
    type Error = Infallible;
    type Future = Pin<Box<dyn Future<Output = Result<Response<Body>, Infallible>> + Send>>;

    fn poll_ready(&mut self, context: &mut Context<'_>) -> Poll<Result<(), Infallible>> {
        self.inner.poll_ready(context)
    }

    fn call(&mut self, mut request: Request<Body>) -> Self::Future {
        // The one that is ready is called; its clone is made ready for the next.
        let clone = self.inner.clone();
        let mut inner = std::mem::replace(&mut self.inner, clone);
        if request.uri().path() == OPEN {
            return Box::pin(inner.call(request));
        }
        let gate = self.gate.clone();
        Box::pin(async move {
            let session = match gate.admit(request.uri().path(), request.headers()).await {
                Ok(session) => session,
                Err(refused) => return Ok(status(&refused).into_http()),
            };
            // Nothing behind the gate has a use for the credential.
            request.headers_mut().remove(AUTHORIZATION);
            request.extensions_mut().insert(Arc::clone(&session.caller));
            // An answer that is waited for ends with the credential, as a stream does.
            let response = tokio::select! {
                biased;
                response = inner.call(request) => response?,
                refused = session.clone().ended() => return Ok(status(&refused.told()).into_http()),
            };
            Ok(response.map(|body| Body::new(Guarded { body, guard: Guard::Idle(session) })))
        })
    }
}

/// An answer that ends when the credential of whoever asked does.
struct Guarded {
    body: Body,
    guard: Guard,
}

/// What looks after the credential: nothing while the answer flows, which most do at once.
enum Guard {
    Idle(Session),
    Watching(Pin<Box<dyn Future<Output = Refused> + Send>>),
    Ended,
}

impl HttpBody for Guarded {
    type Data = Bytes;
    type Error = Status;

    fn poll_frame(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
    ) -> Poll<Option<Result<http_body::Frame<Bytes>, Status>>> {
        let this = &mut *self;
        if matches!(this.guard, Guard::Ended) {
            return Poll::Ready(None);
        }
        // A stream that always has more to say ends too.
        if let Guard::Watching(ended) = &mut this.guard
            && let Poll::Ready(refused) = ended.as_mut().poll(context)
        {
            this.guard = Guard::Ended;
            return Poll::Ready(Some(trailers(refused)));
        }
        let frame = Pin::new(&mut this.body).poll_frame(context);
        if frame.is_pending()
            && let Guard::Idle(session) = &this.guard
        {
            this.guard = Guard::Watching(Box::pin(session.clone().ended()));
            context.waker().wake_by_ref(); // so that what was begun here is polled once
        }
        frame
    }

    fn is_end_stream(&self) -> bool {
        matches!(self.guard, Guard::Ended) || self.body.is_end_stream()
    }
}

/// The end of a stream whose caller is no longer accepted.
fn trailers(refused: Refused) -> Result<http_body::Frame<Bytes>, Status> {
    let mut headers = HeaderMap::new();
    status(&refused.told()).add_header(&mut headers)?;
    Ok(http_body::Frame::trailers(headers))
}
