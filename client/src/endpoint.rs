//! The nodes a client knows, and which one to ask.

use std::sync::{Arc, Mutex, MutexGuard};
use std::time::Duration;

use bytes::Bytes;
use candor_proto::audit_v1::audit_service_client::AuditServiceClient;
use candor_proto::cache_v1::cache_service_client::CacheServiceClient;
use candor_proto::cluster_v1::cluster_service_client::ClusterServiceClient;
use tonic::Request;
use tonic::metadata::{Ascii, MetadataValue};
use tonic::transport::{Channel, Endpoint};

use crate::checkpoint::VerifiedCheckpoint;
use crate::config::ConfigError;
use crate::surroundings::Surroundings;

/// Longest reply that is read: 256 results of a batch would be 2 GiB at 8 MiB each, so a node stops
/// a batch by bytes before this; one value of 8 MiB with its proof fits eight times.
const REPLY_LEN_MAX: usize = 64 * 1024 * 1024;

/// Leaders' addresses that are learnt beside the configured endpoints.
const LEARNT_MAX: usize = 16;

/// How long connecting may take; a dead machine answers nothing at all.
const CONNECT_TIMEOUT: Duration = Duration::from_secs(2);

/// All known nodes.
pub(crate) struct Endpoints {
    around: Surroundings,
    token: Option<MetadataValue<Ascii>>,
    /// Held for moments, never across a wait.
    state: Mutex<State>,
}

struct State {
    known: Vec<Known>,
    /// Position of the node that answered last.
    preferred: usize,
}

#[derive(Clone)]
struct Known {
    uri: String,
    channel: Channel,
}

/// One node, for one try.
#[derive(Clone)]
pub(crate) struct Line {
    /// `http://host:port`.
    pub(crate) uri: String,
    /// Position among the endpoints.
    pub(crate) at: usize,
    /// What is left of the time for this try; travels as `grpc-timeout`.
    pub(crate) timeout: Duration,
    /// The newest remembered checkpoint when this try began; what the request tells the node.
    pub(crate) known: Option<Arc<VerifiedCheckpoint>>,
    channel: Channel,
    token: Option<MetadataValue<Ascii>>,
}

impl Endpoints {
    /// # Errors
    /// No endpoint, one that is no `http://host:port`, or a token that fits in no header.
    pub(crate) fn new(
        uris: &[String],
        token: Option<&str>,
        around: Surroundings,
    ) -> Result<Self, ConfigError> {
        if uris.is_empty() {
            return Err(ConfigError::setting(
                "endpoints",
                "is empty: name at least one node",
            ));
        }
        let known: Result<Vec<_>, _> = uris.iter().map(|uri| known(uri, &around)).collect();
        let state = State {
            known: known?,
            preferred: 0,
        };
        Ok(Self {
            around,
            token: token.map(bearer).transpose()?,
            state: Mutex::new(state),
        })
    }

    /// How many there are now.
    pub(crate) fn len(&self) -> usize {
        self.lock().known.len()
    }

    /// Where to start: the node that answered last.
    pub(crate) fn preferred(&self) -> usize {
        self.lock().preferred
    }

    /// The node at this position has answered.
    pub(crate) fn prefer(&self, at: usize) {
        self.lock().preferred = at;
    }

    /// The node at a position, counted round the list.
    pub(crate) fn line(&self, at: usize, timeout: Duration) -> Line {
        let state = self.lock();
        let at = at.checked_rem(state.known.len()).unwrap_or(0);
        let known = state
            .known
            .get(at)
            .expect("invariant: there is an endpoint, and `at` is below");
        Line {
            uri: known.uri.clone(),
            at,
            timeout,
            known: None,
            channel: known.channel.clone(),
            token: self.token.clone(),
        }
    }

    /// The position of a leader's `host:port`, learnt from a node; `None` when it cannot be used.
    pub(crate) fn learn(&self, address: &str) -> Option<usize> {
        let uri = format!("http://{address}");
        let mut state = self.lock();
        if let Some(at) = state.known.iter().position(|known| known.uri == uri) {
            return Some(at);
        }
        let learnt = known(&uri, &self.around).ok()?;
        if state.known.len() >= LEARNT_MAX {
            return None;
        }
        state.known.push(learnt);
        Some(state.known.len() - 1)
    }

    fn lock(&self) -> MutexGuard<'_, State> {
        self.state
            .lock()
            .expect("invariant: nothing panics while holding it")
    }
}

impl Line {
    pub(crate) fn cache(&self) -> CacheServiceClient<Channel> {
        CacheServiceClient::new(self.channel.clone())
            .max_decoding_message_size(REPLY_LEN_MAX)
            .max_encoding_message_size(REPLY_LEN_MAX)
    }

    pub(crate) fn audit(&self) -> AuditServiceClient<Channel> {
        AuditServiceClient::new(self.channel.clone()).max_decoding_message_size(REPLY_LEN_MAX)
    }

    pub(crate) fn cluster(&self) -> ClusterServiceClient<Channel> {
        ClusterServiceClient::new(self.channel.clone())
    }

    /// Size of what the node is told to be known; 0 when nothing is.
    pub(crate) fn known_size(&self) -> u64 {
        self.known.as_ref().map_or(0, |known| known.size().0)
    }

    /// A message with the deadline and the token.
    pub(crate) fn request<T>(&self, message: T) -> Request<T> {
        let mut request = Request::new(message);
        request.set_timeout(self.timeout);
        if let Some(token) = &self.token {
            request
                .metadata_mut()
                .insert("authorization", token.clone());
        }
        request
    }
}

fn known(uri: &str, around: &Surroundings) -> Result<Known, ConfigError> {
    let refused = |problem: String| ConfigError::setting("endpoints", problem);
    let uri = uri.trim_end_matches('/').to_owned();
    if !uri.starts_with("http://") {
        return Err(refused(format!("holds `{uri}`: want `http://host:port`")));
    }
    let endpoint = Endpoint::from_shared(Bytes::from(uri.clone()))
        .map_err(|error| refused(format!("holds `{uri}`: {error}")))?
        .connect_timeout(CONNECT_TIMEOUT)
        .tcp_nodelay(true)
        .http2_keep_alive_interval(Duration::from_secs(10))
        .keep_alive_timeout(Duration::from_secs(5));
    let channel = around.dial(&endpoint);
    Ok(Known { uri, channel })
}

fn bearer(token: &str) -> Result<MetadataValue<Ascii>, ConfigError> {
    let mut value: MetadataValue<Ascii> = format!("Bearer {token}")
        .parse()
        .map_err(|_| ConfigError::setting("token", "holds characters that no token has"))?;
    value.set_sensitive(true);
    Ok(value)
}
