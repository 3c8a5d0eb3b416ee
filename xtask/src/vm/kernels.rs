//! Which kernels there are: from Debian's packages to the newest of each series.

use std::collections::BTreeMap;
use std::fmt;

use anyhow::{Context, Result, bail};

/// A series of kernels, like 6.12.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Series(pub u32, pub u32);

impl fmt::Display for Series {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}.{}", self.0, self.1)
    }
}

impl Series {
    /// Of the first two numbers of a text.
    pub fn parse(text: &str) -> Option<Self> {
        let mut numbers = text.split('.').map(str::parse);
        let (major, minor) = (numbers.next()?.ok()?, numbers.next()?.ok()?);
        numbers.next().is_none().then_some(Self(major, minor))
    }
}

/// A kernel that Debian has.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Kernel {
    /// Its series.
    pub series: Series,
    /// All of its version, like 6.12.117.
    pub version: String,
    /// What it calls itself (`uname -r`).
    pub release: String,
    /// The packages that have its image and its modules.
    pub packages: Vec<String>,
}

/// Which names the packages of kernels have: those of the flavour for clouds, which
/// are small and have all that guests need. A regular expression for apt.
pub fn names(architecture: &str) -> String {
    format!("^linux-(base|image|binary|modules)-[0-9].*-cloud-{architecture}(-unsigned)?$")
}

/// The packages that make one kernel.
#[derive(Debug, Default)]
struct Parts {
    /// The kernel's own version.
    version: String,
    image: Option<String>,
    unsigned: Option<String>,
    binary: Option<String>,
    modules: Option<String>,
    base: Option<String>,
}

impl Parts {
    /// All packages that are needed, or `None` if the archive hasn't got all of them: it
    /// keeps some longer than others. From 6.19 on `linux-image` only depends on others:
    /// of the image, the modules, and the list of what is built in.
    fn packages(self) -> Option<Vec<String>> {
        match (self.binary, self.modules, self.base) {
            (None, ..) => Some(vec![self.image.or(self.unsigned)?]),
            (Some(binary), Some(modules), Some(base)) => Some(vec![binary, modules, base]),
            (Some(_), ..) => None,
        }
    }
}

/// The newest kernel of each series, in their order, by what `apt-cache show`
/// says.
pub fn newest(stanzas: &str) -> Vec<Kernel> {
    let mut releases: BTreeMap<String, Parts> = BTreeMap::new();
    for stanza in stanzas.split("\n\n") {
        let field = |wanted: &str| {
            let values = stanza.lines().filter_map(|line| line.split_once(": "));
            let mut found = values.filter(|(name, _)| *name == wanted);
            found.next().map(|(_, value)| value)
        };
        let (Some(package), Some(version)) = (field("Package"), field("Version")) else {
            continue;
        };
        let Some((kind, release)) = package
            .strip_prefix("linux-")
            .and_then(|p| p.split_once('-'))
        else {
            continue;
        };
        let plain = release.strip_suffix("-unsigned").unwrap_or(release);
        let parts = releases.entry(plain.to_owned()).or_default();
        let name = Some(package.to_owned());
        match kind {
            "image" if plain == release => parts.image = name,
            "image" => parts.unsigned = name,
            "binary" => parts.binary = name,
            "modules" => parts.modules = name,
            "base" => parts.base = name,
            _ => continue,
        }
        let upstream = version.split(['-', '~', '+']).next();
        parts.version = upstream.unwrap_or_default().to_owned();
    }
    let mut newest: BTreeMap<Series, (Vec<u32>, Kernel)> = BTreeMap::new();
    for (release, parts) in releases {
        // A package without a third number only names the newest one.
        let named = release.split(['-', '+']).next().unwrap_or_default();
        let [major, minor, _] = numbers(named)[..] else {
            continue;
        };
        let series = Series(major, minor);
        // Of the same version, the one of the newer release of Debian.
        let version = parts.version.clone();
        let rank = [numbers(&version), numbers(&release)].concat();
        let Some(packages) = parts.packages() else {
            continue;
        };
        let kernel = Kernel {
            series,
            version,
            release,
            packages,
        };
        match newest.get(&series) {
            Some((known, _)) if *known > rank => {}
            _ => drop(newest.insert(series, (rank, kernel))),
        }
    }
    newest.into_values().map(|(_, kernel)| kernel).collect()
}

/// The kernels that words mean: a series, `newest` or `oldest`; none mean all.
///
/// # Errors
/// When there is none of that name, with those that there are.
pub fn choose(all: &[Kernel], words: &[String]) -> Result<Vec<Kernel>> {
    let (Some(oldest), Some(newest)) = (all.first(), all.last()) else {
        bail!("Debian's lists of packages have no kernel");
    };
    if words.is_empty() {
        return Ok(all.to_vec());
    }
    let mut chosen: Vec<Kernel> = Vec::new();
    for word in words {
        let kernel = match word.as_str() {
            "newest" => newest,
            "oldest" => oldest,
            word => {
                let series = Series::parse(word);
                let found = all.iter().find(|kernel| Some(kernel.series) == series);
                found.with_context(|| {
                    let there: Vec<_> = all.iter().map(|k| k.series.to_string()).collect();
                    format!("Debian has no kernel {word}; there are {}", there.join(" "))
                })?
            }
        };
        if !chosen.contains(kernel) {
            chosen.push(kernel.clone());
        }
    }
    Ok(chosen)
}

/// All numbers in a text.
fn numbers(text: &str) -> Vec<u32> {
    let words = text.split(|c: char| !c.is_ascii_digit());
    words.filter_map(|word| word.parse().ok()).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn stanzas(packages: &[(&str, &str)]) -> String {
        let stanza = |(package, version): &(&str, &str)| {
            format!("Package: {package}\nSource: linux\nVersion: {version}\nSize: 1\n")
        };
        packages.iter().map(stanza).collect::<Vec<_>>().join("\n")
    }

    /// Checks that of each series the newest is taken, by its version and not by
    /// its name, with the packages that have its image and its modules; that one of
    /// which the archive has no modules any more is left out; and that packages that only
    /// depend on others are no kernels.
    #[test]
    fn newest_of_each_series() {
        let kernels = newest(&stanzas(&[
            ("linux-image-6.1.0-9-cloud-amd64", "6.1.27-1"),
            ("linux-image-6.1.0-57-cloud-amd64", "6.1.192-3"),
            ("linux-image-6.1.0-57-cloud-amd64-unsigned", "6.1.192-3"),
            ("linux-image-6.12-cloud-amd64", "6.12.200-1"),
            ("linux-image-6.12.99+deb13-cloud-amd64", "6.12.99-1"),
            (
                "linux-image-6.12.117+deb12-cloud-amd64",
                "6.12.117-1~bpo12+1",
            ),
            (
                "linux-image-6.12.117+deb13-cloud-amd64-unsigned",
                "6.12.117-1",
            ),
            ("linux-image-6.19.14+deb13-cloud-amd64", "6.19.14-1"),
            ("linux-binary-6.19.14+deb13-cloud-amd64", "6.19.14-1"),
            ("linux-image-7.3.4+deb13-cloud-amd64", "7.3.4-1~bpo13+1"),
            ("linux-binary-7.3.4+deb13-cloud-amd64", "7.3.4-1~bpo13+1"),
            ("linux-modules-7.3.4+deb13-cloud-amd64", "7.3.4-1~bpo13+1"),
            ("linux-base-7.3.4+deb13-cloud-amd64", "7.3.4-1~bpo13+1"),
            ("linux-modules-cloud-amd64", "7.3.4-1~bpo13+1"),
        ]));
        let told: Vec<_> = kernels
            .iter()
            .map(|k| (k.series.to_string(), &*k.version, k.packages.join(" ")))
            .collect();
        let expected = [
            ("6.1", "6.1.192", "linux-image-6.1.0-57-cloud-amd64"),
            (
                "6.12",
                "6.12.117",
                "linux-image-6.12.117+deb13-cloud-amd64-unsigned",
            ),
            (
                "7.3",
                "7.3.4",
                "linux-binary-7.3.4+deb13-cloud-amd64 linux-modules-7.3.4+deb13-cloud-amd64 \
                 linux-base-7.3.4+deb13-cloud-amd64",
            ),
        ];
        let expected = expected.map(|(s, v, p)| (s.to_owned(), v, p.to_owned()));
        assert_eq!(told, expected);
        assert_eq!(kernels[0].release, "6.1.0-57-cloud-amd64");
    }

    /// Checks words for kernels, that each comes once, and what is said when there
    /// is none.
    #[test]
    fn words() {
        let all = newest(&stanzas(&[
            ("linux-image-6.1.0-57-cloud-amd64", "6.1.192-3"),
            ("linux-image-6.12.117+deb13-cloud-amd64", "6.12.117-1"),
        ]));
        let series = |words: &[&str]| {
            let words: Vec<String> = words.iter().map(|&word| word.to_owned()).collect();
            let chosen = choose(&all, &words)?;
            anyhow::Ok(
                chosen
                    .iter()
                    .map(|k| k.series.to_string())
                    .collect::<Vec<_>>(),
            )
        };
        assert_eq!(series(&[]).expect("all"), ["6.1", "6.12"]);
        let words = ["newest", "6.12", "oldest"];
        assert_eq!(series(&words).expect("both"), ["6.12", "6.1"]);
        let error = series(&["6.2"]).expect_err("none");
        assert!(error.to_string().contains("6.1 6.12"), "{error}");
        assert!(choose(&[], &[]).is_err());
    }
}
