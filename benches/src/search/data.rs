//! Vectors that lie as those of texts do: topics of unequal size, each spread over a few directions of its own, and a
//! little noise in all. The same in each run.

use std::io::Write as _;
use std::path::{Path, PathBuf};

use anyhow::Context as _;

/// Numbers of a vector.
pub const DIMENSION: usize = 384;
/// Questions of a measurement.
pub const QUESTIONS: usize = 1000;
/// Directions in which a topic is spread, of all that there are.
const SPREAD: usize = 16;
const DIRECTIONS: usize = 256;
/// Vectors for each topic.
const PER_TOPIC: usize = 250;

struct Dice(u64);

impl Dice {
    /// Between -1 and 1.
    fn number(&mut self) -> f32 {
        self.0 = self.0.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
        (self.0 >> 33) as f32 / (1_u64 << 30) as f32 - 1.0
    }

    fn below(&mut self, bound: usize) -> usize {
        ((f64::from(self.number()) + 1.0) / 2.0 * bound as f64) as usize % bound
    }

    fn vector(&mut self) -> Vec<f32> {
        (0..DIMENSION).map(|_| self.number()).collect()
    }
}

/// Rows and questions of one size, on disk for both sides.
pub struct Data {
    pub folder: PathBuf,
    pub rows: usize,
}

impl Data {
    /// Makes the files where they are not there yet.
    pub fn prepare(folder: &Path, rows: usize) -> anyhow::Result<Self> {
        let data = Self { folder: folder.to_owned(), rows };
        if !data.file("questions").exists() {
            std::fs::create_dir_all(folder)?;
            let mut topics = Topics::new(rows);
            topics.write(&data.file("rows"), rows)?;
            topics.write(&data.file("questions"), QUESTIONS)?;
        }
        Ok(data)
    }

    fn file(&self, name: &str) -> PathBuf {
        self.folder.join(format!("{name}-{}.f32", self.rows))
    }

    /// All questions.
    pub fn questions(&self) -> anyhow::Result<Vec<Vec<f32>>> {
        let bytes = std::fs::read(self.file("questions"))?;
        Ok(bytes.chunks_exact(4 * DIMENSION).map(numbers).collect())
    }

    /// The rows, one after another, without holding them.
    pub fn each_row(&self) -> anyhow::Result<impl Iterator<Item = Vec<f32>> + use<>> {
        let file = std::fs::File::open(self.file("rows")).context("rows")?;
        let mut reader = std::io::BufReader::with_capacity(1 << 20, file);
        let mut bytes = vec![0; 4 * DIMENSION];
        let next = move || std::io::Read::read_exact(&mut reader, &mut bytes).ok().map(|()| numbers(&bytes));
        Ok(std::iter::from_fn(next))
    }
}

fn numbers(bytes: &[u8]) -> Vec<f32> {
    bytes.as_chunks::<4>().0.iter().map(|bytes| f32::from_le_bytes(*bytes)).collect()
}

struct Topics {
    dice: Dice,
    centres: Vec<Vec<f32>>,
    directions: Vec<Vec<f32>>,
    /// Which directions a topic is spread over.
    spread: Vec<[usize; SPREAD]>,
}

impl Topics {
    fn new(rows: usize) -> Self {
        let mut dice = Dice(1);
        let count = rows / PER_TOPIC;
        let centres = (0..count).map(|_| dice.vector()).collect();
        let directions = (0..DIRECTIONS).map(|_| dice.vector()).collect();
        let spread = (0..count).map(|_| std::array::from_fn(|_| dice.below(DIRECTIONS))).collect();
        Self { dice, centres, directions, spread }
    }

    fn vector(&mut self) -> Vec<f32> {
        // The smaller of two: the first topics are the largest.
        let count = self.centres.len();
        let topic = self.dice.below(count).min(self.dice.below(count));
        let mut vector = self.centres[topic].clone();
        for at in 0..SPREAD {
            let (far, direction) = (0.5 * self.dice.number(), &self.directions[self.spread[topic][at]]);
            vector.iter_mut().zip(direction).for_each(|(x, d)| *x += far * d);
        }
        vector.iter_mut().for_each(|x| *x += 0.3 * self.dice.number());
        let length = vector.iter().map(|x| x * x).sum::<f32>().sqrt();
        vector.iter().map(|x| x / length).collect()
    }

    fn write(&mut self, path: &Path, count: usize) -> anyhow::Result<()> {
        let draft = path.with_extension("draft");
        let mut file = std::io::BufWriter::with_capacity(1 << 20, std::fs::File::create(&draft)?);
        for _ in 0..count {
            let bytes: Vec<u8> = self.vector().into_iter().flat_map(f32::to_le_bytes).collect();
            file.write_all(&bytes)?;
        }
        file.flush()?;
        Ok(std::fs::rename(draft, path)?)
    }
}
