//! Pieces of work spread over threads.

use std::sync::atomic::{AtomicUsize, Ordering};
use std::thread;

/// Does `count` pieces on up to so many threads, the next piece to whoever is free, and returns the answers in order.
///
/// Each thread has room of its own. One thread, or one piece, runs where it is called.
pub(crate) fn spread<R: Default, T: Send>(
    threads: usize,
    count: usize,
    work: impl Fn(&mut R, usize) -> T + Sync,
) -> Vec<T> {
    let threads = threads.min(count);
    if threads <= 1 {
        let mut room = R::default();
        return (0..count).map(|piece| work(&mut room, piece)).collect();
    }
    let next = AtomicUsize::new(0);
    let one = || {
        let mut room = R::default();
        let mut done = Vec::new();
        loop {
            let piece = next.fetch_add(1, Ordering::Relaxed);
            if piece >= count {
                return done;
            }
            done.push((piece, work(&mut room, piece)));
        }
    };
    let mut done = thread::scope(|scope| {
        let others: Vec<_> = (1..threads).map(|_| scope.spawn(one)).collect();
        let mut done = one();
        for other in others {
            done.extend(other.join().unwrap_or_else(|panic| std::panic::resume_unwind(panic)));
        }
        done
    });
    done.sort_unstable_by_key(|(piece, _)| *piece);
    done.into_iter().map(|(_, answer)| answer).collect()
}

#[cfg(test)]
mod tests {
    use super::spread;

    #[test]
    fn answers_come_in_order_on_any_number_of_threads() {
        for threads in [1, 2, 7] {
            for count in [0, 1, 5, 100] {
                let answers = spread(threads, count, |seen: &mut usize, piece| {
                    *seen += 1;
                    piece * piece
                });
                assert_eq!(answers, (0..count).map(|piece| piece * piece).collect::<Vec<_>>());
            }
        }
    }
}
