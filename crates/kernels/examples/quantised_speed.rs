//! Measures products with quantised weights: `cargo run --release -p modelyard-kernels --example quantised_speed`.
//! Arguments: the milliseconds that each figure is looked for (or not), and words that a line must contain.
//!
//! `decode` is one row of activations and all matrices of a Llama shape, so that the weights come from memory:
//! GB/s of weights, and tokens/s of the products alone. `read` is a plain read of as much memory. `prefill` is
//! one matrix and 8 or 512 rows: Top/s.
#![allow(clippy::print_stdout, reason = "a program that prints a table")]

use std::hint::black_box;
use std::time::{Duration, Instant};

use kernels::parallel;
use kernels::quantised::{
    Activations, Encoding, Format, PackedMatrix, Product, multiply, multiply_add, multiply_all, multiply_swiglu,
};

/// How long each figure is looked for; the best run counts. The first argument may be other milliseconds.
const TIME: u64 = 1000;

/// Width, layers, elements of keys, hidden width and words of a Llama shape.
#[derive(Clone, Copy)]
struct Shape {
    name: &'static str,
    width: usize,
    layers: usize,
    keys: usize,
    hidden: usize,
    words: usize,
}

const SHAPES: [Shape; 2] = [
    Shape { name: "1.1B", width: 2048, layers: 22, keys: 256, hidden: 5632, words: 32000 },
    Shape { name: "135M", width: 576, layers: 30, keys: 192, hidden: 1536, words: 49152 },
];

struct Layer {
    qkv: [PackedMatrix; 3],
    out: PackedMatrix,
    gate: PackedMatrix,
    up: PackedMatrix,
    down: PackedMatrix,
}

struct Model {
    shape: Shape,
    layers: Vec<Layer>,
    head: PackedMatrix,
}

fn matrix(encoding: Encoding, rows: usize, columns: usize) -> PackedMatrix {
    let row: Vec<u8> = match encoding {
        Encoding::Blocks(format) => {
            let elements: Vec<f32> = (0..columns).map(|i| ((i * 7919) % 251) as f32 / 125.0 - 1.0).collect();
            let mut row = vec![0; format.row_bytes(columns)];
            format.quantise(&mut row, &elements);
            row
        }
        _ => vec![0x3c; encoding.row_bytes(columns)],
    };
    PackedMatrix::pack(encoding, rows, columns, &row.repeat(rows))
}

impl Model {
    fn new(shape: Shape, encoding: Encoding, head: Encoding) -> Self {
        let Shape { width, keys, hidden, .. } = shape;
        let layers = (0..shape.layers)
            .map(|_| Layer {
                qkv: [width, keys, keys].map(|rows| matrix(encoding, rows, width)),
                out: matrix(encoding, width, width),
                gate: matrix(encoding, hidden, width),
                up: matrix(encoding, hidden, width),
                down: matrix(encoding, width, hidden),
            })
            .collect();
        Self { shape, layers, head: matrix(head, shape.words, width) }
    }

    fn bytes(&self) -> usize {
        let layer = |layer: &Layer| {
            let qkv: usize = layer.qkv.iter().map(PackedMatrix::bytes).sum();
            qkv + layer.out.bytes() + layer.gate.bytes() + layer.up.bytes() + layer.down.bytes()
        };
        self.layers.iter().map(layer).sum::<usize>() + self.head.bytes()
    }

    /// All products of some tokens.
    fn run(&self, buffers: &mut Buffers, tokens: usize) {
        let Shape { width, keys, hidden, words, .. } = self.shape;
        let Buffers { x, h, q, k, v, logits, activations } = buffers;
        for layer in &self.layers {
            activations.prepare(&x[..tokens * width], width, &layer.qkv.each_ref());
            let [wq, wk, wv] = &layer.qkv;
            multiply_all(
                &mut [
                    Product { y: &mut q[..tokens * width], weights: wq, add: false },
                    Product { y: &mut k[..tokens * keys], weights: wk, add: false },
                    Product { y: &mut v[..tokens * keys], weights: wv, add: false },
                ],
                activations,
            );
            activations.prepare(&q[..tokens * width], width, &[&layer.out]);
            multiply_add(&mut x[..tokens * width], &layer.out, activations);
            activations.prepare(&x[..tokens * width], width, &[&layer.gate, &layer.up]);
            multiply_swiglu(&mut h[..tokens * hidden], &layer.gate, &layer.up, activations);
            activations.prepare(&h[..tokens * hidden], hidden, &[&layer.down]);
            multiply_add(&mut x[..tokens * width], &layer.down, activations);
            x[..tokens * width].iter_mut().for_each(|x| *x = x.clamp(-1.0, 1.0));
        }
        activations.prepare(&x[..width], width, &[&self.head]);
        multiply(&mut logits[..words], &self.head, activations);
    }
}

#[derive(Default)]
struct Buffers {
    x: Vec<f32>,
    h: Vec<f32>,
    q: Vec<f32>,
    k: Vec<f32>,
    v: Vec<f32>,
    logits: Vec<f32>,
    activations: Activations,
}

impl Buffers {
    fn new(shape: Shape, tokens: usize) -> Self {
        let make = |width: usize| (0..tokens * width).map(|i| ((i * 31) % 17) as f32 / 8.0 - 1.0).collect();
        Self {
            x: make(shape.width),
            h: make(shape.hidden),
            q: make(shape.width),
            k: make(shape.keys),
            v: make(shape.keys),
            logits: vec![0.0; shape.words],
            activations: Activations::new(),
        }
    }
}

/// The least seconds that `work` takes.
fn best(time: Duration, mut work: impl FnMut()) -> f64 {
    let (since, mut best) = (Instant::now(), f64::INFINITY);
    while since.elapsed() < time || best == f64::INFINITY {
        let start = Instant::now();
        work();
        best = best.min(start.elapsed().as_secs_f64());
    }
    best
}

/// Reads memory in 512 KB pieces and adds it up.
fn read(words: &[u64]) -> u64 {
    let total = std::sync::atomic::AtomicU64::new(0);
    parallel::run(words.len().div_ceil(1 << 16), |index| {
        let begin = index << 16;
        let piece = &words[begin..words.len().min(begin + (1 << 16))];
        let mut sums = [0_u64; 32];
        for words in piece.as_chunks::<32>().0 {
            for (sum, word) in sums.iter_mut().zip(words) {
                *sum ^= *word;
            }
        }
        total.fetch_xor(sums.iter().fold(0, |a, b| a ^ b), std::sync::atomic::Ordering::Relaxed);
    });
    total.into_inner()
}

fn main() {
    let mut wanted: Vec<String> = std::env::args().skip(1).collect();
    let milliseconds = wanted.first().and_then(|word| word.parse().ok());
    if milliseconds.is_some() {
        wanted.remove(0);
    }
    let time = Duration::from_millis(milliseconds.unwrap_or(TIME));
    let is_wanted = |name: &str| wanted.iter().all(|word| name.contains(word));
    println!("{:>36} {:>10} {:>10}", "", "1 thread", "2 threads");
    if is_wanted("read") {
        let words = vec![1_u64; 80 << 20];
        let rates = [1, 2].map(|threads| {
            parallel::set_threads(threads);
            8.0 * words.len() as f64
                / 1e9
                / best(time, || {
                    black_box(read(&words));
                })
        });
        println!("{:>36} {:>10.1} {:>10.1}  GB/s", "read 640 MB", rates[0], rates[1]);
    }
    let blocks = Format::ALL.map(Encoding::Blocks);
    let plain = [Encoding::Bf16, Encoding::F16, Encoding::F32];
    for shape in SHAPES {
        for encoding in blocks.into_iter().chain(plain) {
            let large = shape.width.is_multiple_of(256);
            if !shape.width.is_multiple_of(encoding.block_elements()) || (large && plain.contains(&encoding)) {
                continue;
            }
            let name = format!("decode {} {encoding:?}", shape.name);
            if !is_wanted(&name) {
                continue;
            }
            let head = match encoding {
                Encoding::Blocks(Format::Q4_K) => Encoding::Blocks(Format::Q6_K),
                Encoding::Blocks(Format::Q4_0 | Format::Q4_1) => Encoding::Blocks(Format::Q8_0),
                other => other,
            };
            let model = Model::new(shape, encoding, head);
            let mut buffers = Buffers::new(shape, 1);
            let seconds = [1, 2].map(|threads| {
                parallel::set_threads(threads);
                best(time, || model.run(&mut buffers, 1))
            });
            let rates = seconds.map(|seconds| model.bytes() as f64 / 1e9 / seconds);
            let tokens = 1.0 / seconds[1];
            println!("{name:>36} {:>10.1} {:>10.1}  GB/s {tokens:>8.1} tokens/s", rates[0], rates[1]);
        }
    }
    for (rows, columns) in [(5632, 2048), (2048, 5632), (256, 2048), (1536, 576)] {
        for encoding in blocks.into_iter().chain(plain) {
            if !usize::is_multiple_of(columns, encoding.block_elements()) {
                continue;
            }
            for tokens in [2, 8, 60, 512] {
                let name = format!("prefill {tokens} × {rows} × {columns} {encoding:?}");
                if !is_wanted(&name) {
                    continue;
                }
                let weights = matrix(encoding, rows, columns);
                let x: Vec<f32> = (0..tokens * columns).map(|i| ((i * 31) % 17) as f32 / 8.0 - 1.0).collect();
                let (mut y, mut activations) = (vec![0.0; tokens * rows], Activations::new());
                let rates = [1, 2].map(|threads| {
                    parallel::set_threads(threads);
                    let seconds = best(time, || {
                        activations.prepare(&x, columns, &[&weights]);
                        multiply(&mut y, &weights, &activations);
                    });
                    2e-12 * (rows * columns * tokens) as f64 / seconds
                });
                println!("{name:>36} {:>10.3} {:>10.3}  Top/s", rates[0], rates[1]);
            }
        }
    }
}
