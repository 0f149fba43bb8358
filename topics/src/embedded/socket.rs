//! Where the owner's socket lies, however long the path of the data folder is.

use std::fs::{File, Permissions};
use std::io;
use std::os::fd::AsRawFd;
use std::os::unix::fs::PermissionsExt;
use std::os::unix::net::{UnixListener, UnixStream};
use std::path::{Path, PathBuf};

/// Name in the data folder.
pub(crate) const SOCKET: &str = "lunapark.sock";
const NEW_SOCKET: &str = "lunapark.sock.new";
/// Socket addresses hold 108 bytes on Linux and 104 on other systems.
const MAX_PATH_BYTES: usize = 100;

/// Listens in this folder, in place of a socket that a killed owner left. Only this user may connect, from the first
/// moment on: the permission is set before the socket gets its name.
pub(crate) fn listen(dir: &Path) -> io::Result<UnixListener> {
    let (short, _open) = short(dir)?;
    let (new, path) = (short.join(NEW_SOCKET), short.join(SOCKET));
    match std::fs::remove_file(&new) {
        Err(error) if error.kind() != io::ErrorKind::NotFound => return Err(error),
        _ => {}
    }
    let listener = UnixListener::bind(&new)?;
    std::fs::set_permissions(&new, Permissions::from_mode(0o600))?;
    std::fs::rename(&new, &path)?;
    Ok(listener)
}

/// Connects to the owner of this folder.
pub(crate) fn connect(dir: &Path) -> io::Result<UnixStream> {
    let (short, _open) = short(dir)?;
    UnixStream::connect(short.join(SOCKET))
}

/// A path of the folder that fits into a socket address; it holds while the file is open.
fn short(dir: &Path) -> io::Result<(PathBuf, Option<File>)> {
    if dir.as_os_str().len() + 1 + NEW_SOCKET.len() <= MAX_PATH_BYTES {
        return Ok((dir.to_owned(), None));
    }
    let open = File::open(dir)?;
    Ok((PathBuf::from(format!("/proc/self/fd/{}", open.as_raw_fd())), Some(open)))
}
