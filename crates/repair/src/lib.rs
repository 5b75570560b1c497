//! Text repair: mojibake, HTML entities, control characters, widths, normal forms, whitespace, Chinese
//! scripts, and the character set of bytes.
//!
//! The default repairs exactly what `ftfy.fix_text` (6.3.1) repairs; a text that needs nothing costs one
//! scan and is borrowed. This crate knows nothing of files, documents or languages.
//!
//! - [`repair`] for a text, as [`RepairConfig`] says; [`explain`] lists ftfy's steps for one line.
//! - [`decode`] for bytes; [`convert`] for Chinese; [`is_bad`] and [`badness`] as signals of mojibake.
//!
//! Read next: `fix.rs` for the order of things, `mojibake.rs` and `badness.rs` for the heart of it.
//!
//! ```
//! let repaired = repair::repair("âœ” No problems, &eacute;t&eacute;", &repair::RepairConfig::default());
//! assert_eq!(repaired.text, "✔ No problems, été");
//! assert_eq!(repaired.changes[1].reason, repair::Reason::Mojibake);
//! ```

mod badness;
mod bytes;
mod characters;
mod chinese;
mod config;
mod detect;
mod escapes;
mod fix;
mod html;
mod mojibake;
mod report;
mod scan;
mod tables;
mod whitespace;

pub use badness::{badness, is_bad};
pub use chinese::{Chinese, convert};
pub use config::{Invisible, Normalization, RepairConfig, UnescapeHtml, Whitespace, Width};
pub use detect::{Decoded, decode};
pub use escapes::decode_escapes;
pub use fix::{explain, fix_encoding, repair};
pub use report::{Action, Change, Reason, Repaired, Step};
