//! A server's weather: a proxy before it that passes everything on, is slow, says 503, or hangs up.

use std::io::{Read, Write};
use std::net::{Shutdown, SocketAddr, TcpListener, TcpStream};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU8, Ordering};
use std::time::Duration;

/// A change of weather is seen after at most this.
const LOOK: Duration = Duration::from_millis(50);
/// So long each piece of a conversation takes where the server is slow.
const DELAY: Duration = Duration::from_millis(200);
const PIECE: usize = 16 << 10;
const BUSY: &[u8] = b"HTTP/1.1 503 Service Unavailable\r\nContent-Length: 0\r\nConnection: close\r\n\r\n";

/// How a server behaves.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[repr(u8)]
pub enum Weather {
    /// As it is.
    Clear,
    /// It answers late, piece by piece.
    Slow,
    /// It says 503 to everything.
    Busy,
    /// It hangs up, also in the middle of an answer.
    Gone,
}

impl Weather {
    /// Those in which something is wrong.
    pub const BAD: [Self; 3] = [Self::Slow, Self::Busy, Self::Gone];
}

/// A proxy before a server of HTTP; gone when dropped.
#[derive(Debug)]
pub struct Proxy {
    address: SocketAddr,
    weather: Arc<AtomicU8>,
    closed: Arc<AtomicBool>,
}

impl Proxy {
    /// Before the server at `host:port`.
    pub fn before(server: &str) -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").expect("a port");
        let address = listener.local_addr().expect("its address");
        let (weather, closed) = (Arc::new(AtomicU8::new(Weather::Clear as u8)), Arc::new(AtomicBool::new(false)));
        let (server, now, closes) = (server.to_owned(), weather.clone(), closed.clone());
        std::thread::spawn(move || {
            for client in listener.incoming().map_while(Result::ok) {
                if closes.load(Ordering::Acquire) {
                    return;
                }
                let (server, now) = (server.clone(), now.clone());
                std::thread::spawn(move || serve(client, &server, &now));
            }
        });
        Self { address, weather, closed }
    }

    /// Where it listens.
    pub fn address(&self) -> SocketAddr {
        self.address
    }

    /// Changes the weather, for conversations under way as well.
    pub fn set(&self, weather: Weather) {
        self.weather.store(weather as u8, Ordering::Release);
    }
}

impl Drop for Proxy {
    fn drop(&mut self) {
        self.closed.store(true, Ordering::Release);
        self.set(Weather::Gone);
        // Wakes the thread that accepts.
        let _ = TcpStream::connect(self.address);
    }
}

fn is(now: &AtomicU8, weather: Weather) -> bool {
    now.load(Ordering::Acquire) == weather as u8
}

/// Whether what is said gets through.
fn passes(now: &AtomicU8) -> bool {
    is(now, Weather::Clear) || is(now, Weather::Slow)
}

fn serve(mut client: TcpStream, server: &str, now: &Arc<AtomicU8>) {
    if is(now, Weather::Busy) {
        // An answer before the question would be taken for a broken connection.
        let _ = client.set_read_timeout(Some(LOOK));
        let _ = client.read(&mut [0; PIECE]);
        let _ = client.write_all(BUSY);
        return;
    }
    let Some(server) = passes(now).then(|| TcpStream::connect(server).ok()).flatten() else { return };
    let (Ok(from_client), Ok(to_client)) = (client.try_clone(), client.try_clone()) else { return };
    let (Ok(from_server), Ok(to_server)) = (server.try_clone(), server.try_clone()) else { return };
    let weather = now.clone();
    let up = std::thread::spawn(move || pass_on(from_client, to_server, &weather));
    pass_on(from_server, to_client, now);
    [client, server].iter().for_each(|end| drop(end.shutdown(Shutdown::Both)));
    drop(up.join());
}

/// Until either side ends the conversation, or the weather does.
fn pass_on(mut from: TcpStream, mut to: TcpStream, now: &AtomicU8) {
    let _ = from.set_read_timeout(Some(LOOK));
    let mut piece = vec![0; PIECE];
    while passes(now) {
        let read = match from.read(&mut piece) {
            Ok(0) => break,
            Ok(read) => read,
            Err(error) if matches!(error.kind(), std::io::ErrorKind::WouldBlock | std::io::ErrorKind::TimedOut) => {
                continue;
            }
            Err(_) => break,
        };
        if is(now, Weather::Slow) {
            std::thread::park_timeout(DELAY);
        }
        if to.write_all(&piece[..read]).is_err() {
            break;
        }
    }
    let _ = to.shutdown(Shutdown::Both);
}
