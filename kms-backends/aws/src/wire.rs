//! Requests with secrets in them. The SDK copies what it sends and what it gets into buffers that it doesn't
//! wipe, so these are put together, signed (AWS Signature Version 4) and read here.

use std::sync::Arc;
use std::time::SystemTime;

use aws_sdk_kms::config::endpoint::{DefaultResolver, Params, ResolveEndpoint};
use aws_sigv4::http_request::{SignableBody, SignableRequest, SigningSettings, sign};
use aws_sigv4::sign::v4;
use aws_smithy_runtime_api::client::http::{HttpConnector, SharedHttpConnector};
use aws_smithy_runtime_api::client::identity::Identity;
use aws_smithy_runtime_api::client::orchestrator::HttpRequest;
use aws_smithy_types::body::SdkBody;
use bytes::Bytes;
use http_body_util::BodyExt;
use kms_backend::{BackendError, Failure, OpenContext};
use kms_backend_remote::{NewLogin, Remote};
use kms_secrets::{SecretBytes, on_wiped_stack};
use serde::Deserialize;
use tracing::Dispatch;
use tracing::instrument::WithSubscriber;

use crate::AwsSettings;
use crate::client::region;
use crate::credentials::Store;
use crate::error::{Refusal, spoken, unanswered};

const CONTENT_TYPE: (&str, &str) = ("content-type", "application/x-amz-json-1.1");

/// The way to the key management service of one region.
pub(crate) struct Wire {
    connector: SharedHttpConnector,
    credentials: Arc<Store>,
    region: String,
    /// With a `/` at its end.
    address: String,
}

/// What AWS answered; wiped when it is dropped.
struct Answer {
    status: u16,
    body: SecretBytes,
}

/// AWS' words for a refusal.
#[derive(Deserialize)]
struct Refused {
    #[serde(rename = "__type", default)]
    code: String,
    #[serde(alias = "Message", default)]
    message: String,
}

impl Wire {
    /// Touches no server. Blocks on the system's certificates.
    pub(crate) fn new(
        settings: &AwsSettings,
        context: &OpenContext,
        remote: &Arc<Remote>,
    ) -> Result<Self, BackendError> {
        let (region, connector) = (region(settings)?, crate::http::connector());
        let credentials =
            Store::new(settings, &region, context, Arc::clone(remote), connector.clone())?;
        let address = settings.endpoint_override.clone().unwrap_or_default();
        Ok(Self { connector, credentials: Arc::new(credentials), region, address })
    }

    /// Finds out where the region's service is, unless the settings say it.
    pub(crate) async fn located(mut self) -> Result<Self, BackendError> {
        if self.address.is_empty() {
            let nowhere = |cause: Box<dyn std::error::Error + Send + Sync>| {
                let what = format!("there is no service of AWS in region {}", self.region);
                BackendError::Misconfigured(Failure::because(what, cause))
            };
            let place = Params::builder().region(self.region.clone()).build();
            let place = place.map_err(|cause| nowhere(cause.into()))?;
            let found = DefaultResolver::new();
            let found = ResolveEndpoint::resolve_endpoint(&found, &place).await.map_err(nowhere)?;
            self.address = found.url().to_owned();
        }
        self.address = format!("{}/", self.address.trim_end_matches('/'));
        Ok(self)
    }

    /// Has AWS do `operation`, once. Where the credentials were refused and others are found, there is a
    /// [`NewLogin`]. `what` is to say what can't be done. A refusal whose words have `secret` in them is
    /// told without them.
    pub(crate) async fn ask(
        &self,
        what: &str,
        operation: &str,
        body: &Bytes,
        secret: &[u8],
    ) -> Result<SecretBytes, BackendError> {
        let used = self.credentials.ready().await?;
        let refused = match self.once(what, operation, body, secret).await {
            Ok(answer) => return Ok(answer),
            Err(refused) => refused,
        };
        if refused.by_credentials && !NewLogin::is_used() && self.credentials.refused(used).await? {
            return Err(refused.with_new_login().error);
        }
        Err(refused.error)
    }

    async fn once(
        &self,
        what: &str,
        operation: &str,
        body: &Bytes,
        secret: &[u8],
    ) -> Result<SecretBytes, Refusal> {
        // What signing and sending would tell of has the request in it.
        let silent = Dispatch::none();
        let request = tracing::dispatcher::with_default(&silent, || {
            on_wiped_stack(|| self.request(what, operation, body))
        })?;
        let Answer { status, body } = self.send(what, request).with_subscriber(silent).await?;
        if status == 200 {
            return Ok(body);
        }
        let repeats = |secret: &[u8]| {
            !secret.is_empty() && body.expose().windows(secret.len()).any(|part| part == secret)
        };
        let Refused { code, message } = match repeats(secret) {
            true => Refused { code: String::new(), message: String::new() },
            false => serde_json::from_slice(body.expose())
                .unwrap_or(Refused { code: String::new(), message: String::new() }),
        };
        // `com.amazonaws.kms#NotFoundException`, or bare.
        let code = code.rsplit('#').next().filter(|code| !code.is_empty());
        let message = Some(message).filter(|message| !message.is_empty());
        Err(spoken(what, code, status, message.as_deref()))
    }

    fn request(
        &self,
        what: &str,
        operation: &str,
        body: &Bytes,
    ) -> Result<HttpRequest, BackendError> {
        let failed = |cause: Box<dyn std::error::Error + Send + Sync>| {
            BackendError::Misconfigured(Failure::because(
                format!("{what}: no request for {} can be made", self.address),
                cause,
            ))
        };
        let credentials = self.credentials.opened().map_err(|cause| failed(cause.into()))?;
        let identity = Identity::from(credentials);
        let how = v4::SigningParams::builder()
            .identity(&identity)
            .region(&self.region)
            .name("kms")
            .time(SystemTime::now())
            .settings(SigningSettings::default())
            .build()
            .map_err(|cause| failed(cause.into()))?;
        let target = format!("TrentService.{operation}");
        let fields = [CONTENT_TYPE, ("x-amz-target", &target)];
        let signed = SignableRequest::new(
            "POST",
            &self.address,
            fields.into_iter(),
            SignableBody::Bytes(body),
        )
        .and_then(|request| sign(request, &how.into()))
        .map_err(|cause| failed(cause.into()))?;
        let (signed, _) = signed.into_parts();

        let mut request = HttpRequest::new(SdkBody::from(body.clone()));
        request.set_method("POST").map_err(|cause| failed(cause.into()))?;
        request.set_uri(self.address.as_str()).map_err(|cause| failed(cause.into()))?;
        let headers = request.headers_mut();
        headers.insert("content-length", body.len().to_string());
        for (name, value) in fields.into_iter().chain(signed.headers()) {
            let known = headers.try_insert(name.to_owned(), value.to_owned());
            known.map_err(|cause| failed(cause.into()))?;
        }
        Ok(request)
    }

    async fn send(&self, what: &str, request: HttpRequest) -> Result<Answer, BackendError> {
        let answer = self.connector.call(request).await.map_err(|cause| {
            unanswered(format!("{what}: no answer from {}", self.address), cause)
        })?;
        let status = answer.status().as_u16();
        let mut body = answer.into_body();
        // Its parts lie in buffers of the HTTP library, which can't be wiped, and a buffer that grows would
        // leave more behind. The connector bounds their length.
        let mut parts = Vec::<Bytes>::new();
        while let Some(frame) = body.frame().await {
            let frame = frame.map_err(|cause| {
                let what = format!("{what}: the answer from {} can't be read", self.address);
                BackendError::Unavailable(Failure::because(what, cause))
            })?;
            parts.extend(frame.into_data());
        }
        Ok(Answer { status, body: SecretBytes::concat(&parts) })
    }
}

#[cfg(test)]
mod tests {
    use kms_backend_remote::RemoteSettings;

    use super::*;

    async fn located(region: &str, endpoint: Option<&str>) -> Result<String, BackendError> {
        let settings = serde_json::json!({
            "region": region, "endpoint_override": endpoint,
            "credentials": { "profile": { "file": "none", "name": "none" } },
        });
        let settings: AwsSettings = serde_json::from_value(settings).unwrap();
        let remote = Remote::open("store", &RemoteSettings::default(), "".as_ref())?;
        let wire = Wire::new(&settings, &OpenContext::new("store", ""), &Arc::new(remote))?;
        Ok(wire.located().await?.address)
    }

    #[tokio::test]
    async fn a_region_s_service_is_found() {
        for (region, endpoint, expected) in [
            ("eu-north-1", None, "https://kms.eu-north-1.amazonaws.com/"),
            ("cn-north-1", None, "https://kms.cn-north-1.amazonaws.com.cn/"),
            ("eu-north-1", Some("https://kms.example/"), "https://kms.example/"),
        ] {
            assert_eq!(located(region, endpoint).await.unwrap(), expected);
        }
        let refused = located("no region", None).await.unwrap_err();
        assert!(matches!(refused, BackendError::Misconfigured(_)), "{refused:?}");
    }
}
