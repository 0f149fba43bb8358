//! From librdkafka's errors to ours: which kind, and what to do.

use rdkafka::error::{KafkaError, RDKafkaErrorCode as Code};

use super::context::Complaint;
use crate::error::{LogError, LogErrorKind as Kind};

/// The error of an operation, in our words. `detail` is what the client last complained about, if anything.
pub(super) fn log_error(doing: &str, error: &KafkaError, detail: Option<Complaint>) -> LogError {
    let kind = kind_of(error, detail.as_ref());
    let named = error.rdkafka_error_code().and_then(advice_of_code);
    let detail = detail.filter(|_| matches!(kind, Kind::Unreachable | Kind::Timeout | Kind::Unauthorised));
    // A call only says that no broker answers; the connection knows that it was turned away.
    let cause = detail.as_ref().and_then(|complaint| complaint.code).map(kind_of_code);
    let advice = named.unwrap_or(advice(cause.filter(|cause| *cause == Kind::Unauthorised).unwrap_or(kind)));
    let detail = detail.map(|complaint| format!(" ({})", complaint.reason)).unwrap_or_default();
    LogError::new(kind, format!("{doing}: {error}{detail}{advice}"))
}

fn kind_of(error: &KafkaError, detail: Option<&Complaint>) -> Kind {
    match error {
        KafkaError::ClientConfig(..) => Kind::Invalid,
        KafkaError::Transaction(e) if e.is_fatal() => kind_of_fatal(e.code()),
        KafkaError::Transaction(e) if e.txn_requires_abort() => match kind_of_code(e.code()) {
            Kind::TooLarge => Kind::TooLarge,
            Kind::Unauthorised => Kind::Unauthorised,
            _ => Kind::Rebalanced,
        },
        KafkaError::MessageConsumptionFatal(code) => kind_of_fatal(*code),
        // Every call after a fatal error says only that there was one; the client remembers which.
        KafkaError::MessageProduction(Code::Fatal) => {
            detail.and_then(|complaint| complaint.code).map_or(Kind::Fenced, kind_of_fatal)
        }
        // The crate does not count this one among those that carry a code.
        KafkaError::AdminOp(code) => kind_of_code(*code),
        other => other.rdkafka_error_code().map_or(Kind::Internal, kind_of_code),
    }
}

/// librdkafka gives up a producer for good not only where it was fenced: also where it may not be, or not like that.
fn kind_of_fatal(code: Code) -> Kind {
    match kind_of_code(code) {
        kind @ (Kind::Unauthorised | Kind::Invalid) => kind,
        _ => Kind::Fenced,
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
        Code::InvalidArgument
        | Code::InvalidConfig
        | Code::InvalidTopic
        | Code::InvalidPartitions
        | Code::InvalidTransactionTimeout => Kind::Invalid,
        _ => Kind::Internal,
    }
}

/// What to do about it, where the code says more than its kind.
fn advice_of_code(code: Code) -> Option<&'static str> {
    match code {
        Code::TransactionalIdAuthorizationFailed => Some(
            "; grant the ACLs Describe and Write on this transactional id to the user of kafka.\"sasl.username\" (or of \
             the client certificate)",
        ),
        Code::GroupAuthorizationFailed => Some(
            "; grant the ACL Read on this group to the user of kafka.\"sasl.username\" (or of the client certificate)",
        ),
        Code::InvalidTransactionTimeout => Some(
            "; kafka.transaction_timeout is longer than the broker permits (its transaction.max.timeout.ms): shorten it",
        ),
        _ => None,
    }
}

/// What to do about it.
pub(super) fn advice(kind: Kind) -> &'static str {
    match kind {
        Kind::Unreachable | Kind::Timeout => "; check kafka.bootstrap, and that the brokers are up",
        Kind::TopicMissing => "; create it with `lunapark topics create`",
        Kind::Unauthorised | Kind::NotAdmitted => {
            "; check kafka.\"security.protocol\", the SASL user and password, and the user's ACLs on topic and group"
        }
        Kind::Fenced => "; another process runs under the same name: give each instance its own `instance`",
        _ => "",
    }
}
