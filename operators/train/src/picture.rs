//! Pictures as SVG: curves and histograms, those of a training among them.

use std::fmt::Write as _;

use lunapark_schemas::training::Epoch;

use crate::RocPoint;

/// Size of a picture and of the frame within it.
const SIZE: (f64, f64) = (480.0, 360.0);
const FRAME: (f64, f64, f64, f64) = (56.0, 32.0, 400.0, 272.0);
/// Marks per axis.
const MARKS: usize = 5;
/// Colours that those who see few colours tell apart. Source: Okabe and Ito, "Color universal design", 2008.
const COLOURS: [&str; 4] = ["#0072b2", "#d55e00", "#009e73", "#cc79a7"];
/// Bins of a histogram: as fine as 400 points of width show well.
pub const BINS: usize = 50;
/// Longest text that is drawn, in characters.
const LONGEST: usize = 48;

/// A curve with its name.
#[derive(Clone, Debug, PartialEq)]
pub struct Curve {
    /// What the legend says.
    pub name: String,
    /// From point to point.
    pub points: Vec<(f64, f64)>,
}

impl Curve {
    /// A curve through points.
    pub fn new(name: impl Into<String>, points: Vec<(f64, f64)>) -> Self {
        Self { name: name.into(), points }
    }

    /// Bins of equal width between two values, as steps.
    pub fn steps(name: impl Into<String>, (low, high): (f64, f64), heights: &[f64]) -> Self {
        let edge = |bin: usize| low + (high - low) * bin as f64 / heights.len().max(1) as f64;
        let bins = heights.iter().enumerate().flat_map(|(bin, &y)| [(edge(bin), y), (edge(bin + 1), y)]);
        let points = std::iter::once((low, 0.0)).chain(bins).chain([(high, 0.0)]).collect();
        Self::new(name, points)
    }
}

/// Values with weights, under a name.
#[derive(Clone, Debug, PartialEq)]
pub struct Sample {
    /// What the legend says.
    pub name: String,
    /// Values; those that are not finite are left out.
    pub values: Vec<f64>,
    /// A weight for each; empty where all count 1.
    pub weights: Vec<f64>,
}

/// Histograms of samples over their common range, each with the sum 1.
pub fn histogram(title: &str, axis: &str, samples: &[Sample]) -> String {
    let values = samples.iter().flat_map(|sample| &sample.values).copied().filter(|value| value.is_finite());
    let (low, high) = values.fold((f64::INFINITY, f64::NEG_INFINITY), |(l, h), v| (l.min(v), h.max(v)));
    let range = if high > low {
        (low, high)
    } else if high == low {
        (low - 0.5, low + 0.5)
    } else {
        (0.0, 1.0)
    };
    let curves: Vec<_> = samples.iter().map(|s| Curve::steps(&*s.name, range, &shares(s, range))).collect();
    plot(title, (axis, "share"), &curves)
}

fn shares(sample: &Sample, (low, high): (f64, f64)) -> Vec<f64> {
    let mut bins = vec![0.0; BINS];
    for (row, value) in sample.values.iter().enumerate().filter(|(_, value)| value.is_finite()) {
        let bin = ((value - low) / (high - low) * BINS as f64) as usize;
        bins[bin.min(BINS - 1)] += sample.weights.get(row).copied().unwrap_or(1.0);
    }
    normalised(&bins)
}

/// The same heights with the sum 1; as they are where they have none.
pub fn normalised(heights: &[f64]) -> Vec<f64> {
    let sum: f64 = heights.iter().sum();
    heights.iter().map(|height| if sum > 0.0 { height / sum } else { *height }).collect()
}

/// Pictures of this module side by side in one.
pub fn beside(pictures: &[String]) -> String {
    let (width, height) = SIZE;
    let place = |(at, picture): (usize, &String)| {
        let inner = picture.strip_prefix("<svg ").unwrap_or_default();
        format!("<svg x=\"{}\" width=\"{width}\" height=\"{height}\" {inner}", width * at as f64)
    };
    let inner: String = pictures.iter().enumerate().map(place).collect();
    let all = width * pictures.len() as f64;
    format!("<svg xmlns=\"http://www.w3.org/2000/svg\" viewBox=\"0 0 {all} {height}\">\n{inner}</svg>\n")
}

/// The points of a ROC curve.
pub fn roc_curve(name: impl Into<String>, roc: &[RocPoint]) -> Curve {
    Curve::new(name, roc.iter().map(|point| (point.false_positive_rate, point.true_positive_rate)).collect())
}

/// ROC curves, with the diagonal of a model that knows nothing.
pub fn rocs(title: &str, mut curves: Vec<Curve>) -> String {
    curves.push(Curve::new("chance", vec![(0.0, 0.0), (1.0, 1.0)]));
    plot(title, ("false positive rate", "true positive rate"), &curves)
}

/// File names and texts of a training's pictures that there is something to draw for.
pub(crate) fn all(history: &[Epoch], roc: &[RocPoint], auc: Option<f64>, scores: &[Sample]) -> Vec<(String, String)> {
    let mut pictures = Vec::new();
    if !history.is_empty() {
        let curve = |of: fn(&Epoch) -> f64| history.iter().map(|e| (f64::from(e.epoch), of(e))).collect();
        let curves =
            [Curve::new("training loss", curve(|e| e.loss)), Curve::new("validation loss", curve(|e| e.val_loss))];
        pictures.push(("loss.svg".to_owned(), plot("Loss", ("epoch", "loss"), &curves)));
    }
    if !roc.is_empty() {
        let title = auc.map_or_else(|| "ROC".to_owned(), |auc| format!("ROC, AUC {auc:.4}"));
        pictures.push(("roc.svg".to_owned(), rocs(&title, vec![roc_curve("model", roc)])));
    }
    if !scores.is_empty() {
        pictures.push(("scores.svg".to_owned(), histogram("Answers for the test part", "answer", scores)));
    }
    pictures
}

/// Range of a coordinate over all curves, not empty.
fn range(curves: &[Curve], of: fn(&(f64, f64)) -> f64) -> (f64, f64) {
    let values = || curves.iter().flat_map(|curve| &curve.points).map(of).filter(|value| value.is_finite());
    let (low, high) = (values().fold(f64::INFINITY, f64::min), values().fold(f64::NEG_INFINITY, f64::max));
    match (high > low, high == low) {
        (true, _) => (low, high),
        (_, true) => (low - 0.5, low + 0.5),
        _ => (0.0, 1.0),
    }
}

/// Curves in a frame with marks and a legend.
pub fn plot(title: &str, axes: (&str, &str), curves: &[Curve]) -> String {
    let (xs, ys) = (range(curves, |point| point.0), range(curves, |point| point.1));
    let (left, top, width, height) = FRAME;
    let at = |&(x, y): &(f64, f64)| {
        (left + width * (x - xs.0) / (xs.1 - xs.0), top + height * (1.0 - (y - ys.0) / (ys.1 - ys.0)))
    };
    let mut svg = format!(
        "<svg xmlns=\"http://www.w3.org/2000/svg\" viewBox=\"0 0 {} {}\" font-family=\"sans-serif\" font-size=\"12\">\n\
         <rect width=\"100%\" height=\"100%\" fill=\"white\"/>\n",
        SIZE.0, SIZE.1
    );
    text(&mut svg, (left + width / 2.0, 20.0), "middle", title);
    text(&mut svg, (left + width / 2.0, SIZE.1 - 12.0), "middle", axes.0);
    let _ = writeln!(
        svg,
        "<text transform=\"translate(14 {}) rotate(-90)\" text-anchor=\"middle\">{}</text>\n\
         <rect x=\"{left}\" y=\"{top}\" width=\"{width}\" height=\"{height}\" fill=\"none\" stroke=\"#888\"/>",
        top + height / 2.0,
        escaped(axes.1)
    );
    for mark in 0..=MARKS {
        let share = mark as f64 / MARKS as f64;
        let (x, y) = (xs.0 + share * (xs.1 - xs.0), ys.0 + share * (ys.1 - ys.0));
        text(&mut svg, (at(&(x, ys.0)).0, top + height + 16.0), "middle", &short(x));
        text(&mut svg, (left - 6.0, at(&(xs.0, y)).1 + 4.0), "end", &short(y));
    }
    for (index, curve) in curves.iter().enumerate() {
        let colour = COLOURS[index % COLOURS.len()];
        let finite = curve.points.iter().filter(|point| point.0.is_finite() && point.1.is_finite());
        let path: Vec<_> = finite.map(at).map(|(x, y)| format!("{x:.1},{y:.1}")).collect();
        let _ = writeln!(svg, "<polyline points=\"{}\" fill=\"none\" stroke=\"{colour}\"/>", path.join(" "));
        let _ = write!(svg, "<g fill=\"{colour}\">");
        text(&mut svg, (left + width - 8.0, top + height - 12.0 - 16.0 * index as f64), "end", &curve.name);
        svg.push_str("</g>\n");
    }
    svg + "</svg>\n"
}

/// A number with three digits.
fn short(value: f64) -> String {
    match value.abs() {
        0.0 => "0".to_owned(),
        0.01..10.0 => format!("{value:.2}"),
        10.0..100_000.0 => format!("{value:.0}"),
        _ => format!("{value:.1e}"),
    }
}

/// Names may come from a message: nothing in them becomes a tag, and none is longer than the picture.
fn escaped(text: &str) -> String {
    let plain = text.chars().filter(|c| !c.is_control()).take(LONGEST);
    plain.fold(String::new(), |mut out, c| {
        match c {
            '<' => out.push_str("&lt;"),
            '>' => out.push_str("&gt;"),
            '&' => out.push_str("&amp;"),
            c => out.push(c),
        }
        out
    })
}

fn text(svg: &mut String, at: (f64, f64), anchor: &str, text: &str) {
    let text = escaped(text);
    let _ = writeln!(svg, "<text x=\"{:.1}\" y=\"{:.1}\" text-anchor=\"{anchor}\">{text}</text>", at.0, at.1);
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_histogram_has_the_weights_of_its_values_and_the_sum_one() {
        let sample = |values: &[f64], weights: &[f64]| Sample {
            name: "<b>&".into(),
            values: values.to_vec(),
            weights: weights.to_vec(),
        };
        let shares = shares(&sample(&[0.0, 1.0, 1.0, f64::NAN], &[2.0, 1.0, 1.0, 9.0]), (0.0, 1.0));
        assert_eq!((shares[0], shares[BINS - 1], shares.iter().sum::<f64>()), (0.5, 0.5, 1.0));
        let svg = histogram("t", "score", &[sample(&[0.0, 1.0], &[]), sample(&[], &[])]);
        assert!(svg.contains("&lt;b&gt;&amp;") && !svg.contains("<b>"), "{svg}");
        assert!(svg.matches("<polyline").count() == 2 && !svg.contains("NaN"), "{svg}");
    }

    #[test]
    fn pictures_side_by_side_are_one() {
        let one = plot("one", ("x", "y"), &[Curve::new("c", vec![(0.0, 0.0), (1.0, 1.0)])]);
        let svg = beside(&[one.clone(), one]);
        assert!(svg.contains("viewBox=\"0 0 960 360\"") && svg.contains("<svg x=\"480\""), "{svg}");
        assert_eq!((svg.matches("<svg").count(), svg.matches("</svg>").count()), (3, 3));
    }

    #[test]
    fn nothing_to_draw_is_an_empty_frame() {
        let svg = plot("empty", ("x", "y"), &[Curve::new("none", vec![(f64::NAN, 1.0)])]);
        assert!(svg.contains("points=\"\"") && !svg.contains("NaN"), "{svg}");
        assert!(!histogram("h", "x", &[]).contains("NaN"));
    }
}
