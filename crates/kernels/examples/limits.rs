//! What this machine can do at most: `limits THREADS` prints one line of JSON with the memory that is read a second by so
//! many threads, and the operations a second of byte products (VNNI) and of bf16 products in registers alone; 0 where the
//! processor has no such instructions.
#![allow(clippy::print_stdout, clippy::unwrap_used, reason = "a benchmark")]

use std::hint::black_box;
use std::time::Instant;

use kernels::parallel;

/// Bytes that are read, and in one task.
const BYTES: usize = 1 << 30;
const TASK: usize = 1 << 20;
/// Instructions of a chain, and chains beside each other.
const LONG: usize = 20_000_000;
const CHAINS: usize = 12;

/// The least seconds of five.
fn best(mut work: impl FnMut()) -> f64 {
    let once = |_| {
        let begun = Instant::now();
        work();
        begun.elapsed().as_secs_f64()
    };
    (0..5).map(once).fold(f64::INFINITY, f64::min)
}

fn read_gb_per_second() -> f64 {
    let words = vec![3_u64; BYTES / 8];
    let seconds = best(|| {
        parallel::run(BYTES / TASK, |task| {
            let part = &words[task * TASK / 8..][..TASK / 8];
            let mut sums = [0_u64; 32];
            for part in part.as_chunks::<32>().0 {
                sums.iter_mut().zip(part).for_each(|(sum, word)| *sum = sum.wrapping_add(*word));
            }
            black_box(sums);
        });
    });
    BYTES as f64 / 1e9 / seconds
}

#[cfg(target_arch = "x86_64")]
mod products {
    use std::arch::x86_64::*;

    use super::{CHAINS, LONG, best, black_box, parallel};

    /// # Safety
    /// The processor has the instructions.
    #[target_feature(enable = "avx512f,avx512vnni")]
    unsafe fn bytes() {
        let mut sums: [__m512i; CHAINS] = std::array::from_fn(|chain| black_box(_mm512_set1_epi32(chain as i32)));
        let (a, b) = (black_box(_mm512_set1_epi8(3)), black_box(_mm512_set1_epi8(1)));
        for _ in 0..LONG {
            for sum in &mut sums {
                *sum = _mm512_dpbusd_epi32(*sum, a, b);
            }
        }
        black_box(sums);
    }

    /// # Safety
    /// The processor has the instructions.
    #[target_feature(enable = "avx512f,avx512bf16")]
    unsafe fn halves() {
        let mut sums: [__m512; CHAINS] = std::array::from_fn(|chain| black_box(_mm512_set1_ps(chain as f32)));
        let ones = _mm512_cvtne2ps_pbh(_mm512_set1_ps(1.0), _mm512_set1_ps(1.0));
        let (a, b) = (black_box(ones), black_box(ones));
        for _ in 0..LONG {
            for sum in &mut sums {
                *sum = _mm512_dpbf16_ps(*sum, a, b);
            }
        }
        black_box(sums);
    }

    fn tera(threads: usize, operations: f64, work: unsafe fn()) -> f64 {
        // SAFETY: the caller looked for the instructions.
        let seconds = best(|| parallel::run(threads, |_| unsafe { work() }));
        threads as f64 * CHAINS as f64 * LONG as f64 * operations / 1e12 / seconds
    }

    pub fn int8(threads: usize) -> f64 {
        let has = is_x86_feature_detected!("avx512vnni");
        if has { tera(threads, 128.0, bytes) } else { 0.0 }
    }

    pub fn bf16(threads: usize) -> f64 {
        let has = is_x86_feature_detected!("avx512bf16");
        if has { tera(threads, 64.0, halves) } else { 0.0 }
    }
}

#[cfg(not(target_arch = "x86_64"))]
mod products {
    pub fn int8(_: usize) -> f64 {
        0.0
    }

    pub fn bf16(_: usize) -> f64 {
        0.0
    }
}

fn main() {
    let threads = std::env::args().nth(1).map_or(1, |threads| threads.parse().unwrap());
    parallel::set_threads(threads);
    println!(
        "{{\"read_gb_per_second\":{:.1},\"int8_tera_per_second\":{:.2},\"bf16_tera_per_second\":{:.2}}}",
        read_gb_per_second(),
        products::int8(threads),
        products::bf16(threads)
    );
}
