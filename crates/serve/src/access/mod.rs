//! Who may ask for what, and how much: keys, the scope that each route needs, and what keys are charged.
//!
//! [`guard`] stands before every route. It finds the key ([`Keyring`]), compares its scopes with the
//! route's ([`table`]), takes a request from its limits, and leaves a [`Charge`] in the request's
//! extensions, through which a handler charges tokens once it knows them, be that after the answer's
//! last byte.
//!
//! **Invariant:** a route that the table does not list is open to administrators only, and a test fails.

mod bucket;
mod charge;
mod client;
mod denial;
mod guard;
mod keyring;
mod table;

pub(crate) use charge::{About, Charge};
pub(crate) use guard::guard;
pub(crate) use keyring::{Keyring, follow};

use std::sync::Arc;

use crate::config::ServerConfig;
use crate::error::ServeError;
use crate::source::Source;

/// Refuses to let other machines in, or to require keys, where there is no key; gives the first source
/// that keeps keys. Blocks.
pub(crate) fn check(config: &ServerConfig, sources: &[Arc<dyn Source>]) -> Result<Option<Arc<dyn Source>>, ServeError> {
    let (mut keeper, mut known) = (None, config.key.is_some());
    for source in sources {
        if let Some(keys) = source.keys()? {
            let now_ms = store::now_ms();
            known |= keys.iter().any(|key| key.is_valid(now_ms));
            keeper = Some(source.clone());
            break;
        }
    }
    if config.requires_keys() && !known {
        return Err(ServeError::KeyNeeded { address: config.address });
    }
    Ok(keeper)
}

#[cfg(test)]
mod tests;
