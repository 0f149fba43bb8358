//! Pictures of a training as SVG: the ROC curve and the losses.

use std::fmt::Write as _;

use lunapark_schemas::training::Epoch;

use crate::RocPoint;

/// Size of a picture and of the frame within it.
const SIZE: (f64, f64) = (480.0, 360.0);
const FRAME: (f64, f64, f64, f64) = (56.0, 32.0, 400.0, 272.0);
/// Marks per axis.
const MARKS: usize = 5;
/// Colours that those who see few colours tell apart. Source: Okabe and Ito, "Color universal design", 2008.
const COLOURS: [&str; 2] = ["#0072b2", "#d55e00"];

/// A curve with its name.
type Curve = (&'static str, Vec<(f64, f64)>);

/// File names and texts of the pictures that there is something to draw for.
pub(crate) fn all(history: &[Epoch], roc: &[RocPoint], auc: Option<f64>) -> Vec<(String, String)> {
    let mut pictures = Vec::new();
    if !history.is_empty() {
        let curve = |of: fn(&Epoch) -> f64| history.iter().map(|e| (f64::from(e.epoch), of(e))).collect();
        let curves = [("training loss", curve(|e| e.loss)), ("validation loss", curve(|e| e.val_loss))];
        pictures.push(("loss.svg".to_owned(), plot("Loss", ("epoch", "loss"), &curves)));
    }
    if !roc.is_empty() {
        let points = roc.iter().map(|point| (point.false_positive_rate, point.true_positive_rate)).collect();
        let title = auc.map_or_else(|| "ROC".to_owned(), |auc| format!("ROC, AUC {auc:.4}"));
        let curves = [("model", points), ("chance", vec![(0.0, 0.0), (1.0, 1.0)])];
        pictures.push(("roc.svg".to_owned(), plot(&title, ("false positive rate", "true positive rate"), &curves)));
    }
    pictures
}

/// Range of a coordinate over all curves, not empty.
fn range(curves: &[Curve], of: fn(&(f64, f64)) -> f64) -> (f64, f64) {
    let values = || curves.iter().flat_map(|(_, points)| points).map(of);
    let (low, high) = (values().fold(f64::INFINITY, f64::min), values().fold(f64::NEG_INFINITY, f64::max));
    if high > low { (low, high) } else { (low - 0.5, low + 0.5) }
}

fn plot(title: &str, axes: (&str, &str), curves: &[Curve]) -> String {
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
        axes.1
    );
    for mark in 0..=MARKS {
        let share = mark as f64 / MARKS as f64;
        let (x, y) = (xs.0 + share * (xs.1 - xs.0), ys.0 + share * (ys.1 - ys.0));
        text(&mut svg, (at(&(x, ys.0)).0, top + height + 16.0), "middle", &short(x));
        text(&mut svg, (left - 6.0, at(&(xs.0, y)).1 + 4.0), "end", &short(y));
    }
    for (index, (name, points)) in curves.iter().enumerate() {
        let colour = COLOURS[index % COLOURS.len()];
        let path: Vec<_> = points.iter().map(at).map(|(x, y)| format!("{x:.1},{y:.1}")).collect();
        let _ = writeln!(svg, "<polyline points=\"{}\" fill=\"none\" stroke=\"{colour}\"/>", path.join(" "));
        let _ = write!(svg, "<g fill=\"{colour}\">");
        text(&mut svg, (left + width - 8.0, top + height - 12.0 - 16.0 * index as f64), "end", name);
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

/// All texts are ours: nothing of a request is drawn.
fn text(svg: &mut String, at: (f64, f64), anchor: &str, text: &str) {
    let _ = writeln!(svg, "<text x=\"{:.1}\" y=\"{:.1}\" text-anchor=\"{anchor}\">{text}</text>", at.0, at.1);
}
