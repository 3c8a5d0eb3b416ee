//! Takes OTLP over HTTP and throws it away, as cheaply as it can.

use std::io::{BufRead, BufReader, Read, Write};
use std::net::{SocketAddr, TcpListener, TcpStream};

use anyhow::Result;

/// Listens until the benchmark ends.
pub struct Sink(SocketAddr);

impl Sink {
    /// At a free port of the loopback.
    pub fn start() -> Result<Self> {
        let listener = TcpListener::bind("127.0.0.1:0")?;
        let address = listener.local_addr()?;
        std::thread::spawn(move || {
            for stream in listener.incoming().flatten() {
                // An error is the end of a connection.
                std::thread::spawn(move || serve(stream));
            }
        });
        Ok(Self(address))
    }

    /// The base endpoint.
    pub fn endpoint(&self) -> String {
        format!("http://{}", self.0)
    }
}

fn serve(mut stream: TcpStream) -> Result<()> {
    let mut reader = BufReader::with_capacity(256 * 1024, stream.try_clone()?);
    let mut line = String::new();
    loop {
        let mut length = 0_u64;
        loop {
            line.clear();
            if reader.read_line(&mut line)? == 0 {
                return Ok(());
            }
            match line.trim_end().split_once(':') {
                Some((name, value)) if name.eq_ignore_ascii_case("content-length") => {
                    length = value.trim().parse()?;
                }
                None if line.trim_end().is_empty() => break,
                _ => {}
            }
        }
        std::io::copy(&mut reader.by_ref().take(length), &mut std::io::sink())?;
        // An empty message of protobuf: all was taken.
        stream.write_all(
            b"HTTP/1.1 200 OK\r\nContent-Type: application/x-protobuf\r\nContent-Length: 0\r\n\r\n",
        )?;
    }
}
