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
use kms_backend_remote::{NewLogin, Remote};
use tracing::Dispatch;
use tracing::instrument::WithSubscriber;

use crate::AwsSettings;
use crate::credentials::{Provider, Store, text};
use crate::error::{Refusal, refusal};

pub(crate) struct Client {
    aws: aws_sdk_kms::Client,
    credentials: Arc<Store>,
    /// Where AWS is asked, for errors.
    place: String,
}

impl Client {
    /// Reads the system's certificates and nothing else.
    pub(crate) fn new(
        settings: &AwsSettings,
        context: &OpenContext,
        remote: &Arc<Remote>,
    ) -> Result<Self, BackendError> {
        let region = region(settings)?;
        let connector = crate::http::connector();
        let credentials =
            Store::new(settings, &region, context, Arc::clone(remote), connector.clone())?;
        let credentials = Arc::new(credentials);
        let in_region = || format!("region {region}");
        let place = settings.endpoint_override.clone().unwrap_or_else(in_region);
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
        let aws = aws_sdk_kms::Client::from_conf(config.build());
        Ok(Self { aws, credentials, place })
    }

    /// Asks once. Where the credentials were refused and others are found, there is a [`NewLogin`].
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
        let asked = request(&self.aws).with_subscriber(Dispatch::none());
        let refused = match asked.await {
            Ok(answer) => return Ok(answer),
            Err(error) => self.refusal(what, error),
        };
        if refused.by_credentials
            && !NewLogin::is_used()
            && self.credentials.refused(used).await.map_err(no_credentials)?
        {
            return Err(refused.with_new_login());
        }
        Err(refused)
    }

    fn refusal<E>(&self, what: &str, error: SdkError<E, HttpResponse>) -> Refusal
    where
        E: ProvideErrorMetadata + Error + Send + Sync + 'static,
    {
        match error {
            SdkError::DispatchFailure(_) => {
                refusal(&format!("{what}: no answer from {}", self.place), error)
            }
            error => refusal(what, error),
        }
    }
}

/// The region that the settings say, or the environment.
pub(crate) fn region(settings: &AwsSettings) -> Result<String, BackendError> {
    let region = settings.region.clone().or_else(|| text("AWS_REGION"));
    region.or_else(|| text("AWS_DEFAULT_REGION")).ok_or_else(|| {
        misconfigured("no region is given: neither `region` nor AWS_REGION is set".into())
    })
}

fn misconfigured(what: String) -> BackendError {
    BackendError::Misconfigured(Failure::new(what))
}
