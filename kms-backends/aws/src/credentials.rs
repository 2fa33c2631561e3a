//! Credentials: read where the settings say, kept shielded, and renewed before they expire.

use std::env;
use std::path::PathBuf;
use std::sync::{Arc, PoisonError, RwLock};
use std::time::{Duration, Instant, SystemTime};

use aws_credential_types::Credentials;
use aws_credential_types::provider::error::CredentialsError;
use aws_credential_types::provider::{ProvideCredentials, future};
use aws_smithy_runtime_api::client::http::SharedHttpConnector;
use kms_backend::{BackendError, ErrorChain, Failure, OpenContext};
use kms_backend_remote::{Call, Remote};
use kms_secrets::{DecodedSecret, Encoding, SecretBytes, SecretSource, Shielded, SourceError};
use tokio::sync::Mutex;

use crate::sts::WebIdentity;
use crate::{AwsSettings, CredentialSource, profile};

pub(crate) const ACCESS_KEY_ID: &str = "AWS_ACCESS_KEY_ID";
pub(crate) const SECRET_ACCESS_KEY: &str = "AWS_SECRET_ACCESS_KEY";
pub(crate) const SESSION_TOKEN: &str = "AWS_SESSION_TOKEN";

/// How long before they expire credentials are renewed.
const EARLY: Duration = Duration::from_secs(5 * 60);

/// How long after it was tried renewing is tried again.
const AGAIN: Duration = Duration::from_secs(10);

/// Credentials that were read.
pub(crate) struct Found {
    /// Not a secret.
    pub(crate) access_key_id: String,
    pub(crate) secret_access_key: SecretBytes,
    pub(crate) session_token: Option<SecretBytes>,
    pub(crate) expires: Option<SystemTime>,
}

/// The same as they are kept.
struct Kept {
    /// How many were kept before.
    number: u64,
    access_key_id: String,
    secret_access_key: Shielded,
    session_token: Option<Shielded>,
    expires: Option<SystemTime>,
}

/// Where credentials come from, with everything filled in.
enum Source {
    Environment,
    Profile { file: PathBuf, name: String },
    WebIdentity(WebIdentity),
}

/// The credentials that requests are signed with.
pub(crate) struct Store {
    source: Source,
    remote: Arc<Remote>,
    kept: RwLock<Option<Arc<Kept>>>,
    /// Held while they are renewed. When that was tried in the background, or since a request was refused.
    renewing: Arc<Mutex<Option<Instant>>>,
}

impl Store {
    pub(crate) fn new(
        settings: &AwsSettings,
        region: &str,
        context: &OpenContext,
        remote: Arc<Remote>,
        connector: SharedHttpConnector,
    ) -> Result<Self, BackendError> {
        let given = settings.credentials.clone().map_or_else(from_environment, Ok)?;
        let source = match given {
            CredentialSource::Environment => Source::Environment,
            CredentialSource::Profile { file, name } => Source::Profile {
                file: context.base_dir.join(file.map_or_else(profile::default_file, Ok)?),
                name: name.or_else(|| text("AWS_PROFILE")).unwrap_or_else(|| "default".into()),
            },
            CredentialSource::WebIdentity {
                token_file,
                role_arn,
                session_name,
                endpoint_override,
            } => {
                let endpoint = endpoint_override.unwrap_or_else(|| crate::sts::endpoint(region));
                if !crate::sts::is_private(&endpoint) {
                    let what = format!(
                        "AWS' token service {endpoint}: expected https://…, or http://… on the loopback"
                    );
                    return Err(BackendError::Misconfigured(Failure::new(what)));
                }
                Source::WebIdentity(WebIdentity {
                    token_file: context.base_dir.join(token_file),
                    role_arn,
                    session_name: session_name.unwrap_or_else(|| "kms".into()),
                    endpoint,
                    connector,
                })
            }
        };
        Ok(Self { source, remote, kept: RwLock::default(), renewing: Arc::default() })
    }

    /// Sees to it that there are credentials, and says which: their number. What ends soon is renewed
    /// meanwhile, and nobody waits for that.
    pub(crate) async fn ready(self: &Arc<Self>) -> Result<u64, BackendError> {
        if let Some(kept) = self.kept()
            && kept.lasts(Duration::ZERO)
        {
            if !kept.lasts(EARLY) {
                self.renew_meanwhile();
            }
            return Ok(kept.number);
        }
        let _renewing = self.renewing.lock().await;
        let old = self.kept();
        if let Some(kept) = old.as_ref().filter(|kept| kept.lasts(Duration::ZERO)) {
            return Ok(kept.number);
        }
        self.renew(old.as_deref()).await.map(|kept| kept.number)
    }

    /// Renews the credentials in the background, unless that is under way or was tried a moment ago.
    fn renew_meanwhile(self: &Arc<Self>) {
        let Ok(mut tried) = Arc::clone(&self.renewing).try_lock_owned() else { return };
        if tried.is_some_and(|tried: Instant| tried.elapsed() < AGAIN) {
            return;
        }
        let store = Arc::clone(self);
        tokio::spawn(async move {
            *tried = Some(Instant::now());
            if let Err(error) = store.renew(store.kept().as_deref()).await {
                tracing::warn!(error = %ErrorChain(&error), "credentials are not renewed");
            }
        });
    }

    /// Reads the credentials again, since those of `number` were refused. Whether others are there now. A role is
    /// not taken on again a moment after that was tried: whom AWS refuses asks its token service no more often.
    pub(crate) async fn refused(&self, number: u64) -> Result<bool, BackendError> {
        let mut tried = self.renewing.lock().await;
        let old = self.kept();
        if old.as_ref().is_some_and(|kept| kept.number != number) {
            return Ok(true);
        }
        if let Source::WebIdentity(_) = self.source {
            if tried.is_some_and(|tried| tried.elapsed() < AGAIN) {
                return Ok(false);
            }
            *tried = Some(Instant::now());
        }
        let new = self.renew(old.as_deref()).await?;
        Ok(old.is_none_or(|old| old.access_key_id != new.access_key_id))
    }

    /// What is kept, for one request.
    pub(crate) fn opened(&self) -> Result<Credentials, CredentialsError> {
        let kept = self.kept().ok_or_else(|| CredentialsError::not_loaded("none are read"))?;
        kept.open()
    }

    fn kept(&self) -> Option<Arc<Kept>> {
        self.kept.read().unwrap_or_else(PoisonError::into_inner).clone()
    }

    async fn renew(&self, old: Option<&Kept>) -> Result<Arc<Kept>, BackendError> {
        let found = match &self.source {
            Source::WebIdentity(identity) => {
                let call = Call { operation: "assume_role", key: None, algorithm: None };
                self.remote.once(&call, || identity.assume_role()).await?
            }
            Source::Environment => blocking(read_environment).await?,
            Source::Profile { file, name } => {
                let (file, name) = (file.clone(), name.clone());
                blocking(move || profile::read(&file, &name)).await?
            }
        };
        let seal = |secret: &SecretBytes| {
            Shielded::seal(secret.expose()).map_err(|cause| {
                let what = format!("credentials can't be shielded: {}", ErrorChain(&cause));
                BackendError::Unavailable(Failure::new(what))
            })
        };
        let kept = Arc::new(Kept {
            number: old.map_or(0, |old| old.number + 1),
            secret_access_key: seal(&found.secret_access_key)?,
            session_token: found.session_token.as_ref().map(seal).transpose()?,
            access_key_id: found.access_key_id,
            expires: found.expires,
        });
        *self.kept.write().unwrap_or_else(PoisonError::into_inner) = Some(Arc::clone(&kept));
        Ok(kept)
    }
}

/// Gives the SDK what is kept, for one request each time. The SDK wipes its copies.
pub(crate) struct Provider(pub(crate) Arc<Store>);

impl std::fmt::Debug for Provider {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("Provider")
    }
}

impl ProvideCredentials for Provider {
    fn provide_credentials<'a>(&'a self) -> future::ProvideCredentials<'a>
    where
        Self: 'a,
    {
        future::ProvideCredentials::ready(self.0.opened())
    }
}

impl Kept {
    /// Whether they are good for longer than this.
    fn lasts(&self, time: Duration) -> bool {
        self.expires.is_none_or(|expires| SystemTime::now() + time < expires)
    }

    fn open(&self) -> Result<Credentials, CredentialsError> {
        let text = |shielded: &Shielded| {
            // Checked to be text when it was read.
            let opened =
                shielded.open(|bytes| String::from_utf8(bytes.to_vec()).unwrap_or_default());
            opened.map_err(|cause| CredentialsError::provider_error(ErrorChain(&cause).to_string()))
        };
        let token = self.session_token.as_ref().map(text).transpose()?;
        let secret = text(&self.secret_access_key)?;
        Ok(Credentials::new(&*self.access_key_id, secret, token, self.expires, "kms"))
    }
}

/// What the environment says where settings say nothing, in AWS' own order.
fn from_environment() -> Result<CredentialSource, BackendError> {
    match read_variable(ACCESS_KEY_ID) {
        Ok(Some(_)) => return Ok(CredentialSource::Environment),
        Ok(None) => {}
        Err(error) => return Err(error),
    }
    let role = text("AWS_ROLE_ARN").zip(text("AWS_WEB_IDENTITY_TOKEN_FILE"));
    Ok(match role {
        Some((role_arn, token_file)) => CredentialSource::WebIdentity {
            token_file: token_file.into(),
            role_arn,
            session_name: text("AWS_ROLE_SESSION_NAME"),
            endpoint_override: text("AWS_ENDPOINT_URL_STS"),
        },
        None => CredentialSource::Profile { file: None, name: None },
    })
}

/// A variable that is no secret; none where it is empty.
pub(crate) fn text(name: &str) -> Option<String> {
    env::var(name).ok().filter(|value| !value.is_empty())
}

fn read_environment() -> Result<Found, BackendError> {
    let missing = |name: &str| {
        let what = format!("environment variable {name} is not set");
        BackendError::Misconfigured(Failure::new(what))
    };
    let access_key_id = read_variable(ACCESS_KEY_ID)?.ok_or_else(|| missing(ACCESS_KEY_ID))?;
    let secret_access_key =
        read_variable(SECRET_ACCESS_KEY)?.ok_or_else(|| missing(SECRET_ACCESS_KEY))?;
    Ok(Found {
        access_key_id: String::from_utf8_lossy(access_key_id.expose()).into_owned(),
        secret_access_key,
        session_token: read_variable(SESSION_TOKEN)?,
        expires: None,
    })
}

fn read_variable(name: &str) -> Result<Option<SecretBytes>, BackendError> {
    match (SecretSource::Env { name: name.into(), encoding: Some(Encoding::Raw) }).read() {
        Ok(secret) => checked(name, secret).map(Some),
        Err(SourceError::Unset { .. } | SourceError::Empty { .. }) => Ok(None),
        Err(cause) => Err(BackendError::Misconfigured(Failure::because(
            "the environment's credentials can't be read",
            cause,
        ))),
    }
}

/// Printable text is all that credentials are.
fn checked(name: &str, secret: DecodedSecret) -> Result<SecretBytes, BackendError> {
    match secret {
        DecodedSecret::Bytes(bytes) if bytes.expose().iter().all(u8::is_ascii_graphic) => Ok(bytes),
        _ => {
            let what = format!("environment variable {name} holds something else than credentials");
            Err(BackendError::Misconfigured(Failure::new(what)))
        }
    }
}

/// Reads files off the runtime's threads.
async fn blocking(
    read: impl FnOnce() -> Result<Found, BackendError> + Send + 'static,
) -> Result<Found, BackendError> {
    tokio::task::spawn_blocking(read).await.unwrap_or_else(|cause| {
        Err(BackendError::Unavailable(Failure::because("reading credentials was cut off", cause)))
    })
}
