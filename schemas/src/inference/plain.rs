//! Arrays of nothing but numbers and nulls, read straight into a column: the way that almost every event takes.
//!
//! `None` says only that something else is there too: the parser that explains must look, and whatever has been
//! appended is to be taken back.

use super::columns::Element;
use super::number;

/// Reads `{"instances":[[…],…]}` with `width` numbers per row and nothing else; gives the number of rows.
pub(super) fn instances<T: Element>(text: &[u8], width: usize, max_rows: usize, values: &mut Vec<T>) -> Option<usize> {
    let mut at = 0;
    for word in [&b"{"[..], b"\"instances\"", b":", b"["] {
        at = expect(text, at, word)?;
    }
    for count in 1..=max_rows {
        at = expect(text, at, b"[")?;
        at = array(text, at, width, values)?;
        let (next, end) = token(text, at)?;
        at = end;
        match next {
            b',' => {}
            b']' => {
                at = expect(text, at, b"}")?;
                return token(text, at).is_none().then_some(count);
            }
            _ => return None,
        }
    }
    None
}

/// Appends `count` numbers from behind the `[` at `at` on; gives the position behind their `]`.
#[inline]
pub(super) fn array<T: Element>(text: &[u8], mut at: usize, count: usize, values: &mut Vec<T>) -> Option<usize> {
    // n numbers take 2n bytes at least: the payload, not the model or a shape, bounds what is allocated.
    if count == 0 || text.len().checked_sub(at)? / 2 < count {
        return None;
    }
    let first = values.len();
    values.resize(first + count, T::default());
    for slot in &mut values[first..first + count - 1] {
        let next;
        (*slot, next, at) = element(text, at)?;
        if next != b',' {
            return None;
        }
    }
    let (last, next, end) = element(text, at)?;
    values[first + count - 1] = last;
    (next == b']').then_some(end)
}

/// One number or null; gives it, the byte that follows it, and the position behind that.
#[inline(always)]
fn element<T: Element>(text: &[u8], at: usize) -> Option<(T, u8, usize)> {
    let at = if *text.get(at)? <= b' ' { token(text, at)?.1 - 1 } else { at };
    let (value, end) = match number::scan(text, at) {
        Some((number, end)) => (finite(number)?, end),
        None if text[at..].starts_with(b"null") => (T::of(f64::NAN), at + 4),
        None => return None,
    };
    let next = *text.get(end)?;
    if next <= b' ' { token(text, end).map(|(next, end)| (value, next, end)) } else { Some((value, next, end + 1)) }
}

#[inline(always)]
fn finite<T: Element>(number: f64) -> Option<T> {
    let value = T::of(number);
    value.finite().then_some(value)
}

/// The next byte that is not white space, and the position behind it.
#[inline]
fn token(text: &[u8], mut at: usize) -> Option<(u8, usize)> {
    while matches!(text.get(at), Some(b' ' | b'\n' | b'\r' | b'\t')) {
        at += 1;
    }
    text.get(at).map(|byte| (*byte, at + 1))
}

/// The position behind `word`, where it comes next.
#[inline]
fn expect(text: &[u8], at: usize, word: &[u8]) -> Option<usize> {
    let start = token(text, at)?.1 - 1;
    text[start..].starts_with(word).then_some(start + word.len())
}
