//! What is refused; the hand-over with a device made up for it; the vectors with candle's own CPU device; and, where they
//! are asked for (`deploy/cuda --test`), with a GPU.

mod hand_over;
#[cfg(feature = "candle")]
mod vectors;

use lunapark_schemas::Device;

use crate::tests::files;
use crate::{EmbedError, EmbedErrorKind, Encoder, EncoderOptions, PrecisionChoice};

fn refused(options: &EncoderOptions) -> EmbedError {
    Encoder::load(&files("bert"), options).unwrap_err()
}

/// No machine has so many: with the backend or without, with a driver or without, this is an error and no encoder.
#[test]
fn a_device_that_is_not_there_is_an_error_that_says_what_to_do() {
    let error = refused(&EncoderOptions { device: Device::Cuda(255), ..EncoderOptions::default() });
    assert_eq!(error.kind, EmbedErrorKind::Device, "{error}");
    let text = error.to_string();
    assert!(text.contains("the device cuda:255 is asked for") && text.contains("documents.device"), "{text}");
    assert_eq!(text.contains("built without CUDA") && text.contains("deploy/cuda"), !cfg!(feature = "cuda"), "{text}");
    assert_eq!(text.contains("nvidia-smi"), cfg!(feature = "cuda"), "{text}");
}

#[test]
fn a_device_computes_in_single_precision_alone() {
    let (device, precision) = (Device::Cuda(0), PrecisionChoice::Bf16);
    let error = refused(&EncoderOptions { device, precision, ..EncoderOptions::default() });
    assert_eq!(error.kind, EmbedErrorKind::Machine, "{error}");
    let text = error.to_string();
    assert!(["bf16", "cuda:0", "\"auto\"", "documents.device"].iter().all(|word| text.contains(word)), "{text}");
}
