//! Archives of which each byte follows from their files and the epoch.

use std::collections::BTreeSet;
use std::io::Write as _;
use std::path::Path;

use anyhow::Context;
use flate2::{Compression, GzBuilder};
use tar::{Builder, EntryType, Header};

use super::epoch::Epoch;

/// A file as it will lie somewhere.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct File {
    /// Relative to the root.
    pub path: String,
    /// Permissions.
    pub mode: u32,
    /// Its bytes.
    pub data: Vec<u8>,
}

/// A tar archive of the files, with their folders, in the order of their names.
pub fn tar(files: &[File], epoch: Epoch) -> anyhow::Result<Vec<u8>> {
    let mut sorted: Vec<&File> = files.iter().collect();
    sorted.sort_unstable_by(|a, b| a.path.cmp(&b.path));
    let mut folders = BTreeSet::new();
    let mut builder = Builder::new(Vec::new());
    for file in sorted {
        let parents: Vec<&Path> = Path::new(&file.path).ancestors().skip(1).collect();
        for folder in parents
            .into_iter()
            .rev()
            .filter(|folder| *folder != Path::new(""))
        {
            if folders.insert(folder.to_path_buf()) {
                let mut header = header(EntryType::Directory, 0o755, 0, epoch);
                let path = format!("{}/", folder.display());
                let added = builder.append_data(&mut header, &path, &[][..]);
                added.with_context(|| format!("cannot pack {path}"))?;
            }
        }
        let length = file.data.len() as u64;
        let mut header = header(EntryType::Regular, file.mode, length, epoch);
        let added = builder.append_data(&mut header, &file.path, &*file.data);
        added.with_context(|| format!("cannot pack {}", file.path))?;
    }
    builder.into_inner().context("cannot end an archive")
}

fn header(kind: EntryType, mode: u32, size: u64, epoch: Epoch) -> Header {
    let mut header = Header::new_gnu();
    header.set_entry_type(kind);
    header.set_mode(mode);
    header.set_uid(0);
    header.set_gid(0);
    header.set_mtime(epoch.0.into());
    header.set_size(size);
    header
}

/// Compressed, without a time or a name.
pub fn gzip(data: &[u8]) -> anyhow::Result<Vec<u8>> {
    let mut encoder = GzBuilder::new().write(Vec::new(), Compression::best());
    encoder.write_all(data).context("cannot compress")?;
    encoder.finish().context("cannot compress")
}

#[cfg(test)]
mod tests {
    use std::process::{Command, Stdio};

    use super::*;

    /// Checks that an archive is the same whatever order its files come in, and that
    /// another reader (tar) finds in it the files, modes, times and owners.
    #[test]
    fn archives_are_reproducible() {
        let file = |path: &str, mode| File {
            path: path.to_owned(),
            mode,
            data: path.as_bytes().to_vec(),
        };
        let files = [file("a/bin/x", 0o755), file("a/doc/y", 0o644)];
        let epoch = Epoch(1_700_000_000);
        let packed = gzip(&tar(&files, epoch).expect("an archive")).expect("compressed");
        let turned = [files[1].clone(), files[0].clone()];
        let again = gzip(&tar(&turned, epoch).expect("an archive")).expect("compressed");
        assert!(packed == again, "the bytes differ");

        let mut reader = Command::new("tar")
            .args([
                "--list",
                "--verbose",
                "--gzip",
                "--full-time",
                "--utc",
                "--file=-",
            ])
            .env("LC_ALL", "C")
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .spawn()
            .expect("tar");
        let mut input = reader.stdin.take().expect("a pipe");
        input.write_all(&packed).expect("tar reads");
        drop(input);
        let out = reader.wait_with_output().expect("tar");
        let listed = String::from_utf8_lossy(&out.stdout).into_owned();
        let fields: Vec<Vec<&str>> = listed
            .lines()
            .map(|line| line.split_whitespace().collect())
            .collect();
        let expected = [
            ["drwxr-xr-x", "0/0", "0", "2023-11-14", "22:13:20", "a/"],
            ["drwxr-xr-x", "0/0", "0", "2023-11-14", "22:13:20", "a/bin/"],
            [
                "-rwxr-xr-x",
                "0/0",
                "7",
                "2023-11-14",
                "22:13:20",
                "a/bin/x",
            ],
            ["drwxr-xr-x", "0/0", "0", "2023-11-14", "22:13:20", "a/doc/"],
            [
                "-rw-r--r--",
                "0/0",
                "7",
                "2023-11-14",
                "22:13:20",
                "a/doc/y",
            ],
        ];
        assert_eq!(fields, expected, "{listed}");
    }
}
