//! Other people's clients against ours: OpenAI's own, Triton's own on an encoder, and schemathesis, which reads our
//! OpenAPI document and asks whatever it allows. They are Python's, so this runs only with `YARD_TEST_FULL=1`.

use std::path::{Path, PathBuf};
use std::process::Command;
use std::sync::{Arc, Mutex, PoisonError};

use serve::{FolderSource, Running, Source};

use crate::chat::model;
use crate::config;

/// Whether the Python clients are wanted.
fn wanted() -> bool {
    let wanted = std::env::var_os("YARD_TEST_FULL").is_some_and(|value| value == "1");
    if !wanted {
        eprintln!("skipped: needs YARD_TEST_FULL=1 and Python");
    }
    wanted
}

/// A Python that has some packages, in a virtual environment under the user's cache.
pub fn python(name: &str, packages: &[&str], probe: &str) -> PathBuf {
    // Tests run beside each other, and share environments.
    static ONE: Mutex<()> = Mutex::new(());
    let _one = ONE.lock().unwrap_or_else(PoisonError::into_inner);
    let variable = |name: &str| std::env::var_os(name).filter(|value| !value.is_empty()).map(PathBuf::from);
    let cache = variable("XDG_CACHE_HOME").or_else(|| Some(variable("HOME")?.join(".cache"))).unwrap();
    let folder = cache.join("modelyard").join(name);
    let python = folder.join("bin/python");
    let has = Command::new(&python).args(["-c", probe]).output().is_ok_and(|output| output.status.success());
    if !has {
        let run = |command: &mut Command| assert!(command.status().unwrap().success(), "{command:?}");
        run(Command::new("python3").args(["-m", "venv"]).arg(&folder));
        run(Command::new(&python).args(["-m", "pip", "install", "-q"]).args(packages));
    }
    python
}

fn encoder() -> PathBuf {
    PathBuf::from(concat!(env!("CARGO_MANIFEST_DIR"), "/../infer/tests/golden/encoders/bert"))
}

fn serve() -> (tempfile::TempDir, Running) {
    let folder = model();
    let sources: Vec<Arc<dyn Source>> = vec![
        Arc::new(FolderSource::new(folder.path(), 1).named("chat".to_owned())),
        Arc::new(FolderSource::new(&encoder(), 1).named("encoder".to_owned())),
    ];
    (folder, serve::start(config(), sources).unwrap())
}

fn run(command: &mut Command) -> String {
    let output = command.output().unwrap();
    let text = format!("{}{}", String::from_utf8_lossy(&output.stdout), String::from_utf8_lossy(&output.stderr));
    assert!(output.status.success(), "{command:?}:\n{text}");
    text
}

fn script(name: &str) -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("tests").join(name)
}

#[test]
fn openais_own_client_agrees() {
    if !wanted() {
        return;
    }
    let (_folder, server) = serve();
    let python = python("openai", &["openai==3.57.0"], "import openai");
    let address = server.ready().address.to_string();
    let text = run(Command::new(python).arg(script("openai_client.py")).args([&address, "chat", "encoder"]));
    assert!(text.contains("the client agrees"), "{text}");
}

#[test]
fn tritons_own_client_embeds() {
    if !wanted() {
        return;
    }
    let (_folder, server) = serve();
    let python = python("triton", &["tritonclient[http,grpc]"], "import tritonclient.grpc, tritonclient.http");
    let address = server.ready().address.to_string();
    let text = run(Command::new(python).arg(script("triton_embeddings.py")).args([&address, "encoder"]));
    assert!(text.contains("tritonclient agrees"), "{text}");
}

#[test]
fn whatever_the_document_allows_is_answered_as_it_says() {
    if !wanted() {
        return;
    }
    let (folder, server) = serve();
    let python = python("schemathesis", &["schemathesis==4.32.5"], "import schemathesis");
    let program = python.with_file_name("schemathesis");
    let address = format!("http://{}/openapi.json", server.ready().address);
    // What a model's context or a grammar refuses cannot be said in a schema, so allowed requests may be refused; none
    // may end in a fault, and every answer has a status and a body that the document knows.
    let checks = "not_a_server_error,status_code_conformance,content_type_conformance,response_schema_conformance";
    let mut command = Command::new(program);
    command.args(["run", &address, "--checks", checks, "--max-examples", "40", "--seed", "7", "--no-color"]);
    command.args(["--phases", "examples,coverage,fuzzing", "--request-timeout", "60"]);
    // It keeps what it found where it runs.
    command.current_dir(folder.path());
    run(&mut command);
}
