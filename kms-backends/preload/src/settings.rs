//! The settings section of this backend.

use std::sync::Arc;

use kms_backend::{
    Backend, BackendError, BackendSettings, Capabilities, OpenContext, Operation, SourceUse,
    async_trait,
};
use serde::{Deserialize, Serialize};

use crate::backend::Preload;

/// Settings of this backend: none. Where the secrets are is said by each key's `source`.
#[derive(Clone, Debug, Default, PartialEq, Eq, Deserialize, Serialize)]
#[serde(deny_unknown_fields)]
pub struct PreloadSettings {}

#[async_trait]
impl BackendSettings for PreloadSettings {
    fn capabilities(&self) -> Capabilities {
        Capabilities::software(SourceUse::Required, [Operation::Execute])
    }

    async fn open(&self, context: &OpenContext) -> Result<Arc<dyn Backend>, BackendError> {
        Ok(Arc::new(Preload::new(context.name.clone())))
    }
}
