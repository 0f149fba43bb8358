//! A loss curve in one line, and in a few.

/// Eighths of a character cell.
const BARS: [char; 8] = ['▁', '▂', '▃', '▄', '▅', '▆', '▇', '█'];

/// The values as bars of one line, at most `width` of them: the last value of each part.
pub(super) fn line(values: &[f64], width: usize) -> String {
    let shown = thinned(values, width);
    let (low, high) = bounds(&shown);
    let bar = |value: &f64| match value.is_finite() {
        true => BARS[(((value - low) / (high - low).max(f64::MIN_POSITIVE)) * 7.0).round().clamp(0.0, 7.0) as usize],
        false => ' ',
    };
    shown.iter().map(bar).collect()
}

fn thinned(values: &[f64], width: usize) -> Vec<f64> {
    let width = width.clamp(1, values.len().max(1));
    (1..=width).filter_map(|part| values.get((part * values.len() / width).checked_sub(1)?).copied()).collect()
}

fn bounds(values: &[f64]) -> (f64, f64) {
    let finite = values.iter().copied().filter(|value| value.is_finite());
    finite.fold((f64::INFINITY, f64::NEG_INFINITY), |(low, high), value| (low.min(value), high.max(value)))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_falling_loss_is_a_falling_line() {
        assert_eq!(line(&[0.8, 0.6, 0.4, 0.1], 40), "█▆▄▁");
        assert_eq!(line(&[0.8, 0.7, 0.6, 0.5, 0.2, 0.1], 3), "█▆▁");
        assert_eq!(line(&[0.5], 10).chars().count(), 1);
        assert_eq!(line(&[], 10), "");
        assert_eq!(line(&[0.5, f64::NAN, 0.1], 10), "█ ▁");
    }
}
