//! Fields that are smaller than what the kernel half reads of them.

use std::fmt;

use observer_common::offsets::Spec;

use super::KernelBtf;

/// A field that this kernel has, but smaller than what is read of it: behind it
/// lies something else. (Of a larger one the lower bytes are read, which on
/// little-endian machines are the value as long as it is small.)
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Misfit {
    /// Its name in [`observer_common::offsets::Offsets`].
    pub name: &'static str,
    /// As a person would look for it: `task_struct.on_cpu`.
    pub field: String,
    /// Bytes that it has.
    pub has: u32,
    /// Bytes that are read of it.
    pub read: u32,
}

impl fmt::Display for Misfit {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { field, read, .. } = self;
        let bytes = if self.has == 1 { "byte" } else { "bytes" };
        write!(f, "{field} of {} {bytes}, where {read} are read", self.has)
    }
}

/// The field, if it is one.
pub(super) fn of(btf: &KernelBtf, spec: &Spec) -> Option<Misfit> {
    if spec.width == 0 {
        return None;
    }
    let (_, size) = btf.field(spec)?;
    // What has no size can't be read.
    let has = size.unwrap_or(0);
    (has < spec.width).then(|| Misfit {
        name: spec.name,
        field: format!("{}.{}", spec.structure, spec.paths.join(" or ")),
        has,
        read: spec.width,
    })
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeMap;
    use std::fs;
    use std::path::Path;

    use observer_common::offsets::{MISSING, Offsets};

    use super::*;

    /// Checks that on this kernel every field is as large as what is read of it.
    #[test]
    fn this_kernel_has_none() {
        let types = KernelBtf::load().expect("it can be read");
        assert_eq!(types.misfits(), []);
    }

    /// Checks a field of one byte that is read as one byte and as four, and that
    /// one that is too small counts as missing.
    #[test]
    fn smaller_than_read() {
        let types = KernelBtf::load().expect("it can be read");
        let spec = |name: &str, width| {
            let mut specs = Offsets::SPECS.iter();
            let found = specs.find(|spec| spec.name == name).expect("a field");
            Spec { width, ..*found }
        };
        // `volatile unsigned char skc_state`, include/net/sock.h.
        assert_eq!(of(&types, &spec("sock_state", 1)), None);
        let found = of(&types, &spec("sock_state", 4)).expect("too small");
        assert_eq!(
            found.to_string(),
            "sock_common.skc_state of 1 byte, where 4 are read"
        );
        // `char comm[16]`, a bit field of 5 bits, a pointer, an enumerator.
        for (name, fits) in [
            ("task_comm", 16),
            ("icsk_ca_state", 1),
            ("request_queue", 8),
        ] {
            assert_eq!(of(&types, &spec(name, fits)), None, "{name}");
            let found = of(&types, &spec(name, fits + 1)).expect(name);
            assert_eq!((found.has, found.read), (fits, fits + 1), "{name}");
        }
        assert_eq!(of(&types, &spec("req_fua", 0)), None);
        assert_ne!(types.offsets().get("sock_state"), Some(MISSING));
    }

    /// The widths by which the kernel half's sources read each field: `read!(…,
    /// task_pid, u32)` and `field!(…)`.
    fn reads(folder: &Path, found: &mut BTreeMap<String, Vec<u32>>) {
        for entry in fs::read_dir(folder).expect("sources").flatten() {
            let path = entry.path();
            if path.is_dir() {
                reads(&path, found);
                continue;
            }
            let text = fs::read_to_string(&path).expect("text");
            let calls = ["read!(", "field!("].map(|call| text.split(call).skip(1));
            for call in calls.into_iter().flatten() {
                let arguments = call.split_once(')').map_or(call, |(inside, _)| inside);
                let mut words = arguments
                    .rsplit(',')
                    .map(str::trim)
                    .filter(|w| !w.is_empty());
                let (Some(ty), Some(name)) = (words.next(), words.next()) else {
                    continue;
                };
                let width = match ty {
                    "u8" => 1,
                    "u16" => 2,
                    "u32" | "i32" => 4,
                    "u64" | "*const u8" => 8,
                    "[u64; 2]" => 16,
                    // The macros' own definitions.
                    _ => continue,
                };
                found.entry(name.to_owned()).or_default().push(width);
            }
        }
    }

    /// Checks that each width is the widest by which the kernel half's sources
    /// read the field.
    #[test]
    fn widths_are_the_sources() {
        let sources = Path::new(env!("CARGO_MANIFEST_DIR")).join("../observer-ebpf/src");
        let mut found = BTreeMap::new();
        reads(&sources, &mut found);
        let mut compared = 0;
        for spec in Offsets::SPECS {
            let Some(widths) = found.get(spec.name) else {
                continue;
            };
            assert_eq!(widths.iter().max(), Some(&spec.width), "{}", spec.name);
            compared += 1;
        }
        assert!(
            compared > 60,
            "only {compared} fields are read by these macros"
        );
    }
}
