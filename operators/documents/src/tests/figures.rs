//! How fast it is; printed, not judged.

use std::time::Instant;

use super::extract;
use super::tokenizers::Wordish;
use crate::{ChunkOptions, chunk};

const BYTES: usize = 8 << 20;

fn measure(what: &str, bytes: usize, act: impl FnOnce()) {
    let start = Instant::now();
    act();
    let seconds = start.elapsed().as_secs_f64();
    println!("{what}: {:.1} MB/s ({seconds:.2} s)", bytes as f64 / 1e6 / seconds);
}

#[test]
#[ignore = "prints figures"]
fn figures() {
    let paragraph =
        "The mass of the Higgs boson (cfr. Fig. 3) is 125.3 GeV, as Rossi et al. found; perché no? ".repeat(8);
    let text = format!("{paragraph}\n\n").repeat(BYTES / paragraph.len());
    let page = format!(
        "<html><h2>A heading</h2>{}",
        format!("<p>{paragraph}</p>\n<ul><li>a<li>b</ul>").repeat(BYTES / paragraph.len())
    );
    let notes = format!("## A heading\n\n{paragraph}\n\n- *a*\n- [b](c)\n\n").repeat(BYTES / paragraph.len());
    let (latin, _, _) = encoding_rs::WINDOWS_1252.encode(&text);
    for (what, bytes, name) in [
        ("text", text.as_bytes(), "a.txt"),
        ("windows-1252", &*latin, "a.txt"),
        ("HTML", page.as_bytes(), "a.html"),
        ("Markdown", notes.as_bytes(), "a.md"),
    ] {
        measure(what, bytes.len(), || drop(extract(bytes, name).expect(what)));
    }
    let document = extract(text.as_bytes(), "a.txt").expect("text");
    measure("the tokenizer alone", text.len(), || {
        drop(crate::Tokens::spans(&Wordish, &document.text).expect("tokens"))
    });
    measure("chunk", text.len(), || drop(chunk(&document, &Wordish, &ChunkOptions::default()).expect("chunks")));
    for (what, odd, name) in [
        ("open brackets", "[".repeat(1 << 20), "a.md"),
        ("quotes", "> ".repeat(1 << 16), "a.md"),
        ("emphasis", "*a **b ".repeat(1 << 17), "a.md"),
        ("items", "- ".repeat(1 << 16), "a.md"),
        ("open tags", "<b <".repeat(1 << 20), "a.html"),
        ("cells", "<td>".repeat(1 << 20) + "x", "a.html"),
    ] {
        measure(what, odd.len(), || drop(extract(odd.as_bytes(), name)));
    }
}

#[test]
#[ignore = "prints what it finds in the files that LUNAPARK_FILES names, one a line"]
fn found_in_files() {
    let files = std::env::var("LUNAPARK_FILES").expect("LUNAPARK_FILES");
    for name in files.lines() {
        let bytes = std::fs::read(name).expect(name);
        let source = crate::Source { bytes: &bytes, content_type: None, name: Some(name) };
        let reader = super::pdfs::reader("tests::pdfs::child");
        measure(name, bytes.len(), || match crate::extract(&source, &crate::Limits::default(), &reader) {
            Ok(document) => {
                println!("{:?}, {} sections", document.title, document.sections.len());
                println!("{}", &document.text[..document.text.floor_char_boundary(1500)]);
            }
            Err(error) => println!("{}: {error}", error.reason()),
        });
    }
}
