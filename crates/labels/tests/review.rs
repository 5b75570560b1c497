//! The review page, as text and in a browser.
#![allow(clippy::unwrap_used, clippy::print_stdout)]

use std::path::{Path, PathBuf};
use std::process::Command;

use base::Digest;
use labels::{Language, Review, ReviewIssue, Suggestion, read_corrections, review_page};

fn review(language: Language) -> Review {
    let texts = [
        ("I still have not got my new card, where is it?", "exchange_rate", "card_arrival"),
        ("</script><script>document.title='owned'</script> & <!-- <b>\"quotes\"</b>", "a<b", "top_up_failed"),
        ("我的银行卡丢了，怎么办？\n请尽快帮我冻结。", "换汇", "挂失"),
    ];
    let issue = |(row, (text, given, suggested)): (usize, &(&str, &str, &str))| ReviewIssue {
        key: Digest::of(text.as_bytes()),
        row: row.to_string(),
        text: (*text).to_owned(),
        given: Suggestion { label: (*given).to_owned(), probability: 0.013 },
        suggested: Suggestion { label: (*suggested).to_owned(), probability: 0.951 },
    };
    Review {
        title: "banking77 <train>".to_owned(),
        method: "Confident learning over 5-fold cross-validated probabilities".to_owned(),
        issues: texts.iter().enumerate().map(issue).collect(),
        labels: ["a<b", "card_arrival", "exchange_rate", "top_up_failed", "挂失", "换汇"].map(str::to_owned).to_vec(),
        language,
    }
}

#[test]
fn the_page_loads_nothing_and_holds_no_markup_of_the_rows() {
    let page = review_page(&review(Language::English));
    assert_eq!(page.matches("<script").count(), 2);
    assert_eq!(page.matches("</script").count(), 2);
    assert!(!page.contains("<b>") && page.contains("\\u003cb>"));
    assert!(page.contains("banking77 &lt;train&gt;"));
    for word in ["http://", "https://", "src=", "@import", "url("] {
        assert!(!page.contains(word), "{word}");
    }
    assert!(page.contains("default-src 'none'"));
    assert!(review_page(&review(Language::Chinese)).contains("<html lang=\"zh-Hans\">"));
}

/// Runs the page in Chromium, `script` added to it, and gives the document that results.
fn in_chromium(page: &str, script: &str, folder: &Path) -> String {
    let file = folder.join("review.html");
    std::fs::write(&file, page.replace("</body>", &format!("<script>{script}</script></body>"))).unwrap();
    let output = Command::new("chromium")
        .args(["--headless", "--no-sandbox", "--disable-gpu", "--dump-dom", "--virtual-time-budget=2000"])
        .arg(format!("--user-data-dir={}", folder.join("profile").display()))
        .arg(format!("file://{}", file.display()))
        .output()
        .unwrap();
    String::from_utf8(output.stdout).unwrap()
}

#[test]
fn by_keyboard_in_a_browser() {
    if std::env::var("YARD_TEST_FULL").is_err() {
        println!("skipped: runs a browser under YARD_TEST_FULL=1");
        return;
    }
    let folder: PathBuf = tempfile::tempdir().unwrap().keep();
    let script = r##"
      let text = "";
      const press = (key) => document.body.dispatchEvent(new KeyboardEvent("keydown", { key, bubbles: true }));
      URL.createObjectURL = (blob) => { blob.text().then((t) => {
        const pre = document.createElement("pre"); pre.id = "file"; pre.textContent = btoa(unescape(encodeURIComponent(t)));
        document.body.append(pre); }); return "blob:none"; };
      const name = document.querySelector(".bar input"); name.value = "林 Lin"; name.dispatchEvent(new Event("input"));
      press("2"); press("1");
      const select = document.querySelector("#card2 select"); select.value = "card_arrival"; select.dispatchEvent(new Event("change"));
      press("d");
    "##;
    let page = review(Language::English);
    let dom = in_chromium(&review_page(&page), script, &folder);
    assert!(dom.contains("3 of 3 decided"), "{dom}");
    assert!(dom.contains("<title>banking77 &lt;train&gt; – Labels to review</title>"));
    let encoded = dom.split("<pre id=\"file\">").nth(1).unwrap().split('<').next().unwrap();
    let decoded = Command::new("base64")
        .arg("-d")
        .stdin(std::process::Stdio::piped())
        .stdout(std::process::Stdio::piped())
        .spawn();
    let mut child = decoded.unwrap();
    std::io::Write::write_all(&mut child.stdin.take().unwrap(), encoded.as_bytes()).unwrap();
    let file = String::from_utf8(child.wait_with_output().unwrap().stdout).unwrap();
    let corrections = read_corrections(&file).unwrap();
    let to: Vec<&str> = corrections.iter().map(|correction| correction.to.as_str()).collect();
    assert_eq!(to, ["card_arrival", "a<b", "card_arrival"]);
    assert!(corrections.iter().all(|correction| correction.who == "林 Lin"));
    assert_eq!(corrections[2].key, page.issues[2].key);
    std::fs::remove_dir_all(folder).unwrap();
}
