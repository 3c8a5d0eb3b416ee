//! wrk against nginx.

use std::io::{Read, Write};
use std::net::TcpStream;

use anyhow::{Context, Result, ensure};

use super::{ALONE, bpftrace, path_of, plan, requests, sampled, seconds, section, tool_output};
use crate::Options;
use crate::matrix::{self, Figures, Outcome, Work};
use crate::report::Section;
use observer_testkit::packages::program;
use observer_testkit::requests::{Scene, free_port};

/// One worker.
pub fn one(options: &Options) -> Result<Section> {
    run(options, "wrk/one-worker", 1)
}

/// Two workers.
pub fn two(options: &Options) -> Result<Section> {
    run(options, "wrk/two-workers", 2)
}

fn run(options: &Options, name: &'static str, workers: usize) -> Result<Section> {
    let plan = plan(
        options,
        name,
        "what a web server pays",
        &format!(
            "wrk (1 thread, 16 connections) asks nginx ({workers} worker) for a file of 120 bytes. bpftrace keeps a \
             histogram of the time from `ngx_http_create_request` to `ngx_http_free_request`. Truth: nginx's own count."
        ),
    );
    let mut work = Web::new(workers)?;
    let mut all = matrix::standard(&["requests"], |observer| {
        sampled(observer).counts("served", |collector| {
            let served = ["nginx", "http", "server"];
            requests(collector, "http.server.request.duration", served)
        })
    });
    let nginx = path_of("nginx")?;
    let script = format!(
        "uretprobe:{nginx}:ngx_http_create_request {{ @start[retval] = nsecs; }} \
         uprobe:{nginx}:ngx_http_free_request /@start[arg0]/ \
         {{ @ns = hist(nsecs - @start[arg0]); delete(@start[arg0]); }} END {{ clear(@start); }}"
    );
    let peer = bpftrace("bpftrace, histogram of nginx's requests", script);
    all.push(Box::new(peer.counts("served", |printed| {
        tool_output::buckets(printed, "@ns:")
    })));
    let results = plan.measure(&mut work, &all)?;
    let facts = [("served", "requests")];
    Ok(section(&plan, &results, None, &facts, vec![ALONE.into()]))
}

/// A server with a small file.
pub struct Web {
    // Ends it when dropped.
    _scene: Scene,
    port: u16,
}

impl Web {
    /// nginx with so many workers.
    pub fn new(workers: usize) -> Result<Self> {
        let mut scene = Scene::new()?;
        let port = free_port()?;
        std::fs::write(scene.folder().join("index.html"), "hello\n".repeat(20))?;
        let http =
            format!("server {{ listen 127.0.0.1:{port}; location = /count {{ stub_status; }} }}");
        scene.nginx(&format!("worker_processes {workers};"), &http, port)?;
        Ok(Self {
            _scene: scene,
            port,
        })
    }

    /// How many requests nginx has got so far, this one included: the third
    /// number of its third line.
    fn requests(&self) -> Result<u64> {
        let mut stream = TcpStream::connect(("127.0.0.1", self.port))?;
        stream.write_all(b"GET /count HTTP/1.0\r\n\r\n")?;
        let mut said = String::new();
        stream.read_to_string(&mut said)?;
        let (_, counts) = said.split_once("requests").context("nginx doesn't count")?;
        let third = counts.split_whitespace().nth(2);
        Ok(third.context("nginx doesn't count requests")?.parse()?)
    }
}

impl Work for Web {
    fn unit(&self) -> &'static str {
        "requests/s"
    }

    fn run(&mut self, quick: bool) -> Result<Outcome> {
        let before = self.requests()?;
        let output = program("wrk", "wrk")?
            .args(["-t", "1", "-c", "16", "--latency", "-d"])
            .arg(seconds(quick).to_string())
            .arg(format!("http://127.0.0.1:{}/index.html", self.port))
            .output()?;
        let said = String::from_utf8_lossy(&output.stdout);
        ensure!(
            output.status.success() && !said.contains("Non-2xx"),
            "wrk: {said}"
        );
        let after = self.requests()?;
        Ok(Outcome {
            rate: after_word(&said, "Requests/sec:")?.parse()?,
            // The first question came before the count that it answers.
            facts: Figures::from([("served", (after - before + 1) as f64)]),
            extra: Figures::from([("p99 µs", microseconds(after_word(&said, "99%")?)?)]),
        })
    }
}

/// The word behind another.
fn after_word<'a>(text: &'a str, word: &str) -> Result<&'a str> {
    let mut words = text.split_whitespace();
    words.find(|found| *found == word);
    words
        .next()
        .with_context(|| format!("no {word} in {text:?}"))
}

/// Of a time as wrk prints it: `12.50us`, `1.20ms`, `1.00s`.
fn microseconds(time: &str) -> Result<f64> {
    let number = time.trim_end_matches(|c: char| c.is_ascii_alphabetic());
    let factor = match &time[number.len()..] {
        "us" => 1.0,
        "ms" => 1e3,
        "s" => 1e6,
        _ => anyhow::bail!("not a time of wrk's: {time}"),
    };
    Ok(number.parse::<f64>()? * factor)
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Checks what is read from wrk's report.
    #[test]
    fn wrk() -> Result<()> {
        let said = "Running 1s test @ http://127.0.0.1:1/\n  1 threads and 16 connections\n  \
                    Latency Distribution\n     50%  146.00us\n     99%    1.05ms\n  \
                    51404 requests in 1.10s, 17.99MB read\nRequests/sec:  46760.55\n";
        assert_eq!(after_word(said, "Requests/sec:")?, "46760.55");
        assert_eq!(microseconds(after_word(said, "99%")?)?, 1050.0);
        assert_eq!(microseconds("1.5s")?, 1.5e6);
        assert!(after_word(said, "90%").is_err());
        assert!(microseconds("3m").is_err());
        Ok(())
    }
}
