//! Calls into librdkafka that may never come back.

use std::sync::mpsc::sync_channel;
use std::time::Duration;

/// Makes the call on a thread of its own, and gives up on both after `limit`: whatever the call owns is left behind until
/// it comes back.
pub(super) fn call<T: Send + 'static>(
    name: &str,
    limit: Duration,
    work: impl FnOnce() -> T + Send + 'static,
) -> Option<T> {
    let (done, answer) = sync_channel(1);
    let run = move || {
        // Nobody waits any more where that took too long.
        let _ = done.send(work());
    };
    if let Err(error) = std::thread::Builder::new().name(name.into()).spawn(run) {
        tracing::warn!(%error, name, "no thread for a call");
        return None;
    }
    answer.recv_timeout(limit).ok()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_answer_comes_back() {
        assert_eq!(call("quick", Duration::from_secs(60), || 7), Some(7));
    }

    #[test]
    fn a_call_that_never_comes_back_is_left_behind() {
        let (_open, never) = sync_channel::<()>(0);
        assert_eq!(call("stuck", Duration::from_millis(1), move || never.recv()), None);
    }

    #[test]
    fn a_call_that_panics_has_no_answer() {
        assert_eq!(call("panics", Duration::from_secs(60), || -> i32 { panic!("on purpose") }), None);
    }
}
