use std::io::Cursor;

use image::{ImageFormat, Rgb, RgbImage};
use sources::{Audio, Body, Config, Picture, Reason};

use crate::{golden, read_bytes, read_path};

pub(crate) fn picture_bytes(format: ImageFormat) -> Vec<u8> {
    let mut bytes = Cursor::new(Vec::new());
    let picture = RgbImage::from_fn(16, 8, |x, y| Rgb([x as u8 * 8, y as u8 * 8, 100]));
    picture.write_to(&mut bytes, format).unwrap();
    bytes.into_inner()
}

pub(crate) fn wave_bytes() -> Vec<u8> {
    let samples: Vec<u8> = (0..800_i32).flat_map(|index| (((index % 20) - 10) as i16 * 1000).to_le_bytes()).collect();
    let mut bytes = b"RIFF".to_vec();
    bytes.extend((36 + samples.len() as u32).to_le_bytes());
    bytes.extend(b"WAVEfmt \x10\0\0\0\x01\0\x01\0");
    bytes.extend(8000_u32.to_le_bytes());
    bytes.extend(16_000_u32.to_le_bytes());
    bytes.extend(b"\x02\0\x10\0data");
    bytes.extend((samples.len() as u32).to_le_bytes());
    bytes.extend(samples);
    bytes
}

fn picture(given: &crate::Given) -> &Picture {
    given.bodies().find_map(|body| if let Body::Picture(picture) = body { Some(picture) } else { None }).unwrap()
}

fn audio(given: &crate::Given) -> &Audio {
    given.bodies().find_map(|body| if let Body::Audio(audio) = body { Some(audio) } else { None }).unwrap()
}

#[test]
fn pixels_are_unpacked_on_demand() {
    for (name, format, media_type, distance_max) in [
        ("a.png", ImageFormat::Png, "image/png", 0),
        ("a.jpg", ImageFormat::Jpeg, "image/jpeg", 16),
        ("a.webp", ImageFormat::WebP, "image/webp", 0),
    ] {
        let given = read_bytes(name, &picture_bytes(format), &Config::default());
        let picture = picture(&given);
        assert_eq!((picture.media_type, picture.width, picture.height), (media_type, 16, 8));
        let pixels = picture.pixels().unwrap();
        assert_eq!(pixels.rgb.len(), 16 * 8 * 3);
        for (index, pixel) in pixels.rgb.chunks_exact(3).enumerate() {
            let expected = [(index % 16) as u8 * 8, (index / 16) as u8 * 8, 100];
            assert!(pixel.iter().zip(expected).all(|(&got, wanted)| got.abs_diff(wanted) <= distance_max), "{name}");
        }
        let small = Config { pixels_max: 100, ..Config::default() };
        assert_eq!(read_bytes(name, &picture_bytes(format), &small).damaged()[0].1, Reason::TooLarge);
    }
}

#[test]
fn samples_are_unpacked_on_demand() {
    let given = read_bytes("a.wav", &wave_bytes(), &Config::default());
    let samples = audio(&given).samples().unwrap();
    assert_eq!((samples.rate_hz, samples.mono.len()), (8000, 800));
    assert!((samples.mono[0] + 10_000.0 / 32_768.0).abs() < 1e-6);
    for (name, media_type, channels, frames) in [
        ("tone.flac", "audio/flac", 2, 1600..=1600),
        ("tone.ogg", "audio/ogg", 1, 1600..=1600),
        // Frames of MP3 have a fixed length, and its encoder a delay.
        ("tone.mp3", "audio/mpeg", 1, 1500..=3500),
    ] {
        let given = read_path(&golden(name), &Config::default());
        assert_eq!(given.damaged(), [], "{name}");
        let audio = audio(&given);
        assert_eq!((audio.media_type, audio.rate_hz, audio.channels), (media_type, 8000, channels));
        let samples = audio.samples().unwrap();
        assert!(frames.contains(&samples.mono.len()), "{name}: {}", samples.mono.len());
        // A sine of amplitude 0.5 that crosses zero 880 times a second.
        let middle = &samples.mono[samples.mono.len() / 4..samples.mono.len() * 3 / 4];
        let crossings = middle.windows(2).filter(|pair| (pair[0] < 0.0) != (pair[1] < 0.0)).count();
        let rate = crossings as f64 * 8000.0 / middle.len() as f64;
        assert!((rate - 880.0).abs() < 60.0, "{name}: {rate}");
        let peak = middle.iter().fold(0.0_f32, |peak, sample| peak.max(sample.abs()));
        assert!((0.4..0.6).contains(&peak), "{name}: {peak}");
    }
    let small = Config { samples_max: 100, ..Config::default() };
    assert_eq!(read_bytes("a.wav", &wave_bytes(), &small).damaged()[0].1, Reason::TooLarge);
}

#[test]
fn what_is_cut_off_is_refused_when_it_is_unpacked() {
    let bytes = picture_bytes(ImageFormat::Png);
    let given = read_bytes("a.png", &bytes[..bytes.len() - 30], &Config::default());
    assert!(picture(&given).pixels().is_err());
    let bytes = wave_bytes();
    let given = read_bytes("a.wav", &bytes[..bytes.len() - 100], &Config::default());
    assert_eq!(audio(&given).samples().unwrap_err().reason, Reason::Truncated);
}
