//! From librdkafka's errors to ours: which kind, and what to do.

use rdkafka::error::{KafkaError, RDKafkaErrorCode as Code};

use crate::error::{LogError, LogErrorKind as Kind};

/// The error of an operation, in our words. `detail` is the client's last error report, if any.
pub(super) fn log_error(doing: &str, error: &KafkaError, detail: Option<String>) -> LogError {
    let kind = kind_of(error);
    let detail = detail.filter(|_| matches!(kind, Kind::Unreachable | Kind::Timeout | Kind::Unauthorised | Kind::Fenced));
    let detail = detail.map(|d| format!(" ({d})")).unwrap_or_default();
    LogError::new(kind, format!("{doing}: {error}{detail}{}", advice(kind)))
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

fn advice(kind: Kind) -> &'static str {
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
