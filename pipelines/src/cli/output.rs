//! All printing of the commands: text and tables for people, JSON for programs. A reader that goes away (`| head`) ends
//! a command quietly.

use std::fmt::Display;
use std::io::{self, BufWriter, IsTerminal, Write};
use std::process::ExitCode;

use indicatif::{ProgressBar, ProgressDrawTarget, ProgressStyle};
use serde::Serialize;

/// Where a command prints.
pub struct Output<'a> {
    to: Box<dyn Write + 'a>,
    /// Print JSON instead of tables.
    pub json: bool,
}

impl<'a> Output<'a> {
    /// Prints to `to`.
    pub fn new(to: impl Write + 'a, json: bool) -> Self {
        Self { to: Box::new(to), json }
    }

    /// One line of text.
    pub fn line(&mut self, text: impl Display) -> io::Result<()> {
        writeln!(self.to, "{text}")
    }

    /// One line of JSON.
    pub fn json_line(&mut self, value: &impl Serialize) -> io::Result<()> {
        serde_json::to_writer(&mut self.to, value)?;
        self.to.write_all(b"\n")
    }

    /// A whole JSON document.
    pub fn document(&mut self, value: &impl Serialize) -> io::Result<()> {
        serde_json::to_writer_pretty(&mut self.to, value)?;
        self.to.write_all(b"\n")
    }

    /// Bytes as they are.
    pub fn bytes(&mut self, bytes: &[u8]) -> io::Result<()> {
        self.to.write_all(bytes)
    }

    /// A table, columns as wide as they need to be.
    pub fn table(&mut self, table: &Table) -> io::Result<()> {
        table.lines().iter().try_for_each(|line| self.line(line))
    }

    /// Makes everything printed so far visible.
    pub fn flush(&mut self) -> io::Result<()> {
        self.to.flush()
    }
}

/// Runs a command that prints to standard output.
pub fn on_stdout(
    json: bool,
    command: impl FnOnce(&mut Output<'_>) -> anyhow::Result<ExitCode>,
) -> anyhow::Result<ExitCode> {
    let mut output = Output::new(BufWriter::new(io::stdout()), json);
    let done = command(&mut output).and_then(|code| Ok(output.flush().map(|()| code)?));
    unless_pipe_closed(done)
}

/// A closed pipe is how `head` says that it has seen enough: no error.
fn unless_pipe_closed(done: anyhow::Result<ExitCode>) -> anyhow::Result<ExitCode> {
    done.or_else(|error| if closed_pipe(&error) { Ok(ExitCode::SUCCESS) } else { Err(error) })
}

fn closed_pipe(error: &anyhow::Error) -> bool {
    let io = error.chain().find_map(|cause| cause.downcast_ref::<io::Error>());
    io.is_some_and(|error| error.kind() == io::ErrorKind::BrokenPipe)
}

/// A word to the person at the terminal, beside the output proper. That it cannot be printed is no reason to stop.
pub fn note(text: impl Display) {
    let _ = writeln!(io::stderr(), "{text}");
}

/// A progress bar on standard error; invisible where that is no terminal. Without a length it counts only.
pub fn progress(length: Option<u64>, template: &str) -> ProgressBar {
    if !io::stderr().is_terminal() {
        return ProgressBar::hidden();
    }
    let bar = ProgressBar::with_draw_target(length, ProgressDrawTarget::stderr());
    match ProgressStyle::with_template(template) {
        Ok(style) => bar.with_style(style),
        Err(_) => bar,
    }
}

/// A table for people.
pub struct Table {
    columns: Vec<Column>,
    rows: Vec<Vec<String>>,
}

struct Column {
    title: &'static str,
    right: bool,
}

impl Table {
    /// Column titles; a title that begins with `>` is of numbers, which stand to the right.
    pub fn new(titles: &[&'static str]) -> Self {
        let column = |title: &&'static str| match title.strip_prefix('>') {
            Some(title) => Column { title, right: true },
            None => Column { title, right: false },
        };
        Self { columns: titles.iter().map(column).collect(), rows: Vec::new() }
    }

    /// Adds a row; as many cells as columns.
    pub fn row(&mut self, cells: impl IntoIterator<Item = String>) -> &mut Self {
        self.rows.push(cells.into_iter().collect());
        self
    }

    fn lines(&self) -> Vec<String> {
        let titles: Vec<String> = self.columns.iter().map(|column| column.title.to_owned()).collect();
        let all: Vec<&Vec<String>> = std::iter::once(&titles).chain(&self.rows).collect();
        let width = |index: usize| all.iter().filter_map(|row| row.get(index)).map(|c| c.chars().count()).max();
        let widths: Vec<usize> = (0..self.columns.len()).map(|index| width(index).unwrap_or(0)).collect();
        all.iter().map(|row| self.format(row, &widths)).collect()
    }

    fn format(&self, row: &[String], widths: &[usize]) -> String {
        let cells = row.iter().zip(&self.columns).zip(widths);
        let padded = cells.map(|((cell, column), &width)| match column.right {
            true => format!("{cell:>width$}"),
            false => format!("{cell:<width$}"),
        });
        padded.collect::<Vec<_>>().join("  ").trim_end().to_owned()
    }
}

/// A number with thousands set apart.
pub fn number(value: impl Into<i128>) -> String {
    let value: i128 = value.into();
    let digits = value.unsigned_abs().to_string();
    let mut text = String::from(if value < 0 { "-" } else { "" });
    for (index, digit) in digits.chars().enumerate() {
        if index > 0 && (digits.len() - index).is_multiple_of(3) {
            text.push(',');
        }
        text.push(digit);
    }
    text
}

/// A number and what it counts: "1 document", "2 documents".
pub fn counted(value: u64, noun: &str) -> String {
    format!("{} {noun}{}", number(value), if value == 1 { "" } else { "s" })
}

/// A number of bytes in the unit that suits it.
pub fn size(bytes: u64) -> String {
    const UNITS: [&str; 4] = ["KiB", "MiB", "GiB", "TiB"];
    if bytes < 1024 {
        return format!("{bytes} B");
    }
    let power = (bytes.ilog2() / 10).min(4);
    format!("{:.1} {}", bytes as f64 / 1024f64.powi(power as i32), UNITS[power as usize - 1])
}

/// Bytes as text: UTF-8 as it is with control characters escaped, so that no message can steer the terminal; anything
/// else as the first bytes in hexadecimal.
pub fn printable(bytes: &[u8]) -> String {
    match std::str::from_utf8(bytes) {
        Ok(text) => escaped(text),
        Err(_) => format!("0x{}{} ({} bytes)", hex(&bytes[..bytes.len().min(32)]), dots(bytes.len()), bytes.len()),
    }
}

fn dots(len: usize) -> &'static str {
    if len > 32 { "…" } else { "" }
}

fn escaped(text: &str) -> String {
    if !text.contains(is_control) {
        return text.to_owned();
    }
    text.chars().fold(String::with_capacity(text.len() + 8), |mut out, c| {
        match is_control(c) {
            true => out.extend(c.escape_default()),
            false => out.push(c),
        }
        out
    })
}

/// Control characters, and those that turn the direction of writing.
fn is_control(c: char) -> bool {
    c.is_control() || matches!(c, '\u{200e}' | '\u{200f}' | '\u{202a}'..='\u{202e}' | '\u{2066}'..='\u{2069}')
}

/// Lower-case hexadecimal.
pub fn hex(bytes: &[u8]) -> String {
    bytes.iter().map(|byte| format!("{byte:02x}")).collect()
}

/// Lines as `xxd` prints them: offset, sixteen bytes, the printable ones as text.
pub fn hex_dump(bytes: &[u8]) -> impl Iterator<Item = String> {
    bytes.chunks(16).enumerate().map(|(line, chunk)| {
        let pairs = chunk.chunks(2).map(hex).collect::<Vec<_>>().join(" ");
        let text = chunk.iter().map(|byte| if (0x20..0x7f).contains(byte) { char::from(*byte) } else { '.' });
        format!("{:08x}: {pairs:<39}  {}", line * 16, text.collect::<String>())
    })
}

/// Standard Base64 with padding (RFC 4648), for bytes that are no text in JSON.
pub fn base64(bytes: &[u8]) -> String {
    const ALPHABET: &[u8; 64] = b"ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789+/";
    let mut text = String::with_capacity(bytes.len().div_ceil(3) * 4);
    for chunk in bytes.chunks(3) {
        let word = chunk.iter().fold(0u32, |word, byte| (word << 8) | u32::from(*byte)) << (8 * (3 - chunk.len()));
        for place in 0..4 {
            match place <= chunk.len() {
                true => text.push(char::from(ALPHABET[(word >> (18 - 6 * place)) as usize & 63])),
                false => text.push('='),
            }
        }
    }
    text
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn numbers_and_sizes_read_well() {
        let text = [0i64, 999, 1000, 1_234_567, -1000].map(number);
        assert_eq!(text, ["0", "999", "1,000", "1,234,567", "-1,000"]);
        let text = [0, 1023, 1024, 1536, 10 << 20, 3 << 40].map(size);
        assert_eq!(text, ["0 B", "1023 B", "1.0 KiB", "1.5 KiB", "10.0 MiB", "3.0 TiB"]);
    }

    #[test]
    fn a_message_cannot_steer_the_terminal() {
        assert_eq!(printable("Müon\u{1b}[2J\n\u{202e}".as_bytes()), "Müon\\u{1b}[2J\\n\\u{202e}");
        assert_eq!(printable(&[0xff, 0x00]), "0xff00 (2 bytes)");
    }

    /// Test vectors of RFC 4648, section 10.
    #[test]
    fn base64_agrees_with_its_rfc() {
        let text = ["", "f", "fo", "foo", "foob", "fooba", "foobar"].map(|text| base64(text.as_bytes()));
        assert_eq!(text, ["", "Zg==", "Zm8=", "Zm9v", "Zm9vYg==", "Zm9vYmE=", "Zm9vYmFy"]);
    }

    #[test]
    fn hex_dumps_look_like_those_of_xxd() {
        let lines: Vec<_> = hex_dump(b"{\"id\":1,\"x\":[0.\x00\xff").collect();
        assert_eq!(lines[0], "00000000: 7b22 6964 223a 312c 2278 223a 5b30 2e00  {\"id\":1,\"x\":[0..");
        assert_eq!(lines[1], "00000010: ff                                       .");
    }

    #[test]
    fn tables_align_numbers_to_the_right() {
        let mut table = Table::new(&["topic", ">messages"]);
        table.row(["inference.events".into(), "7".into()]).row(["a".into(), "1,000".into()]);
        assert_eq!(
            table.lines(),
            ["topic             messages", "inference.events         7", "a                    1,000"]
        );
    }

    #[test]
    fn a_closed_pipe_is_no_failure_and_others_are() {
        let failed = |kind: io::ErrorKind| Err(anyhow::Error::from(io::Error::from(kind)).context("printing"));
        assert!(unless_pipe_closed(failed(io::ErrorKind::BrokenPipe)).is_ok());
        assert!(unless_pipe_closed(failed(io::ErrorKind::StorageFull)).is_err());
    }
}
