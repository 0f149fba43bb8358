//! Functions of one number.

use super::super::super::lower::Lowering;
use super::super::super::proto::Node;
use super::super::number::{Real, one, zero};
use crate::ModelError;
use crate::lanes::Map;

/// A function of one number.
#[derive(Clone, Copy, Debug, PartialEq)]
pub(in crate::onnx) enum Function {
    Relu,
    Sigmoid,
    Tanh,
    Exp,
    Log,
    Sqrt,
    Neg,
    Abs,
    Erf,
    Reciprocal,
    Floor,
    Ceil,
    Sign,
    Softplus,
    Softsign,
    LeakyRelu(f32),
    Elu(f32),
    Selu(f32, f32),
    HardSigmoid(f32, f32),
    HardSwish,
    Clip(f64, f64),
}

/// The functions without a parameter, by ONNX's name.
const PLAIN: [(&str, Function); 16] = [
    ("Relu", Function::Relu),
    ("Sigmoid", Function::Sigmoid),
    ("Tanh", Function::Tanh),
    ("Exp", Function::Exp),
    ("Log", Function::Log),
    ("Sqrt", Function::Sqrt),
    ("Neg", Function::Neg),
    ("Abs", Function::Abs),
    ("Erf", Function::Erf),
    ("Reciprocal", Function::Reciprocal),
    ("Floor", Function::Floor),
    ("Ceil", Function::Ceil),
    ("Sign", Function::Sign),
    ("Softplus", Function::Softplus),
    ("Softsign", Function::Softsign),
    ("HardSwish", Function::HardSwish),
];
/// The others, and those that answer or take truth values.
const OTHERS: [&str; 7] = ["LeakyRelu", "Elu", "Selu", "HardSigmoid", "Clip", "IsNaN", "Not"];

pub(in super::super) fn is_function(op: &str) -> bool {
    plain(op).is_some() || OTHERS.contains(&op)
}

fn plain(op: &str) -> Option<Function> {
    PLAIN.iter().find(|(name, _)| *name == op).map(|(_, function)| *function)
}

impl Function {
    pub(super) fn read<'a>(node: &Node<'a>, to: &Lowering<'a>) -> Result<Self, ModelError> {
        Ok(match node.op {
            "LeakyRelu" => Function::LeakyRelu(node.float("alpha", 0.01)?),
            "Elu" => Function::Elu(node.float("alpha", 1.0)?),
            "Selu" => Function::Selu(node.float("alpha", 1.673_263_2)?, node.float("gamma", 1.050_701)?),
            "HardSigmoid" => Function::HardSigmoid(node.float("alpha", 0.2)?, node.float("beta", 0.5)?),
            "Clip" => Function::Clip(limit(node, to, 1, f64::MIN)?, limit(node, to, 2, f64::MAX)?),
            op => plain(op).ok_or_else(|| node.unsupported("no such function"))?,
        })
    }

    /// The same over rows side by side.
    pub(super) fn map(self) -> Option<Map> {
        Some(match self {
            Function::Relu => Map::Relu,
            Function::Sigmoid => Map::Sigmoid,
            Function::Tanh => Map::Tanh,
            Function::Erf => Map::Erf,
            Function::Sqrt => Map::Sqrt,
            Function::Neg => Map::Neg,
            Function::Abs => Map::Abs,
            Function::Reciprocal => Map::Reciprocal,
            Function::Softsign => Map::Softsign,
            Function::LeakyRelu(alpha) => Map::LeakyRelu(alpha),
            Function::Elu(alpha) => Map::Elu(alpha),
            Function::Selu(alpha, gamma) => Map::Selu(alpha, gamma),
            Function::HardSigmoid(alpha, beta) => Map::HardSigmoid(alpha, beta),
            Function::HardSwish => Map::HardSwish,
            Function::Clip(low, high) => Map::Clip(low as f32, high as f32),
            // A power without bounds, and what has no formula there.
            Function::Exp | Function::Log | Function::Floor | Function::Ceil => return None,
            Function::Sign | Function::Softplus => return None,
        })
    }

    #[inline(always)]
    pub(super) fn of<R: Real>(self, x: R) -> R {
        let number = |x: f32| R::from_f64(f64::from(x));
        match self {
            Function::Relu => below_zero(x, |_| zero()),
            Function::Sigmoid => sigmoid(x),
            Function::Tanh => x.tanh(),
            Function::Exp => x.exp(),
            Function::Log => x.ln(),
            Function::Sqrt => x.sqrt(),
            Function::Neg => -x,
            Function::Abs => x.abs(),
            Function::Erf => R::from_f64(f64::from(erf(x.to_f64() as f32))),
            Function::Reciprocal => one::<R>() / x,
            Function::Floor => x.floor(),
            Function::Ceil => x.ceil(),
            Function::Sign => sign(x),
            Function::Softplus => softplus(x),
            Function::Softsign => x / (one::<R>() + x.abs()),
            Function::LeakyRelu(alpha) => below_zero(x, |x| number(alpha) * x),
            Function::Elu(alpha) => below_zero(x, |x| number(alpha) * (x.exp() - one())),
            Function::Selu(alpha, gamma) => selu(x, number(alpha), number(gamma)),
            Function::HardSigmoid(alpha, beta) => clip(number(alpha) * x + number(beta), zero(), one()),
            Function::HardSwish => x * clip(number(1.0 / 6.0) * x + number(0.5), zero(), one()),
            Function::Clip(low, high) => clip(x, R::from_f64(low), R::from_f64(high)),
        }
    }
}

/// x, or what `of` makes of it where it is below 0.
#[inline(always)]
fn below_zero<R: Real>(x: R, of: impl Fn(R) -> R) -> R {
    if x < zero() { of(x) } else { x }
}

/// 1 / (1 + e^-x) without overflow on either side.
fn sigmoid<R: Real>(x: R) -> R {
    let e = (-x.abs()).exp();
    let positive = one::<R>() / (one::<R>() + e);
    if x < zero() { e * positive } else { positive }
}

/// The error function in single precision, within 5e-7, without a branch.
/// Source: the rational approximation of Eigen's `generic_fast_erf_float`.
#[inline(always)]
fn erf(x: f32) -> f32 {
    const ABOVE: [f32; 7] =
        [-2.726_142_3e-10, 2.770_681_4e-8, -2.101_024e-6, -5.692_506_4e-5, -7.349_906e-4, -2.954_6e-3, -1.609_603_3e-2];
    const BELOW: [f32; 5] = [-1.456_607_2e-5, -2.133_740_6e-4, -1.682_827e-3, -7.373_329e-3, -1.426_473_9e-2];
    // Beyond 4 it is 1 in single precision.
    let x = clip(x, -4.0, 4.0);
    let of = |polynomial: &[f32]| polynomial.iter().fold(0.0, |sum, factor| sum * (x * x) + factor);
    x * of(&ABOVE) / of(&BELOW)
}

fn softplus<R: Real>(x: R) -> R {
    let tail = (one::<R>() + (-x.abs()).exp()).ln();
    if x > zero() { x + tail } else { tail }
}

#[inline(always)]
fn selu<R: Real>(x: R, alpha: R, gamma: R) -> R {
    gamma * if x > zero() { x } else { alpha * (x.exp() - one()) }
}

fn sign<R: Real>(x: R) -> R {
    if x > zero() {
        one()
    } else if x < zero() {
        -one::<R>()
    } else {
        x
    }
}

fn clip<R: Real>(x: R, low: R, high: R) -> R {
    let x = if x < low { low } else { x };
    if x > high { high } else { x }
}

/// A limit of Clip: an input since opset 11, an attribute before.
fn limit<'a>(node: &Node<'a>, to: &Lowering<'a>, at: usize, default: f64) -> Result<f64, ModelError> {
    if node.has_input(at) {
        let values = to.constant(node, at)?.doubles();
        return values.and_then(|v| v.first().copied()).ok_or_else(|| node.unreadable("its limits are no numbers"));
    }
    let name = if at == 1 { "min" } else { "max" };
    if node.has(name) { Ok(f64::from(node.float(name, 0.0)?)) } else { Ok(default) }
}
