//! The page in a real browser: headless Chromium lays it out and paints it, in light and in dark, and finds
//! nothing to complain of. It is not on every machine, so this runs only with `YARD_TEST_FULL=1`.
#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::print_stdout,
    clippy::print_stderr,
    clippy::needless_range_loop,
    clippy::needless_pass_by_value,
    clippy::zombie_processes,
    reason = "tests"
)]

mod common;

use std::path::Path;
use std::process::{Command, Output};

use common::everything;
use report::render;
use serde_json::json;
use store::Store;

/// What keeps Chromium from looking for the network.
const QUIET: [&str; 8] = [
    "--headless",
    "--no-sandbox",
    "--disable-gpu",
    "--disable-quic",
    "--no-first-run",
    "--disable-background-networking",
    "--disable-component-update",
    "--disable-sync",
];

fn chromium(folder: &Path, arguments: &[&str]) -> Output {
    let profile = format!("--user-data-dir={}", folder.join("profile").display());
    let logging = ["--enable-logging=stderr", "--window-size=1000,4000"];
    let output = Command::new("chromium").args(QUIET).args(logging).arg(profile).args(arguments).output().unwrap();
    assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
    output
}

#[test]
fn a_browser_shows_the_page() {
    if std::env::var_os("YARD_TEST_FULL").is_none_or(|value| value != "1") {
        eprintln!("skipped: needs YARD_TEST_FULL=1 and chromium");
        return;
    }
    let folder = tempfile::tempdir().unwrap();
    let store = Store::open(folder.path()).unwrap();
    let [_, _, compress, _] = everything(&store, 12);
    store.register("banking", compress.digest, &json!({}), "test").unwrap();
    let path = folder.path().join("page.html");
    std::fs::write(&path, render(&store, compress.digest).unwrap()).unwrap();
    let url = format!("file://{}", path.display());

    let shown = chromium(folder.path(), &["--dump-dom", &url]);
    let (document, log) = (String::from_utf8_lossy(&shown.stdout), String::from_utf8_lossy(&shown.stderr));
    assert!(document.contains("banking@1") && document.contains("</svg>"), "{document}");
    // The page's own complaints; Chromium's about the machine go by other names.
    let complaint = log.lines().find(|line| line.contains("CONSOLE"));
    assert_eq!(complaint, None);
    let mut pictures = Vec::new();
    for scheme in ["--blink-settings=preferredColorScheme=1", "--blink-settings=preferredColorScheme=0"] {
        let picture = folder.path().join("page.png");
        chromium(folder.path(), &[scheme, &format!("--screenshot={}", picture.display()), &url]);
        pictures.push(std::fs::read(picture).unwrap());
    }
    // A page that was not painted is one colour and packs into a few kilobytes.
    assert!(pictures.iter().all(|picture| picture.starts_with(b"\x89PNG") && picture.len() > 50_000));
    assert_ne!(pictures[0], pictures[1], "light and dark look the same");
}
