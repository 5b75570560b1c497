//! Personal data and secrets in text: finding, checking, replacing.
//!
//! [`FinderConfig::plan`] makes a [`Finder`]; [`Finder::find`] lists what is in a text; [`PolicyConfig::plan`] makes a [`Policy`], and
//! [`Policy::apply`] or [`Policy::clean`] replaces; [`reveal`] turns pseudonyms back with the [`Key`].
//!
//! The finder knows forms, check digits and words nearby. It has no model: a name or place that stands bare in a sentence is beyond it.
//!
//! ```
//! use personal::{FinderConfig, PolicyConfig};
//!
//! let finder = FinderConfig::default().plan()?;
//! let policy = PolicyConfig::default().plan(None)?;
//! let cleaned = policy.clean(&finder, "Mail ann@acme.com or call +86 138 0013 8000.");
//! assert_eq!(cleaned.text, "Mail [EMAIL] or call [PHONE].");
//! # Ok::<(), personal::PersonalError>(())
//! ```

mod address;
mod anchors;
mod bytes;
mod checks;
mod china;
mod context;
mod context_words;
mod dates;
mod error;
mod finder;
mod finding;
mod kind;
mod money;
mod names;
mod network;
mod pattern;
mod phone;
mod placeholder;
mod policy;
mod pseudonym;
mod rules;
mod rules_china;
mod rules_europe;
mod rules_world;
mod scan;
mod secret_forms;
mod secrets;

pub use error::PersonalError;
pub use finder::{Finder, FinderConfig};
pub use finding::Finding;
pub use kind::{Family, Kind, KindSet};
pub use policy::{Action, Applied, Policy, PolicyConfig, Replaced, mask};
pub use pseudonym::{Key, reveal};
