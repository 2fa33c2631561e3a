//! What is asked of the Transit engine.

use std::collections::BTreeMap;
use std::time::SystemTime;

use base64ct::{Base64, Encoding};
use hyper::Method;
use hyper::body::Bytes;
use kms_backend::{BackendError, Failure, Operation};
use kms_backend_remote::Call;
use kms_keys::{KeyId, KeyType, PublicKey};
use serde::Deserialize;
use serde_json::Value;

use crate::answer::{is_absent, read, refusal};
use crate::http::Reply;
use crate::session::Session;
use crate::{MountPath, name};

/// How many names are asked for at once, where the server gives lists in parts.
const NAMES: usize = 1000;

/// One Transit mount.
pub(crate) struct Transit {
    pub(crate) session: std::sync::Arc<Session>,
    mount: MountPath,
}

/// What the server says of a key of this kind.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Found {
    /// Whether it is disabled; `None` at a server that can't disable keys.
    pub(crate) disabled: Option<bool>,
    /// The number of the newest version.
    pub(crate) latest: u32,
    /// The versions that may sign, the newest among them.
    pub(crate) versions: BTreeMap<u32, Version>,
}

#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Version {
    pub(crate) public_key: PublicKey,
    pub(crate) created: Option<SystemTime>,
}

#[derive(Deserialize)]
struct KeyAnswer {
    data: KeyData,
}

#[derive(Deserialize)]
struct KeyData {
    #[serde(rename = "type")]
    key_type: String,
    latest_version: u32,
    #[serde(default)]
    min_available_version: u32,
    #[serde(default)]
    min_encryption_version: u32,
    /// OpenBao's alone.
    #[serde(default)]
    soft_deleted: Option<bool>,
    #[serde(default)]
    derived: bool,
    /// Other types of keys have something else than objects here.
    keys: BTreeMap<u32, Value>,
}

#[derive(Deserialize)]
struct VersionData {
    public_key: String,
    creation_time: String,
}

#[derive(Deserialize)]
struct ListAnswer {
    data: ListData,
}

#[derive(Deserialize)]
struct ListData {
    keys: Vec<String>,
}

impl Transit {
    pub(crate) fn new(session: std::sync::Arc<Session>, mount: MountPath) -> Self {
        Self { session, mount }
    }

    /// The key, if there is one of this id.
    pub(crate) async fn look(&self, id: &KeyId) -> Result<Option<Found>, BackendError> {
        let path = self.path("keys", id, "");
        let call = call("read", id);
        let asked = self.session.remote.retried(&call, || async {
            let reply = self.session.request(Method::GET, &path, Bytes::new()).await?;
            if is_absent(&reply) {
                return Ok(None);
            }
            let what = self.what("can't be read", id);
            if !reply.status.is_success() {
                return Err(refusal(&what, &reply));
            }
            let KeyAnswer { data } = read(&what, &reply)?;
            data.found(id, &self.place(id)).map(Some)
        });
        asked.await
    }

    /// The key, which must be there.
    pub(crate) async fn there(&self, id: &KeyId) -> Result<Found, BackendError> {
        self.look(id).await?.ok_or_else(|| self.absent(id))
    }

    pub(crate) fn absent(&self, id: &KeyId) -> BackendError {
        BackendError::NotFound(Failure::new(format!("there is no key {}", self.place(id))))
    }

    /// Makes the key, unless somebody else does so meanwhile.
    pub(crate) async fn make(&self, id: &KeyId) -> Result<Found, BackendError> {
        const BODY: &str =
            r#"{"type":"ed25519","exportable":false,"allow_plaintext_backup":false}"#;
        let (path, call) = (self.path("keys", id, ""), call("create", id));
        let act = || self.done("can't be made", id, Method::POST, &path, BODY);
        self.session.remote.reconciled(&call, || self.look(id), act).await
    }

    /// Makes a new version.
    pub(crate) async fn rotate(&self, id: &KeyId, before: u32) -> Result<Found, BackendError> {
        let (path, call) = (self.path("keys", id, "/rotate"), call("rotate", id));
        let look = || async move {
            let found = self.there(id).await?;
            Ok((found.latest > before).then_some(found))
        };
        let act = || self.done("can't be rotated", id, Method::POST, &path, "{}");
        self.session.remote.reconciled(&call, look, act).await
    }

    /// Disables the key, or enables it.
    pub(crate) async fn set_disabled(
        &self,
        id: &KeyId,
        disabled: bool,
    ) -> Result<Found, BackendError> {
        let (operation, method, suffix, name) = match disabled {
            true => (Operation::Disable, Method::DELETE, "/soft-delete", "disable"),
            false => (Operation::Enable, Method::POST, "/soft-delete-restore", "enable"),
        };
        let (path, call) = (self.path("keys", id, suffix), call(name, id));
        let look = || async move {
            let found = self.there(id).await?;
            Ok((found.disabled.unwrap_or(false) == disabled).then_some(found))
        };
        let act = || {
            let (path, method) = (&path, method.clone());
            async move {
                let reply = self.session.request(method, path, Bytes::new()).await?;
                let what = self.what("can't be disabled or enabled", id);
                match reply.status.as_u16() {
                    200..300 => Ok(()),
                    // HashiCorp's server doesn't have it.
                    404 | 405 if !is_no_mount(&reply) => Err(BackendError::Unsupported(operation)),
                    _ => Err(refusal(&what, &reply)),
                }
            }
        };
        self.session.remote.reconciled(&call, look, act).await
    }

    /// Destroys the key.
    pub(crate) async fn destroy(&self, id: &KeyId) -> Result<(), BackendError> {
        const ALLOW: &str = r#"{"deletion_allowed":true}"#;
        let (path, config) = (self.path("keys", id, ""), self.path("keys", id, "/config"));
        let what = "can't be destroyed";
        let allowed = call("allow_deletion", id);
        let allow = || self.done(what, id, Method::POST, &config, ALLOW);
        self.session.remote.retried(&allowed, allow).await?;
        let call = call("destroy", id);
        let look = || async move { Ok(self.look(id).await?.is_none().then_some(())) };
        let act = || self.done(what, id, Method::DELETE, &path, "");
        self.session.remote.reconciled(&call, look, act).await
    }

    /// The ids of all keys whose names are ids', in order.
    pub(crate) async fn ids(&self) -> Result<Vec<KeyId>, BackendError> {
        let call = Call { operation: "list", key: None, algorithm: None };
        let mut last = String::new();
        let mut ids = Vec::new();
        loop {
            let path = format!("{}/keys?list=true&limit={NAMES}&after={last}", self.mount);
            let names = self.session.remote.retried(&call, || self.names(&path)).await?;
            // A server that gives no parts gives everything each time.
            let new: Vec<_> = names.into_iter().filter(|name| *name > last).collect();
            ids.extend(new.iter().filter_map(|name| name::to_id(name)));
            let count = new.len();
            match new.into_iter().max() {
                Some(name) if count >= NAMES => last = name,
                _ => break,
            }
        }
        ids.sort_unstable();
        ids.dedup();
        Ok(ids)
    }

    async fn names(&self, path: &str) -> Result<Vec<String>, BackendError> {
        let what = format!("the keys of mount {} can't be listed", self.mount);
        let reply = self.session.request(Method::GET, path, Bytes::new()).await?;
        if is_absent(&reply) {
            return Ok(Vec::new());
        }
        if !reply.status.is_success() {
            return Err(refusal(&what, &reply));
        }
        let ListAnswer { data } = read(&what, &reply)?;
        let fits = |name: &String| {
            name.bytes().all(|it| it.is_ascii_alphanumeric() || b"_-.".contains(&it))
        };
        // Other names are in no request.
        Ok(data.keys.into_iter().filter(fits).collect())
    }

    async fn done(
        &self,
        what: &'static str,
        id: &KeyId,
        method: Method,
        path: &str,
        body: &'static str,
    ) -> Result<(), BackendError> {
        let body = Bytes::from_static(body.as_bytes());
        let reply = self.session.request(method, path, body).await?;
        if reply.status.is_success() { Ok(()) } else { Err(refusal(&self.what(what, id), &reply)) }
    }

    pub(crate) fn path(&self, function: &str, id: &KeyId, suffix: &str) -> String {
        format!("{}/{function}/{}{suffix}", self.mount, name::of(id))
    }

    pub(crate) fn what(&self, what: &str, id: &KeyId) -> String {
        format!("key {} {what}", self.place(id))
    }

    fn place(&self, id: &KeyId) -> String {
        format!("{id} ({} in mount {})", name::of(id), self.mount)
    }
}

fn is_no_mount(reply: &Reply) -> bool {
    let route = b"no handler for route";
    reply.body.expose().windows(route.len()).any(|part| part == route)
}

pub(crate) fn call<'a>(operation: &'static str, id: &'a KeyId) -> Call<'a> {
    Call { operation, key: Some(id.as_str()), algorithm: Some("ed25519") }
}

impl KeyData {
    /// The key, if it is one that this backend can use.
    fn found(self, id: &KeyId, place: &str) -> Result<Found, BackendError> {
        if self.key_type != "ed25519" || self.derived {
            let derived = if self.derived { "derived " } else { "" };
            let found = self.key_type.chars().filter(|it| it.is_ascii_graphic()).take(32);
            let found: String = found.collect();
            return Err(BackendError::WrongSecret(Failure::new(format!(
                "key {place} is a {derived}key of type {found}, expected a plain one of type ed25519"
            ))));
        }
        let corrupt = |what: String| {
            BackendError::Corrupt(Failure::new(format!("what the server says of key {id}: {what}")))
        };
        let least = self.min_available_version.max(self.min_encryption_version).max(1);
        let mut versions = BTreeMap::new();
        for (number, value) in self.keys.range(least.min(self.latest_version)..) {
            let VersionData { public_key, creation_time } = VersionData::deserialize(value)
                .map_err(|_| corrupt(format!("version {number} has no public key")))?;
            let bytes = Base64::decode_vec(&public_key).ok();
            let public_key =
                bytes.and_then(|bytes| PublicKey::from_bytes(KeyType::Ed25519, &bytes).ok());
            let public_key =
                public_key.ok_or_else(|| corrupt(format!("version {number} is no public key")))?;
            let created = humantime::parse_rfc3339(&creation_time).ok();
            versions.insert(*number, Version { public_key, created });
        }
        if !versions.contains_key(&self.latest_version) {
            return Err(corrupt(format!("version {} is missing", self.latest_version)));
        }
        Ok(Found { disabled: self.soft_deleted, latest: self.latest_version, versions })
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    fn found(change: impl FnOnce(&mut Value)) -> Result<Found, BackendError> {
        let version = json!({
            "creation_time": "2026-11-24T23:42:09.222649163Z",
            "name": "ed25519",
            "public_key": "MjvyjbKLJ/BB12SmRLnLBflsxE6IlUOT1xRAMl1lh1o=",
        });
        let mut data = json!({
            "type": "ed25519", "derived": false, "soft_deleted": false, "latest_version": 3,
            "min_available_version": 0, "min_encryption_version": 0,
            "keys": {"1": version, "2": version, "3": version},
        });
        change(&mut data);
        let data: KeyData = serde_json::from_value(data).unwrap();
        data.found(&KeyId::new("a").unwrap(), "a")
    }

    #[test]
    fn versions_that_may_sign_are_found() {
        for (least, expected) in [(0, &[1, 2, 3][..]), (2, &[2, 3]), (3, &[3])] {
            let found = found(|data| data["min_encryption_version"] = least.into()).unwrap();
            assert_eq!(found.versions.keys().copied().collect::<Vec<_>>(), expected);
            assert!(found.versions[&3].created.is_some() && found.latest == 3);
            assert_eq!(found.disabled, Some(false));
        }
        let disabled = found(|data| data["soft_deleted"] = true.into()).unwrap().disabled;
        assert_eq!(disabled, Some(true));
    }

    #[test]
    fn keys_of_another_kind_and_nonsense_are_refused() {
        for other in [
            found(|data| data["type"] = "aes256-gcm96".into()),
            found(|data| data["derived"] = true.into()),
        ] {
            assert!(matches!(other, Err(BackendError::WrongSecret(_))), "{other:?}");
        }
        for nonsense in [
            found(|data| data["latest_version"] = 4.into()),
            found(|data| data["keys"]["2"] = 1_700_000_000.into()),
            found(|data| data["keys"]["3"]["public_key"] = "AAAA".into()),
            found(|data| data["keys"]["3"]["public_key"] = "?".into()),
        ] {
            assert!(matches!(nonsense, Err(BackendError::Corrupt(_))), "{nonsense:?}");
        }
    }
}
