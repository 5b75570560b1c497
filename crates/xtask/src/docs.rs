//! The generated pages: the reference of `yard.toml` and its JSON Schema, both from `base`'s types.

use std::path::PathBuf;

use crate::steps::{self, Outcome};

fn pages() -> Result<Vec<(PathBuf, String)>, String> {
    let folder = steps::root().join("docs");
    let schema = serde_json::to_string_pretty(base::project::schema()).map_err(|error| error.to_string())?;
    Ok(vec![
        (folder.join("yard.toml.md"), base::project::reference_page()),
        (folder.join("yard.schema.json"), format!("{schema}\n")),
    ])
}

pub fn write() -> Outcome {
    for (path, text) in pages()? {
        std::fs::write(&path, text).map_err(|error| format!("{}: {error}", path.display()))?;
        println!("wrote {}", path.strip_prefix(steps::root()).unwrap_or(&path).display());
    }
    Ok(())
}

pub fn check() -> Outcome {
    for (path, text) in pages()? {
        if std::fs::read_to_string(&path).unwrap_or_default() != text {
            return Err(format!("{} is not what the types say; run `cargo xtask docs`", path.display()));
        }
    }
    Ok(())
}
