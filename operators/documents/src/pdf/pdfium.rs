//! pdfium, the PDF library of Chromium, by its C interface: reads more files than the pure-Rust reader, and faster.
//!
//! It is C++ that reads bytes of strangers, so it is only ever loaded into a child process, as the other reader is.
#![expect(unsafe_code, reason = "functions of a C library that is loaded at run time; nothing else calls them")]

use std::ffi::{c_char, c_int, c_ulong, c_ushort, c_void};
use std::path::Path;
use std::ptr::{NonNull, null, null_mut};

use libloading::Library;

use crate::{ExtractError, Limits, Pages};

/// What pdfium's functions hand out: a pointer whose target is theirs.
type Handle = *mut c_void;

/// `FPDF_ERR_PASSWORD` and `FPDF_ERR_SECURITY` of fpdfview.h.
const LOCKED: [c_ulong; 2] = [4, 5];
/// `FPDF_PAGEOBJ_IMAGE` of fpdf_edit.h.
const IMAGE: c_int = 3;
/// Titles longer than this are cut: they come from outside, and are one line of an answer.
const TITLE_BYTES: usize = 4096;
/// A page is only looked through so far for an image, which tells a scan from an empty page.
const OBJECTS: c_int = 10_000;

/// The library, and those of its functions that reading text needs.
pub struct Pdfium {
    load: unsafe extern "C" fn(*const c_void, usize, *const c_char) -> Handle,
    close: unsafe extern "C" fn(Handle),
    error: unsafe extern "C" fn() -> c_ulong,
    page_count: unsafe extern "C" fn(Handle) -> c_int,
    meta_text: unsafe extern "C" fn(Handle, *const c_char, *mut c_void, c_ulong) -> c_ulong,
    load_page: unsafe extern "C" fn(Handle, c_int) -> Handle,
    close_page: unsafe extern "C" fn(Handle),
    object_count: unsafe extern "C" fn(Handle) -> c_int,
    object: unsafe extern "C" fn(Handle, c_int) -> Handle,
    object_type: unsafe extern "C" fn(Handle) -> c_int,
    load_text: unsafe extern "C" fn(Handle) -> Handle,
    close_text: unsafe extern "C" fn(Handle),
    char_count: unsafe extern "C" fn(Handle) -> c_int,
    text: unsafe extern "C" fn(Handle, c_int, c_int, *mut c_ushort) -> c_int,
    /// Last, so that it outlives every use of the functions above.
    _library: Library,
}

/// A function of the library. Its type is the caller's promise.
fn function<F: Copy>(library: &Library, name: &str) -> Result<F, String> {
    // SAFETY: every caller gives the type that pdfium's public headers have for this name; the library stays loaded
    // for as long as the pointer is kept beside it.
    let found = unsafe { library.get::<F>(name.as_bytes()) };
    found.map(|symbol| *symbol).map_err(|error| error.to_string())
}

/// Why a file is no library here, and what to do. What the system says is behind the error, not in its words.
fn unloadable(path: &Path, error: &libloading::Error) -> String {
    if !path.is_file() {
        return "there is no such file: `pip install pypdfium2` brings one for this machine".to_owned();
    }
    let causes = std::iter::successors(Some(error as &dyn std::error::Error), |cause| (*cause).source());
    let causes: Vec<String> = causes.map(ToString::to_string).collect();
    format!(
        "it cannot be loaded ({}): it must be built for this system and processor; `pip install pypdfium2` brings one \
         that is",
        causes.join(": ")
    )
}

impl Pdfium {
    /// Loads the library, once in a process.
    pub fn open(path: &Path) -> Result<Self, String> {
        // SAFETY: whoever configures the path trusts that library with this process; pdfium has no initialisers that
        // need anything of us.
        let library = unsafe { Library::new(path) }.map_err(|error| unloadable(path, &error))?;
        let start: unsafe extern "C" fn() = function(&library, "FPDF_InitLibrary")?;
        let pdfium = Self {
            load: function(&library, "FPDF_LoadMemDocument64")?,
            close: function(&library, "FPDF_CloseDocument")?,
            error: function(&library, "FPDF_GetLastError")?,
            page_count: function(&library, "FPDF_GetPageCount")?,
            meta_text: function(&library, "FPDF_GetMetaText")?,
            load_page: function(&library, "FPDF_LoadPage")?,
            close_page: function(&library, "FPDF_ClosePage")?,
            object_count: function(&library, "FPDFPage_CountObjects")?,
            object: function(&library, "FPDFPage_GetObject")?,
            object_type: function(&library, "FPDFPageObj_GetType")?,
            load_text: function(&library, "FPDFText_LoadPage")?,
            close_text: function(&library, "FPDFText_ClosePage")?,
            char_count: function(&library, "FPDFText_CountChars")?,
            text: function(&library, "FPDFText_GetText")?,
            _library: library,
        };
        // SAFETY: it takes nothing, and is called before any other function.
        unsafe { start() };
        Ok(pdfium)
    }

    /// The pages of a PDF.
    pub fn read(&self, bytes: &[u8], limits: &Limits) -> Result<Pages, ExtractError> {
        if bytes.len() > limits.max_bytes {
            return Err(ExtractError::too_large("bytes", bytes.len(), limits.max_bytes));
        }
        let document = Document::open(self, bytes)?;
        // SAFETY: the document is open.
        let count = usize::try_from(unsafe { (self.page_count)(document.handle()) }).unwrap_or(0);
        if count > limits.max_pages as usize {
            return Err(ExtractError::too_large("pages", count, limits.max_pages as usize));
        }
        let (mut pages, mut held, mut image) = (Vec::with_capacity(count), 0, false);
        for number in 0..count {
            let page = document.page(number)?;
            let text = page.text(limits.max_text_bytes)?;
            held += text.len();
            if held > limits.max_text_bytes {
                return Err(ExtractError::too_large("bytes of text", held, limits.max_text_bytes));
            }
            image = image || (text.trim().is_empty() && page.has_image());
            pages.push(text);
        }
        if pages.iter().all(|page| page.trim().is_empty()) {
            return Err(if image { ExtractError::Scanned } else { ExtractError::Empty });
        }
        Ok(Pages { title: document.title(), pages })
    }
}

/// An open document; it reads from `bytes` until it is closed.
struct Document<'a> {
    pdfium: &'a Pdfium,
    handle: NonNull<c_void>,
    _bytes: &'a [u8],
}

impl<'a> Document<'a> {
    fn open(pdfium: &'a Pdfium, bytes: &'a [u8]) -> Result<Self, ExtractError> {
        // SAFETY: pointer and length are one slice's, which outlives the document; null is no password.
        let handle = unsafe { (pdfium.load)(bytes.as_ptr().cast(), bytes.len(), null()) };
        let Some(handle) = NonNull::new(handle) else {
            // SAFETY: it takes nothing, and tells of the call before.
            let error = unsafe { (pdfium.error)() };
            return Err(match LOCKED.contains(&error) {
                true => ExtractError::Encrypted,
                false => ExtractError::Broken(format!("pdfium cannot open it (error {error})")),
            });
        };
        Ok(Self { pdfium, handle, _bytes: bytes })
    }

    fn handle(&self) -> Handle {
        self.handle.as_ptr()
    }

    fn page(&self, number: usize) -> Result<Page<'_>, ExtractError> {
        let broken = |what: &str| ExtractError::Broken(format!("page {}: {what}", number + 1));
        let index = c_int::try_from(number).map_err(|_| broken("its number is too large"))?;
        // SAFETY: the document is open, and `index` is below its number of pages.
        let handle = unsafe { (self.pdfium.load_page)(self.handle(), index) };
        let handle = NonNull::new(handle).ok_or_else(|| broken("pdfium cannot read it"))?;
        Ok(Page { pdfium: self.pdfium, handle, _document: self })
    }

    /// The title that the file states.
    fn title(&self) -> Option<String> {
        let name = c"Title".as_ptr();
        // SAFETY: the document is open and the name ends in a zero; without a buffer it only tells the length in bytes.
        let bytes = unsafe { (self.pdfium.meta_text)(self.handle(), name, null_mut(), 0) };
        let units = (usize::try_from(bytes).ok()?).min(TITLE_BYTES) / 2;
        let mut title = vec![0_u16; units];
        let room = c_ulong::try_from(units * 2).ok()?;
        // SAFETY: as before, and the buffer has `room` bytes. A title that needs more is not written at all.
        unsafe { (self.pdfium.meta_text)(self.handle(), name, title.as_mut_ptr().cast(), room) };
        let title = String::from_utf16_lossy(&title);
        Some(title.trim_end_matches('\0').to_owned()).filter(|title| !title.is_empty())
    }
}

impl Drop for Document<'_> {
    fn drop(&mut self) {
        // SAFETY: it is open, and its pages, which borrow it, are closed.
        unsafe { (self.pdfium.close)(self.handle.as_ptr()) };
    }
}

/// An open page.
struct Page<'a> {
    pdfium: &'a Pdfium,
    handle: NonNull<c_void>,
    _document: &'a Document<'a>,
}

impl Page<'_> {
    fn text(&self, most: usize) -> Result<String, ExtractError> {
        // SAFETY: the page is open.
        let layer = unsafe { (self.pdfium.load_text)(self.handle.as_ptr()) };
        let Some(layer) = NonNull::new(layer) else { return Ok(String::new()) };
        let layer = TextLayer { pdfium: self.pdfium, handle: layer };
        // SAFETY: the layer is open.
        let count = unsafe { (self.pdfium.char_count)(layer.handle.as_ptr()) }.max(0);
        let chars = usize::try_from(count).unwrap_or(0);
        if chars > most {
            return Err(ExtractError::too_large("bytes of text", chars, most));
        }
        // A character may take two units, and a zero ends them.
        let mut units = vec![0_u16; chars * 2 + 1];
        // SAFETY: the layer is open, and the buffer has room for `count` characters and the zero.
        let written = unsafe { (self.pdfium.text)(layer.handle.as_ptr(), 0, count, units.as_mut_ptr()) };
        let written = usize::try_from(written).unwrap_or(0).min(units.len());
        Ok(plain(&String::from_utf16_lossy(&units[..written])))
    }

    fn has_image(&self) -> bool {
        // SAFETY: the page is open.
        let count = unsafe { (self.pdfium.object_count)(self.handle.as_ptr()) };
        (0..count.min(OBJECTS)).any(|index| {
            // SAFETY: the page is open and `index` below its number of objects, which belong to the page.
            let object = unsafe { (self.pdfium.object)(self.handle.as_ptr(), index) };
            // SAFETY: it is an object of an open page.
            !object.is_null() && unsafe { (self.pdfium.object_type)(object) } == IMAGE
        })
    }
}

impl Drop for Page<'_> {
    fn drop(&mut self) {
        // SAFETY: it is open, and its text, which is only used in `text`, is closed.
        unsafe { (self.pdfium.close_page)(self.handle.as_ptr()) };
    }
}

/// The text of an open page.
struct TextLayer<'a> {
    pdfium: &'a Pdfium,
    handle: NonNull<c_void>,
}

impl Drop for TextLayer<'_> {
    fn drop(&mut self) {
        // SAFETY: it is open, and its page still is.
        unsafe { (self.pdfium.close_text)(self.handle.as_ptr()) };
    }
}

/// pdfium's text with our line ends and hyphens: it marks a hyphen at a line's end by U+FFFE, older ones by U+0002.
fn plain(text: &str) -> String {
    text.trim_end_matches('\0').replace("\r\n", "\n").replace(['\u{fffe}', '\u{2}'], "-\n")
}

#[cfg(test)]
mod tests {
    use super::plain;

    #[test]
    fn line_ends_and_hyphens_are_ours() {
        assert_eq!(plain("a\r\nmanip\u{fffe}ulation\0"), "a\nmanip-\nulation");
    }
}
