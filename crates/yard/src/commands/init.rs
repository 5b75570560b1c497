//! `yard init` and `yard schema`.

use std::path::Path;

use base::files::write_atomically;
use serde_json::json;

use crate::output::{Error, Output, boxed};
use crate::pipeline::Usage;

pub fn init(output: Output, data: &Path, out: &Path, force: bool) -> Result<(), Error> {
    if out.exists() && !force {
        return Err(boxed(Usage::new(
            format!("failed to write {}: it is there already", out.display()),
            "Give --force to overwrite it, or --out for another file.",
        )));
    }
    let folder = out.parent().filter(|parent| !parent.as_os_str().is_empty()).unwrap_or(Path::new("."));
    let text = data::init(data, folder).map_err(boxed)?;
    write_atomically(out, text.as_bytes()).map_err(|error| boxed(store::StoreError::io("write", out)(error)))?;
    output.aside(&format!("wrote {}: read it, then run `yard plan` and `yard run`", out.display()));
    output.result("init", &json!({ "wrote": out }));
    Ok(())
}

pub fn schema(output: Output) -> Result<(), Error> {
    let schema = base::project::schema();
    output.document("schema", &format!("{schema:#}\n"), schema);
    Ok(())
}
