//! A list has every key once, in order, page by page.

use kms_keys::KeyType;

use super::register::registered;
use super::{CheckKind, Fixture, Suite, Verdict, chain, ensure, open};
use crate::{BackendSettings, PageRequest};

pub(super) async fn checks<F: Fixture>(suite: &mut Suite<F>) {
    if let Some(capability) = suite.fixture.settings().capabilities().keys.first() {
        let key_type = capability.key_type;
        for limit in [1, 2, 1000] {
            suite
                .check(CheckKind::List, format!("pages of {limit}"), move |f| async move {
                    pages(&*f, key_type, limit).await
                })
                .await;
        }
    }
}

async fn pages<F: Fixture>(fixture: &F, key_type: KeyType, limit: usize) -> Verdict {
    let backend = open(fixture).await?;
    let mut expected = Vec::new();
    for name in ["b", "a/x", "c", "B", "a.x"] {
        let id = format!("list/{limit}/{name}");
        let (_, key) = registered(fixture, &*backend, &id, key_type).await?;
        expected.push(key.info);
    }
    let mut seen = Vec::new();
    let mut request = PageRequest::first(limit);
    loop {
        let answer = backend.list(&request).await;
        let page = answer.map_err(|error| format!("not listed: {}", chain(&error)))?;
        ensure(page.keys.len() <= limit, || format!("a page has {} keys", page.keys.len()))?;
        seen.extend(page.keys);
        let Some(next) = page.next else { break };
        ensure(request.after.as_ref() < Some(&next), || "the pages don't go on".into())?;
        request.after = Some(next);
    }
    ensure(seen.is_sorted_by(|a, b| a.id < b.id), || "the ids are not in order".into())?;
    for info in expected {
        ensure(seen.contains(&info), || format!("{} is missing or differs", info.id))?;
    }
    Ok(())
}
