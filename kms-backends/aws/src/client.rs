//! AWS' client, asked with credentials that are good.

use std::error::Error;
use std::sync::Arc;

use aws_sdk_kms::config::retry::RetryConfig;
use aws_sdk_kms::config::timeout::TimeoutConfig;
use aws_sdk_kms::config::{
    BehaviorVersion, Config, IdentityCache, Region, StalledStreamProtectionConfig,
};
use aws_sdk_kms::error::{ProvideErrorMetadata, SdkError};
use aws_smithy_runtime_api::client::http::http_client_fn;
use aws_smithy_runtime_api::client::orchestrator::HttpResponse;
use kms_backend::{BackendError, Failure, OpenContext};
use kms_backend_remote::Remote;
use tracing::Dispatch;
use tracing::instrument::WithSubscriber;

use crate::AwsSettings;
use crate::credentials::{Provider, Store, text};
use crate::error::{Refusal, refusal};

pub(crate) struct Client {
    aws: aws_sdk_kms::Client,
    credentials: Arc<Store>,
}

impl Client {
    /// Reads the system's certificates and nothing else.
    pub(crate) fn new(
        settings: &AwsSettings,
        context: &OpenContext,
        remote: &Arc<Remote>,
    ) -> Result<Self, BackendError> {
        let region = settings.region.clone().or_else(|| text("AWS_REGION"));
        let region = region.or_else(|| text("AWS_DEFAULT_REGION")).ok_or_else(|| {
            misconfigured("no region is given: neither `region` nor AWS_REGION is set".into())
        })?;
        let connector = crate::http::connector();
        let credentials =
            Store::new(settings, &region, context, Arc::clone(remote), connector.clone())?;
        let credentials = Arc::new(credentials);
        let mut config = Config::builder()
            .behavior_version(BehaviorVersion::latest())
            .region(Region::new(region))
            .http_client(http_client_fn(move |_, _| connector.clone()))
            .credentials_provider(Provider(Arc::clone(&credentials)))
            // All of this is the concern of [`Remote`] and of the store of credentials.
            .identity_cache(IdentityCache::no_cache())
            .retry_config(RetryConfig::disabled())
            .timeout_config(TimeoutConfig::disabled())
            .stalled_stream_protection(StalledStreamProtectionConfig::disabled());
        if let Some(endpoint) = &settings.endpoint_override {
            if !endpoint.starts_with("https://") && !endpoint.starts_with("http://") {
                let what =
                    format!("`endpoint_override` {endpoint}: expected https://… or http://…");
                return Err(misconfigured(what));
            }
            config = config.endpoint_url(endpoint);
        }
        Ok(Self { aws: aws_sdk_kms::Client::from_conf(config.build()), credentials })
    }

    /// Asks once, and once more with other credentials where those were refused and others are found.
    pub(crate) async fn ask<T, E, F>(
        &self,
        what: &str,
        request: impl Fn(&aws_sdk_kms::Client) -> F,
    ) -> Result<T, Refusal>
    where
        E: ProvideErrorMetadata + Error + Send + Sync + 'static,
        F: Future<Output = Result<T, SdkError<E, HttpResponse>>>,
    {
        let no_credentials = |error| Refusal { error, by_credentials: true };
        let used = self.credentials.ready().await.map_err(no_credentials)?;
        // What the SDK would tell of has requests in it.
        let ask = || request(&self.aws).with_subscriber(Dispatch::none());
        let refused = match ask().await {
            Ok(answer) => return Ok(answer),
            Err(error) => refusal(what, error),
        };
        if !refused.by_credentials
            || !self.credentials.refused(used).await.map_err(no_credentials)?
        {
            return Err(refused);
        }
        ask().await.map_err(|error| refusal(what, error))
    }
}

fn misconfigured(what: String) -> BackendError {
    BackendError::Misconfigured(Failure::new(what))
}
