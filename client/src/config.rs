//! Connection settings: `client.toml`, and where it is looked for.
//!
//! ```toml
//! endpoints = ["http://127.0.0.1:7401", "http://127.0.0.1:7402"]
//! tenant = "acme"                       # whose results; answers about another one are refused
//! token_file = "token"                  # or token = "..."
//! tenant_key_file = "tenant.key"        # optional: nodes see pseudonyms and ciphertext only
//! policy_file = "policy.txt"            # the keys that are trusted; never taken from a server
//! checkpoint_file = "checkpoint.note"   # optional: remembers across runs
//! misbehaviour_dir = "."                # optional: where proofs of a lying log are written
//! origin = "log.example/audit"          # only when the policy names several
//! ```
//!
//! Paths are relative to the file's folder. Unknown keys are refused.

use std::fs;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;

use serde::Deserialize;
use zeroize::Zeroizing;

use crate::privacy::TenantKey;
use crate::surroundings;

/// Where a client configuration lies when nothing else is said: what `candor dev` writes.
pub const DEV_CONFIG: &str = ".candor-dev/client.toml";

/// The environment variable that names a client configuration.
pub const CONFIG_VARIABLE: &str = "CANDOR_CONFIG";

/// A client configuration that cannot be used; the caller's to mend.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum ConfigError {
    /// A setting is missing or makes no sense.
    #[error("`{setting}` {problem}")]
    Setting {
        /// Its name in `client.toml`.
        setting: &'static str,
        /// What is wrong, and what would do.
        problem: String,
    },
    /// No configuration was found.
    #[error(
        "no client configuration: give one with `--config`, name it in `${CONFIG_VARIABLE}`, or run \
         `candor dev`, which writes `{DEV_CONFIG}`"
    )]
    NotFound,
    /// A file cannot be read.
    #[error("`{}` cannot be read: {problem}", path.display())]
    Unreadable {
        /// Which.
        path: PathBuf,
        /// Why.
        problem: String,
    },
    /// The file is not TOML with the known keys.
    #[error("`{}` is no client configuration: {problem}", path.display())]
    Malformed {
        /// Which.
        path: PathBuf,
        /// What and where.
        problem: String,
    },
}

impl ConfigError {
    pub(crate) fn setting(setting: &'static str, problem: impl Into<String>) -> Self {
        let problem = problem.into();
        Self::Setting { setting, problem }
    }
}

/// The contents of a `client.toml`, its files read.
#[derive(Clone)]
pub struct Config {
    /// Nodes, each `http://host:port`; tried in this order.
    pub endpoints: Vec<String>,
    /// Whose results these are.
    pub tenant: String,
    /// With it nodes see pseudonyms and ciphertext only.
    pub tenant_key: Option<Arc<TenantKey>>,
    /// The log, when the policy names several.
    pub origin: Option<String>,
    /// Bearer token.
    pub token: Option<String>,
    /// Text of the trust policy.
    pub policy: String,
    /// Where the newest verified checkpoint is remembered.
    pub checkpoint_file: Option<PathBuf>,
    /// Where proofs of a lying log are written.
    pub misbehaviour_dir: Option<PathBuf>,
    /// How old a checkpoint may be.
    pub max_age: Option<Duration>,
    /// How long one call may take with all its tries.
    pub timeout: Option<Duration>,
}

/// The keys of the file.
#[expect(clippy::struct_field_names, reason = "the names of the keys")]
#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct File {
    endpoints: Vec<String>,
    tenant: String,
    origin: Option<String>,
    token: Option<String>,
    token_file: Option<PathBuf>,
    tenant_key_file: Option<PathBuf>,
    policy_file: PathBuf,
    checkpoint_file: Option<PathBuf>,
    misbehaviour_dir: Option<PathBuf>,
    max_age_ms: Option<u64>,
    timeout_ms: Option<u64>,
}

impl Config {
    /// Reads a `client.toml` and the files it names.
    ///
    /// # Errors
    /// [`ConfigError`] names the file or the setting.
    pub fn read(path: &Path) -> Result<Self, ConfigError> {
        let file: File = toml::from_str(&text_of(path)?).map_err(|error| {
            let (path, problem) = (path.to_owned(), error.to_string());
            ConfigError::Malformed { path, problem }
        })?;
        let beside = |name: &Path| match path.parent() {
            Some(folder) => folder.join(name),
            None => name.to_owned(),
        };
        let token = match (file.token, file.token_file) {
            (Some(_), Some(_)) => {
                return Err(ConfigError::setting(
                    "token",
                    "and `token_file` exclude each other",
                ));
            }
            (token, None) => token,
            (None, Some(name)) => Some(text_of(&beside(&name))?.trim().to_owned()),
        };
        Ok(Self {
            endpoints: file.endpoints,
            tenant: file.tenant,
            tenant_key: match file.tenant_key_file {
                Some(name) => Some(Arc::new(tenant_key(&beside(&name))?)),
                None => None,
            },
            origin: file.origin,
            token,
            policy: text_of(&beside(&file.policy_file))?,
            checkpoint_file: file.checkpoint_file.as_deref().map(beside),
            misbehaviour_dir: file.misbehaviour_dir.as_deref().map(beside),
            max_age: file.max_age_ms.map(Duration::from_millis),
            timeout: file.timeout_ms.map(Duration::from_millis),
        })
    }
}

/// Finds the configuration: the path given, else `$CANDOR_CONFIG`, else `./.candor-dev/client.toml`.
///
/// # Errors
/// [`ConfigError::NotFound`] when nothing is given and the last does not exist. A path that was
/// given is not checked here.
pub fn find_config(given: Option<&Path>) -> Result<PathBuf, ConfigError> {
    if let Some(path) = given {
        return Ok(path.to_owned());
    }
    if let Some(path) = surroundings::environment(CONFIG_VARIABLE) {
        return Ok(path.into());
    }
    let dev = PathBuf::from(DEV_CONFIG);
    if dev.is_file() {
        Ok(dev)
    } else {
        Err(ConfigError::NotFound)
    }
}

fn tenant_key(path: &Path) -> Result<TenantKey, ConfigError> {
    refuse_open_secret(path)?;
    let text = Zeroizing::new(text_of(path)?);
    TenantKey::parse_secret_text(&text).map_err(|error| {
        let problem = format!("cannot be used, `{}`: {error}", path.display());
        ConfigError::setting("tenant_key_file", problem)
    })
}

/// A secret that others on the machine can read is none.
fn refuse_open_secret(path: &Path) -> Result<(), ConfigError> {
    #[cfg(unix)]
    {
        use std::os::unix::fs::PermissionsExt as _;
        let unreadable = |problem| ConfigError::Unreadable {
            path: path.to_owned(),
            problem,
        };
        let metadata = fs::metadata(path).map_err(|error| unreadable(error.to_string()))?;
        let mode = metadata.permissions().mode() & 0o777;
        if mode & 0o077 != 0 {
            return Err(unreadable(format!(
                "its mode is {mode:o}; a secret's must be 600"
            )));
        }
    }
    #[cfg(not(unix))]
    let _ = path;
    Ok(())
}

fn text_of(path: &Path) -> Result<String, ConfigError> {
    fs::read_to_string(path).map_err(|error| ConfigError::Unreadable {
        path: path.to_owned(),
        problem: error.to_string(),
    })
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used, reason = "test")]
    use super::*;

    fn read(toml: &str) -> Result<Config, ConfigError> {
        let folder = tempfile::tempdir().unwrap();
        fs::write(folder.path().join("policy.txt"), "candor-policy v1\n").unwrap();
        fs::write(folder.path().join("token"), "secret\n").unwrap();
        let path = folder.path().join("client.toml");
        fs::write(&path, toml).unwrap();
        Config::read(&path)
    }

    const LEAST: &str = "endpoints = [\"http://127.0.0.1:7401\"]\ntenant = \"acme\"\npolicy_file = \"policy.txt\"\n";

    #[test]
    fn paths_are_relative_to_the_file_and_unknown_keys_are_refused() {
        let config = read(&format!(
            "{LEAST}token_file = \"token\"\nmax_age_ms = 500\n"
        ))
        .unwrap();
        assert_eq!(config.token.as_deref(), Some("secret"));
        assert_eq!(config.policy, "candor-policy v1\n");
        assert_eq!(config.max_age, Some(Duration::from_millis(500)));
        let refused = |toml: &str| read(toml).err().unwrap().to_string();
        assert!(refused(&format!("{LEAST}tokn = \"a\"\n")).contains("tokn"));
        assert!(refused("endpoints = []\n").contains("tenant"));
        assert!(
            refused(&format!("{LEAST}token = \"a\"\ntoken_file = \"token\"\n")).contains("token")
        );
        assert!(refused(&format!("{LEAST}token_file = \"gone\"\n")).contains("gone"));
        assert!(refused(&format!("{LEAST}tenant_key_file = \"token\"\n")).contains("mode"));
    }

    #[cfg(unix)]
    #[test]
    fn a_tenant_key_is_read_from_a_file_of_its_owner_and_belongs_to_the_tenant() {
        use std::os::unix::fs::PermissionsExt as _;
        let folder = tempfile::tempdir().unwrap();
        let key = TenantKey::generate("acme", &mut |bytes| bytes.fill(7)).unwrap();
        let path = folder.path().join("tenant.key");
        fs::write(&path, key.to_secret_text().as_bytes()).unwrap();
        fs::set_permissions(&path, fs::Permissions::from_mode(0o600)).unwrap();
        let toml = format!("{LEAST}tenant_key_file = \"{}\"\n", path.display());
        assert_eq!(read(&toml).unwrap().tenant_key.unwrap().id(), key.id());
        fs::write(&path, "candor-tenant-key v1\n").unwrap();
        let error = read(&toml).err().unwrap().to_string();
        assert!(error.contains("tenant_key_file"), "{error}");
    }
}
