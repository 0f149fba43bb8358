//! Pieces of work spread over threads.

use std::sync::{Mutex, PoisonError};
use std::thread;

/// Does each piece of work on up to so many threads, the next piece to whoever is free, and returns the answers in order.
///
/// Each thread has room of its own. One thread, or one piece, runs where it is called.
pub(crate) fn spread<R: Default, I: Send, T: Send>(
    threads: usize,
    pieces: impl ExactSizeIterator<Item = I> + Send,
    work: impl Fn(&mut R, I) -> T + Sync,
) -> Vec<T> {
    let threads = threads.min(pieces.len());
    if threads <= 1 {
        let mut room = R::default();
        return pieces.map(|piece| work(&mut room, piece)).collect();
    }
    let pieces = Mutex::new(pieces.enumerate());
    let next = || pieces.lock().unwrap_or_else(PoisonError::into_inner).next();
    let one = || {
        let mut room = R::default();
        let mut done = Vec::new();
        while let Some((place, piece)) = next() {
            done.push((place, work(&mut room, piece)));
        }
        done
    };
    let mut done = thread::scope(|scope| {
        let others: Vec<_> = (1..threads).map(|_| scope.spawn(one)).collect();
        let mut done = one();
        for other in others {
            done.extend(other.join().unwrap_or_else(|panic| std::panic::resume_unwind(panic)));
        }
        done
    });
    done.sort_unstable_by_key(|(place, _)| *place);
    done.into_iter().map(|(_, answer)| answer).collect()
}

#[cfg(test)]
mod tests {
    use super::spread;

    #[test]
    fn answers_come_in_order_on_any_number_of_threads() {
        for threads in [1, 2, 7] {
            for count in [0, 1, 5, 100] {
                let answers = spread(threads, 0..count, |seen: &mut usize, piece| {
                    *seen += 1;
                    piece * piece
                });
                assert_eq!(answers, (0..count).map(|piece| piece * piece).collect::<Vec<_>>());
            }
        }
    }
}
