//! Why consensus did not do what it was asked, and what that leaves open.

use openraft::errors::{
    ChangeMembershipError, ClientWriteError, ForwardReason, ForwardToLeader, RaftError,
};

use super::codec::{
    ADDRESS_LEN_MAX, COMMAND_LEN_MAX, CodecError, MEMBERS_MAX, PEER_MESSAGE_LEN_MAX, Reply,
};
use super::types::{Failure, LogPos, TypeConfig};

/// Why consensus did not start.
#[derive(Debug, thiserror::Error)]
pub enum StartError {
    /// The settings contradict each other.
    #[error("consensus settings: {0}")]
    Settings(String),
    /// What the machine kept of the membership is not what it was given.
    #[error("the membership kept by the state machine is damaged: {0}")]
    Membership(CodecError),
    /// The write-ahead log could not be read.
    #[error("the raft log cannot be read: {0}")]
    Log(std::io::Error),
    /// The log ends below what was applied, so entries this node acknowledged are gone. The node
    /// must rejoin under a new id.
    #[error("the raft log ends at `{last:?}`, below the applied entry `{applied}`")]
    LogBehind {
        /// Last entry the machine has applied.
        applied: LogPos,
        /// Last entry in the log.
        last: Option<LogPos>,
    },
    /// Log and machine belong to different histories.
    #[error("the raft log holds `{found}` where `{applied}` was applied")]
    LogDiffers {
        /// Last entry the machine has applied.
        applied: LogPos,
        /// What the log has at that index.
        found: LogPos,
    },
    /// The log was purged beyond what the machine has applied.
    #[error("the raft log begins after `{purged}`, but was applied up to `{applied:?}` only")]
    LogPurged {
        /// What the machine says.
        applied: Option<LogPos>,
        /// Where the log begins.
        purged: LogPos,
    },
    /// Consensus stopped while it started.
    #[error(transparent)]
    Failed(#[from] Failure),
}

/// Why a proposal has no result.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum ProposeError {
    /// This node does not lead that term; nothing was appended.
    #[error("not the leader of the term it was proposed in")]
    NotLeader {
        /// Who leads instead, with its peer address, if known.
        leader: Option<(u64, String)>,
    },
    /// This node leads but has not heard from a majority for too long; nothing was appended. To be
    /// tried again here.
    #[error("no majority has answered lately")]
    NoQuorum,
    /// The command is longer than [`COMMAND_LEN_MAX`]; nothing was appended.
    #[error("the command has `{0}` bytes, the most is `{COMMAND_LEN_MAX}`")]
    TooLong(usize),
    /// The command may or may not take effect, now or later.
    #[error("the outcome of the proposal is unknown")]
    Unknown,
    /// Consensus was shut down before; nothing was appended.
    #[error("consensus was shut down")]
    Shutdown,
    /// Consensus failed before; nothing was appended.
    #[error(transparent)]
    Fatal(Failure),
}

/// Why a change of the membership was not made, or not seen through.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum ChangeError {
    /// This node does not lead. A change of voters may be half done: [`Status::changing`] on the
    /// leader tells, and asking the leader for the same change completes it.
    #[error("not the leader")]
    NotLeader {
        /// Who leads instead, with its peer address, if known.
        leader: Option<(u64, String)>,
    },
    /// This node leads but has not heard from a majority for too long.
    #[error("no majority has answered lately")]
    NoQuorum,
    /// Another change is not committed yet.
    #[error("another membership change is under way")]
    InProgress,
    /// The node is not a member, or not a voter where one is needed.
    #[error("node `{0}` is not a member that can do this")]
    UnknownMember(u64),
    /// The node is a member at another address.
    #[error("node `{node}` is a member at `{address}`")]
    OtherAddress {
        /// The member.
        node: u64,
        /// The address the membership names.
        address: String,
    },
    /// More than [`MEMBERS_MAX`] members.
    #[error("`{0}` members are too many, the most is `{MEMBERS_MAX}`")]
    TooManyMembers(usize),
    /// An address longer than [`ADDRESS_LEN_MAX`].
    #[error("an address of `{0}` bytes is too long, the most is `{ADDRESS_LEN_MAX}`")]
    AddressTooLong(usize),
    /// No voter would remain.
    #[error("a cluster needs at least one voter")]
    NoVoters,
    /// This node already belongs to a cluster.
    #[error("this node already belongs to a cluster")]
    AlreadyInitialized,
    /// The change may or may not take effect.
    #[error("the outcome of the change is unknown")]
    Unknown,
    /// Consensus has stopped on this node.
    #[error("consensus has stopped")]
    Stopped,
}

/// Why a peer's call was not answered.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum HandleError {
    /// This node was asked to lead and has given that up.
    #[error("this node does not stand for election")]
    Abstains,
    /// The peer sent something that is not a message of ours.
    #[error("malformed raft message: {0}")]
    Malformed(#[from] CodecError),
    /// The peer sent more than [`PEER_MESSAGE_LEN_MAX`] bytes.
    #[error("a raft message of `{0}` bytes, the most is `{PEER_MESSAGE_LEN_MAX}`")]
    TooLong(usize),
    /// The peer spoke for another node.
    #[error("node `{from}` sent a message of node `{claimed}`")]
    Impostor {
        /// Who is at the other end.
        from: u64,
        /// Who the message says it is from.
        claimed: u64,
    },
    /// Consensus has stopped on this node.
    #[error("consensus has stopped")]
    Stopped,
}

fn leader_of<R: Reply>(forward: ForwardToLeader<TypeConfig<R>>) -> Option<(u64, String)> {
    Some((forward.leader_id?, forward.leader_node?.address))
}

pub(super) fn not_leader<R: Reply>(forward: ForwardToLeader<TypeConfig<R>>) -> ProposeError {
    match forward.reason {
        ForwardReason::LeaseExpired => ProposeError::NoQuorum,
        ForwardReason::NotLeader | ForwardReason::LeadershipTransfer => ProposeError::NotLeader {
            leader: leader_of(forward),
        },
    }
}

pub(super) fn change_error<R: Reply>(
    error: RaftError<TypeConfig<R>, ClientWriteError<TypeConfig<R>>>,
) -> ChangeError {
    let error = match error {
        RaftError::Fatal(_) => return ChangeError::Stopped,
        RaftError::APIError(error) => error,
    };
    match error {
        ClientWriteError::ForwardToLeader(forward) => match forward.reason {
            ForwardReason::LeaseExpired => ChangeError::NoQuorum,
            ForwardReason::NotLeader | ForwardReason::LeadershipTransfer => {
                ChangeError::NotLeader {
                    leader: leader_of(forward),
                }
            }
        },
        ClientWriteError::LogEntryDiscarded(_) => ChangeError::Unknown,
        ClientWriteError::PreconditionFailed(_) => ChangeError::InProgress,
        ClientWriteError::ChangeMembershipError(e) => match e {
            ChangeMembershipError::EmptyMembership(_) => ChangeError::NoVoters,
            ChangeMembershipError::LearnerNotFound(e) => ChangeError::UnknownMember(e.node_id),
            _ => ChangeError::InProgress,
        },
    }
}
