//! Asks an HTTP/1.1 server on kept connections, a thread for each, and says in
//! JSON what came of it. `{}` in a path becomes the request's number.

use std::collections::BTreeMap;
use std::io::{BufRead, BufReader, Read, Write};
use std::net::{SocketAddr, TcpStream};
use std::time::{Duration, Instant};

use anyhow::{Context, Result, bail};
use clap::Parser;
use serde_json::json;

#[derive(Clone, Parser)]
struct Arguments {
    /// Whom to ask.
    address: SocketAddr,
    /// What for; several take turns.
    #[arg(long = "path", default_value = "/")]
    paths: Vec<String>,
    /// Connections at once.
    #[arg(long, default_value_t = 4)]
    connections: usize,
    /// Requests in all.
    #[arg(long, default_value_t = 1000)]
    requests: usize,
    /// Requests sent at once, before their answers are read.
    #[arg(long, default_value_t = 1)]
    pipeline: usize,
    /// Connect anew for each request, or each `pipeline` of them.
    #[arg(long)]
    reconnect: bool,
    /// Requests per second of all connections, sent when they are due whether
    /// or not the server keeps up; latency counts from when they were due.
    #[arg(long)]
    rate: Option<f64>,
}

/// What one connection did.
struct Done {
    port: u16,
    statuses: BTreeMap<u16, u64>,
    /// Nanoseconds.
    latencies: Vec<u64>,
}

fn main() -> Result<()> {
    let arguments = Arguments::parse();
    let begin = Instant::now();
    let threads: Vec<_> = (0..arguments.connections)
        .map(|index| {
            let arguments = arguments.clone();
            std::thread::spawn(move || run(&arguments, index, begin))
        })
        .collect();
    let mut connections = Vec::new();
    let mut statuses = BTreeMap::<String, u64>::new();
    let mut latencies = Vec::new();
    for thread in threads {
        let Ok(done) = thread.join() else {
            bail!("a thread panicked");
        };
        let done = done?;
        let count: u64 = done.statuses.values().sum();
        connections.push(json!({"port": done.port, "requests": count}));
        for (status, count) in done.statuses {
            *statuses.entry(status.to_string()).or_default() += count;
        }
        latencies.extend(done.latencies);
    }
    let seconds = begin.elapsed().as_secs_f64();
    latencies.sort_unstable();
    let quantile = |share: f64| {
        let index = (latencies.len().saturating_sub(1) as f64 * share).round();
        latencies.get(index as usize).copied().unwrap_or(0)
    };
    let report = json!({
        "requests": latencies.len(),
        "seconds": seconds,
        "statuses": statuses,
        "connections": connections,
        "p50_ns": quantile(0.5),
        "p99_ns": quantile(0.99),
        "max_ns": quantile(1.0),
    });
    println!("{report}");
    Ok(())
}

fn run(arguments: &Arguments, index: usize, begin: Instant) -> Result<Done> {
    let stream = connect(arguments)?;
    let mut done = Done {
        port: stream.local_addr()?.port(),
        statuses: BTreeMap::new(),
        latencies: Vec::new(),
    };
    let mut writer = stream.try_clone()?;
    let mut reader = BufReader::new(stream);
    let mut number = index;
    while number < arguments.requests {
        if arguments.reconnect {
            let stream = connect(arguments)?;
            writer = stream.try_clone()?;
            reader = BufReader::new(stream);
        }
        let mut batch = String::new();
        let mut asked = 0;
        let mut since = None;
        while asked < arguments.pipeline && number < arguments.requests {
            let path = &arguments.paths[number % arguments.paths.len()];
            let path = path.replace("{}", &number.to_string());
            let address = arguments.address;
            batch += &format!("GET {path} HTTP/1.1\r\nHost: {address}\r\n\r\n");
            if let Some(rate) = arguments.rate {
                let due = begin + Duration::from_secs_f64(number as f64 / rate);
                std::thread::sleep(due.saturating_duration_since(Instant::now()));
                since.get_or_insert(due);
            }
            asked += 1;
            number += arguments.connections;
        }
        let since = since.unwrap_or_else(Instant::now);
        writer.write_all(batch.as_bytes())?;
        for _ in 0..asked {
            let status = answer(&mut reader)?;
            *done.statuses.entry(status).or_default() += 1;
            done.latencies.push(since.elapsed().as_nanos() as u64);
        }
    }
    Ok(done)
}

fn connect(arguments: &Arguments) -> Result<TcpStream> {
    let stream = TcpStream::connect(arguments.address)?;
    stream.set_nodelay(true)?;
    Ok(stream)
}

/// Reads an answer to its end; its status.
fn answer(reader: &mut BufReader<TcpStream>) -> Result<u16> {
    let mut line = String::new();
    reader.read_line(&mut line)?;
    let status = line.split(' ').nth(1).context("a status line")?.parse()?;
    let mut length = 0;
    let mut chunked = false;
    loop {
        line.clear();
        reader.read_line(&mut line)?;
        let Some((name, value)) = line.trim_end().split_once(':') else {
            break;
        };
        match name.to_ascii_lowercase().as_str() {
            "content-length" => length = value.trim().parse()?,
            "transfer-encoding" => chunked = true,
            _ => {}
        }
    }
    let mut body = Vec::new();
    while chunked {
        line.clear();
        reader.read_line(&mut line)?;
        let size = u64::from_str_radix(line.trim_end(), 16)?;
        reader.by_ref().take(size + 2).read_to_end(&mut body)?;
        chunked = size > 0;
    }
    reader.by_ref().take(length).read_to_end(&mut body)?;
    Ok(status)
}
