//! A registered manifest, as it is stored and as a value.

use kapelle_manifest::Manifest;
use kapelle_proto::v1;
use kapelle_types::Code;

use super::Client;
use crate::exit::Exit;
use crate::failure::Failure;

impl Client {
    /// One registered version; without a version the highest.
    pub(crate) async fn stored(&self, kind: &str, name: &str, version: &str) -> Result<v1::ManifestView, Failure> {
        let (kind, name, version) = (kind.to_owned(), name.to_owned(), version.to_owned());
        let request = v1::GetManifestRequest { kind, name, version };
        self.registry().get_manifest(request).await.map(tonic::Response::into_inner).map_err(|s| {
            let failure = self.failure(s);
            // In a workflow an unknown agent is a mistake; here it is what was looked for.
            if failure.code() == Some(Code::UNKNOWN_AGENT) { failure.ending(Exit::NotFound) } else { failure }
        })
    }

    /// The same as a value, of the kind that was asked for.
    pub(crate) async fn manifest(&self, kind: &str, name: &str, version: &str) -> Result<Manifest, Failure> {
        let v1::ManifestView { json, version, .. } = self.stored(kind, name, version).await?;
        match serde_json::from_slice::<Manifest>(&json) {
            Ok(manifest) if manifest.name_version().0 == kind => Ok(manifest),
            Ok(_) => Err(Failure::plain(Exit::Failed, format!("{name} is not registered as what it is: {kind}."))),
            Err(error) => {
                let message = format!("{kind} {name}@{version} is registered and cannot be read here: {error}.");
                Err(Failure::plain(Exit::Failed, message)
                    .hint("The coordinator is of another release; compare `kapelle --version` on both sides."))
            }
        }
    }
}
