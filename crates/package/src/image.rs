//! The OCI image: the program's layer, the model's layer, and the JSON documents around them, as one
//! tar file in the OCI image layout (image-spec 1.1).
//!
//! It does not know how layers are packed (`layer.rs`) or what the model is.

use std::fs::File;
use std::io::{BufWriter, Write};
use std::path::Path;

use base::Digest;
use serde_json::{Map, Value as Json, json};
use store::Artifact;

use crate::error::PackageError;
use crate::layer::{Contents, Layer, Source, header};
use crate::libraries::Program;

/// The user that the image's program runs as.
pub const USER: u32 = 65532;
/// Where the program stands in the image.
pub const PROGRAM: &str = "/usr/bin/yard";
/// Where the model stands in the image.
pub const MODEL: &str = "/model";
/// Every date in the image: the same inputs must give the same bytes.
const CREATED: &str = "1970-01-01T00:00:00Z";
const INDEX_TYPE: &str = "application/vnd.oci.image.index.v1+json";
const MANIFEST_TYPE: &str = "application/vnd.oci.image.manifest.v1+json";
const CONFIG_TYPE: &str = "application/vnd.oci.image.config.v1+json";
const LAYER_TYPE: &str = "application/vnd.oci.image.layer.v1.tar+gzip";

/// What the image says of itself.
#[derive(Debug, Clone)]
pub struct Labels {
    /// The name that `podman load` gives it, such as `banking:latest`.
    pub tag: String,
    /// The model's name.
    pub title: String,
    /// The model's version, such as `banking@3`, or `unregistered`.
    pub version: String,
    /// The model artifact.
    pub revision: Digest,
    /// The port that the server listens on.
    pub port: u16,
}

/// A finished image.
#[derive(Debug, Clone)]
pub struct Image {
    /// The digest of the manifest: what registries call the image's digest.
    pub manifest: Digest,
    /// The digest of the configuration: what `podman images` calls the image's id.
    pub config: Digest,
    /// The size of the tar file.
    pub size_bytes: u64,
}

/// The layer with the program, its libraries, a user and a folder for temporary files.
pub(crate) fn program_contents(binary: &Source, libraries: &[Source]) -> Result<Contents, PackageError> {
    let mut contents = Contents::default();
    contents.file(PROGRAM, binary, 0o755)?;
    for library in libraries {
        contents.file(&library.path.to_string_lossy(), library, 0o755)?;
    }
    let passwd = format!("root:x:0:0:root:/:/sbin/nologin\nyard:x:{USER}:{USER}:yard:/tmp:/sbin/nologin\n");
    contents.bytes("etc/passwd", passwd.as_bytes())?;
    contents.bytes("etc/group", format!("root:x:0:\nyard:x:{USER}:\n").as_bytes())?;
    contents.folder("tmp", 0o1777)?;
    Ok(contents)
}

/// The layer with the model's files, its manifest among them.
pub(crate) fn model_contents(model: &Artifact) -> Result<Contents, PackageError> {
    let mut contents = Contents::default();
    contents.folder(MODEL, 0o755)?;
    for file in &model.files {
        let source = Source { path: model.path(&file.path), sha256: file.sha256, size_bytes: file.size_bytes };
        contents.file(&format!("{MODEL}/{}", file.path), &source, 0o644)?;
    }
    let manifest = Source::of(&model.path("manifest.json"))?;
    contents.file(&format!("{MODEL}/manifest.json"), &manifest, 0o644)?;
    Ok(contents)
}

/// Writes the image: the layout's marker, the index, and every blob under its digest.
pub(crate) fn write(path: &Path, labels: &Labels, program: &Program, layers: &[Layer]) -> Result<Image, PackageError> {
    let config = document(&config(labels, program, layers));
    let descriptors: Vec<Json> =
        layers.iter().map(|layer| descriptor(LAYER_TYPE, layer.digest, layer.size_bytes)).collect();
    let manifest = document(&json!({
        "schemaVersion": 2,
        "mediaType": MANIFEST_TYPE,
        "config": descriptor(CONFIG_TYPE, Digest::of(&config), config.len() as u64),
        "layers": descriptors,
        "annotations": annotations(labels),
    }));
    let mut entry = descriptor(MANIFEST_TYPE, Digest::of(&manifest), manifest.len() as u64);
    entry["platform"] = json!({ "architecture": program.architecture, "os": "linux" });
    entry["annotations"] = json!({ "org.opencontainers.image.ref.name": labels.tag });
    let index = document(&json!({ "schemaVersion": 2, "mediaType": INDEX_TYPE, "manifests": [entry] }));

    let io = PackageError::io;
    let file = File::create(path).map_err(io("make", path))?;
    let mut tar = tar::Builder::new(BufWriter::with_capacity(1 << 18, file));
    add_bytes(&mut tar, "oci-layout", br#"{"imageLayoutVersion":"1.0.0"}"#).map_err(io("write", path))?;
    add_bytes(&mut tar, "index.json", &index).map_err(io("write", path))?;
    for folder in ["blobs/", "blobs/sha256/"] {
        let mut header = header(tar::EntryType::Directory, 0o755, 0);
        tar.append_data(&mut header, folder, std::io::empty()).map_err(io("write", path))?;
    }
    for document in [&config, &manifest] {
        add_bytes(&mut tar, &blob(Digest::of(document)), document).map_err(io("write", path))?;
    }
    for layer in layers {
        let file = File::open(&layer.path).map_err(io("open", &layer.path))?;
        let mut header = header(tar::EntryType::Regular, 0o644, layer.size_bytes);
        tar.append_data(&mut header, blob(layer.digest), file).map_err(io("write", path))?;
    }
    let mut file = tar.into_inner().map_err(io("write", path))?;
    file.flush().map_err(io("write", path))?;
    let size_bytes = std::fs::metadata(path).map_err(io("read", path))?.len();
    Ok(Image { manifest: Digest::of(&manifest), config: Digest::of(&config), size_bytes })
}

/// The image's configuration: what runs, as whom, on what.
fn config(labels: &Labels, program: &Program, layers: &[Layer]) -> Json {
    let folders: Vec<String> = program.library_folders().iter().map(|folder| folder.display().to_string()).collect();
    let mut environment = vec!["PATH=/usr/bin".to_owned(), "HOME=/tmp".to_owned()];
    if !folders.is_empty() {
        // The image has no ld.so.cache, and a loader knows only some of the folders by itself.
        environment.push(format!("LD_LIBRARY_PATH={}", folders.join(":")));
    }
    let mut ports = Map::new();
    ports.insert(format!("{}/tcp", labels.port), json!({}));
    json!({
        "created": CREATED,
        "architecture": program.architecture,
        "os": "linux",
        "config": {
            "User": format!("{USER}:{USER}"),
            "ExposedPorts": ports,
            "Env": environment,
            "Entrypoint": [PROGRAM],
            "Cmd": ["serve", "--model", MODEL, "--address", format!("0.0.0.0:{}", labels.port)],
            "WorkingDir": "/",
            "Labels": annotations(labels),
        },
        "rootfs": {
            "type": "layers",
            "diff_ids": layers.iter().map(|layer| format!("sha256:{}", layer.diff_id)).collect::<Vec<_>>(),
        },
        "history": [
            { "created": CREATED, "created_by": "yard package: the program and its libraries" },
            { "created": CREATED, "created_by": "yard package: the model" },
        ],
    })
}

fn annotations(labels: &Labels) -> Json {
    json!({
        "org.opencontainers.image.title": labels.title,
        "org.opencontainers.image.version": labels.version,
        "org.opencontainers.image.revision": labels.revision,
        "org.opencontainers.image.created": CREATED,
    })
}

fn descriptor(media_type: &str, digest: Digest, size_bytes: u64) -> Json {
    json!({ "mediaType": media_type, "digest": format!("sha256:{digest}"), "size": size_bytes })
}

fn document(json: &Json) -> Vec<u8> {
    json.to_string().into_bytes()
}

fn blob(digest: Digest) -> String {
    format!("blobs/sha256/{digest}")
}

fn add_bytes<W: Write>(tar: &mut tar::Builder<W>, path: &str, bytes: &[u8]) -> std::io::Result<()> {
    tar.append_data(&mut header(tar::EntryType::Regular, 0o644, bytes.len() as u64), path, bytes)
}
