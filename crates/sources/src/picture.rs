//! Images: PNG, JPEG, WebP. Reading looks at the header; pixels are unpacked on demand.

use std::fmt;
use std::io::Cursor;

use image::{ImageFormat, ImageReader, Limits};

use crate::guard::guarded;
use crate::input::Input;
use crate::record::{Body, Damage, Position, Reason};
use crate::sink::{Flow, Halt, Sink};

/// An image, still packed.
#[derive(Clone, PartialEq, Eq)]
pub struct Picture {
    /// `image/png`, `image/jpeg` or `image/webp`.
    pub media_type: &'static str,
    /// Pixels from left to right.
    pub width: u32,
    /// Pixels from top to bottom.
    pub height: u32,
    /// The file.
    pub bytes: Vec<u8>,
}

impl fmt::Debug for Picture {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Picture({}, {} × {}, {} bytes)", self.media_type, self.width, self.height, self.bytes.len())
    }
}

/// An unpacked image.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Pixels {
    /// Pixels from left to right.
    pub width: u32,
    /// Pixels from top to bottom.
    pub height: u32,
    /// Red, green, blue, of 8 bits each, row after row. What was transparent keeps its colour.
    pub rgb: Vec<u8>,
}

impl Picture {
    /// Unpacks the pixels.
    ///
    /// # Errors
    /// What is damaged or cut off in the file.
    pub fn pixels(&self) -> Result<Pixels, Damage> {
        let decoded = guarded(|| {
            let mut reader = ImageReader::new(Cursor::new(&self.bytes));
            reader.set_format(format_of(self.media_type));
            let mut limits = Limits::default();
            limits.max_image_width = Some(self.width);
            limits.max_image_height = Some(self.height);
            // Eight bytes for a pixel of four 16-bit channels, and what the decoder needs beside.
            limits.max_alloc = Some(u64::from(self.width) * u64::from(self.height) * 16 + (64 << 20));
            reader.limits(limits);
            reader.decode().map_err(|error| Halt::from(damage(&error)))
        });
        match decoded {
            Ok(decoded) => {
                let rgb = decoded.into_rgb8();
                Ok(Pixels { width: rgb.width(), height: rgb.height(), rgb: rgb.into_raw() })
            }
            Err(Halt::Damaged(damage, _)) => Err(damage),
            Err(Halt::Stopped) => Err(Damage::new(Reason::Internal, "the decoder was stopped")),
        }
    }
}

fn format_of(media_type: &str) -> ImageFormat {
    match media_type {
        "image/png" => ImageFormat::Png,
        "image/jpeg" => ImageFormat::Jpeg,
        _ => ImageFormat::WebP,
    }
}

/// Reads one image.
pub(crate) fn read_picture(input: Input<'_>, sink: &mut Sink<'_, '_>) -> Flow {
    let bytes = input.bytes(sink.config.record_bytes_max)?;
    let media_type = match bytes.get(..4) {
        Some(b"\x89PNG") => "image/png",
        Some(b"RIFF") => "image/webp",
        Some([0xff, 0xd8, 0xff, _]) => "image/jpeg",
        _ => return Err(Damage::new(Reason::Corrupt, "it is no PNG, JPEG or WebP image").into()),
    };
    let (width, height) = guarded(|| {
        let mut reader = ImageReader::new(Cursor::new(&bytes));
        reader.set_format(format_of(media_type));
        reader.into_dimensions().map_err(|error| damage(&error).into())
    })?;
    if u64::from(width) * u64::from(height) > sink.config.pixels_max {
        let what = format!("it has {width} × {height} pixels, more than {}", sink.config.pixels_max);
        return Err(Damage::new(Reason::TooLarge, what).into());
    }
    sink.record(Position::Whole, Body::Picture(Picture { media_type, width, height, bytes }), 0)
}

fn damage(error: &image::ImageError) -> Damage {
    use image::ImageError as E;
    match error {
        E::IoError(error) => crate::input::damage_of(error),
        E::Limits(_) => Damage::new(Reason::TooLarge, error.to_string()),
        E::Unsupported(_) => Damage::new(Reason::Unsupported, error.to_string()),
        _ => Damage::new(Reason::Corrupt, error.to_string()),
    }
}
