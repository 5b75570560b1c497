use super::*;

#[test]
fn the_main_part_is_kept_and_what_surrounds_it_is_not() {
    let page = r#"<!DOCTYPE html><html lang=de><head><title>The title</title>
      <meta property="article:published_time" content="2024-05-01"><meta name=author content="A. Writer"></head>
      <body><nav><a href=/>Home</a> <a href=/x>Elsewhere</a></nav>
      <div class="sidebar"><p>Subscribe to our letter, it is free of charge.</p></div>
      <main><h1>Head</h1><p>First &amp; foremost, a <b>bold</b> word.<p>Second paragraph
      over two lines.<ul><li>one<li>two</ul><pre>a
  b</pre><script>var x = "<p>no</p>";</script></main>
      <footer>Copyright nobody</footer></body></html>"#;
    let document = html_document(page, true);
    let text = "Head\n\nFirst & foremost, a bold word.\n\nSecond paragraph over two lines.\n\n- one\n- two\n\na\n  b";
    assert_eq!(document.text, text);
    assert_eq!(document.get("title"), Some("The title"));
    assert_eq!(document.get("language"), Some("de"));
    assert_eq!(document.get("date"), Some("2024-05-01"));
    assert_eq!(document.get("author"), Some("A. Writer"));
    let all = html_document(page, false).text;
    assert!(all.contains("Home") && all.contains("Copyright") && !all.contains("var x"));
}

#[test]
fn tables_nest_and_tags_that_never_close_do_no_harm() {
    let page = "<body><table><tr><td>a<td>b<table><tr><td>in</table><tr><td>c</table>after<b>bold<i>both</b>still";
    let text = html_document(page, false).text;
    let words: Vec<&str> = text.split_whitespace().collect();
    assert_eq!(words, ["a", "b", "in", "c", "afterboldbothstill"]);
    let deep = "<div>".repeat(100_000) + "bottom";
    assert_eq!(html_document(&deep, true).text, "bottom");
}

#[test]
fn a_declared_character_set_is_found() {
    for (page, expected) in [
        (&b"<meta charset=gbk>"[..], Some("GBK")),
        (b"<META HTTP-EQUIV='Content-Type' CONTENT='text/html; charset=windows-1251'>", Some("windows-1251")),
        (b"<?xml version='1.0' encoding=\"Shift_JIS\"?><html>", Some("Shift_JIS")),
        (b"<p>charset", None),
    ] {
        assert_eq!(declared_in(page).map(Encoding::name), expected);
    }
}
