//! Images that look alike: perceptual hashes of all images that patterns name, and clusters of those that differ in few bits.

use std::ops::ControlFlow;
use std::path::Path;
use std::sync::mpsc::{Receiver, sync_channel};
use std::sync::{Arc, Mutex, PoisonError};

use base::Context;
use dedup::Keep;
use dedup::image::{Grey, ImageConfig, cluster, cosine_hash};
use serde::Serialize;
use sources::{Body, Config, Item, Picture, Pixels};

use crate::error::DataError;

/// What was found.
#[derive(Debug, Clone, Default, PartialEq, Serialize)]
pub struct Images {
    /// Images that were looked at.
    pub images: usize,
    /// Files that could not be looked at, each with the reason.
    pub damaged: Vec<(String, String)>,
    /// Groups of images that look alike, in the order of their first images.
    pub clusters: Vec<Vec<LookAlike>>,
}

/// An image of a group. The one with the most pixels stands first: it is the one to keep.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct LookAlike {
    /// Where it is.
    pub name: String,
    /// Pixels across.
    pub width: u32,
    /// Pixels down.
    pub height: u32,
    /// In how many of 64 bits its hash differs from that of the group's first image.
    pub distance: u32,
}

struct Seen {
    name: String,
    width: u32,
    height: u32,
    hash: u64,
}

/// Finds the images that look alike among those that `patterns` name (files, globs, folders, archives, URLs, as
/// `data.source`): the 64 bits of their cosine hashes differ in at most `distance`, each from another one of its group.
///
/// # Errors
/// [`DataError`] where nothing is found, a distance above 32, Ctrl-C. A damaged image is no error, but an entry.
pub fn images(context: &Context, patterns: &[String], folder: &Path, distance: u32) -> Result<Images, DataError> {
    let reading = Config::default();
    let objects = sources::find(patterns, folder, &reading)?;
    let task = context.begin("images", None, "images");
    let (sender, receiver) = sync_channel::<(String, Picture)>(2 * context.threads);
    let receiver = Arc::new(Mutex::new(receiver));
    let (mut seen, mut damaged) = std::thread::scope(|scope| {
        let workers: Vec<_> = (0..context.threads)
            .map(|_| {
                let receiver = Arc::clone(&receiver);
                scope.spawn(move || work(&receiver))
            })
            .collect();
        drop(receiver);
        let (mut count, mut damaged) = (0, Vec::new());
        for object in &objects {
            let counts = sources::read(object, &reading, &mut |item| {
                match item {
                    Item::Record(record) => {
                        let name = record.place.to_string();
                        if let Body::Picture(picture) = record.body {
                            if sender.send((name, picture)).is_err() {
                                return ControlFlow::Break(());
                            }
                            count += 1;
                        }
                    }
                    Item::Damaged { place, damage } => damaged.push((place.to_string(), damage.message)),
                    _ => {}
                }
                task.at(count);
                if context.stop.asked() { ControlFlow::Break(()) } else { ControlFlow::Continue(()) }
            });
            if counts.stopped {
                break;
            }
        }
        drop(sender);
        let mut seen = Vec::new();
        for worker in workers {
            let (images, broken) = worker.join().unwrap_or_else(|panic| std::panic::resume_unwind(panic));
            seen.extend(images);
            damaged.extend(broken);
        }
        (seen, damaged)
    });
    task.end("");
    if context.stop.asked() {
        return Err(DataError::Stopped);
    }
    seen.sort_by(|one, other| one.name.cmp(&other.name));
    damaged.sort();
    let clusters = clusters(&seen, distance)?;
    Ok(Images { images: seen.len(), damaged, clusters })
}

fn work(receiver: &Mutex<Receiver<(String, Picture)>>) -> (Vec<Seen>, Vec<(String, String)>) {
    let (mut seen, mut damaged) = (Vec::new(), Vec::new());
    loop {
        let next = receiver.lock().unwrap_or_else(PoisonError::into_inner).recv();
        let Ok((name, picture)) = next else { return (seen, damaged) };
        let hash = picture.pixels().map_err(|damage| damage.message).and_then(|pixels| {
            let grey = grey(&pixels);
            let grey = Grey::new(pixels.width as usize, pixels.height as usize, &grey);
            grey.map(cosine_hash).ok_or_else(|| "it has no pixels".to_owned())
        });
        match hash {
            Ok(hash) => seen.push(Seen { name, width: picture.width, height: picture.height, hash }),
            Err(what) => damaged.push((name, what)),
        }
    }
}

/// The luma of ITU-R BT.601, in 16 bits of fraction, as Pillow rounds it.
fn grey(pixels: &Pixels) -> Vec<u8> {
    let luma = |rgb: &[u8]| u32::from(rgb[0]) * 19_595 + u32::from(rgb[1]) * 38_470 + u32::from(rgb[2]) * 7_471;
    pixels.rgb.chunks_exact(3).map(|rgb| ((luma(rgb) + 0x8000) >> 16) as u8).collect()
}

fn clusters(seen: &[Seen], distance: u32) -> Result<Vec<Vec<LookAlike>>, DataError> {
    let temporary = std::env::temp_dir();
    let folder = tempfile::tempdir().map_err(DataError::io("make a folder in", &temporary))?;
    let config = ImageConfig { distance, keep: Keep::First, ..ImageConfig::default() };
    let hashes = seen.iter().enumerate().map(|(id, image)| (id as u64, image.hash));
    let found = cluster(hashes, folder.path(), &config)?;
    let mut groups: Vec<(u64, Vec<&Seen>)> = Vec::new();
    for member in found.members()? {
        let member = member?;
        let image = &seen[member.id as usize];
        match groups.last_mut().filter(|(first, _)| *first == member.representative) {
            Some((_, group)) => group.push(image),
            None => groups.push((member.representative, vec![image])),
        }
    }
    let told = |mut group: Vec<&Seen>| {
        group.sort_by_key(|image| std::cmp::Reverse(u64::from(image.width) * u64::from(image.height)));
        let best = group[0].hash;
        let one = |image: &Seen| LookAlike {
            name: image.name.clone(),
            width: image.width,
            height: image.height,
            distance: (image.hash ^ best).count_ones(),
        };
        group.into_iter().map(one).collect()
    };
    Ok(groups.into_iter().map(|(_, group)| told(group)).collect())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn picture(path: &Path, width: u32, height: u32, paint: impl Fn(f64, f64) -> f64) {
        image::RgbImage::from_fn(width, height, |x, y| {
            let value = paint(f64::from(x) / f64::from(width), f64::from(y) / f64::from(height));
            image::Rgb([(value * 255.0) as u8, (value * 200.0) as u8, 40])
        })
        .save(path)
        .unwrap();
    }

    #[test]
    fn an_image_and_its_smaller_copy_are_a_group_and_the_larger_stands_first() {
        let folder = tempfile::tempdir().unwrap();
        let waves = |x: f64, y: f64| 0.5 + 0.3 * (9.0 * x + 2.0 * y).sin() + 0.2 * (7.0 * y * y - x).cos();
        let rings = |x: f64, y: f64| 0.5 + 0.5 * (30.0 * ((x - 0.3).powi(2) + (y - 0.6).powi(2))).sin();
        picture(&folder.path().join("a-small.png"), 80, 60, waves);
        picture(&folder.path().join("b.png"), 160, 120, rings);
        picture(&folder.path().join("c-large.png"), 320, 240, waves);
        std::fs::write(folder.path().join("d.png"), b"\x89PNG\r\n\x1a\nno more").unwrap();
        let found = images(&Context::silent(), &["*.png".to_owned()], folder.path(), 5).unwrap();
        assert_eq!(found.images, 3);
        assert_eq!(found.damaged.len(), 1, "{:?}", found.damaged);
        assert!(found.damaged[0].0.ends_with("d.png"), "{:?}", found.damaged);
        assert_eq!(found.clusters.len(), 1, "{:?}", found.clusters);
        let group = &found.clusters[0];
        assert!(group[0].name.ends_with("c-large.png") && group[1].name.ends_with("a-small.png"), "{group:?}");
        assert_eq!((group[0].width, group[0].distance), (320, 0));
        assert!(group[1].distance <= 5);
        assert!(images(&Context::silent(), &["none*.png".to_owned()], folder.path(), 5).is_err());
    }
}
