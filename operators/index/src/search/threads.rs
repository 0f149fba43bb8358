//! Work on several threads that end with it.

use std::sync::atomic::{AtomicUsize, Ordering};

/// What each of so many threads makes of the same work, this one's last.
pub(crate) fn on_threads<T: Send>(threads: usize, work: &(impl Fn() -> T + Sync)) -> Vec<T> {
    if threads <= 1 {
        return vec![work()];
    }
    std::thread::scope(|scope| {
        let others: Vec<_> = (1..threads).map(|_| scope.spawn(work)).collect();
        let mine = work();
        // A thread that panicked passes its panic on, as if there had been no thread.
        let join = |other: std::thread::ScopedJoinHandle<'_, T>| match other.join() {
            Ok(found) => found,
            Err(panic) => std::panic::resume_unwind(panic),
        };
        others.into_iter().map(join).chain([mine]).collect()
    })
}

/// What is made of each number below `count`, in order, by whichever thread is free.
pub(crate) fn each<T: Send>(threads: usize, count: usize, make: impl Fn(usize) -> T + Sync) -> Vec<T> {
    each_with(threads, count, || (), |(), number| make(number))
}

/// The same, where each thread has room of its own for what it makes.
pub(crate) fn each_with<R, T: Send>(
    threads: usize,
    count: usize,
    room: impl Fn() -> R + Sync,
    make: impl Fn(&mut R, usize) -> T + Sync,
) -> Vec<T> {
    let next = AtomicUsize::new(0);
    let work = || {
        let (mut made, mut room) = (Vec::new(), room());
        loop {
            let number = next.fetch_add(1, Ordering::Relaxed);
            if number >= count {
                return made;
            }
            made.push((number, make(&mut room, number)));
        }
    };
    let mut all: Vec<(usize, T)> = on_threads(threads.min(count), &work).into_iter().flatten().collect();
    all.sort_unstable_by_key(|(number, _)| *number);
    all.into_iter().map(|(_, made)| made).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn everything_is_made_once_and_in_order() {
        for (threads, count) in [(0, 3), (1, 5), (4, 100), (8, 2), (2, 0)] {
            assert!(each(threads, count, |number| 2 * number).into_iter().eq((0..count).map(|number| 2 * number)));
        }
    }
}
