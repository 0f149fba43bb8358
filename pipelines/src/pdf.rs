//! Which reader of PDFs this instance uses: pdfium where its library is found and works, else the pure-Rust one.
//!
//! Both run in a child process, with the same limits.

use std::path::{Path, PathBuf};

use lunapark_documents::pdf::{ChildReader, PdfReader};
use lunapark_documents::{ExtractError, Limits};

use crate::config::Config;
use crate::knowledge::{KnowledgeError, READ_PDF, limits};

/// A page with a sentence, by which a reader is tried.
const SAMPLE: &[u8] = include_bytes!("../assets/one-page.pdf");
const SENTENCE: &str = "Lunapark reads PDF.";
/// The library's file, as PyPI's package `pypdfium2` and the builds of pdfium-binaries name it.
const LIBRARY: &str = if cfg!(target_os = "macos") { "libpdfium.dylib" } else { "libpdfium.so" };
/// The folder of the library in Python's packages.
const PACKAGE: &str = "pypdfium2_raw";

/// A reader, and the library that it uses.
pub struct Reader {
    /// The child process.
    pub child: ChildReader,
    /// `None` is the pure-Rust reader.
    pub pdfium: Option<PathBuf>,
}

/// As `documents.pdfium` says: one that is named must work, one that is found may.
pub fn reader(config: &Config) -> Result<Reader, KnowledgeError> {
    let wanted = &config.documents.pdfium;
    match wanted.as_str() {
        "off" => with(config, None),
        "auto" => {
            let works =
                |path: &PathBuf| with(config, Some(path)).is_ok_and(|reader| tried(&reader.child, config).is_ok());
            let found =
                candidates(|name| std::env::var(name).ok()).into_iter().filter(|path| path.is_file()).find(works);
            with(config, found.as_ref())
        }
        path => {
            let reader = with(config, Some(&PathBuf::from(path)))?;
            tried(&reader.child, config).map_err(|what| KnowledgeError::Pdfium { path: path.to_owned(), what })?;
            Ok(reader)
        }
    }
}

fn with(config: &Config, pdfium: Option<&PathBuf>) -> Result<Reader, KnowledgeError> {
    let program = std::env::current_exe().map_err(KnowledgeError::Program)?;
    let mut arguments = vec![READ_PDF.to_owned()];
    if let Some(path) = pdfium {
        arguments.extend(["--pdfium".to_owned(), path.to_string_lossy().into_owned()]);
    }
    let (memory, time) = (config.documents.pdf_memory, config.documents.pdf_timeout);
    Ok(Reader { child: ChildReader { program, arguments, memory, time }, pdfium: pdfium.cloned() })
}

/// Whether a reader reads the sample.
pub fn tried(reader: &ChildReader, config: &Config) -> Result<(), String> {
    let limits: Limits = limits(&config.documents);
    let pages = reader.read(SAMPLE, &limits).map_err(|error| match error {
        // It is the library that cannot be used: the sample is a PDF as any.
        ExtractError::Unsupported(what) => what,
        other => other.to_string(),
    })?;
    match pages.pages.first().map(|page| page.trim()) {
        Some(SENTENCE) => Ok(()),
        other => Err(format!("a page of a sentence is read as {other:?}")),
    }
}

/// Where the library may be: beside this program, with Python's packages, with the system's libraries.
fn candidates(variable: impl Fn(&str) -> Option<String>) -> Vec<PathBuf> {
    let beside = std::env::current_exe().ok().and_then(|path| path.parent().map(Path::to_owned));
    let roots = [
        variable("VIRTUAL_ENV").map(PathBuf::from),
        variable("HOME").map(|home| Path::new(&home).join(".local")),
        Some(PathBuf::from("/usr/local")),
        Some(PathBuf::from("/usr")),
    ];
    let roots: Vec<PathBuf> = roots.into_iter().flatten().filter(|root| root.is_absolute()).collect();
    let packages = roots.iter().flat_map(|root| packages(&root.join("lib")));
    let system = ["/usr/local/lib", "/usr/lib", "/usr/lib/x86_64-linux-gnu", "/usr/lib/aarch64-linux-gnu"];
    let folders = packages.map(|folder| folder.join(PACKAGE)).chain(system.map(PathBuf::from));
    beside.into_iter().chain(folders).map(|folder| folder.join(LIBRARY)).collect()
}

/// `python3.12/site-packages` and its like, in the order of their names.
fn packages(lib: &Path) -> Vec<PathBuf> {
    let Ok(entries) = std::fs::read_dir(lib) else { return Vec::new() };
    let python = |path: &PathBuf| path.file_name().is_some_and(|name| name.to_string_lossy().starts_with("python3"));
    let mut found: Vec<PathBuf> = entries.flatten().map(|entry| entry.path()).filter(python).collect();
    found.sort();
    found.iter().flat_map(|path| ["site-packages", "dist-packages"].map(|name| path.join(name))).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_library_is_looked_for_in_pythons_packages() {
        let folder = tempfile::tempdir().unwrap();
        let packages = folder.path().join("lib/python3.12/site-packages");
        std::fs::create_dir_all(&packages).unwrap();
        let set = |name: &str| (name == "VIRTUAL_ENV").then(|| folder.path().to_str().unwrap().to_owned());
        assert!(candidates(set).contains(&packages.join(PACKAGE).join(LIBRARY)));
        assert!(candidates(|_| Some("relative".to_owned())).iter().all(|path| path.is_absolute()));
    }
}
