//! Waiting until what was sent is indexed.

use std::time::{Duration, Instant};

use anyhow::bail;

use crate::cli::settled::wait_settled;
use crate::cli::{Context, output};

/// Nothing indexed for so long: perhaps nobody is there to do it.
const LONG: Duration = Duration::from_secs(10);

/// Until the pipeline has committed what is on the topic now.
pub(super) fn wait(context: &Context, patience: Duration) -> anyhow::Result<()> {
    let topic = context.catalog.documents_ingest.name();
    let bar = output::progress(None, "{spinner} {msg} documents left to index");
    let mut doubt = Doubt::default();
    let settled = wait_settled(&*context.log, &context.group_of_documents, topic, patience, &mut |left| {
        bar.set_message(left.to_string());
        if doubt.rises(left, Instant::now()) {
            bar.suspend(|| output::note("still waiting: is a service with documents.threads above 0 running?"));
        }
    })?;
    bar.finish_and_clear();
    match settled {
        Ok(()) => Ok(()),
        Err(left) => bail!(
            "{left} documents are not indexed after {patience:?}: is a service with documents.threads above 0 running? \
             (`lunapark topics describe {topic}` shows its lag)"
        ),
    }
}

/// Whether anything moves at all.
#[derive(Default)]
struct Doubt {
    /// The number that was left at first, and since when.
    first: Option<(i64, Instant)>,
    told: bool,
}

impl Doubt {
    /// True once, where after a long time as many are left as there were at first.
    fn rises(&mut self, left: i64, now: Instant) -> bool {
        let (first, since) = *self.first.get_or_insert((left, now));
        let rises = !self.told && left == first && left > 0 && now.duration_since(since) >= LONG;
        self.told |= rises || left != first;
        rises
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn who_waits_for_nothing_is_told_once() {
        let (start, mut doubt) = (Instant::now(), Doubt::default());
        let told = [0, 9, 10, 11].map(|seconds| doubt.rises(5, start + Duration::from_secs(seconds)));
        assert_eq!(told, [false, false, true, false]);
    }

    #[test]
    fn who_sees_it_move_is_not() {
        let (start, mut doubt) = (Instant::now(), Doubt::default());
        assert!(
            ![(5, 0), (4, 1), (4, 12)].iter().any(|(left, at)| doubt.rises(*left, start + Duration::from_secs(*at)))
        );
        assert!(!Doubt::default().rises(0, start));
    }
}
