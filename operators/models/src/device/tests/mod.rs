//! What is refused; the hand-over with a device made up for it; the networks with candle's own CPU device; and, where
//! they are asked for (`deploy/cuda --test`), with a GPU.

mod hand_over;
#[cfg(feature = "candle")]
mod networks;
mod shapes;

use super::*;
use crate::tests::{asset, fixture};
use crate::{ModelErrorKind, load_on};

#[test]
fn what_is_no_network_is_refused_on_a_device_with_its_format() {
    for (bytes, format) in [
        (asset("higgs-xgb.json"), "XGBoost JSON"),
        (fixture("xgboost/3.2.0-vectors.json"), "XGBoost JSON"),
        (fixture("lightgbm/4.7.0-binary.txt"), "LightGBM text"),
        (fixture("onnx/pipeline.onnx"), "ONNX"),
    ] {
        let error = load_on(Device::Cuda(0), &bytes, "m", None).unwrap_err();
        assert_eq!(error.kind, ModelErrorKind::Unsupported, "{error}");
        let text = error.to_string();
        assert!(text.contains(format) && text.contains("cuda:0") && text.contains("--device cpu"), "{text}");
    }
}

/// No machine has so many: with the backend or without, with a driver or without, this is an error and no model.
#[test]
fn a_device_that_is_not_there_is_an_error_that_says_what_to_do() {
    let bytes = asset("higgs-mlp.safetensors");
    let error = load_on(Device::Cuda(255), &bytes, "net", None).unwrap_err();
    assert_eq!(error.kind, ModelErrorKind::Device, "{error}");
    let text = error.to_string();
    assert!(text.starts_with("net: the device cuda:255 is asked for") && text.contains("--device cpu"), "{text}");
    assert_eq!(text.contains("built without CUDA") && text.contains("deploy/cuda"), !cfg!(feature = "cuda"), "{text}");
    assert_eq!(text.contains("nvidia-smi"), cfg!(feature = "cuda"), "{text}");
    assert!(load_on(Device::Cpu, &bytes, "net", None).is_ok());
}
