//! Whole trainings on another device: composed of Burn's operations they follow the curve of the kernels.

use base::{Failure, Fault};
use nn::Device;

use super::*;
use crate::testing::project;
use crate::tests::{LINE, MIXED, line, mixed, open, train, verses};

fn history(made: &Made) -> Vec<HistoryPoint> {
    History::load(&made.artifact.path(HISTORY_FILE)).unwrap().points
}

#[test]
fn a_composed_training_follows_the_curve_of_the_kernels() {
    let language = "[model]\nsize = \"tiny\"\ncontext = 16\n[train]\nepochs = 3\ndropout = 0.1\nbatch_size = 16\n\
                    compute = \"f32\"";
    let gpt = "[model]\nsize = \"tiny\"\ncontext = 16\narchitecture = \"gpt2\"\n[train]\nepochs = 3\nbatch_size = 16\n\
               packing = \"documents\"\naccumulate = 2\ncompute = \"f32\"";
    let encoder = "[model]\nsize = \"tiny\"\nhidden = [8]\n[train]\nepochs = 6\ndropout = 0.1\nbatch_size = 64";
    for (family, columns, rest) in [("language", "", language), ("language", "", gpt), ("predict", MIXED, encoder)] {
        let (_folder, store) = open();
        let dataset = if family == "predict" { mixed(&store, 0) } else { verses(&store) };
        let mut plan = plan(&project(family, columns, rest), &dataset).unwrap();
        let wanted = train(&store, &plan, &dataset).unwrap();
        plan.settings.device = Device::ComposedCpu;
        let found = train(&store, &plan, &dataset).unwrap();
        assert!(!found.cached, "the device is a part of the key");
        let (wanted, found) = (history(&wanted), history(&found));
        assert_eq!(wanted.len(), found.len());
        assert!(wanted.last().unwrap().train_loss < 0.9 * wanted[0].train_loss, "{rest}: {wanted:?}");
        for (wanted, found) in wanted.iter().zip(&found) {
            let close = |a: f64, b: f64| (a - b).abs() < 1e-3 * b.abs();
            assert!(close(found.train_loss, wanted.train_loss), "{rest}: {found:?} and {wanted:?}");
            assert!(close(found.valid_loss.unwrap(), wanted.valid_loss.unwrap()), "{rest}: {found:?} and {wanted:?}");
        }
    }
}

#[test]
fn a_device_that_cannot_be_used_is_the_users_to_mend() {
    for name in ["cuda", "wgpu"] {
        let (_folder, store) = open();
        let dataset = line(&store, true);
        let plan = plan(&project("predict", LINE, &format!("[train]\ndevice = \"{name}\"")), &dataset).unwrap();
        // Where the device is there, the training is done.
        if let Err(error) = train(&store, &plan, &dataset) {
            assert!(matches!(error, TrainError::Device(_)) && error.fault() == Fault::User, "{error}");
            assert!(error.to_string().contains(name) && error.hint().unwrap().contains("train.device"), "{error}");
        }
    }
}

#[test]
fn bf16_is_refused_where_shaders_have_none() {
    let (_folder, store) = open();
    let dataset = verses(&store);
    let settings = "[model]\nsize = \"tiny\"\n[train]\ndevice = \"wgpu\"\n";
    assert!(plan(&project("language", "", settings), &dataset).unwrap().notes()[0].ends_with(", on wgpu"));
    let refused = plan(&project("language", "", &format!("{settings}compute = \"bf16\"")), &dataset).unwrap_err();
    assert!(refused.to_string().contains("bf16") && refused.fault() == Fault::User, "{refused}");
}
