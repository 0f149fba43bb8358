//! The reader in another process, with a bound on its time, its memory and its answer.

use std::io::{Read, Write};
use std::path::PathBuf;
use std::process::{Child, ChildStderr, ChildStdin, ChildStdout, Command, Stdio};
use std::sync::mpsc::{SyncSender, sync_channel};
use std::time::Duration;

use super::{PdfReader, answer};
use crate::{ExtractError, Limits, Pages};

/// Starts a program per file, whose `main` is [`child_main`](super::child_main).
#[derive(Clone, Debug)]
pub struct ChildReader {
    /// The program: most often this very binary.
    pub program: PathBuf,
    /// What makes it a reader.
    pub arguments: Vec<String>,
    /// Bytes of address space that it may have.
    pub memory: u64,
    /// Time that it may take.
    pub time: Duration,
}

/// Sets the limits of the process that then becomes the program: `unsafe` code between fork and exec would do the same.
const LIMITED: &str = "ulimit -c 0 && ulimit -v \"$1\" && ulimit -t \"$2\" && shift 2 && exec \"$@\"";
/// A byte of text takes six in JSON at worst (`\u0001`), and the rest of the answer is small.
const ANSWER_BYTES_PER_TEXT_BYTE: usize = 6;
/// What a library may print beside the answer.
const NOISE_BYTES: usize = 1 << 20;
/// The begin of an error's message says what it is.
const COMPLAINT_BYTES: u64 = 4096;

impl PdfReader for ChildReader {
    fn read(&self, bytes: &[u8], limits: &Limits) -> Result<Pages, ExtractError> {
        let mut child = self.start()?;
        let (input, output, errors) = (child.stdin.take(), child.stdout.take(), child.stderr.take());
        let most = limits.max_text_bytes.saturating_mul(ANSWER_BYTES_PER_TEXT_BYTE).saturating_add(NOISE_BYTES);
        let (said, complaint) = std::thread::scope(|scope| {
            let (sender, receiver) = sync_channel(1);
            scope.spawn(move || feed(input, bytes));
            scope.spawn(move || hear(output, most, &sender));
            let complaint = scope.spawn(move || complaint(errors));
            let said = receiver.recv_timeout(self.time);
            // Also ends the threads: its pipes close.
            end(&mut child);
            (said, complaint.join().unwrap_or_default())
        });
        let Ok(said) = said else {
            return Err(ExtractError::TooLarge(format!("its reader took longer than {:?}", self.time)));
        };
        if said.len() > most {
            return Err(ExtractError::TooLarge(format!("its reader says more than {most} bytes")));
        }
        answer::parse(&String::from_utf8_lossy(&said)).unwrap_or_else(|| Err(self.died(&complaint)))
    }
}

impl ChildReader {
    fn start(&self) -> Result<Child, ExtractError> {
        let (kilobytes, seconds) = (self.memory.div_ceil(1024).to_string(), (self.time.as_secs() + 1).to_string());
        let mut command = Command::new("/bin/sh");
        command.args(["-c", LIMITED, "sh", &kilobytes, &seconds]).arg(&self.program).args(&self.arguments);
        command.stdin(Stdio::piped()).stdout(Stdio::piped()).stderr(Stdio::piped());
        command.env("RUST_BACKTRACE", "0");
        command.spawn().map_err(|error| ExtractError::Unsupported(format!("no PDF reader can be started: {error}")))
    }

    /// Why there is no answer.
    fn died(&self, complaint: &str) -> ExtractError {
        if complaint.contains("memory allocation of") || complaint.contains("Cannot allocate memory") {
            return ExtractError::TooLarge(format!("its reader needs more than {} MiB", self.memory >> 20));
        }
        let says = |line: &&str| !line.trim().is_empty() && !line.starts_with("note:");
        // pdfium is one that says nothing where it gets no memory.
        let silent = || format!("no word of why; it may need more than {} MiB of memory", self.memory >> 20);
        let last = complaint.lines().rfind(says).map_or_else(silent, str::to_owned);
        ExtractError::Broken(format!("its reader died: {last}"))
    }
}

fn feed(input: Option<ChildStdin>, bytes: &[u8]) {
    if let Some(mut input) = input {
        // A reader that is gone has said why, or its death does.
        let _gone = input.write_all(bytes);
    }
}

fn hear(output: Option<ChildStdout>, most: usize, said: &SyncSender<Vec<u8>>) {
    let mut bytes = Vec::new();
    if let Some(output) = output {
        // A broken pipe ends the answer: what there is of it is judged.
        let _ended = output.take(u64::try_from(most).unwrap_or(u64::MAX).saturating_add(1)).read_to_end(&mut bytes);
    }
    // Nobody waits any more where time is up.
    let _late = said.send(bytes);
}

/// The first words on standard error; the rest is read too, so that no full pipe stops the child.
fn complaint(errors: Option<ChildStderr>) -> String {
    let Some(errors) = errors else { return String::new() };
    let mut start = Vec::new();
    let mut errors = errors.take(COMPLAINT_BYTES);
    let _ended = errors.read_to_end(&mut start);
    let _rest = std::io::copy(&mut errors.into_inner(), &mut std::io::sink());
    String::from_utf8_lossy(&start).into_owned()
}

fn end(child: &mut Child) {
    // It may have ended by itself; either way it is gone after this.
    let _killed = child.kill();
    let _status = child.wait();
}
