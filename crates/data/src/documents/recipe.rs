//! The recipe of a project: one that is built in, or one in a file.

use std::path::Path;

use signals::{LanguageRule, Recipe, Rule};

use crate::error::DataError;

/// The largest recipe that is read.
const BYTES_MAX: u64 = 1 << 20;

/// Finds a recipe by its name, or reads it from a file.
pub(super) fn find(name: &str, folder: &Path, languages: Option<&[String]>) -> Result<Recipe, DataError> {
    let mut recipe = match Recipe::named(name) {
        Some(recipe) => recipe,
        None => read(name, folder)?,
    };
    match languages {
        None => {}
        Some([]) => recipe.rules.retain(|rule| !matches!(rule, Rule::Language(_))),
        Some(languages) => {
            for rule in &mut recipe.rules {
                if let Rule::Language(rule) = rule {
                    rule.languages = languages.to_vec();
                }
            }
            if !recipe.rules.iter().any(|rule| matches!(rule, Rule::Language(_))) {
                let rule = LanguageRule { languages: languages.to_vec(), ..LanguageRule::default() };
                recipe.rules.insert(0, Rule::Language(rule));
            }
        }
    }
    Ok(recipe)
}

fn read(name: &str, folder: &Path) -> Result<Recipe, DataError> {
    let path = folder.join(name);
    let size = std::fs::metadata(&path).map_err(DataError::io("open", &path))?.len();
    if size > BYTES_MAX {
        return Err(DataError::file(&path, "it is larger than a recipe can be", "Name a file of rules."));
    }
    let text = std::fs::read_to_string(&path).map_err(DataError::io("read", &path))?;
    toml::from_str(&text).map_err(|error| {
        let line = error.span().map_or(1, |span| text[..span.start.min(text.len())].lines().count().max(1) as u64);
        DataError::line(&path, line, error.message().to_owned(), "docs/data.md says how a recipe is written.")
    })
}
