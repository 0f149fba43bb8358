//! PDFs, in this process and in another.

use std::path::PathBuf;
use std::process::ExitCode;
use std::time::Duration;

use crate::pdf::{ChildReader, child_main, read_here};
use crate::{ExtractError, Kind, Limits, PdfReader, Source};

/// A PDF of these objects, the first of which is its catalog; with a table of where they are.
pub(super) fn pdf(objects: &[impl AsRef<[u8]>], trailer: &str) -> Vec<u8> {
    let (mut file, mut places) = (b"%PDF-1.4\n".to_vec(), String::from("0000000000 65535 f \n"));
    for (object, number) in objects.iter().zip(1..) {
        places += &format!("{:010} 00000 n \n", file.len());
        file.extend([format!("{number} 0 obj\n").as_bytes(), object.as_ref(), b"\nendobj\n"].concat());
    }
    let (start, count) = (file.len(), objects.len() + 1);
    file.extend(format!("xref\n0 {count}\n{places}trailer\n<< /Size {count} /Root 1 0 R {trailer} >>\n").bytes());
    file.extend(format!("startxref\n{start}\n%%EOF\n").bytes());
    file
}

/// The objects of a PDF with these pages; `xobject` is drawn on each.
pub(super) fn objects(pages: &[impl AsRef<str>], xobject: &str) -> Vec<String> {
    let kids: Vec<_> = (0..pages.len()).map(|index| format!("{} 0 R", 5 + 2 * index)).collect();
    let mut objects = vec![
        "<< /Type /Catalog /Pages 2 0 R >>".to_owned(),
        format!("<< /Type /Pages /Kids [{}] /Count {} >>", kids.join(" "), pages.len()),
        "<< /Type /Font /Subtype /Type1 /BaseFont /Helvetica /Encoding /WinAnsiEncoding >>".to_owned(),
        xobject.to_owned(),
    ];
    for (page, index) in pages.iter().map(AsRef::as_ref).zip(0..) {
        let resources = "<< /Font << /F1 3 0 R >> /XObject << /I 4 0 R >> >>";
        objects.push(format!(
            "<< /Type /Page /Parent 2 0 R /MediaBox [0 0 612 792] /Resources {resources} /Contents {} 0 R >>",
            6 + 2 * index
        ));
        objects.push(format!("<< /Length {} >>\nstream\n{page}\nendstream", page.len()));
    }
    objects
}

pub(super) fn words(text: &str) -> String {
    format!("BT /F1 12 Tf 72 720 Td ({text}) Tj ET")
}

const IMAGE: &str = "<< /Type /XObject /Subtype /Image /Width 1 /Height 1 /ColorSpace /DeviceGray /BitsPerComponent 8 \
    /Length 1 >>\nstream\nx\nendstream";

/// Three pages, the second of which holds only a drawing.
pub(super) fn paper() -> Vec<u8> {
    let pages = [&words("The mass of the Higgs"), "q 1 0 0 1 0 0 cm Q", &words("is 125 GeV")];
    let mut objects = objects(&pages, "null");
    objects.push("<< /Title (A short paper) >>".to_owned());
    pdf(&objects, "/Info 11 0 R")
}

/// This test binary as a reader.
pub(super) fn reader(test: &str) -> ChildReader {
    let program = std::env::current_exe().expect("this binary");
    let arguments = [test, "--exact", "--ignored", "--nocapture", "--test-threads=1"].map(str::to_owned).to_vec();
    ChildReader { program, arguments, memory: 4 << 30, time: Duration::from_secs(60) }
}

pub(super) fn with_reader(bytes: &[u8], reader: &ChildReader) -> Result<crate::Extracted, ExtractError> {
    crate::extract(&Source { bytes, content_type: None, name: None }, &Limits::default(), reader)
}

#[test]
#[ignore = "is the child process of other tests"]
fn child() {
    assert_eq!(format!("{:?}", child_main(&Limits::default(), None)), format!("{:?}", ExitCode::SUCCESS));
}

#[test]
#[ignore = "is the child process of other tests"]
fn child_with_pdfium() {
    let library = pdfium().expect("the parent found it");
    assert_eq!(format!("{:?}", child_main(&Limits::default(), Some(&library))), format!("{:?}", ExitCode::SUCCESS));
}

#[test]
#[ignore = "is the child process of other tests"]
fn child_that_loops() {
    loop {
        std::thread::park();
    }
}

#[test]
#[ignore = "is the child process of other tests"]
fn child_that_asks_for_memory() {
    let asked: Vec<u8> = Vec::with_capacity(8 << 30);
    println!("{}", std::hint::black_box(asked).capacity());
}

#[test]
#[ignore = "is the child process of other tests"]
fn child_that_dies() {
    std::io::Write::write_all(&mut std::io::stdout(), b"\nlunapark-pdf: {\"pages\":").expect("a pipe");
    panic!("an odd file");
}

/// pdfium's library: the one that is named, or that of the Python packages which `tests/run` installs.
pub(super) fn pdfium() -> Option<PathBuf> {
    if let Ok(named) = std::env::var("LUNAPARK_TEST_PDFIUM") {
        return Some(PathBuf::from(named));
    }
    let python = PathBuf::from(std::env::var("LUNAPARK_PYTHON").ok()?);
    let versions = python.parent()?.parent()?.join("lib").read_dir().ok()?;
    let library = "site-packages/pypdfium2_raw/libpdfium.so";
    versions.flatten().map(|version| version.path().join(library)).find(|path| path.is_file())
}

#[test]
fn pages_and_title_come_through_the_child() {
    a_paper_is_read(&reader("tests::pdfs::child"));
}

#[test]
fn pdfium_reads_what_the_other_reader_does_and_refuses_for_the_same_reasons() {
    if pdfium().is_none() {
        println!("SKIPPED: no libpdfium.so: tests/run installs one, or name it in LUNAPARK_TEST_PDFIUM");
        return;
    }
    let reader = reader("tests::pdfs::child_with_pdfium");
    a_paper_is_read(&reader);
    let reason = |bytes: &[u8]| with_reader(bytes, &reader).map(|_| ()).map_err(|error| error.reason());
    assert_eq!(reason(&pdf(&objects(&[&words("secret")], "null"), ENCRYPT)), Err("encrypted"));
    assert_eq!(reason(&pdf(&objects(&["/I Do"], IMAGE), "")), Err("scanned"));
    assert_eq!(reason(&pdf(&objects(&["q Q"], "null"), "")), Err("empty"));
    assert_eq!(reason(b"%PDF-1.4\nno more"), Err("broken"));
    let lines = "BT /F1 12 Tf 14 TL 72 720 Td (the manip-) Tj T* (ulation of Rossi-) Tj T* (Bianchi) Tj ET";
    let hyphens = with_reader(&pdf(&objects(&[lines], "null"), ""), &reader).expect("a page");
    assert_eq!(hyphens.text.trim(), "the manipulation of Rossi-\nBianchi");
}

#[test]
fn a_library_that_is_none_is_told_and_nothing_else_reads() {
    let missing = std::path::Path::new("/no/such/libpdfium.so");
    let told = |path: &std::path::Path| crate::pdf::Pdfium::open(path).err().expect("an error");
    assert!(told(missing).contains("no such file") && told(missing).contains("pip install"), "{}", told(missing));
    let what = told(&std::path::Path::new(env!("CARGO_MANIFEST_DIR")).join("Cargo.toml"));
    assert!(what.contains("cannot be loaded") && what.contains("pip install"), "{what}");
}

fn a_paper_is_read(reader: &ChildReader) {
    let paper = paper();
    let document = with_reader(&paper, reader).expect("a paper");
    assert_eq!((document.kind, document.title.as_deref()), (Kind::Pdf, Some("A short paper")));
    let pages: Vec<_> = document.text.split("\n\n").map(str::trim).filter(|page| !page.is_empty()).collect();
    assert_eq!(pages, ["The mass of the Higgs", "is 125 GeV"]);
    let page = |text: &str| document.place(document.text.find(text).expect("the text")).page;
    assert_eq!((page("mass"), page("125")), (Some(1), Some(3)));
    assert_eq!(document.sections.len(), 3);
}

/// Of a file that no empty password opens.
const ENCRYPT: &str = "/Encrypt << /Filter /Standard /V 2 /R 3 /Length 128 /P -4 /O <28BF4E5E4E758A4164004E56FFFA01082E2E00B6D0683E802F0CA9FE6453697A> /U <00112233445566778899AABBCCDDEEFF00112233445566778899AABBCCDDEEFF> >> /ID [<00> <00>]";

#[test]
fn each_odd_file_has_its_reason() {
    let limits = Limits::default();
    let reason = |bytes: &[u8]| read_here(bytes, &limits).map(|_| ()).map_err(|error| error.reason());
    assert_eq!(reason(&pdf(&objects(&[&words("secret")], "null"), ENCRYPT)), Err("encrypted"));
    assert_eq!(reason(&pdf(&objects(&["/I Do"], IMAGE), "")), Err("scanned"));
    assert_eq!(reason(&pdf(&objects(&["q Q"], "null"), "")), Err("empty"));
    assert_eq!(reason(&pdf(&objects(&[""; 0], "null"), "")), Err("empty"));
    assert_eq!(reason(b"%PDF-1.4\nno more"), Err("broken"));
    let few = Limits { max_pages: 2, ..limits };
    assert_eq!(read_here(&paper(), &few).unwrap_err().reason(), "too-large");
    let little = Limits { max_text_bytes: 10, ..limits };
    assert_eq!(read_here(&paper(), &little).unwrap_err().reason(), "too-large");
}

#[test]
fn a_page_that_has_no_layout_is_still_read() {
    let mut objects = objects(&[&words("One page"), &words("and another")], "null");
    objects[4] = objects[4].replace("/MediaBox [0 0 612 792]", "");
    let pages = read_here(&pdf(&objects, ""), &Limits::default()).expect("a paper").pages;
    assert_eq!(pages.iter().map(|page| page.trim()).collect::<Vec<_>>(), ["One page", "and another"]);
}

#[test]
fn a_child_that_fails_is_told_by_how_it_failed() {
    let paper = paper();
    let hasty = ChildReader { time: Duration::from_millis(200), ..reader("tests::pdfs::child_that_loops") };
    let small = ChildReader { memory: 1 << 30, ..reader("tests::pdfs::child_that_asks_for_memory") };
    let absent = ChildReader { program: "/no/such/program".into(), ..hasty.clone() };
    let absent = ChildReader { time: Duration::from_secs(60), ..absent };
    for (reader, reason, says) in [
        (hasty, "too-large", "200ms"),
        (small, "too-large", "1024 MiB"),
        (reader("tests::pdfs::child_that_dies"), "broken", "an odd file"),
        (absent, "broken", "/no/such/program"),
    ] {
        let refused = with_reader(&paper, &reader).unwrap_err();
        assert_eq!(refused.reason(), reason, "{refused}");
        assert!(refused.to_string().contains(says), "{refused}");
    }
}

#[test]
fn a_file_that_the_reader_does_not_take_to_the_end_does_not_hang() {
    let mut large = b"%PDF-1.4\n".to_vec();
    large.resize(8 << 20, b'x');
    let refused = with_reader(&large, &reader("tests::pdfs::child_that_dies")).unwrap_err();
    assert_eq!(refused.reason(), "broken");
    assert_eq!(reader("tests::pdfs::child").read(&large, &Limits::default()).unwrap_err().reason(), "broken");
}
