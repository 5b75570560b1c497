//! NVIDIA GPUs through Burn's CUDA backend. The driver and NVRTC are loaded at run time.

use burn::tensor::{Device, DeviceType};

use super::{DeviceError, tried};

const HINT: &str = "`nvidia-smi` should list a GPU, and the CUDA toolkit's NVRTC library should be on the library \
                    path. Or remove `device`: train.device = \"cpu\" needs neither.";

/// Looks for a GPU and tries it.
pub(super) fn open() -> Result<(), DeviceError> {
    if Device::enumerate(DeviceType::Cuda).is_empty() {
        let what =
            "train.device is \"cuda\", and the NVIDIA driver shows no GPU on this machine (or no driver is installed)";
        return Err(DeviceError { what: what.to_owned(), hint: HINT });
    }
    tried(device).map_err(|why| DeviceError {
        what: format!("train.device is \"cuda\", and the GPU that the NVIDIA driver shows does not compute: {why}"),
        hint: HINT,
    })
}

/// The first GPU.
pub(super) fn device() -> Device {
    Device::cuda(0)
}
