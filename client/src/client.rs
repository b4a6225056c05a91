//! The client: what it is made from, and what its calls share.

use std::path::{Path, PathBuf};
use std::sync::{Arc, OnceLock};
use std::time::Duration;

use candor_ledger::policy::Policy;
use candor_ledger::signature::KeySet;
use tokio::time::Instant;

use crate::config::{Config, ConfigError};
use crate::endpoint::Endpoints;
use crate::error::Error;
use crate::memory::Memory;
use crate::misbehaviour::Misbehaviour;
use crate::privacy::TenantKey;
use crate::request_id::IdMint;
use crate::retry::Budget;
use crate::surroundings::Surroundings;

/// How old the checkpoint behind a hit may be when nothing else is said.
pub const MAX_AGE: Duration = Duration::from_secs(10);

/// How long a call may take, with all its tries, when nothing else is said.
pub const TIMEOUT: Duration = Duration::from_secs(15);

/// How long one try may take when nothing else is said: an election and a seal fit twice.
pub const ATTEMPT_TIMEOUT: Duration = Duration::from_secs(5);

/// Retries in reserve: 64 callers through an election of three seconds make about 640.
const RETRIES_MAX: u32 = 1_000;

/// A connection to a cluster that believes nothing it cannot check.
///
/// Cloning is cheap, and clones share connections, retry budget and the remembered checkpoint.
#[derive(Clone)]
pub struct Client {
    pub(crate) inner: Arc<Inner>,
}

pub(crate) struct Inner {
    pub(crate) around: Surroundings,
    pub(crate) endpoints: Endpoints,
    pub(crate) budget: Budget,
    pub(crate) ids: IdMint,
    pub(crate) memory: Memory,
    pub(crate) policy: Policy,
    pub(crate) origin: String,
    pub(crate) tenant: String,
    pub(crate) tenant_key: Option<Arc<TenantKey>>,
    pub(crate) max_age: Duration,
    pub(crate) timeout: Duration,
    pub(crate) attempt_timeout: Duration,
    misbehaviour_dir: PathBuf,
    /// Set once, when the log was found lying: nothing of it is accepted after that.
    condemned: OnceLock<Arc<Misbehaviour>>,
}

/// Makes a [`Client`]; endpoints, tenant and policy are needed.
#[derive(Clone, Default)]
pub struct ClientBuilder {
    endpoints: Vec<String>,
    tenant: Option<String>,
    tenant_key: Option<Arc<TenantKey>>,
    origin: Option<String>,
    token: Option<String>,
    policy: Option<String>,
    checkpoint_file: Option<PathBuf>,
    misbehaviour_dir: Option<PathBuf>,
    max_age: Option<Duration>,
    timeout: Option<Duration>,
    attempt_timeout: Option<Duration>,
    retries_max: Option<u32>,
    surroundings: Option<Surroundings>,
}

impl Client {
    /// Settings one by one.
    pub fn builder() -> ClientBuilder {
        ClientBuilder::default()
    }

    /// Settings from a `client.toml`; see [`crate::find_config`] for where it may lie.
    ///
    /// # Errors
    /// [`Error::Config`], or [`Error::Memory`] for an unusable checkpoint file.
    pub fn from_config(path: &Path) -> Result<Self, Error> {
        ClientBuilder::from(Config::read(path)?).build()
    }

    /// Whose results these are.
    pub fn tenant(&self) -> &str {
        &self.inner.tenant
    }

    /// The log's name.
    pub fn origin(&self) -> &str {
        &self.inner.origin
    }

    /// The keys that are trusted.
    pub fn policy(&self) -> &Policy {
        &self.inner.policy
    }

    /// Writes the newest verified checkpoint to its file now, rather than within a second or when
    /// the last clone is dropped.
    ///
    /// # Errors
    /// [`Error::Memory`].
    pub fn flush(&self) -> Result<(), Error> {
        self.inner.memory.flush(self.inner.around.now())
    }
}

impl ClientBuilder {
    /// Adds a node, `http://host:port`. Nodes are tried in the order they were added.
    #[must_use]
    pub fn endpoint(mut self, uri: impl Into<String>) -> Self {
        self.endpoints.push(uri.into());
        self
    }

    /// Whose results are asked for. The nodes take it from the token; here it is what answers are
    /// checked against.
    #[must_use]
    pub fn tenant(mut self, tenant: impl Into<String>) -> Self {
        self.tenant = Some(tenant.into());
        self
    }

    /// Sends nothing but pseudonyms and ciphertext made with this key, and reads only what was
    /// written with it.
    #[must_use]
    pub fn tenant_key(mut self, key: impl Into<Arc<TenantKey>>) -> Self {
        self.tenant_key = Some(key.into());
        self
    }

    /// Which log, when the policy names several.
    #[must_use]
    pub fn origin(mut self, origin: impl Into<String>) -> Self {
        self.origin = Some(origin.into());
        self
    }

    /// The bearer token.
    #[must_use]
    pub fn token(mut self, token: impl Into<String>) -> Self {
        self.token = Some(token.into());
        self
    }

    /// The text of the trust policy (`candor-policy v1`). It comes from somebody who is trusted,
    /// never from the cluster itself.
    #[must_use]
    pub fn policy(mut self, text: impl Into<String>) -> Self {
        self.policy = Some(text.into());
        self
    }

    /// Remembers the newest verified checkpoint in this file, so that a log that is rolled back
    /// between two runs is found out. Clients of one log may share a file only one after another.
    #[must_use]
    pub fn checkpoint_file(mut self, path: impl Into<PathBuf>) -> Self {
        self.checkpoint_file = Some(path.into());
        self
    }

    /// Where proofs of a lying log are written; the folder of the checkpoint file when not said,
    /// and the working directory without one.
    #[must_use]
    pub fn misbehaviour_dir(mut self, path: impl Into<PathBuf>) -> Self {
        self.misbehaviour_dir = Some(path.into());
        self
    }

    /// How old the checkpoint behind a hit may be, by this machine's clock; 10 s when not said. Five
    /// seconds are allowed on top for clocks that differ.
    #[must_use]
    pub fn max_age(mut self, max_age: Duration) -> Self {
        self.max_age = Some(max_age);
        self
    }

    /// How long a call may take, with all its tries; 15 s when not said.
    #[must_use]
    pub fn timeout(mut self, timeout: Duration) -> Self {
        self.timeout = Some(timeout);
        self
    }

    /// How long one try may take; 5 s when not said.
    #[must_use]
    pub fn attempt_timeout(mut self, timeout: Duration) -> Self {
        self.attempt_timeout = Some(timeout);
        self
    }

    /// Retries that may be made before successes have earned more; 1,000 when not said, 0 for none.
    #[must_use]
    pub fn retries_max(mut self, retries: u32) -> Self {
        self.retries_max = Some(retries);
        self
    }

    /// Another clock, randomness or network; for simulators and tests.
    #[must_use]
    pub fn surroundings(mut self, surroundings: Surroundings) -> Self {
        self.surroundings = Some(surroundings);
        self
    }

    /// Makes the client; nothing is connected until the first call. Call it within a Tokio runtime.
    ///
    /// # Errors
    /// [`Error::Config`] names the setting; [`Error::Memory`] an unusable checkpoint file.
    pub fn build(self) -> Result<Client, Error> {
        if tokio::runtime::Handle::try_current().is_err() {
            return Err(ConfigError::setting("runtime", "is missing: build within Tokio").into());
        }
        let tenant = self.tenant.filter(|tenant| !tenant.is_empty());
        let tenant = tenant.ok_or_else(|| {
            ConfigError::setting("tenant", "is missing: answers are checked against it")
        })?;
        if let Some(key) = self
            .tenant_key
            .as_ref()
            .filter(|key| key.tenant() != tenant)
        {
            let problem = format!("is the key of `{}`, not of `{tenant}`", key.tenant());
            return Err(ConfigError::setting("tenant_key_file", problem).into());
        }
        let policy = policy_of(self.policy.as_deref())?;
        let origin = origin_of(&policy, self.origin)?;
        let around = self.surroundings.unwrap_or_else(Surroundings::real);
        let beside = self.checkpoint_file.as_deref().and_then(Path::parent);
        let misbehaviour_dir = self
            .misbehaviour_dir
            .as_deref()
            .or(beside)
            .unwrap_or(Path::new(""));
        let inner = Inner {
            endpoints: Endpoints::new(&self.endpoints, self.token.as_deref(), around.clone())?,
            budget: Budget::new(self.retries_max.unwrap_or(RETRIES_MAX)),
            ids: IdMint::default(),
            misbehaviour_dir: misbehaviour_dir.to_owned(),
            memory: Memory::open(self.checkpoint_file, &policy, &origin)?,
            policy,
            origin,
            tenant,
            tenant_key: self.tenant_key,
            max_age: self.max_age.unwrap_or(MAX_AGE),
            timeout: self.timeout.unwrap_or(TIMEOUT),
            attempt_timeout: self.attempt_timeout.unwrap_or(ATTEMPT_TIMEOUT),
            condemned: OnceLock::new(),
            around,
        };
        let inner = Arc::new(inner);
        Ok(Client { inner })
    }
}

impl From<Config> for ClientBuilder {
    fn from(config: Config) -> Self {
        Self {
            endpoints: config.endpoints,
            tenant: Some(config.tenant),
            tenant_key: config.tenant_key,
            origin: config.origin,
            token: config.token,
            policy: Some(config.policy),
            checkpoint_file: config.checkpoint_file,
            misbehaviour_dir: config.misbehaviour_dir,
            max_age: config.max_age,
            timeout: config.timeout,
            ..Self::default()
        }
    }
}

impl Inner {
    /// When a call that begins now has to end.
    pub(crate) fn deadline(&self, timeout: Option<Duration>) -> Instant {
        Instant::now() + timeout.unwrap_or(self.timeout)
    }

    /// # Errors
    /// When the log was found lying.
    pub(crate) fn refuse_when_condemned(&self) -> Result<(), Error> {
        match self.condemned.get() {
            None => Ok(()),
            Some(found) => Err(Error::Misbehaviour(Arc::clone(found))),
        }
    }

    /// Keeps the proof and believes this log no more.
    pub(crate) fn condemn(&self, mut found: Misbehaviour) -> Error {
        if let Err(error) = found.write(&self.misbehaviour_dir) {
            tracing::error!(%error, "the proof of misbehaviour could not be written");
        }
        tracing::error!(%found, origin = self.origin, "the log contradicts itself");
        Error::Misbehaviour(Arc::clone(self.condemned.get_or_init(|| Arc::new(found))))
    }
}

impl Drop for Inner {
    fn drop(&mut self) {
        if let Err(error) = self.memory.flush(self.around.now()) {
            tracing::warn!(%error, "the newest checkpoint was not written");
        }
    }
}

impl std::fmt::Debug for Client {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        let (origin, tenant) = (&self.inner.origin, &self.inner.tenant);
        f.debug_struct("Client")
            .field("origin", origin)
            .field("tenant", tenant)
            .finish_non_exhaustive()
    }
}

fn policy_of(text: Option<&str>) -> Result<Policy, ConfigError> {
    let text = text.ok_or_else(|| {
        ConfigError::setting("policy", "is missing: without keys nothing can be checked")
    })?;
    Policy::parse(text)
        .map_err(|error| ConfigError::setting("policy", format!("is unusable: {error}")))
}

/// The log meant: the one given, else the only one that the policy has keys for.
fn origin_of(policy: &Policy, given: Option<String>) -> Result<String, ConfigError> {
    let origins = || policy.keysets().iter().map(KeySet::origin);
    let refused = |problem| Err(ConfigError::setting("origin", problem));
    match given {
        Some(origin) if origins().any(|known| known == origin) => Ok(origin),
        Some(origin) => refused(format!("`{origin}` has no key set in the policy")),
        None => {
            let first = origins().next().unwrap_or_default();
            if origins().all(|origin| origin == first) && !first.is_empty() {
                Ok(first.to_owned())
            } else {
                refused("is missing: the policy names several logs".to_owned())
            }
        }
    }
}
