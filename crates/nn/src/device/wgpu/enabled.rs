//! GPUs through Burn's wgpu backend: Vulkan, Metal or DirectX 12, loaded at run time.

use burn::tensor::{Device, DeviceKind, DeviceType};

use super::{DeviceError, tried};

const HINT: &str = "It needs a GPU with a driver for Vulkan, Metal or DirectX 12: `vulkaninfo --summary` should list it. \
                    Or remove `device`: train.device = \"cpu\" needs none.";

/// Looks for an adapter and tries it.
pub(super) fn open() -> Result<(), DeviceError> {
    if Device::enumerate(DeviceType::Wgpu).is_empty() {
        let what = "train.device is \"wgpu\", and no graphics driver shows a GPU on this machine";
        return Err(DeviceError { what: what.to_owned(), hint: HINT });
    }
    tried(device).map_err(|why| DeviceError {
        what: format!("train.device is \"wgpu\", and the GPU that the graphics driver shows does not compute: {why}"),
        hint: HINT,
    })
}

/// The GPU that wgpu prefers.
pub(super) fn device() -> Device {
    Device::wgpu(DeviceKind::DefaultDevice)
}
