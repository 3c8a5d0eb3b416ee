//! The servers of a scene: Debian's, and programs of ours.

use std::fs;
use std::net::TcpStream;
use std::os::unix::fs::chown;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};

use anyhow::{Context, Result};
use nix::unistd::User;

use super::Scene;
use crate::chain::source;
use crate::packages::program;
use crate::port::free as free_port;

/// A PostgreSQL cluster of its own.
pub struct Postgres {
    /// It listens at this port of the loopback.
    pub port: u16,
    /// And has its Unix domain socket in this folder.
    pub folder: PathBuf,
    binaries: PathBuf,
}

impl Postgres {
    /// One of PostgreSQL's programs, as a client of this server.
    pub fn client(&self, name: &str) -> Command {
        let mut command = Command::new(self.binaries.join(name));
        command
            .env("PGHOST", "127.0.0.1")
            .env("PGPORT", self.port.to_string())
            .env("PGUSER", "postgres")
            .env("PGDATABASE", "postgres")
            .env("PGSSLMODE", "disable")
            .env("PGGSSENCMODE", "disable");
        command
    }
}

/// A request as `observer-server` logged it, in nanoseconds.
#[derive(Clone, Debug)]
pub struct Logged {
    /// As it was asked for.
    pub path: String,
    /// CLOCK_MONOTONIC when its first bytes were read.
    pub begin: u64,
    /// CLOCK_MONOTONIC when its answer was written.
    pub end: u64,
    /// CPU time of its thread in between.
    pub cpu: u64,
    /// The client's port.
    pub port: u16,
}

impl Scene {
    /// Starts nginx with `http` inside of its `http` block; `main` stands
    /// outside.
    pub fn nginx(&mut self, main: &str, http: &str, port: u16) -> Result<u32> {
        let folder = self.folder().to_path_buf();
        self.nginx_in(&folder, main, http, port)
    }

    /// The same with a folder for its files, where there are several.
    pub fn nginx_in(&mut self, folder: &Path, main: &str, http: &str, port: u16) -> Result<u32> {
        let path = folder.display().to_string();
        let settings = format!(
            "daemon off; user root; pid {path}/pid; error_log {path}/errors; {main}
             events {{ worker_connections 12000; }}
             http {{
               access_log off; root {path}; keepalive_requests 1000000;
               client_body_temp_path {path}/body; proxy_temp_path {path}/proxy;
               fastcgi_temp_path {path}/fastcgi; uwsgi_temp_path {path}/uwsgi;
               scgi_temp_path {path}/scgi; types {{ text/html html; }}
               {http}
             }}"
        );
        let file = folder.join("nginx.conf");
        fs::write(&file, settings)?;
        let mut nginx = program("nginx", "nginx-light")?;
        nginx.arg("-c").arg(&file);
        nginx.arg("-e").arg(folder.join("errors"));
        let pid = self.start(&mut nginx)?;
        self.wait_until("nginx", || TcpStream::connect(("127.0.0.1", port)).is_ok())?;
        Ok(pid)
    }

    /// Starts PostgreSQL with tables `t0` to `t7`, `v text` each.
    pub fn postgres(&mut self) -> Result<Postgres> {
        let versions = fs::read_dir("/usr/lib/postgresql").into_iter().flatten();
        let newest = versions.flatten().map(|v| v.path().join("bin")).max();
        let binaries = newest.context(
            "PostgreSQL is missing; get it with `apt-get install postgresql` (or run `cargo xtask test`)",
        )?;
        // It refuses to run as root.
        let user = User::from_name("postgres")?.context("no user postgres")?;
        let folder = self.folder().join("pg");
        fs::create_dir(&folder)?;
        chown(&folder, Some(user.uid.as_raw()), Some(user.gid.as_raw()))?;
        let data = folder.join("data");
        let mut initdb = Command::new(binaries.join("initdb"));
        initdb
            .args(["--no-sync", "--auth", "trust", "-D"])
            .arg(&data);
        initdb.current_dir("/").stdin(Stdio::null());
        let output = self.join_as(&mut initdb, Some(&user))?.output()?;
        anyhow::ensure!(output.status.success(), "{output:?}");
        let port = free_port()?;
        let mut server = Command::new(binaries.join("postgres"));
        server
            .arg("-D")
            .arg(&data)
            .arg("-k")
            .arg(&folder)
            .current_dir("/");
        server.args(["-p", &port.to_string(), "-c", "fsync=off"]);
        // Without TLS, unless a test turns it on.
        server.args(["-c", "listen_addresses=127.0.0.1"]);
        self.start_as(&mut server, Some(&user))?;
        let postgres = Postgres {
            port,
            folder,
            binaries,
        };
        self.wait_until("PostgreSQL", || {
            let mut ready = postgres.client("pg_isready");
            let ready = ready.stdout(Stdio::null()).status();
            ready.is_ok_and(|status| status.success())
        })?;
        let tables = (0..8).map(|n| {
            format!("CREATE TABLE t{n} AS SELECT 'x' || n AS v FROM generate_series(1, 3) n;")
        });
        let tables: String = tables.collect();
        self.run(postgres.client("psql").args(["-q", "-c", &tables]))?;
        Ok(postgres)
    }

    /// Starts Redis; its port.
    pub fn redis(&mut self) -> Result<u16> {
        let port = free_port()?;
        let mut redis = program("redis-server", "redis-server")?;
        redis.current_dir(self.folder());
        redis.args([
            "--port",
            &port.to_string(),
            "--save",
            "",
            "--bind",
            "127.0.0.1",
        ]);
        self.start(&mut redis)?;
        self.wait_until("Redis", || TcpStream::connect(("127.0.0.1", port)).is_ok())?;
        Ok(port)
    }

    /// Starts `programs/app.py`; its port.
    pub fn python_app(&mut self, postgres: &Postgres, redis: u16) -> Result<u16> {
        let mut python = Command::new("/usr/bin/python3");
        python.arg(source("app.py"));
        python.args([postgres.port.to_string(), redis.to_string()]);
        self.start_with_port(&mut python)
    }

    /// Starts `programs/app.js`; its port.
    pub fn node_app(&mut self, postgres: &Postgres, redis: u16) -> Result<u16> {
        let mut node = program("node", "nodejs")?;
        node.arg(source("app.js"));
        node.args([postgres.port.to_string(), redis.to_string()]);
        self.start_with_port(&mut node)
    }

    /// Starts `observer-server`; its port. See [`read_log`].
    pub fn observer_server(&mut self, disk: Option<&Path>) -> Result<u16> {
        let mut server = Command::new(own("observer-server")?);
        server.arg(self.log()).args(disk);
        self.start_with_port(&mut server)
    }

    /// The log of `observer-server`.
    pub fn log(&self) -> PathBuf {
        self.folder().join("log")
    }

    /// Asks a server with `observer-load` and these arguments; its report.
    pub fn load(&self, port: u16, arguments: &[&str]) -> Result<serde_json::Value> {
        let mut load = Command::new(own("observer-load")?);
        load.arg(format!("127.0.0.1:{port}")).args(arguments);
        let output = self.run(&mut load)?;
        Ok(serde_json::from_slice(&output.stdout)?)
    }

    /// A command of one of this package's programs.
    pub fn own(&self, name: &str) -> Result<Command> {
        Ok(Command::new(own(name)?))
    }
}

fn own(name: &str) -> Result<PathBuf> {
    // A test lies in a folder below, the benchmark beside it.
    let test = std::env::current_exe()?;
    let folders = test.ancestors().skip(1).take(2);
    let found = folders
        .map(|folder| folder.join(name))
        .find(|p| p.is_file());
    found.with_context(|| format!("{name} is missing; `cargo build -p observer-testkit` builds it"))
}

/// What `observer-server` logged, by connection.
///
/// # Errors
/// When a line isn't one of the server's.
pub fn read_log(scene: &Scene) -> Result<Vec<Logged>> {
    let text = fs::read_to_string(scene.log())?;
    let line = |line: &str| {
        let words: Vec<&str> = line.split(' ').collect();
        let [path, begin, end, cpu, port] = words[..] else {
            anyhow::bail!("not a line of the log: {line}");
        };
        Ok(Logged {
            path: path.to_owned(),
            begin: begin.parse()?,
            end: end.parse()?,
            cpu: cpu.parse()?,
            port: port.parse()?,
        })
    };
    text.lines().map(line).collect()
}
