//! The models composed of Burn's operations against the kernels: the same losses, gradients and logits.

use super::*;

const DROPOUT: Dropout = Dropout { share: 0.3, seed: 1, step: 2 };

/// How the same step is computed on the CPU and composed.
fn both(options: Options) -> [Options; 2] {
    [Device::Cpu, Device::ComposedCpu].map(|device| Options { device, ..options })
}

/// Holds gradients to each other, on the scale of the largest one of a tensor.
fn assert_same(ours: &Tensors, wanted: &Tensors) {
    for (ours, wanted) in ours.all().zip(wanted.all()) {
        let scale = 1.0 / wanted.values.iter().fold(1e-3_f32, |most, value| most.max(value.abs()));
        let scaled = |values: &[f32]| values.iter().map(|value| value * scale).collect::<Vec<_>>();
        assert_close(&scaled(ours.values), &scaled(wanted.values), ours.name);
    }
}

#[test]
fn composed_language_models_are_those_of_the_kernels() {
    for shape in shapes(tokenizer().vocabulary_size(), true) {
        for lengths in [vec![7, 7], vec![5, 1, 8]] {
            let mut verses = language_model(shape.clone());
            if lengths.len() == 3 {
                verses.batch.targets[3] = language::Batch::IGNORED;
                verses.batch.targets[5] = language::Batch::IGNORED;
            }
            verses.batch.lengths = lengths;
            for dropout in [Dropout::OFF, DROPOUT] {
                for recompute in [false, true] {
                    let [ours, composed] = both(Options { dropout, recompute, ..Options::PLAIN });
                    let ((loss, gradients), (found, composed)) = (verses.step(ours), verses.step(composed));
                    assert!((loss - found).abs() < 1e-5 * loss, "{loss} and {found}");
                    assert_same(&composed, &gradients);
                }
            }
            let [loss, found] = both(Options::PLAIN).map(|options| verses.loss(&verses.parameters, options));
            assert!((loss - found).abs() < 1e-5 * loss, "{loss} and {found}");
        }
    }
}

#[test]
fn composed_models_of_nothing_to_learn_have_no_loss() {
    let mut verses = language_model(shape(tokenizer().vocabulary_size(), true));
    verses.batch.targets.fill(language::Batch::IGNORED);
    let mut gradients = Tensors::zeros(&verses.description.shape.tensors(""));
    let [_, options] = both(Options::PLAIN);
    let Verses { description, parameters, batch, .. } = &verses;
    let (workspace, into) = (&mut Workspace::default(), &mut gradients);
    assert_eq!(language::step(description, parameters, batch, 1.0, options, workspace, into), 0.0);
    assert!(gradients.flat().iter().all(|value| *value == 0.0));
}

#[test]
fn composed_bf16_is_close_to_f32() {
    for shape in shapes(tokenizer().vocabulary_size(), true) {
        let verses = language_model(shape);
        let [_, options] = both(Options::PLAIN);
        let (loss, gradients) = verses.step(options);
        let (rounded, found) = verses.step(Options { compute: Compute::Bf16, ..options });
        assert!((rounded / loss - 1.0).abs() < 0.01, "{rounded} and {loss}");
        let difference: Vec<f32> = gradients.flat().iter().zip(found.flat()).map(|(a, b)| a - b).collect();
        let share = kernels::global_norm(&[&difference]) / kernels::global_norm(&[gradients.flat()]);
        let most = if verses.description.shape.mlp == Mlp::Relu { 0.1 } else { 0.05 };
        assert!(share > 0.0 && share < most, "{share}");
    }
}

/// The logits, the loss and the gradients of a `predict` model.
fn predicted(rows: &Rows, dropout: Dropout, options: Options) -> (Vec<f32>, f64, Tensors) {
    let (batch, workspaces) = (batch(&rows.features, &rows.targets), &mut Vec::new());
    let (description, parameters) = (&rows.description, &rows.parameters);
    let logits = predict::logits(description, parameters, &batch, options, workspaces);
    let mut gradients = Tensors::zeros(&description.tensors());
    let options = Options { dropout, ..options };
    let loss = predict::step(description, parameters, &batch, 0.25, options, workspaces, &mut gradients);
    (logits, loss, gradients)
}

#[test]
fn composed_predict_models_are_those_of_the_kernels() {
    for (parts, hidden) in [("b", vec![]), ("b", vec![8, 5]), ("t", vec![]), ("btt", vec![6])] {
        let mut rows = rows(parts, hidden);
        for shape in shapes(tokenizer().vocabulary_size(), false) {
            for input in &mut rows.description.columns.inputs {
                if let Encoding::Transformer { shape: old, .. } = &mut input.encoding {
                    *old = TransformerShape { untied_head: false, ..shape.clone() };
                }
            }
            // One row without any token.
            for tokens in &mut rows.features[2].tokens {
                tokens.clear();
            }
            rows.parameters = parameters(&model(Task::Predict(rows.description.clone())));
            for dropout in [Dropout::OFF, DROPOUT] {
                let [ours, composed] = both(Options::PLAIN).map(|options| predicted(&rows, dropout, options));
                assert_close(&composed.0, &ours.0, parts);
                assert!((composed.1 - ours.1).abs() < 1e-5 * ours.1.abs(), "{} and {}", composed.1, ours.1);
                assert_same(&composed.2, &ours.2);
            }
            if !parts.contains('t') {
                break;
            }
        }
    }
}

/// Does nothing where there is no GPU, or none that this was built for, unless `YARD_TEST_DEVICE` names one that
/// has to be there.
#[test]
fn a_gpu_that_is_there_gives_what_the_kernels_give() {
    for device in [Device::Cuda, Device::Wgpu] {
        if let Err(error) = device.open() {
            let wanted = std::env::var("YARD_TEST_DEVICE").is_ok_and(|name| name == device.name());
            assert!(!wanted, "{error}");
            continue;
        }
        for shape in shapes(tokenizer().vocabulary_size(), true) {
            let mut verses = language_model(shape);
            verses.batch.lengths = vec![5, 1, 8];
            verses.batch.targets[3] = language::Batch::IGNORED;
            let options = Options { dropout: DROPOUT, ..Options::PLAIN };
            let (loss, gradients) = verses.step(options);
            let (found, composed) = verses.step(Options { device, ..options });
            assert!((loss - found).abs() < 1e-3 * loss, "{}: {loss} and {found}", device.name());
            let difference: Vec<f32> = gradients.flat().iter().zip(composed.flat()).map(|(a, b)| a - b).collect();
            let share = kernels::global_norm(&[&difference]) / kernels::global_norm(&[gradients.flat()]);
            // Tensor cores may round the inputs of products to TF32.
            assert!(share < 0.02, "{}: {share}", device.name());
        }
        let rows = rows("btt", vec![6]);
        let (logits, loss, _) = predicted(&rows, DROPOUT, Options::PLAIN);
        let (found, found_loss, _) = predicted(&rows, DROPOUT, Options { device, ..Options::PLAIN });
        assert!((loss - found_loss).abs() < 1e-3 * loss, "{}: {loss} and {found_loss}", device.name());
        assert!(logits.iter().zip(&found).all(|(a, b)| (a - b).abs() < 0.02 * (1.0 + a.abs())), "{}", device.name());
    }
}
