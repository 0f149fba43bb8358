//! JSON numbers to doubles, correctly rounded: the same bits as `str::parse::<f64>`.
//!
//! Detector events are mostly numbers like `-0.635`, so [`quick`] reads those in one word; the others take [`Scanned`],
//! which needs the library's algorithm only beyond 2^53 or 10^±22.

/// Powers of ten that a double holds exactly.
const POWERS: [f64; 23] = [
    1e0, 1e1, 1e2, 1e3, 1e4, 1e5, 1e6, 1e7, 1e8, 1e9, 1e10, 1e11, 1e12, 1e13, 1e14, 1e15, 1e16, 1e17, 1e18, 1e19, 1e20,
    1e21, 1e22,
];
/// The same as integers, for the digits that one word holds.
const WHOLE_POWERS: [u64; 9] = [1, 10, 100, 1_000, 10_000, 100_000, 1_000_000, 10_000_000, 100_000_000];
/// Integers up to here are exact as doubles.
const EXACT: u64 = 1 << 53;
/// Any u64 holds this many decimal digits.
const DIGITS: usize = 19;

const ONES: u64 = u64::MAX / 255;
const HIGH_BITS: u64 = ONES * 0x80;
const ZEROS: u64 = ONES * b'0' as u64;

/// The high bit of every byte of `word` that equals the bytes of `pattern`.
pub(super) fn bytes_equal(word: u64, pattern: u64) -> u64 {
    let difference = word ^ pattern;
    !(((difference & !HIGH_BITS) + !HIGH_BITS) | difference) & HIGH_BITS
}

/// The high bit of every byte of `values` that is not a digit's value.
#[inline(always)]
fn not_digits(values: u64) -> u64 {
    (values.wrapping_add(ONES * 0x76) | values) & HIGH_BITS
}

/// Reads the JSON number that starts at `at`; gives it, infinite where it is beyond the range, and where it ends.
#[inline(always)]
pub(super) fn scan(text: &[u8], at: usize) -> Option<(f64, usize)> {
    // Not `or_else`: the compiler has left that as a call, which doubled the time of a whole event.
    match quick(text, at) {
        Some(number) => Some(number),
        None => slow(text, at),
    }
}

/// Where the JSON number that starts at `at` ends.
pub(super) fn end(text: &[u8], at: usize) -> Option<usize> {
    let slow = || Scanned::of(text.get(at..)?).map(|scanned| at + scanned.len);
    quick(text, at).map(|(_, end)| end).or_else(slow)
}

/// The number that all of `text` spells.
pub(super) fn parse(text: &[u8]) -> Option<f64> {
    scan(text, 0).filter(|(_, end)| *end == text.len()).map(|(number, _)| number)
}

/// Reads a number of one digit, a dot, and up to 13 more digits, in registers and without a branch on the sign or the
/// number of digits, which are not predictable. `None` says only that [`slow`] must look.
#[inline(always)]
fn quick(text: &[u8], at: usize) -> Option<(f64, usize)> {
    let word = word_at(text, at)?;
    let negative = word as u8 == b'-';
    let sign_bits = u32::from(negative) * 8;
    let values = word ^ ZEROS;
    let ends = (not_digits(values) >> sign_bits) >> 16;
    let values = values >> sign_bits;
    let whole = u64::from(values as u16 ^ u16::from(b'.' ^ b'0') << 8);
    let bits = ends.trailing_zeros() & !7;
    if whole > 9 || bits == 0 {
        return None;
    }
    let (mantissa, fraction, end) = if ends != 0 {
        let fraction = bits as usize / 8;
        let mantissa = whole * WHOLE_POWERS[fraction] + eight_digits((values >> 16) << (64 - bits));
        (mantissa, fraction, at + usize::from(negative) + 2 + fraction)
    } else {
        let (first, second) = (6 - usize::from(negative), word_at(text, at + 8)? ^ ZEROS);
        let bits = not_digits(second).trailing_zeros() & !7;
        let more = bits as usize / 8;
        if more == 8 {
            return None;
        }
        let head = whole * WHOLE_POWERS[first] + eight_digits((values >> 16) << (16 + sign_bits));
        let tail = eight_digits((second << 8) << (56 - bits));
        (head * WHOLE_POWERS[more] + tail, first + more, at + 8 + more)
    };
    if matches!(text.get(end), Some(b'e' | b'E')) {
        return None;
    }
    Some((signed(small_to_double(mantissa) / POWERS[fraction], negative), end))
}

#[inline(always)]
fn word_at(text: &[u8], at: usize) -> Option<u64> {
    Some(u64::from_le_bytes(*text.get(at..)?.first_chunk::<8>()?))
}

/// Exact below 2^52. The plain conversion instruction waits for its register's old value, which here is the number
/// before: all numbers of a row would stand in line for the divider.
#[inline]
fn small_to_double(value: u64) -> f64 {
    const TWO_52: f64 = 4_503_599_627_370_496.0;
    f64::from_bits(TWO_52.to_bits() | value) - TWO_52
}

/// Eight digit values, the most significant in the lowest byte, as a number.
/// Source: Lemire, "Quickly parsing eight digits", 2018.
#[inline]
fn eight_digits(digits: u64) -> u64 {
    const MASK: u64 = 0x0000_00ff_0000_00ff;
    let pairs = digits.wrapping_mul(10).wrapping_add(digits >> 8);
    let high = (pairs & MASK).wrapping_mul(0x000f_4240_0000_0064);
    let low = ((pairs >> 16) & MASK).wrapping_mul(0x0000_2710_0000_0001);
    high.wrapping_add(low) >> 32
}

#[inline]
fn signed(magnitude: f64, negative: bool) -> f64 {
    f64::from_bits(magnitude.to_bits() | (u64::from(negative) << 63))
}

/// Any JSON number.
#[inline(never)]
fn slow(text: &[u8], at: usize) -> Option<(f64, usize)> {
    let text = text.get(at..)?;
    let scanned = Scanned::of(text)?;
    let number = scanned.exact().or_else(|| fast_float2::parse(&text[..scanned.len]).ok())?;
    Some((number, at + scanned.len))
}

/// The parts of a number, as far as a u64 holds them.
struct Scanned {
    negative: bool,
    /// Wrong (wrapped) where there are more than [`DIGITS`] digits.
    mantissa: u64,
    digits: usize,
    exponent: i64,
    len: usize,
}

impl Scanned {
    fn of(text: &[u8]) -> Option<Self> {
        let negative = text.first() == Some(&b'-');
        let start = usize::from(negative);
        let (mantissa, mut at) = digits(text, start, 0);
        let whole = at - start;
        if whole == 0 || (whole > 1 && text[start] == b'0') {
            return None;
        }
        let mut scanned = Self { negative, mantissa, digits: whole, exponent: 0, len: 0 };
        if text.get(at) == Some(&b'.') {
            let (mantissa, end) = digits(text, at + 1, mantissa);
            let fraction = end - at - 1;
            if fraction == 0 {
                return None;
            }
            scanned.mantissa = mantissa;
            scanned.digits += fraction;
            scanned.exponent = -(fraction as i64);
            at = end;
        }
        if matches!(text.get(at), Some(b'e' | b'E')) {
            let (exponent, end) = exponent(text, at + 1)?;
            scanned.exponent = scanned.exponent.saturating_add(exponent);
            at = end;
        }
        scanned.len = at;
        Some(scanned)
    }

    /// Clinger's exact case: both factors are doubles without error, so one operation rounds once.
    fn exact(&self) -> Option<f64> {
        if self.digits > DIGITS || self.mantissa > EXACT {
            return None;
        }
        let power = *POWERS.get(self.exponent.unsigned_abs() as usize)?;
        let mantissa = self.mantissa as f64;
        let magnitude = if self.exponent < 0 { mantissa / power } else { mantissa * power };
        Some(signed(magnitude, self.negative))
    }
}

/// Appends the digits from `at` on to `value`, wrapping; gives the new value and where the digits end.
#[inline]
fn digits(text: &[u8], mut at: usize, mut value: u64) -> (u64, usize) {
    while let Some(chunk) = text.get(at..).and_then(|rest| rest.first_chunk::<8>()) {
        let values = u64::from_le_bytes(*chunk) ^ ZEROS;
        let bits = not_digits(values).trailing_zeros() & !7;
        if bits == 0 {
            return (value, at);
        }
        let count = bits as usize / 8;
        value = value.wrapping_mul(WHOLE_POWERS[count]).wrapping_add(eight_digits(values << (64 - bits)));
        at += count;
        if count < 8 {
            return (value, at);
        }
    }
    while let Some(digit) = text.get(at).map(|byte| byte.wrapping_sub(b'0')).filter(|digit| *digit < 10) {
        value = value.wrapping_mul(10).wrapping_add(u64::from(digit));
        at += 1;
    }
    (value, at)
}

/// The exponent from `at` on, saturated far beyond any double.
fn exponent(text: &[u8], at: usize) -> Option<(i64, usize)> {
    let negative = text.get(at) == Some(&b'-');
    let start = at + usize::from(matches!(text.get(at), Some(b'-' | b'+')));
    let mut end = start;
    let mut value = 0_i64;
    while let Some(digit) = text.get(end).filter(|byte| byte.is_ascii_digit()) {
        value = (value * 10 + i64::from(digit - b'0')).min(1 << 40);
        end += 1;
    }
    (end > start).then_some((if negative { -value } else { value }, end))
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    #[test]
    fn what_is_not_a_json_number_is_refused() {
        for text in ["", "-", "+1", "01", "-01", ".5", "1.", "1.e5", "1e", "1e+", "0x1", "1.2.3", "1 ", "NaN", "--1"] {
            assert_eq!(parse(text.as_bytes()), None, "{text}");
            let padded = format!("{text},        ");
            let whole = scan(padded.as_bytes(), 0).filter(|(_, end)| *end == text.len());
            assert_eq!(whole, None, "{text}");
        }
    }

    #[test]
    fn extremes_round_as_the_standard_library_does() {
        let huge = format!("0.{}1e400", "0".repeat(380));
        for text in
            ["1e400", "-1e400", "1e-400", "5e-324", "2.2250738585072011e-308", "9007199254740993", "0e999999999", &huge]
        {
            let expected: f64 = text.parse().unwrap();
            assert_eq!(parse(text.as_bytes()).unwrap().to_bits(), expected.to_bits(), "{text}");
        }
    }

    proptest! {
        #[test]
        fn numbers_have_the_bits_of_the_standard_library(
            text in "-?(0|[1-9][0-9]{0,20})(\\.[0-9]{1,20})?([eE][-+]?[0-9]{1,3})?",
            behind in "[,\\]} ].{0,9}",
        ) {
            let expected: f64 = text.parse().unwrap();
            let followed = format!("{text}{behind}");
            for read in [scan(text.as_bytes(), 0), scan(followed.as_bytes(), 0)] {
                let read = read.map(|(number, end)| (number.to_bits(), end));
                prop_assert_eq!(read, Some((expected.to_bits(), text.len())));
            }
            prop_assert_eq!(end(followed.as_bytes(), 0), Some(text.len()));
        }

        #[test]
        fn usual_numbers_take_the_quick_way(text in "-?[0-9]\\.[0-9]{1,12}") {
            let expected: f64 = text.parse().unwrap();
            let read = quick(format!("{text},12345678901").as_bytes(), 0);
            prop_assert_eq!(read.map(|(number, end)| (number.to_bits(), end)), Some((expected.to_bits(), text.len())));
        }

        #[test]
        fn the_quick_way_agrees_with_the_slow_one_on_any_text(text in "[-+.0-9eE, ]{0,12}") {
            if let Some((number, end)) = quick(text.as_bytes(), 0) {
                let slow = slow(text.as_bytes(), 0).map(|(number, end)| (number.to_bits(), end));
                prop_assert_eq!(Some((number.to_bits(), end)), slow);
            }
        }
    }
}
