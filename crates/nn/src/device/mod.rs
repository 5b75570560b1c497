//! What computes a step: the CPU on kernels of our own, or a device of Burn on Burn's operations.
//!
//! A backend for GPUs is a feature with one API and two files: `enabled.rs` looks for the device,
//! `disabled.rs` says which feature is missing. Nothing here fails by a panic: a device is asked for,
//! then tried, and what its backend does not survive is caught in `tried`.

#[cfg_attr(feature = "cuda", path = "cuda/enabled.rs")]
#[cfg_attr(not(feature = "cuda"), path = "cuda/disabled.rs")]
mod cuda;
#[cfg_attr(feature = "wgpu", path = "wgpu/enabled.rs")]
#[cfg_attr(not(feature = "wgpu"), path = "wgpu/disabled.rs")]
mod wgpu;

use std::any::Any;
use std::panic::{AssertUnwindSafe, catch_unwind, set_hook, take_hook};

use burn::tensor::{Device as BurnDevice, Tensor};

/// What computes a step.
#[allow(clippy::manual_non_exhaustive, reason = "one variant is for tests alone, and is no promise")]
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Device {
    /// The CPU, on `kernels`.
    Cpu,
    /// The CPU, on the same operations of Burn as a GPU: what tests hold the GPU's way to.
    #[doc(hidden)]
    ComposedCpu,
    /// The first NVIDIA GPU.
    Cuda,
    /// A GPU with Vulkan, Metal or DirectX 12.
    Wgpu,
}

/// Why a device cannot be used.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct DeviceError {
    /// What is missing.
    pub what: String,
    /// What to do.
    pub hint: &'static str,
}

impl std::fmt::Display for DeviceError {
    fn fmt(&self, formatter: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        formatter.write_str(&self.what)
    }
}

impl std::error::Error for DeviceError {}

impl Device {
    /// Its name in plans and messages.
    #[must_use]
    pub fn name(self) -> &'static str {
        match self {
            Self::Cpu => "cpu",
            Self::ComposedCpu => "composed_cpu",
            Self::Cuda => "cuda",
            Self::Wgpu => "wgpu",
        }
    }

    /// Whether its steps are composed of Burn's operations, instead of running on `kernels`.
    #[must_use]
    pub fn is_composed(self) -> bool {
        self != Self::Cpu
    }

    /// Looks for the device and computes something on it. To be called before the first step.
    ///
    /// # Errors
    /// When this program was built without it, or there is none, or it does not compute.
    pub fn open(self) -> Result<(), DeviceError> {
        match self {
            Self::Cpu | Self::ComposedCpu => Ok(()),
            Self::Cuda => cuda::open(),
            Self::Wgpu => wgpu::open(),
        }
    }

    /// The device of Burn that graphs are built on.
    pub(crate) fn burn(self) -> BurnDevice {
        match self {
            Self::Cpu | Self::ComposedCpu => BurnDevice::flex(),
            Self::Cuda => cuda::device(),
            Self::Wgpu => wgpu::device(),
        }
    }
}

/// Computes a small product on a device that was found. Drivers, compilers and adapters that do not fit
/// end in panics of the backend, on this thread or on one of its own: here they become one line.
#[cfg_attr(not(any(feature = "cuda", feature = "wgpu", test)), expect(dead_code, reason = "no backend is there"))]
fn tried(device: impl FnOnce() -> BurnDevice) -> Result<(), String> {
    const SIDE: usize = 16;
    let hook = take_hook();
    set_hook(Box::new(|_| ()));
    let sum = catch_unwind(AssertUnwindSafe(|| {
        let ones = Tensor::<2>::ones([SIDE, SIDE], &device());
        ones.clone().matmul(ones).sum().into_data().try_into_vec::<f32>()
    }));
    set_hook(hook);
    match sum {
        Ok(Ok(sum)) if sum == [(SIDE * SIDE * SIDE) as f32] => Ok(()),
        Ok(Ok(sum)) => Err(format!("a product of ones came out as {sum:?}")),
        Ok(Err(error)) => Err(format!("{error:?}")),
        Err(payload) => Err(said(&*payload)),
    }
}

/// The first line of a panic's message.
fn said(payload: &(dyn Any + Send)) -> String {
    let text = payload.downcast_ref::<String>().map(String::as_str).or_else(|| payload.downcast_ref::<&str>().copied());
    text.and_then(|text| text.lines().next()).unwrap_or("its backend gave no reason").to_owned()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_device_that_is_not_there_is_one_readable_error() {
        for device in [Device::Cuda, Device::Wgpu] {
            // Where the device is there, there is nothing to say.
            if let Err(error) = device.open() {
                assert!(error.what.contains(device.name()) && !error.what.contains('\n'), "{error}");
                assert!(error.hint.ends_with('.') && error.hint.contains("train.device"), "{}", error.hint);
            }
        }
        assert!(Device::Cpu.open().is_ok() && Device::ComposedCpu.open().is_ok());
    }

    #[test]
    fn what_a_backend_does_not_survive_is_a_line() {
        assert_eq!(tried(BurnDevice::flex), Ok(()));
        assert_eq!(tried(|| panic!("no driver\nat all")), Err("no driver".to_owned()));
        assert_eq!(tried(|| std::panic::panic_any(7)), Err("its backend gave no reason".to_owned()));
    }
}
