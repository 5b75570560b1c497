//! Sounds: WAV, FLAC, MP3, Ogg Vorbis. Reading looks at the header; samples are unpacked on demand.

use std::fmt;
use std::io::Cursor;
use std::sync::Arc;

use symphonia::core::codecs::audio::AudioDecoderOptions;
use symphonia::core::errors::Error;
use symphonia::core::formats::probe::Hint;
use symphonia::core::formats::{FormatOptions, FormatReader, TrackType};
use symphonia::core::io::{MediaSourceStream, MediaSourceStreamOptions};
use symphonia::core::meta::MetadataOptions;

use crate::guard::guarded;
use crate::input::{Input, damage_of};
use crate::record::{Body, Damage, Position, Reason};
use crate::sink::{Flow, Halt, Sink, halt};

/// A sound, still packed.
#[derive(Clone, PartialEq, Eq)]
pub struct Audio {
    /// `audio/wav`, `audio/flac`, `audio/mpeg` or `audio/ogg`.
    pub media_type: &'static str,
    /// Samples of one channel in a second.
    pub rate_hz: u32,
    /// Channels; 0 where only the samples tell.
    pub channels: u32,
    /// Samples of one channel, where the header tells.
    pub frames: Option<u64>,
    /// The file.
    pub bytes: Arc<[u8]>,
    samples_max: u64,
}

impl fmt::Debug for Audio {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { media_type, rate_hz, channels, bytes, .. } = self;
        write!(f, "Audio({media_type}, {rate_hz} Hz, {channels} channels, {} bytes)", bytes.len())
    }
}

/// An unpacked sound.
#[derive(Debug, Clone, PartialEq)]
pub struct Samples {
    /// Samples in a second.
    pub rate_hz: u32,
    /// The mean of the channels, from -1 to 1.
    pub mono: Vec<f32>,
}

impl Audio {
    /// Unpacks the samples.
    ///
    /// # Errors
    /// What is damaged or cut off in the file, or more samples than the configuration allowed.
    pub fn samples(&self) -> Result<Samples, Damage> {
        match guarded(|| decode(&self.bytes, self.media_type, self.samples_max)) {
            Ok(samples) => {
                // Of MP3 and Ogg the number is only an estimate.
                let is_told = matches!(self.media_type, "audio/wav" | "audio/flac");
                if is_told && self.frames.is_some_and(|frames| (samples.mono.len() as u64) < frames) {
                    let what = format!("it has {} samples and promises more", samples.mono.len());
                    return Err(Damage::new(Reason::Truncated, what));
                }
                Ok(samples)
            }
            Err(Halt::Damaged(damage, _)) => Err(damage),
            Err(Halt::Stopped) => Err(Damage::new(Reason::Internal, "the decoder was stopped")),
        }
    }
}

fn media_type(bytes: &[u8]) -> Option<&'static str> {
    Some(match bytes.get(..4)? {
        b"RIFF" => "audio/wav",
        b"fLaC" => "audio/flac",
        b"OggS" => "audio/ogg",
        [b'I', b'D', b'3', _] => "audio/mpeg",
        [0xff, second, ..] if second & 0xe0 == 0xe0 => "audio/mpeg",
        _ => return None,
    })
}

fn open(bytes: Arc<[u8]>, media_type: &str) -> Result<Box<dyn FormatReader>, Halt> {
    let stream = MediaSourceStream::new(Box::new(Cursor::new(bytes)), MediaSourceStreamOptions::default());
    let mut hint = Hint::new();
    hint.mime_type(media_type);
    symphonia::default::get_probe()
        .probe(&hint, stream, FormatOptions::default(), MetadataOptions::default())
        .map_err(audio_halt)
}

/// Reads one sound.
pub(crate) fn read_audio(input: Input<'_>, sink: &mut Sink<'_, '_>) -> Flow {
    let bytes: Arc<[u8]> = input.bytes(sink.config.record_bytes_max)?.into();
    let Some(media_type) = media_type(&bytes) else {
        return Err(halt(Reason::Corrupt, "it is no WAV, FLAC, MP3 or Ogg file"));
    };
    let samples_max = sink.config.samples_max;
    let audio = guarded(|| {
        let format = open(Arc::clone(&bytes), media_type)?;
        let track = format
            .default_track(TrackType::Audio)
            .ok_or_else(|| halt(Reason::Unsupported, "it has no track of sound that is read"))?;
        let parameters = track
            .codec_params
            .as_ref()
            .and_then(|parameters| parameters.audio())
            .ok_or_else(|| halt(Reason::Unsupported, "the coding of its sound is not known"))?;
        symphonia::default::get_codecs()
            .make_audio_decoder(parameters, &AudioDecoderOptions::default())
            .map_err(audio_halt)?;
        let rate_hz =
            parameters.sample_rate.ok_or_else(|| halt(Reason::Corrupt, "it does not tell its sample rate"))?;
        let channels = parameters.channels.as_ref().map_or(0, |channels| channels.count() as u32);
        Ok((rate_hz, channels, track.num_frames))
    })?;
    let (rate_hz, channels, frames) = audio;
    if frames.is_some_and(|frames| frames.saturating_mul(u64::from(channels.max(1))) > samples_max) {
        return Err(too_many(samples_max));
    }
    let audio = Audio { media_type, rate_hz, channels, frames, bytes, samples_max };
    sink.record(Position::Whole, Body::Audio(audio), 0)
}

fn too_many(samples_max: u64) -> Halt {
    halt(Reason::TooLarge, format!("it has more than {samples_max} samples"))
}

fn decode(bytes: &Arc<[u8]>, media_type: &str, samples_max: u64) -> Result<Samples, Halt> {
    let mut format = open(Arc::clone(bytes), media_type)?;
    let track = format.default_track(TrackType::Audio).ok_or_else(|| halt(Reason::Corrupt, "it has no sound"))?;
    let id = track.id;
    let parameters = track
        .codec_params
        .as_ref()
        .and_then(|parameters| parameters.audio())
        .ok_or_else(|| halt(Reason::Corrupt, "it has no sound"))?;
    let mut decoder = symphonia::default::get_codecs()
        .make_audio_decoder(parameters, &AudioDecoderOptions::default())
        .map_err(audio_halt)?;
    let mut samples = Samples { rate_hz: parameters.sample_rate.unwrap_or(0), mono: Vec::new() };
    let mut interleaved: Vec<f32> = Vec::new();
    let mut total = 0_u64;
    while let Some(packet) = format.next_packet().map_err(audio_halt)? {
        if packet.track_id != id {
            continue;
        }
        let decoded = decoder.decode(&packet).map_err(audio_halt)?;
        let channels = decoded.num_planes().max(1);
        samples.rate_hz = decoded.spec().rate();
        decoded.copy_to_vec_interleaved(&mut interleaved);
        total += interleaved.len() as u64;
        if total > samples_max {
            return Err(too_many(samples_max));
        }
        let scale = 1.0 / channels as f32;
        samples.mono.extend(interleaved.chunks_exact(channels).map(|frame| frame.iter().sum::<f32>() * scale));
    }
    Ok(samples)
}

fn audio_halt(error: Error) -> Halt {
    match error {
        Error::IoError(error) => damage_of(&error).into(),
        Error::Unsupported(what) => halt(Reason::Unsupported, what),
        Error::LimitError(what) => halt(Reason::TooLarge, what),
        other => halt(Reason::Corrupt, other.to_string()),
    }
}
