//! Simulated problems of particle physics whose likelihood ratio is known: nothing can separate better than it.

use crate::random::Random;

/// Events of signal (label 1) and background (label 0) in turn.
#[derive(Clone, Debug)]
pub struct Sample {
    /// A column per feature.
    pub columns: Vec<Vec<f32>>,
    /// 1 or 0.
    pub labels: Vec<f32>,
}

impl Sample {
    /// The features of all events, event by event.
    pub fn rows(&self) -> Vec<f32> {
        let row = |row: usize| self.columns.iter().map(move |column| column[row]);
        (0..self.labels.len()).flat_map(row).collect()
    }
}

/// A problem: what makes its events, and what separates them best.
#[derive(Clone, Copy, Debug)]
pub struct Problem {
    /// Its name.
    pub name: &'static str,
    /// So many events of a seed.
    pub sample: fn(usize, u64) -> Sample,
    /// An event's likelihood ratio, or what grows with it.
    pub ratio: fn(&[f32]) -> f64,
}

/// Both problems.
pub const PROBLEMS: [Problem; 2] = [
    Problem { name: "Gaussian", sample: gaussian, ratio: gaussian_ratio },
    Problem { name: "Breit-Wigner", sample: resonance, ratio: resonance_ratio },
];

/// A standard normal number (Box and Muller).
fn normal(random: &mut Random) -> f32 {
    let radius = (-2.0 * random.uniform(1e-7, 1.0).ln()).sqrt();
    radius * (std::f32::consts::TAU * random.uniform(0.0, 1.0)).cos()
}

fn sample(rows: usize, features: usize, mut event: impl FnMut(bool, &mut [f32])) -> Sample {
    let (mut columns, mut values) = (vec![Vec::with_capacity(rows); features], vec![0.0; features]);
    let labels = (0..rows).map(|row| {
        event(row % 2 == 1, &mut values);
        columns.iter_mut().zip(&values).for_each(|(column, value)| column.push(*value));
        (row % 2) as f32
    });
    let labels = labels.collect();
    Sample { columns, labels }
}

/// How far the signal's first two Gaussians are off, and how wide its third is.
const SHIFT: f32 = 0.5;
const WIDTH: f32 = 1.4;

/// Four Gaussian features: the signal's differ in the mean of two and the width of one.
fn gaussian(rows: usize, seed: u64) -> Sample {
    let mut random = Random::new(seed, 1);
    sample(rows, 4, |signal, values| {
        values.iter_mut().for_each(|value| *value = normal(&mut random));
        if signal {
            values[0] += SHIFT;
            values[1] += SHIFT;
            values[2] *= WIDTH;
        }
    })
}

fn gaussian_ratio(row: &[f32]) -> f64 {
    let x = |index: usize| f64::from(row[index]);
    let (shift, width) = (f64::from(SHIFT), f64::from(WIDTH));
    shift * (x(0) + x(1)) + 0.5 * x(2) * x(2) * (1.0 - 1.0 / (width * width))
}

/// The Z boson's mass, a detector's half width, and the window around them, all in GeV.
const MASS: f32 = 91.0;
const HALF_WIDTH: f32 = 4.0;
const WINDOW: (f32, f32) = (60.0, 120.0);
/// How fast the background falls, in GeV.
const LENGTH: f32 = 30.0;

/// A Breit–Wigner resonance over a falling exponential in a window of mass; and a feature that tells nothing.
fn resonance(rows: usize, seed: u64) -> Sample {
    let mut random = Random::new(seed, 2);
    let angle = |mass: f32| ((mass - MASS) / HALF_WIDTH).atan();
    let (low, high) = (angle(WINDOW.0), angle(WINDOW.1));
    let lost = 1.0 - ((WINDOW.0 - WINDOW.1) / LENGTH).exp();
    sample(rows, 2, |signal, values| {
        let u = random.uniform(0.0, 1.0);
        values[0] = match signal {
            true => MASS + HALF_WIDTH * (low + u * (high - low)).tan(),
            false => WINDOW.0 - LENGTH * (1.0 - u * lost).ln(),
        };
        values[1] = normal(&mut random);
    })
}

fn resonance_ratio(row: &[f32]) -> f64 {
    let mass = f64::from(row[0]);
    let z = (mass - f64::from(MASS)) / f64::from(HALF_WIDTH);
    (mass / f64::from(LENGTH)).exp() / (1.0 + z * z)
}
