//! The version of a runtime, where the path of its executable says it.

use crate::languages::Language;

/// `process.runtime.name` and `process.runtime.version`, by the path of the executable:
/// `/usr/bin/python3.11`, `/opt/nvm/versions/node/v20.1.0/bin/node`,
/// `/usr/lib/jvm/java-21-openjdk-amd64/bin/java`, `/opt/shop/erts-14.2/bin/beam.smp`.
pub(crate) fn of(language: Language, path: &str) -> (Option<String>, Option<String>) {
    let executable = path.rsplit('/').next().unwrap_or(path);
    let name = language.runtime(executable).map(str::to_owned);
    if matches!(language, Language::Shell | Language::Uwsgi) {
        return (None, None);
    }
    let folders = path.rsplit('/').skip(1).filter_map(of_folder);
    let longer = |a: &&str, b: &&str| a.len().cmp(&b.len());
    let version = folders.chain(of_file(executable)).max_by(longer);
    (name, version.map(str::to_owned))
}

/// `v20.1.0`, `3.11.2`, `java-21-openjdk-amd64`, `erts-14.2`, `jdk-17.0.2`.
fn of_folder(folder: &str) -> Option<&str> {
    let rest = ["java-", "jdk-", "jre-", "erts-", "ruby-", "node-v", "v"]
        .iter()
        .find_map(|prefix| folder.strip_prefix(prefix))
        .unwrap_or(folder);
    let version = rest.split(['-', '+']).next().unwrap_or(rest);
    is_version(version).then_some(version)
}

/// `python3.11`, `ruby3.1`, `php8.2`, `php-fpm8.2`; `python3` says no more than the family.
fn of_file(file: &str) -> Option<&str> {
    let at = file.find(|c: char| c.is_ascii_digit())?;
    let version = file.get(at..)?;
    (version.contains('.') && is_version(version)).then_some(version)
}

fn is_version(text: &str) -> bool {
    text.starts_with(|c: char| c.is_ascii_digit())
        && text
            .bytes()
            .all(|b| b.is_ascii_digit() || matches!(b, b'.' | b'_'))
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Checks what paths of executables say about runtimes.
    #[test]
    fn paths_have_versions() {
        let table = [
            ("/usr/bin/python3.11", "cpython", Some("3.11")),
            (
                "/root/.pyenv/versions/3.11.2/bin/python3.11",
                "cpython",
                Some("3.11.2"),
            ),
            ("/usr/bin/python3", "cpython", None),
            (
                "/home/a/.nvm/versions/node/v20.1.0/bin/node",
                "nodejs",
                Some("20.1.0"),
            ),
            ("/usr/bin/node", "nodejs", None),
            ("/usr/bin/ruby3.1", "ruby", Some("3.1")),
            ("/usr/sbin/php-fpm8.2", "fpm-fcgi", Some("8.2")),
            ("/opt/shop/erts-14.2/bin/beam.smp", "BEAM", Some("14.2")),
            ("/usr/share/dotnet/dotnet", ".NET", None),
        ];
        for (path, name, version) in table {
            let language = Language::of(path.rsplit('/').next().unwrap()).expect(path);
            let found = of(language, path);
            assert_eq!(found.0.as_deref(), Some(name), "{path}");
            assert_eq!(found.1.as_deref(), version, "{path}");
        }
        let java = of(
            Language::Java,
            "/usr/lib/jvm/java-21-openjdk-amd64/bin/java",
        );
        assert_eq!(java, (None, Some("21".to_owned())));
        assert_eq!(of(Language::Shell, "/opt/1.2/bin/sh"), (None, None));
    }
}
