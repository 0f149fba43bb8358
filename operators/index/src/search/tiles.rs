//! The way through a matrix of inner products, the same for all instruction sets.

/// Goes through all tiles: many rows and many questions, then what is left at the edges.
macro_rules! tiles {
    ($tile:ident, $rows:expr, $questions:expr, $dimension:expr, $out:expr, $wide:literal, $tall:literal, $across:literal) => {{
        let (rows, questions, dimension, out): (&[f32], &[f32], usize, &mut [f32]) =
            ($rows, $questions, $dimension, $out);
        let (n, q) = (rows.len() / dimension, questions.len() / dimension);
        let mut row = 0;
        while row < n {
            let left = n - row;
            let here = &rows[row * dimension..];
            let mut question = 0;
            // One question alone needs many rows at a time, or each sum waits for itself.
            let taken = if q == 1 && left >= $wide {
                $wide
            } else if left >= $tall {
                $tall
            } else {
                1
            };
            while question < q {
                let there = &questions[question * dimension..];
                let out = &mut out[row * q + question..];
                question += match (taken, q - question) {
                    ($wide, 1) => $tile::<$wide, 1>(here, there, dimension, q, out),
                    ($tall, $across..) => $tile::<$tall, $across>(here, there, dimension, q, out),
                    ($tall, 2..) => $tile::<$tall, 2>(here, there, dimension, q, out),
                    ($tall, _) => $tile::<$tall, 1>(here, there, dimension, q, out),
                    (_, 2..) => $tile::<1, 2>(here, there, dimension, q, out),
                    _ => $tile::<1, 1>(here, there, dimension, q, out),
                };
            }
            row += taken;
        }
    }};
}

pub(super) use tiles;
