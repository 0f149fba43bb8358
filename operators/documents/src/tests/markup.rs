//! HTML and Markdown made readable.

use super::extract;
use crate::Extracted;

fn headings(document: &Extracted) -> Vec<(u8, &str)> {
    document.sections.iter().map(|section| (section.level, section.heading.as_deref().unwrap_or_default())).collect()
}

/// Each section begins with its own heading.
#[track_caller]
fn assert_places(document: &Extracted) {
    for section in &document.sections {
        let heading = section.heading.as_deref().expect("a heading");
        assert!(document.text[section.start..].starts_with(heading), "{section:?}");
        assert_eq!(document.place(section.start).heading, Some(heading));
    }
}

#[test]
fn a_page_becomes_its_readable_text() {
    let page = "<!DOCTYPE html><html><head><title>The  Higgs &amp;\n co</title><style>p { color: red }</style>\
        <script>if (a < b) { document.write('<p>never</p>') }</script></head><body>\
        <nav><ul><li>Home<li>About</ul></nav>\
        <h1>Mass of the <i>Higgs</i></h1><p>It is 125&nbsp;GeV,<br>says&#32;CMS.\n  And ATLAS.</p>\
        <p>E = mc<sup>2</sup>, H<sub>2</sub>O <img src=x alt=\"a plot\"></p>\
        <ul><li>one</li><li><p>two</p></li></ul>\
        <h2>Data</h2><table><tr><th>run</th><th>L</th></tr><tr><td></td><td><p>3</p></td></tr></table>\
        <svg/><p>after</p><pre>\nfor x:\n    y &lt; z\n</pre>end<noscript>no</noscript></body></html>";
    let document = extract(page.as_bytes(), "page.html").expect("a page");
    assert_eq!(document.title.as_deref(), Some("The Higgs & co"));
    assert_eq!(headings(&document), [(1, "Mass of the Higgs"), (2, "Data")]);
    assert_places(&document);
    let expected = "Mass of the Higgs\n\nIt is 125\u{a0}GeV,\nsays CMS. And ATLAS.\n\nE = mc^2, H2O a plot\n\n- one\n- two\n\n\
        Data\n\nrun | L\n| 3\n\nafter\n\nfor x:\n    y < z\n\nend";
    assert_eq!(document.text, expected);
}

#[test]
fn a_page_without_a_title_takes_its_first_chapter() {
    let document = extract(b"<html><h3>Small</h3><h1>Big <b>one</b></h1>text", "a.html").expect("a page");
    assert_eq!(document.title.as_deref(), Some("Big one"));
}

#[test]
fn a_menu_that_never_ends_does_not_take_the_page_with_it() {
    let document = extract(b"<html><nav><a>Home</a><h1>Title</h1><p>The text.", "a.html").expect("a page");
    assert_eq!(document.text, "Home\n\nTitle\n\nThe text.");
    let document = extract(b"<html><nav>a<nav>b</nav>c</nav><p>text<script>x", "a.html").expect("a page");
    assert_eq!(document.text, "text");
}

#[test]
fn the_charset_of_a_page_is_its_own() {
    let page = b"<html><meta charset=\"iso-8859-15\"><p>\xa4 5</p>";
    let document = extract(page, "a.html").expect("a page");
    assert_eq!((document.text.as_str(), document.encoding), ("€ 5", "ISO-8859-15"));
}

#[test]
fn a_page_that_nests_a_million_deep_costs_nothing() {
    for open in ["<div>", "<b>", "<table><tr><td>", "<ul><li>", "<nav>", "<h1>", "<pre>"] {
        let page = format!("<html>{}deep", open.repeat(1_000_000 / open.len()));
        assert!(extract(page.as_bytes(), "a.html").expect(open).text.ends_with("deep"), "{open}");
    }
}

#[test]
fn markdown_becomes_its_readable_text() {
    let text = "---\ntitle: \"Notes: on **tracking**\"\ntags: [a, b]\n---\n\
        # Tracks\r\n\r\nSee [the *paper*](https://example.org/a) and ![a plot](p.png).\nSame `x < y` paragraph, \
        $a_1 * b_1 * c$.\n\n\
        Setext\n------\n\n- one\n- two\n  1. first\n  2. second\n\n- [x] done\n\n\
        ```python\nfor x in y:\n    print(x)\n```\n\n\
        | a | b |\n|---|---|\n| 1 | `2` |\n|   | 4 |\n\n> quoted[^n]\n\n\
        <div><script>alert(1)</script><p>In HTML</p></div>\n\n[^n]: A note.\n";
    let document = extract(text.as_bytes(), "notes.md").expect("Markdown");
    assert_eq!(document.title.as_deref(), Some("Notes: on **tracking**"));
    assert_eq!(headings(&document), [(1, "Tracks"), (2, "Setext")]);
    assert_places(&document);
    for part in [
        "Tracks\n\nSee the paper and a plot. Same x < y paragraph, $a_1 * b_1 * c$.\n\nSetext\n\n",
        "- one\n\n- two\n\n1. first\n2. second\n- [x] done\n\n",
        "[x] done",
        "\n\nfor x in y:\n    print(x)\n\n",
        "\n\na | b\n1 | 2\n| 4\n\n",
        "quoted[n]",
        "\n\nIn HTML\n\n",
        "[n] A note.",
    ] {
        assert!(document.text.contains(part), "{part:?} is not in {:?}", document.text);
    }
    assert!(!document.text.contains("alert") && !document.text.contains("example.org"), "{}", document.text);
}

#[test]
fn markdown_without_front_matter_takes_its_first_chapter() {
    let document = extract(b"intro\n\n## Sub\n\n# The *title*\n", "a.md").expect("Markdown");
    assert_eq!(document.title.as_deref(), Some("The title"));
}

#[test]
fn markdown_that_nests_deep_is_read_in_time() {
    for open in ["> ", "- ", "[", "**", "*a_", "` a", "<b>", "![", "1. "] {
        let text = format!("{}deep", open.repeat(20_000 / open.len()));
        assert!(extract(text.as_bytes(), "a.md").expect(open).text.ends_with("deep"), "{open}");
    }
}
