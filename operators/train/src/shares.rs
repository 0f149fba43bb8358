//! Work on many columns, by a few threads.

/// Fewer rows are not worth another thread.
const ROWS_PER_THREAD: usize = 1 << 12;

/// So many threads of these for a table of so many rows.
pub(crate) fn threads_for(rows: usize, threads: usize) -> usize {
    threads.min(rows / ROWS_PER_THREAD).max(1)
}

/// What `work` makes of each share of the items, in their order; one share is this thread's own.
pub(crate) fn by_share<T: Sync, R: Send>(items: &[T], threads: usize, work: impl Fn(&[T]) -> R + Sync) -> Vec<R> {
    let mut shares = items.chunks(items.len().div_ceil(threads.max(1)).max(1));
    let Some(first) = shares.next() else { return Vec::new() };
    std::thread::scope(|scope| {
        let others: Vec<_> = shares.map(|share| scope.spawn(|| work(share))).collect();
        let own = work(first);
        let join = |other: std::thread::ScopedJoinHandle<'_, R>| {
            other.join().unwrap_or_else(|panic| std::panic::resume_unwind(panic))
        };
        std::iter::once(own).chain(others.into_iter().map(join)).collect()
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_item_is_worked_on_once_and_in_order() {
        for (count, threads) in [(0, 2), (1, 4), (7, 1), (7, 2), (7, 3), (7, 9), (8, 0)] {
            let items: Vec<usize> = (0..count).collect();
            assert_eq!(by_share(&items, threads, <[usize]>::to_vec).concat(), items, "{count} by {threads}");
        }
    }
}
