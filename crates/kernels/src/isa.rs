//! Which instruction set kernels use. It is looked up once; a test may force a lesser one.
//!
//! `kernel!` is the whole pattern: the body is a plain function, always inlined, and compiled into
//! one copy per instruction set by the attribute `target_feature`. Calling such a copy is unsafe
//! unless the processor has the features, which [`current`] guarantees.

use std::sync::atomic::{AtomicU8, Ordering};

/// An instruction set that kernels are compiled for.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
#[repr(u8)]
pub enum Isa {
    /// What every processor of the architecture has.
    Portable = 1,
    /// AVX2 with FMA: 8 lanes.
    Avx2 = 2,
    /// AVX-512 F, BW, DQ and VL: 16 lanes.
    Avx512 = 3,
    /// AVX-512 with the dot products of bf16 pairs (BF16) and of bytes (VNNI).
    Avx512Bf16 = 4,
    /// NEON, which every 64-bit Arm processor has: 4 lanes.
    Neon = 5,
}

/// 0: not looked up yet.
static CURRENT: AtomicU8 = AtomicU8::new(0);

/// The instruction set in use. It is always one that the processor has.
#[must_use]
#[inline]
pub fn current() -> Isa {
    match CURRENT.load(Ordering::Relaxed) {
        5 => Isa::Neon,
        4 => Isa::Avx512Bf16,
        3 => Isa::Avx512,
        2 => Isa::Avx2,
        1 => Isa::Portable,
        _ => look_up(),
    }
}

/// The best instruction set of this processor.
#[must_use]
pub fn best() -> Isa {
    #[cfg(target_arch = "x86_64")]
    {
        let avx2 = is_x86_feature_detected!("avx2") && is_x86_feature_detected!("fma");
        let avx512 = is_x86_feature_detected!("avx512f")
            && is_x86_feature_detected!("avx512bw")
            && is_x86_feature_detected!("avx512dq")
            && is_x86_feature_detected!("avx512vl");
        let pairs = is_x86_feature_detected!("avx512bf16") && is_x86_feature_detected!("avx512vnni");
        match (avx2, avx512, pairs) {
            (true, true, true) => Isa::Avx512Bf16,
            (true, true, false) => Isa::Avx512,
            (true, false, _) => Isa::Avx2,
            (false, ..) => Isa::Portable,
        }
    }
    #[cfg(target_arch = "aarch64")]
    {
        Isa::Neon
    }
    #[cfg(not(any(target_arch = "x86_64", target_arch = "aarch64")))]
    {
        Isa::Portable
    }
}

/// Every instruction set of this processor, the plainest first.
#[must_use]
pub fn available() -> Vec<Isa> {
    let known: &[Isa] = if cfg!(target_arch = "aarch64") {
        &[Isa::Portable, Isa::Neon]
    } else {
        &[Isa::Portable, Isa::Avx2, Isa::Avx512, Isa::Avx512Bf16]
    };
    known.iter().copied().filter(|isa| *isa <= best()).collect()
}

/// Makes every kernel of the process use `isa`, or the best one it has: for tests and benchmarks.
/// What the processor does not have is refused, and nothing changes.
pub fn force(isa: Option<Isa>) -> bool {
    let wanted = isa.unwrap_or_else(best);
    let possible = available().contains(&wanted);
    if possible {
        CURRENT.store(wanted as u8, Ordering::Relaxed);
    }
    possible
}

#[cold]
fn look_up() -> Isa {
    let found = best();
    CURRENT.store(found as u8, Ordering::Relaxed);
    found
}

/// Defines a kernel: a public function that runs its body compiled for [`current`]. It may be generic over
/// types, each with one bound.
macro_rules! kernel {
    (
        $(#[$meta:meta])*
        pub fn $name:ident $(<$($generic:ident: $bound:path),+>)? ($($arg:ident: $ty:ty),* $(,)?) $(-> $ret:ty)? $body:block
    ) => {
        $(#[$meta])*
        pub fn $name $(<$($generic: $bound),+>)? ($($arg: $ty),*) $(-> $ret)? {
            #[inline(always)]
            fn body $(<$($generic: $bound),+>)? ($($arg: $ty),*) $(-> $ret)? $body

            #[cfg(target_arch = "x86_64")]
            #[target_feature(enable = "avx2,fma")]
            fn avx2 $(<$($generic: $bound),+>)? ($($arg: $ty),*) $(-> $ret)? {
                body($($arg),*)
            }

            #[cfg(target_arch = "x86_64")]
            #[target_feature(enable = "avx512f,avx512bw,avx512dq,avx512vl,avx2,fma")]
            fn avx512 $(<$($generic: $bound),+>)? ($($arg: $ty),*) $(-> $ret)? {
                body($($arg),*)
            }

            match $crate::isa::current() {
                #[cfg(target_arch = "x86_64")]
                // SAFETY: `current` names only what this processor has.
                $crate::isa::Isa::Avx512 | $crate::isa::Isa::Avx512Bf16 => unsafe { avx512($($arg),*) },
                #[cfg(target_arch = "x86_64")]
                // SAFETY: `current` names only what this processor has.
                $crate::isa::Isa::Avx2 => unsafe { avx2($($arg),*) },
                _ => body($($arg),*),
            }
        }
    };
}
pub(crate) use kernel;
