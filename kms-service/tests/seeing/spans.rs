//! The span of a request: a child of the span that its caller was in, across the relay, whoever does
//! the work.

use std::collections::HashMap;
use std::fmt::Debug;
use std::sync::{Arc, Mutex};

use serde_json::json;
use tracing::field::{Field, Visit};
use tracing::span::{Attributes, Id};
use tracing::{Instrument, Subscriber};
use tracing_subscriber::layer::{Context, Layer, SubscriberExt};
use tracing_subscriber::registry::LookupSpan;
use tracing_subscriber::util::SubscriberInitExt;

use crate::support::*;

/// A span, as far as these tests look at it.
#[derive(Clone, Debug, Default)]
struct Seen {
    name: &'static str,
    parent: Option<&'static str>,
    fields: HashMap<&'static str, String>,
}

/// Remembers every span of the process.
#[derive(Clone, Default)]
struct Spans(Arc<Mutex<Vec<Seen>>>);

impl Visit for Seen {
    fn record_debug(&mut self, field: &Field, value: &dyn Debug) {
        self.fields.insert(field.name(), format!("{value:?}"));
    }

    fn record_str(&mut self, field: &Field, value: &str) {
        self.fields.insert(field.name(), value.to_owned());
    }
}

impl<S: Subscriber + for<'a> LookupSpan<'a>> Layer<S> for Spans {
    fn on_new_span(&self, attributes: &Attributes<'_>, id: &Id, context: Context<'_, S>) {
        let span = context.span(id).unwrap();
        let parent = span.parent().map(|parent| parent.name());
        let mut seen = Seen { name: span.name(), parent, ..Seen::default() };
        attributes.record(&mut seen);
        self.0.lock().unwrap().push(seen);
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_requests_span_is_a_child_of_its_callers() {
    let _alone = crate::ALONE.lock().await;
    let spans = Spans::default();
    tracing_subscriber::registry().with(spans.clone()).init();
    let script = Script::default();
    script.remote(&id("far"));
    let keys = json!([
        { "id": "good", "type": "ed25519" },
        { "id": "bls", "type": "bls12-381" },
        { "id": "far", "type": "ed25519" }
    ]);
    let node = TestNode::started_with(keys, json!({}), &script).await;
    let (identity, proposer) = (node.api().await, node.proposer().await);
    let payload = "never to be seen";

    let work = async {
        for key in ["good", "bls", "far"] {
            identity.sign(&id(key), payload).await.unwrap();
        }
        proposer.sign_many(&id("good"), None, vec![payload.into(); 2]).await.unwrap();
        proposer.rotate(&id("bls")).await.unwrap();
        proposer.sign_aggregate(&[id("bls"), id("bls")], payload).await.unwrap();
        proposer.health().await.unwrap();
    };
    work.instrument(tracing::info_span!("callers_work")).await;
    identity.sign(&id("good"), payload).await.unwrap();

    let seen = spans.0.lock().unwrap().clone();
    let (below, others): (Vec<_>, Vec<_>) = seen
        .iter()
        .filter(|span| span.name == "kms")
        .partition(|span| span.parent == Some("callers_work"));
    let told: Vec<_> = below
        .iter()
        .map(|span| {
            let field = |name| span.fields.get(name).map_or("", String::as_str);
            (field("operation"), field("caller"), field("key"))
        })
        .collect();
    assert_eq!(
        told,
        [
            ("sign", "Identity", "good"),
            ("sign", "Identity", "bls"),
            ("sign", "Identity", "far"),
            ("sign_many", "Proposer", "good"),
            ("rotate", "Proposer", "bls"),
            ("sign_aggregate", "Proposer", "bls,bls"),
            ("health", "Proposer", ""),
        ]
    );
    assert!(others.len() == 1 && others[0].parent.is_none(), "{others:?}");
    assert!(!format!("{seen:?}").contains(payload));
    node.stop().await;
}
