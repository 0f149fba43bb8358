//! From librdkafka's errors to ours: which kind, and what to do.

use rdkafka::error::{KafkaError, RDKafkaErrorCode as Code};

use super::context::Complaint;
use crate::error::{LogError, LogErrorKind as Kind};

/// The error of an operation, in our words. `detail` is what the client last complained about, if anything.
pub(super) fn log_error(doing: &str, error: &KafkaError, detail: Option<Complaint>) -> LogError {
    let kind = kind_of(error);
    let detail = detail.filter(|_| matches!(kind, Kind::Unreachable | Kind::Timeout | Kind::Unauthorised));
    // A call only says that no broker answers; the connection knows that it was turned away.
    let cause = detail.as_ref().and_then(|complaint| complaint.code).map(kind_of_code);
    let advice = advice(cause.filter(|cause| *cause == Kind::Unauthorised).unwrap_or(kind));
    let detail = detail.map(|complaint| format!(" ({})", complaint.reason)).unwrap_or_default();
    LogError::new(kind, format!("{doing}: {error}{detail}{advice}"))
}

fn kind_of(error: &KafkaError) -> Kind {
    match error {
        KafkaError::ClientConfig(..) => Kind::Invalid,
        KafkaError::Transaction(e) if e.is_fatal() => Kind::Fenced,
        KafkaError::Transaction(e) if e.txn_requires_abort() => match kind_of_code(e.code()) {
            Kind::TooLarge => Kind::TooLarge,
            Kind::Unauthorised => Kind::Unauthorised,
            _ => Kind::Rebalanced,
        },
        KafkaError::MessageConsumptionFatal(_) => Kind::Fenced,
        // The crate does not count this one among those that carry a code.
        KafkaError::AdminOp(code) => kind_of_code(*code),
        other => other.rdkafka_error_code().map_or(Kind::Internal, kind_of_code),
    }
}

pub(super) fn kind_of_code(code: Code) -> Kind {
    match code {
        Code::BrokerTransportFailure
        | Code::AllBrokersDown
        | Code::Resolve
        | Code::BrokerNotAvailable
        | Code::CoordinatorNotAvailable
        | Code::CoordinatorLoadInProgress
        | Code::NotCoordinator
        | Code::NotController
        | Code::NetworkException => Kind::Unreachable,
        Code::UnknownTopicOrPartition | Code::UnknownTopic | Code::UnknownPartition => Kind::TopicMissing,
        Code::TopicAuthorizationFailed
        | Code::GroupAuthorizationFailed
        | Code::ClusterAuthorizationFailed
        | Code::TransactionalIdAuthorizationFailed
        | Code::SaslAuthenticationFailed
        | Code::Authentication
        | Code::UnsupportedSASLMechanism
        | Code::SSL => Kind::Unauthorised,
        Code::ProducerFenced | Code::InvalidProducerEpoch | Code::FencedInstanceId | Code::Fenced | Code::Fatal => {
            Kind::Fenced
        }
        Code::MessageSizeTooLarge | Code::InvalidMessageSize => Kind::TooLarge,
        Code::IllegalGeneration | Code::UnknownMemberId | Code::RebalanceInProgress | Code::AssignmentLost => {
            Kind::Rebalanced
        }
        Code::OperationTimedOut | Code::RequestTimedOut | Code::MessageTimedOut | Code::TimedOutQueue => Kind::Timeout,
        Code::OffsetOutOfRange | Code::AutoOffsetReset => Kind::OffsetOutOfRange,
        Code::InvalidArgument | Code::InvalidConfig | Code::InvalidTopic | Code::InvalidPartitions => Kind::Invalid,
        _ => Kind::Internal,
    }
}

/// What to do about it.
pub(super) fn advice(kind: Kind) -> &'static str {
    match kind {
        Kind::Unreachable | Kind::Timeout => "; check kafka.bootstrap, and that the brokers are up",
        Kind::TopicMissing => "; create it with `lunapark topics create`",
        Kind::Unauthorised => {
            "; check kafka.\"security.protocol\", the SASL user and password, and the user's ACLs on topic and group"
        }
        Kind::Fenced => "; another process runs under the same name: give each instance its own `instance`",
        _ => "",
    }
}
