//! Where networks run, as people name it.

use std::fmt;
use std::str::FromStr;

use serde::Serialize;

/// Where a network runs: a model, or a text encoder.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize)]
#[serde(into = "String")]
pub enum Device {
    /// The machine's processor.
    #[default]
    Cpu,
    /// The NVIDIA GPU of this number.
    Cuda(usize),
}

/// More than any machine has; a larger number is a slip of the pen.
const MAX_INDEX: usize = 255;

impl FromStr for Device {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        let index = |text: &str| text.parse().ok().filter(|index| *index <= MAX_INDEX);
        let is_number = |text: &&str| text.bytes().all(|byte| byte.is_ascii_digit());
        match text.strip_prefix("cuda:").filter(is_number).and_then(index) {
            Some(index) => Ok(Device::Cuda(index)),
            None if text == "cpu" => Ok(Device::Cpu),
            None => Err(format!("there is no device `{}`: write cpu, or cuda:0, cuda:1 …", text.escape_debug())),
        }
    }
}

impl fmt::Display for Device {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Device::Cpu => f.write_str("cpu"),
            Device::Cuda(index) => write!(f, "cuda:{index}"),
        }
    }
}

impl From<Device> for String {
    fn from(device: Device) -> Self {
        device.to_string()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn devices_are_cpu_and_cuda_with_a_number() {
        for (text, device) in [("cpu", Device::Cpu), ("cuda:0", Device::Cuda(0)), ("cuda:12", Device::Cuda(12))] {
            assert_eq!(text.parse(), Ok(device));
            assert_eq!(device.to_string(), text);
        }
        for text in ["", "gpu", "cuda", "cuda:", "cuda:x", "cuda:-1", "cuda:+1", "cuda:256", "cuda:99999999999", "CPU"]
        {
            let error = text.parse::<Device>().unwrap_err();
            assert!(error.contains(&format!("`{text}`")) && error.contains("cuda:0"), "{error}");
        }
    }
}
