//! An HTTP/1.1 server that knows where the time of its requests goes:
//! `observer-server LOG [FILE]` prints its port. A thread serves each connection
//! and writes to LOG, when the connection ends, one line per request: `PATH
//! BEGIN END CPU PORT`, times of CLOCK_MONOTONIC and of the thread's own CPU
//! clock in nanoseconds, and the client's port. The request begins when its
//! first bytes were read, and ends when its answer was written.
//!
//! - `/cpu`: burns 20 ms of CPU time.
//! - `/sleep` and `/sleep/MS`: sleeps for 20 ms, or that long.
//! - `/lock`: waits 20 ms for a lock that another thread holds.
//! - `/semaphore`: waits 20 ms in `semop` for a semaphore of System V.
//! - `/disk`: reads from FILE past the page cache until 20 ms are over.
//! - `/downstream`: asks another port, of the same process, for `/sleep`.
//! - `/mixed`: 5 ms of each but the disk.
//! - `/chunked`: an answer in chunks, written one by one.
//! - `/status/CODE`: an answer with this status.
//! - `/work/MS`: burns that many milliseconds, in a function of its own.
//! - anything else: an empty answer, at once.

use std::alloc::{Layout, alloc_zeroed};
use std::fs::{File, OpenOptions};
use std::io::{Read, Write};
use std::net::{SocketAddr, TcpListener, TcpStream};
use std::os::unix::fs::{FileExt, OpenOptionsExt};
use std::path::PathBuf;
use std::sync::{Arc, Barrier, Mutex, PoisonError, mpsc};
use std::time::Duration;

use anyhow::{Context, Result, bail};
use nix::time::{ClockId, clock_gettime};
use observer_testkit::semaphore;

const LONG: Duration = Duration::from_millis(20);
const SHORT: Duration = Duration::from_millis(5);

/// Bytes of one read from the disk.
const READ: usize = 64 * 1024;

/// What all connections share.
struct Server {
    log: Mutex<File>,
    disk: Option<File>,
    /// Where `/downstream` asks.
    downstream: SocketAddr,
}

fn main() -> Result<()> {
    let mut args = std::env::args_os().skip(1);
    let log = args.next().context("usage: observer-server LOG [FILE]")?;
    let log = OpenOptions::new().append(true).create(true).open(log)?;
    let open = |path: PathBuf| {
        let mut options = OpenOptions::new();
        options.read(true).custom_flags(libc::O_DIRECT);
        options
            .open(&path)
            .with_context(|| format!("cannot open {}", path.display()))
    };
    let disk = args.next().map(PathBuf::from).map(open).transpose()?;
    let own = TcpListener::bind("127.0.0.1:0")?;
    let other = TcpListener::bind("127.0.0.1:0")?;
    let server = Arc::new(Server {
        log: Mutex::new(log),
        disk,
        downstream: other.local_addr()?,
    });
    println!("{}", own.local_addr()?.port());
    let downstream = server.clone();
    std::thread::spawn(move || accept(&other, &downstream));
    accept(&own, &server);
    Ok(())
}

fn accept(listener: &TcpListener, server: &Arc<Server>) {
    for stream in listener.incoming().flatten() {
        let server = server.clone();
        std::thread::spawn(move || {
            // A client that goes in the middle of something is no fault here.
            let _ = Connection::new(stream, server).and_then(Connection::serve);
        });
    }
}

fn now() -> i64 {
    clock(ClockId::CLOCK_MONOTONIC)
}

fn clock(id: ClockId) -> i64 {
    clock_gettime(id).map_or(0, |time| time.tv_sec() * 1_000_000_000 + time.tv_nsec())
}

struct Connection {
    stream: TcpStream,
    port: u16,
    server: Arc<Server>,
    /// The next thing to read from the disk.
    offset: u64,
    buffer: &'static mut [u8],
    downstream: Option<TcpStream>,
    holder: Option<Holder>,
    lines: String,
}

impl Connection {
    fn new(stream: TcpStream, server: Arc<Server>) -> Result<Self> {
        stream.set_nodelay(true)?;
        Ok(Self {
            port: stream.peer_addr()?.port(),
            stream,
            offset: 0,
            buffer: if server.disk.is_some() {
                aligned()?
            } else {
                &mut []
            },
            server,
            downstream: None,
            holder: None,
            lines: String::new(),
        })
    }

    fn serve(mut self) -> Result<()> {
        let mut pending = Vec::new();
        let mut buffer = [0; 16 * 1024];
        loop {
            let n = self.stream.read(&mut buffer)?;
            if n == 0 {
                return Ok(());
            }
            let (begin, cpu) = (now(), clock(ClockId::CLOCK_THREAD_CPUTIME_ID));
            pending.extend_from_slice(&buffer[..n]);
            let (mut begin, mut cpu) = (begin, cpu);
            while let Some(head) = pending.windows(4).position(|w| w == b"\r\n\r\n") {
                let line = pending.split(|b| *b == b'\r').next().unwrap_or_default();
                let line = String::from_utf8_lossy(line).into_owned();
                let Some(path) = line.split(' ').nth(1) else {
                    bail!("not HTTP: {line}");
                };
                let answer = self.answer(path)?;
                self.stream.write_all(answer.as_bytes())?;
                let end = now();
                let used = clock(ClockId::CLOCK_THREAD_CPUTIME_ID) - cpu;
                let port = self.port;
                self.lines += &format!("{path} {begin} {end} {used} {port}\n");
                pending.drain(..head + 4);
                // The next one has been there all the time.
                (begin, cpu) = (now(), clock(ClockId::CLOCK_THREAD_CPUTIME_ID));
            }
            if pending.len() > 1 << 20 {
                bail!("too long a head");
            }
        }
    }

    fn answer(&mut self, path: &str) -> Result<String> {
        let mut words = path.split('?').next().unwrap_or(path).split('/').skip(1);
        let (route, parameter) = (words.next().unwrap_or_default(), words.next());
        let mut status = 200;
        match route {
            "cpu" => burn_cpu(LONG),
            "work" => other_work(milliseconds(parameter)?),
            "sleep" => std::thread::sleep(parameter.map_or(Ok(LONG), |p| milliseconds(Some(p)))?),
            "lock" => self.wait_for_lock(LONG)?,
            "semaphore" => semaphore::wait(LONG)?,
            "disk" => self.read_disk(LONG)?,
            "downstream" => self.ask("/sleep")?,
            "mixed" => {
                burn_cpu(SHORT);
                std::thread::sleep(SHORT);
                self.wait_for_lock(SHORT)?;
                self.ask("/sleep/5")?;
            }
            "status" => status = parameter.context("a status")?.parse()?,
            "chunked" => return self.chunks(),
            _ => {}
        }
        Ok(format!(
            "HTTP/1.1 {status} As Asked\r\nContent-Type: text/plain\r\nContent-Length: 3\r\n\r\nok\n"
        ))
    }

    /// All but the last chunk, which is the answer's rest.
    fn chunks(&mut self) -> Result<String> {
        let head = "HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n";
        self.stream.write_all(head.as_bytes())?;
        for length in [1_usize, 300, 20_000] {
            let body = "x".repeat(length);
            write!(self.stream, "{length:x}\r\n{body}\r\n")?;
        }
        Ok("0\r\n\r\n".into())
    }

    fn wait_for_lock(&mut self, time: Duration) -> Result<()> {
        let holder = self.holder.get_or_insert_with(Holder::start);
        holder.wait(time)
    }

    fn read_disk(&mut self, time: Duration) -> Result<()> {
        let disk = self.server.disk.as_ref().context("started without FILE")?;
        let end = now() + time.as_nanos() as i64;
        while now() < end {
            if disk.read_at(self.buffer, self.offset)? < READ {
                self.offset = 0;
                continue;
            }
            self.offset += READ as u64;
        }
        Ok(())
    }

    fn ask(&mut self, path: &str) -> Result<()> {
        let stream = match &mut self.downstream {
            Some(stream) => stream,
            none => {
                let stream = TcpStream::connect(self.server.downstream)?;
                stream.set_nodelay(true)?;
                none.insert(stream)
            }
        };
        let request = format!("GET {path} HTTP/1.1\r\nHost: downstream\r\n\r\n");
        stream.write_all(request.as_bytes())?;
        let mut answer = [0; 1024];
        let mut length = 0;
        while !answer[..length].ends_with(b"\r\n\r\nok\n") {
            match stream.read(&mut answer[length..])? {
                0 => bail!("no answer from downstream"),
                n => length += n,
            }
        }
        Ok(())
    }
}

impl Drop for Connection {
    fn drop(&mut self) {
        let mut log = self
            .server
            .log
            .lock()
            .unwrap_or_else(PoisonError::into_inner);
        let _ = log.write_all(self.lines.as_bytes());
    }
}

fn milliseconds(parameter: Option<&str>) -> Result<Duration> {
    let ms = parameter.context("milliseconds")?.parse()?;
    Ok(Duration::from_millis(ms))
}

/// A thread that holds a lock for others to wait for.
struct Holder {
    lock: Arc<Mutex<()>>,
    order: mpsc::Sender<Duration>,
    held: Arc<Barrier>,
}

impl Holder {
    fn start() -> Self {
        let (order, orders) = mpsc::channel();
        let (lock, held) = (Arc::new(Mutex::new(())), Arc::new(Barrier::new(2)));
        let (its_lock, its_held) = (lock.clone(), held.clone());
        std::thread::spawn(move || {
            while let Ok(time) = orders.recv() {
                let guard = its_lock.lock();
                its_held.wait();
                std::thread::sleep(time);
                drop(guard);
            }
        });
        Self { lock, order, held }
    }

    fn wait(&self, time: Duration) -> Result<()> {
        self.order.send(time)?;
        self.held.wait();
        drop(self.lock.lock());
        Ok(())
    }
}

/// A buffer that direct I/O accepts. One per connection is never given back:
/// tests open few.
fn aligned() -> Result<&'static mut [u8]> {
    let layout = Layout::from_size_align(READ, 4096)?;
    // SAFETY: the layout isn't empty.
    let start = unsafe { alloc_zeroed(layout) };
    anyhow::ensure!(!start.is_null(), "no memory for a buffer");
    // SAFETY: allocated with this size, zeroed, never freed and nobody else's.
    Ok(unsafe { std::slice::from_raw_parts_mut(start, READ) })
}

#[inline(never)]
fn burn_cpu(time: Duration) {
    spin(time);
}

#[inline(never)]
fn other_work(time: Duration) {
    spin(time);
}

/// Until the thread has used so much CPU time.
#[inline(always)]
fn spin(time: Duration) {
    let end = clock(ClockId::CLOCK_THREAD_CPUTIME_ID) + time.as_nanos() as i64;
    let mut x = 1_u64;
    while clock(ClockId::CLOCK_THREAD_CPUTIME_ID) < end {
        for _ in 0..20_000 {
            x = std::hint::black_box(x.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1));
        }
    }
    std::hint::black_box(x);
}
