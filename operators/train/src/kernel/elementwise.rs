//! What is done to each value alone. Inlined into each kernel, so that it is compiled for that instruction set.

use lunapark_models::math;

/// What follows a hidden layer's sum.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Activation {
    Identity,
    Relu,
    Tanh,
    Sigmoid,
}

impl Activation {
    /// By its name in a request.
    pub(crate) fn of_name(name: &str) -> Option<Self> {
        [Activation::Relu, Activation::Tanh, Activation::Sigmoid].into_iter().find(|known| known.name() == name)
    }

    /// Its name in a request and in a model's file.
    pub(crate) fn name(self) -> &'static str {
        match self {
            Activation::Identity => "identity",
            Activation::Relu => "relu",
            Activation::Tanh => "tanh",
            Activation::Sigmoid => "sigmoid",
        }
    }

    /// The functions of the kernel that will score the model.
    #[inline(always)]
    pub(super) fn apply(self, values: &mut [f32]) {
        match self {
            Activation::Identity => {}
            Activation::Relu => values.iter_mut().for_each(|x| *x = if *x < 0.0 { 0.0 } else { *x }),
            Activation::Tanh => values.iter_mut().for_each(|x| *x = math::tanh(*x)),
            Activation::Sigmoid => values.iter_mut().for_each(|x| *x = math::sigmoid(*x)),
        }
    }

    #[inline(always)]
    pub(super) fn slope(self, answers: &[f32], gradients: &mut [f32]) {
        let pairs = gradients.iter_mut().zip(answers);
        match self {
            Activation::Identity => {}
            Activation::Relu => pairs.for_each(|(g, &y)| *g = if y > 0.0 { *g } else { 0.0 }),
            Activation::Tanh => pairs.for_each(|(g, &y)| *g *= 1.0 - y * y),
            Activation::Sigmoid => pairs.for_each(|(g, &y)| *g *= y * (1.0 - y)),
        }
    }
}

#[inline(always)]
pub(super) fn add_rows(values: &[f32], sums: &mut [f32]) {
    for row in values.chunks_exact(sums.len()) {
        sums.iter_mut().zip(row).for_each(|(sum, value)| *sum += value);
    }
}

/// One step of AdamW as torch takes it: the decay apart from the gradient, on weights and biases alike.
#[derive(Clone, Copy, Debug)]
pub(crate) struct AdamW {
    /// `1 - rate · decay`.
    pub keep: f32,
    /// `rate / (1 - β₁ᵗ)`.
    pub rate: f32,
    /// `1 / √(1 - β₂ᵗ)`.
    pub correction: f32,
}

/// torch's defaults: how slowly the moments forget, and what keeps a quotient finite.
pub(crate) const BETA1: f32 = 0.9;
pub(crate) const BETA2: f32 = 0.999;
pub(crate) const EPSILON: f32 = 1e-8;

impl AdamW {
    /// Of the step `step`, the first being 1.
    pub(crate) fn new(rate: f64, decay: f64, step: u64) -> Self {
        let remaining = |beta: f32| 1.0 - f64::from(beta).powf(step as f64);
        Self {
            keep: (1.0 - rate * decay) as f32,
            rate: (rate / remaining(BETA1)) as f32,
            correction: remaining(BETA2).sqrt().recip() as f32,
        }
    }

    #[inline(always)]
    pub(super) fn apply(self, weights: &mut [f32], moments: (&mut [f32], &mut [f32]), gradients: &[f32]) {
        let state = weights.iter_mut().zip(moments.0).zip(moments.1);
        for (((weight, first), second), &gradient) in state.zip(gradients) {
            *first = BETA1 * *first + (1.0 - BETA1) * gradient;
            *second = BETA2 * *second + (1.0 - BETA2) * gradient * gradient;
            *weight = self.keep * *weight - self.rate * *first / (second.sqrt() * self.correction + EPSILON);
        }
    }
}
