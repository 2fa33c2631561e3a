//! What the node shows of itself.

use std::collections::BTreeMap;

use kms_backend::{ErrorChain, Health, HealthLevel, PageRequest};
use kms_service::{HealthReport, KeyFilter, KmsApi, KmsError};
use serde::Serialize;

use crate::http::Page;
use crate::observe::{Readiness, Recorder};

const TEXT: &str = "text/plain; charset=utf-8";
const PROMETHEUS: &str = "text/plain; version=0.0.4; charset=utf-8";
const JSON: &str = "application/json";

/// Where the pages come from.
pub(crate) struct Pages {
    pub(crate) recorder: Recorder,
    pub(crate) readiness: Readiness,
    pub(crate) kms: KmsApi,
}

impl Pages {
    /// The page at `path`, if there is one.
    pub(crate) async fn page(&self, path: &str) -> Option<Page> {
        match path {
            "/metrics" => {
                let recorder = self.recorder.clone();
                let rendered = tokio::task::spawn_blocking(move || recorder.render()).await;
                Some(Page::new(rendered.is_ok(), PROMETHEUS, rendered.unwrap_or_default()))
            }
            "/health" => Some(health(self.kms.health().await)),
            "/ready" => {
                // It may have ended by itself since.
                let kms = || self.kms.list(KeyFilter::default(), PageRequest::first(1));
                let ready = self.readiness.get() && kms().await.is_ok();
                let text = if ready { "ready\n" } else { "not ready\n" };
                Some(Page::new(ready, TEXT, text.into()))
            }
            _ => None,
        }
    }
}

/// The page `/health`.
#[derive(Serialize)]
struct Shown {
    level: String,
    /// Why it isn't better, as far as that lies with no backend.
    reasons: Vec<String>,
    /// How the key is protected that secrets are shielded with. Absent if the service says nothing.
    #[serde(skip_serializing_if = "Option::is_none")]
    shielding_key: Option<String>,
    backends: BTreeMap<String, ShownBackend>,
}

#[derive(Serialize)]
struct ShownBackend {
    level: String,
    reasons: Vec<String>,
}

fn health(asked: Result<HealthReport, KmsError>) -> Page {
    let (level, shown) = match asked {
        Ok(report) => (report.level, Shown::of(report)),
        Err(error) => {
            let level = HealthLevel::Failed;
            let reason = format!("the key management service: {}", ErrorChain(&error));
            let (reasons, backends) = (vec![reason], BTreeMap::new());
            let shielding_key = None;
            (level, Shown { level: level.to_string(), reasons, shielding_key, backends })
        }
    };
    // Infallible: every field is a text or a list of them.
    let text = serde_json::to_string(&shown).unwrap_or_default();
    Page::new(level <= HealthLevel::Degraded, JSON, text)
}

impl Shown {
    fn of(report: HealthReport) -> Self {
        let backends = report.backends.into_iter().map(|(name, Health { level, reasons })| {
            (name, ShownBackend { level: level.to_string(), reasons })
        });
        Self {
            level: report.level.to_string(),
            reasons: report.reasons,
            shielding_key: Some(report.protection.to_string()),
            backends: backends.collect(),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_service_that_gives_no_answer_has_failed() {
        let page = health(Err(KmsError::DeadlineExceeded));
        assert!(!page.is_good());
        assert_eq!(
            page.text(),
            r#"{"level":"failed","reasons":["the key management service: the request's deadline has passed"],"backends":{}}"#
        );
    }
}
