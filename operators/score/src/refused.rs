//! Rows that a model does not take: those with a missing value or an infinity where it has no rule for one.

use arrow_array::{Array, RecordBatch};
use lunapark_models::{Accepts, Model};
use lunapark_schemas::rows::{f32_values, f64_values};
use lunapark_schemas::{ErrorClass, Rejection, Signature};

/// The first element of a row that the model does not take.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Refused {
    /// Which input.
    pub input: usize,
    /// Which element of the row's values of that input.
    pub element: usize,
    /// An infinity; else a missing value.
    pub infinite: bool,
}

impl Refused {
    /// The reason, for row `row` of a message.
    pub fn rejection(&self, signature: &Signature, row: u32) -> Rejection {
        let field = self.field(signature);
        let (class, what) = match self.infinite {
            true => (ErrorClass::Value, format!("{field} is infinite and this model takes no infinities")),
            false => (ErrorClass::Missing, format!("{field} is missing and this model takes no missing values")),
        };
        Rejection::new(class, format!("row {row}: {what}; send a number"))
    }

    /// The element's name, or its input's and its number.
    pub fn field(&self, signature: &Signature) -> String {
        let spec = &signature.inputs[self.input];
        match spec.fields.get(self.element) {
            Some(field) => format!("`{field}`"),
            None if spec.width == 1 => format!("`{}`", spec.name),
            None => format!("`{}`[{}]", spec.name, self.element),
        }
    }
}

/// For each row what the model refuses of it; nothing at all where it takes every row. What all elements take is looked
/// for first, which is quick; an element may take more.
pub fn refused_rows(model: &dyn Model, rows: &RecordBatch) -> Option<Vec<Option<Refused>>> {
    let accepts = model.accepts();
    if !rows.columns().iter().any(|column| any_refused(column.as_ref(), accepts)) {
        return None;
    }
    let fates: Vec<_> = (0..rows.num_rows()).map(|row| first_refused(model, rows, row)).collect();
    fates.iter().any(Option::is_some).then_some(fates)
}

/// What the search needs of either float.
trait Element: Copy {
    fn is_missing(self) -> bool;
    fn is_infinity(self) -> bool;
}

impl Element for f32 {
    fn is_missing(self) -> bool {
        self.is_nan()
    }

    fn is_infinity(self) -> bool {
        self.is_infinite()
    }
}

impl Element for f64 {
    fn is_missing(self) -> bool {
        self.is_nan()
    }

    fn is_infinity(self) -> bool {
        self.is_infinite()
    }
}

fn any_refused(column: &dyn Array, accepts: Accepts) -> bool {
    match (f32_values(column), f64_values(column)) {
        (Some(values), _) => any_single(values, accepts),
        (_, Some(values)) => any(values, accepts),
        _ => false,
    }
}

/// Bits of a float without its sign.
const MAGNITUDE: u32 = u32::MAX >> 1;
/// What carries an exponent of all ones, an infinity's or NaN's, into the sign, and no other.
const CARRY: u32 = 1 << 23;

fn any_single(values: &[f32], accepts: Accepts) -> bool {
    any_special(values) && any(values, accepts)
}

/// Whether there is an infinity or NaN. On integers, of masks, additions and ors alone: these vectorise on every CPU, a
/// search does not. Every event goes through here.
fn any_special(values: &[f32]) -> bool {
    values.iter().fold(0, |carried, value| carried | ((value.to_bits() & MAGNITUDE) + CARRY)) > MAGNITUDE
}

/// Without a way out in the middle, so that it vectorises.
fn any<T: Element>(values: &[T], accepts: Accepts) -> bool {
    match (accepts.missing, accepts.infinite) {
        (true, true) => false,
        (true, false) => values.iter().fold(false, |any, value| any | value.is_infinity()),
        (false, true) => values.iter().fold(false, |any, value| any | value.is_missing()),
        (false, false) => values.iter().fold(false, |any, value| any | value.is_missing() | value.is_infinity()),
    }
}

fn first_refused(model: &dyn Model, rows: &RecordBatch, row: usize) -> Option<Refused> {
    model.signature().inputs.iter().enumerate().find_map(|(input, spec)| {
        let column = rows.column(input).as_ref();
        let range = row * spec.width..(row + 1) * spec.width;
        let accepts = |element| model.accepts_element(input, element);
        let in_f32 = f32_values(column).and_then(|values| first(values.get(range.clone())?, accepts));
        let in_f64 = || f64_values(column).and_then(|values| first(values.get(range)?, accepts));
        in_f32.or_else(in_f64).map(|(element, infinite)| Refused { input, element, infinite })
    })
}

/// Number of the first refused element, and whether it is an infinity.
fn first<T: Element>(values: &[T], accepts: impl Fn(usize) -> Accepts) -> Option<(usize, bool)> {
    let refused = |(at, value): (usize, &T)| {
        (value.is_missing() && !accepts(at).missing) || (value.is_infinity() && !accepts(at).infinite)
    };
    let at = values.iter().enumerate().position(refused)?;
    Some((at, values[at].is_infinity()))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn infinities_and_nan_are_special_wherever_they_stand_and_nothing_else_is() {
        let finite = [0.0, -0.0, 1.0, f32::MAX, f32::MIN, f32::MIN_POSITIVE, f32::from_bits(1), -f32::from_bits(1)];
        let special = [f32::INFINITY, f32::NEG_INFINITY, f32::NAN, -f32::NAN, f32::from_bits(0x7f80_0001)];
        let row: Vec<f32> = finite.iter().copied().cycle().take(67).collect();
        assert!(!any_special(&row));
        for at in 0..row.len() {
            for value in special {
                let mut row = row.clone();
                row[at] = value;
                assert!(any_special(&row), "{value} at {at}");
            }
        }
    }

    /// The search finds what the quick look promised, for each kind of model and either float.
    #[test]
    fn what_a_model_does_not_take_is_found_and_nothing_else() {
        let rows = [vec![1.0, -0.0, f64::MAX], vec![1.0, f64::NAN, 2.0], vec![f64::NEG_INFINITY, 1.0, f64::NAN]];
        for (missing, infinite) in [(false, false), (false, true), (true, false), (true, true)] {
            let accepts = Accepts { missing, infinite };
            let expected = [
                None,
                (!missing).then_some((1, false)),
                match (missing, infinite) {
                    (_, false) => Some((0, true)),
                    (false, true) => Some((2, false)),
                    (true, true) => None,
                },
            ];
            for (row, expected) in rows.iter().zip(expected) {
                let column = arrow_array::Float64Array::from(row.clone());
                assert_eq!((any_refused(&column, accepts), first(row, |_| accepts)), (expected.is_some(), expected));
                let row: Vec<f32> = row.iter().map(|value| value.clamp(f64::MIN, 1e30) as f32).collect();
                let column = arrow_array::Float32Array::from(row.clone());
                assert_eq!((any_refused(&column, accepts), first(&row, |_| accepts)), (expected.is_some(), expected));
            }
        }
    }
}
