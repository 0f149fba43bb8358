//! JSON numbers to doubles, correctly rounded: the same bits as `str::parse::<f64>`.
//!
//! Detector events are mostly numbers of a few digits, so [`short`] reads up to eight characters in one word; the
//! others take [`parse`], which needs the library's algorithm only beyond 2^53 or 10^±22.

/// Powers of ten that a double holds exactly.
const POWERS: [f64; 23] = [
    1e0, 1e1, 1e2, 1e3, 1e4, 1e5, 1e6, 1e7, 1e8, 1e9, 1e10, 1e11, 1e12, 1e13, 1e14, 1e15, 1e16, 1e17, 1e18, 1e19, 1e20,
    1e21, 1e22,
];
/// Integers up to here are exact as doubles.
const EXACT: u64 = 1 << 53;
/// Any u64 holds this many decimal digits.
const DIGITS: usize = 19;

const ONES: u64 = u64::MAX / 255;
const HIGH_BITS: u64 = ONES * 0x80;
const ZEROS: u64 = ONES * b'0' as u64;
/// A dot after `ZEROS` has been taken off.
const DOTS: u64 = ONES * (b'.' ^ b'0') as u64;

/// The high bit of every byte of `word` that equals the bytes of `pattern`.
pub(super) fn bytes_equal(word: u64, pattern: u64) -> u64 {
    let difference = word ^ pattern;
    !(((difference & !HIGH_BITS) + !HIGH_BITS) | difference) & HIGH_BITS
}

/// Reads `bytes[start..end]` where that is a plain JSON number (no exponent) of at most eight characters and a sign,
/// and at least eight bytes precede `end`. `None` says only that [`parse`] must look.
///
/// Everything happens in one register without a branch on the digits, because their number is not predictable.
#[inline(always)]
pub(super) fn short(bytes: &[u8], start: usize, end: usize) -> Option<f64> {
    let negative = *bytes.get(start)? == b'-';
    let start = start + usize::from(negative);
    let len = end.wrapping_sub(start);
    if len.wrapping_sub(1) > 7 {
        return None;
    }
    let word = u64::from_le_bytes(bytes.get(end.checked_sub(8)?..end)?.try_into().ok()?);
    let text = (word ^ ZEROS) & (u64::MAX << (64 - 8 * len));
    let (digits, fraction, dot) = without_dot(text);
    let whole = len - fraction - usize::from(dot);
    let leading_zero = whole > 1 && bytes[start] == b'0';
    let bare_dot = dot && (whole == 0 || fraction == 0);
    let not_digits = (digits.wrapping_add(ONES * 0x76) | digits) & HIGH_BITS != 0;
    if leading_zero || bare_dot || not_digits {
        return None;
    }
    Some(signed(eight_digits(digits) as f64 / POWERS[fraction], negative))
}

/// Closes the gap that the dot leaves; gives the digits, how many follow the dot, and whether there is one.
#[inline]
fn without_dot(text: u64) -> (u64, usize, bool) {
    let dots = bytes_equal(text, DOTS);
    if dots == 0 {
        return (text, 0, false);
    }
    let dot = dots & dots.wrapping_neg();
    let before = (dot >> 7).wrapping_sub(1);
    let after = !((dot << 1).wrapping_sub(1));
    let fraction = 7 - dot.trailing_zeros() as usize / 8;
    ((text & after) | ((text & before) << 8), fraction, true)
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

/// The number that all of `text` spells, infinite where it is beyond the range; `None` where it is not a JSON number.
pub(super) fn parse(text: &[u8]) -> Option<f64> {
    let scanned = Scanned::of(text)?;
    if scanned.len != text.len() {
        return None;
    }
    scanned.exact().or_else(|| fast_float2::parse(text).ok())
}

/// Length of the JSON number at the start of `text`; `None` where there is none.
pub(super) fn length(text: &[u8]) -> Option<usize> {
    Scanned::of(text).map(|scanned| scanned.len)
}

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
        let digits = u64::from_le_bytes(*chunk) ^ ZEROS;
        if (digits.wrapping_add(ONES * 0x76) | digits) & HIGH_BITS != 0 {
            break;
        }
        value = value.wrapping_mul(100_000_000).wrapping_add(eight_digits(digits));
        at += 8;
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

    fn short_of(text: &str) -> Option<f64> {
        let padded = format!("########{text},");
        short(padded.as_bytes(), 8, padded.len() - 1)
    }

    #[test]
    fn what_is_not_a_json_number_is_refused() {
        for text in ["", "-", "+1", "01", "-01", ".5", "1.", "1.e5", "1e", "1e+", "0x1", "1.2.3", "1 ", "NaN", "--1"] {
            assert_eq!(parse(text.as_bytes()), None, "{text}");
            assert_eq!(short_of(text), None, "{text}");
        }
    }

    #[test]
    fn extremes_round_as_the_standard_library_does() {
        for text in
            ["1e400", "-1e400", "1e-400", "5e-324", "2.2250738585072011e-308", "9007199254740993", "0e999999999"]
        {
            let expected: f64 = text.parse().unwrap();
            assert_eq!(parse(text.as_bytes()).unwrap().to_bits(), expected.to_bits(), "{text}");
        }
    }

    proptest! {
        #[test]
        fn numbers_have_the_bits_of_the_standard_library(
            text in "-?(0|[1-9][0-9]{0,20})(\\.[0-9]{1,20})?([eE][-+]?[0-9]{1,3})?"
        ) {
            let expected: f64 = text.parse().unwrap();
            prop_assert_eq!(parse(text.as_bytes()).unwrap().to_bits(), expected.to_bits());
            if let Some(value) = short_of(&text) {
                prop_assert_eq!(value.to_bits(), expected.to_bits());
            }
        }

        #[test]
        fn plain_numbers_of_eight_characters_take_the_short_way(text in "-?(0|[1-9][0-9]{0,2})(\\.[0-9]{1,4})?") {
            let expected: f64 = text.parse().unwrap();
            prop_assert_eq!(short_of(&text).map(f64::to_bits), Some(expected.to_bits()));
        }

        #[test]
        fn short_accepts_only_what_parse_accepts(text in "[-+.0-9eE ]{0,10}") {
            prop_assert!(short_of(&text).is_none() || parse(text.as_bytes()).is_some());
        }
    }
}
