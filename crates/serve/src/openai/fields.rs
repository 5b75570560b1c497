//! The fields of a JSON request, taken out one by one; what is left over is an error.

use serde::de::DeserializeOwned;
use serde_json::{Map, Value as Json};

use crate::cells::commas;
use crate::refusal::Refusal;

/// More values than any sensible request has, so that a body does not unfold into far more memory.
const COMMAS_MAX: usize = 200_000;

/// What is left of a request's fields.
#[derive(Debug)]
pub(crate) struct Fields {
    map: Map<String, Json>,
    /// Every name that was asked for, for the test that holds the reader to its description.
    #[cfg(test)]
    pub(crate) asked: Vec<&'static str>,
}

impl Fields {
    /// Reads a body. `what` names the request in errors.
    pub(crate) fn read(body: &[u8], what: &str) -> Result<Self, Refusal> {
        if commas(body) > COMMAS_MAX {
            return Err(Refusal::bad("the request has too many values"));
        }
        let map = serde_json::from_slice(body)
            .map_err(|error| Refusal::bad(format!("the body is not a {what} request: {error}")))?;
        Ok(Self::of(map))
    }

    /// Fields that were read already.
    pub(crate) fn of(map: Map<String, Json>) -> Self {
        Self {
            map,
            #[cfg(test)]
            asked: Vec::new(),
        }
    }

    /// Takes a field; one that is null is one that is not there.
    pub(crate) fn take<T: DeserializeOwned>(&mut self, name: &'static str) -> Result<Option<T>, Refusal> {
        #[cfg(test)]
        self.asked.push(name);
        match self.map.remove(name) {
            None | Some(Json::Null) => Ok(None),
            Some(value) => serde_json::from_value(value)
                .map(Some)
                .map_err(|error| Refusal::bad_param(name, format!("{name} is not as it should be: {error}"))),
        }
    }

    /// Takes fields that change nothing here: names for the client's own bookkeeping.
    pub(crate) fn pass(&mut self, names: &[&'static str]) {
        for name in names {
            #[cfg(test)]
            self.asked.push(name);
            self.map.remove(*name);
        }
    }

    /// A number within a range.
    pub(crate) fn number(
        &mut self,
        name: &'static str,
        default: f64,
        range: std::ops::RangeInclusive<f64>,
    ) -> Result<f32, Refusal> {
        let value = self.take(name)?.unwrap_or(default);
        if range.contains(&value) {
            return Ok(value as f32);
        }
        let low = if *range.start() == f64::MIN_POSITIVE {
            "above 0".to_owned()
        } else {
            format!("at least {}", range.start())
        };
        Err(Refusal::bad_param(name, format!("{name} is {value}; it must be {low} and at most {}", range.end())))
    }

    /// A whole number within a range.
    pub(crate) fn count(
        &mut self,
        name: &'static str,
        range: std::ops::RangeInclusive<u64>,
    ) -> Result<Option<usize>, Refusal> {
        match self.take::<u64>(name)? {
            Some(value) if !range.contains(&value) => {
                let (low, high) = (range.start(), range.end());
                Err(Refusal::bad_param(name, format!("{name} is {value}; it must be {low} to {high}")))
            }
            value => Ok(value.map(|value| value as usize)),
        }
    }

    /// A text, or an array of texts.
    pub(crate) fn texts(&mut self, name: &'static str, count_max: usize) -> Result<Option<Vec<String>>, Refusal> {
        let wrong = || Refusal::bad_param(name, format!("{name} is a text or an array of at most {count_max} texts"));
        match self.take::<Json>(name)? {
            None => Ok(None),
            Some(Json::String(text)) => Ok(Some(vec![text])),
            Some(Json::Array(items)) if items.len() <= count_max => {
                let text = |item| if let Json::String(text) = item { Ok(text) } else { Err(wrong()) };
                items.into_iter().map(text).collect::<Result<_, _>>().map(Some)
            }
            Some(_) => Err(wrong()),
        }
    }

    /// Refuses what nobody asked for.
    pub(crate) fn finish(self) -> Result<(), Refusal> {
        match self.map.keys().next() {
            None => Ok(()),
            Some(name) => {
                let name: String = name.chars().take(64).collect();
                Err(Refusal::bad(format!("the field {name:?} is not known here; leave it out")))
            }
        }
    }
}
