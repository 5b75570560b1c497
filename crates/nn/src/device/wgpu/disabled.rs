//! Built without wgpu.

use burn::tensor::Device;

use super::DeviceError;

/// Says what is missing.
pub(super) fn open() -> Result<(), DeviceError> {
    Err(DeviceError {
        what: "train.device is \"wgpu\", and this yard was built without the feature `wgpu`".to_owned(),
        hint: "Build it with `cargo build --release -p modelyard-yard --features wgpu`, or remove `device`: \
               train.device = \"cpu\" needs no feature.",
    })
}

/// There is none: [`open`] has said so.
pub(super) fn device() -> Device {
    unreachable!("the device wgpu was not opened")
}
