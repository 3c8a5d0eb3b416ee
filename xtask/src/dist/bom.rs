//! The bill of materials: what is in the binary, as CycloneDX 1.5.

use anyhow::Context;
use serde_json::{Value, json};
use sha2::{Digest, Sha256};

use super::VERSION;
use super::binary::Binary;
use super::crates::{Crate, ROOT};
use super::epoch::Epoch;
use super::target::Target;
use crate::ebpf::OBJECT;

/// The bill, as JSON.
pub fn of(
    crates: &[Crate],
    target: Target,
    binary: &Binary,
    epoch: Epoch,
) -> anyhow::Result<Vec<u8>> {
    let object = std::fs::read(crate::checkout().join(OBJECT));
    let object = object.with_context(|| format!("cannot read {OBJECT}"))?;
    let mut components: Vec<Value> = crates
        .iter()
        .filter(|one| one.name != ROOT)
        .map(library)
        .collect();
    components.push(json!({
        "type": "file",
        "bom-ref": OBJECT,
        "name": OBJECT,
        "description": "the kernel half; `cargo xtask ebpf --check` builds it again",
        "hashes": [hash(&super::hex(&Sha256::digest(&object)))],
    }));
    let dependencies: Vec<Value> = crates.iter().map(dependency).collect();
    let compiler = format!("{} (static, musl's libc)", target.triple());
    let bill = json!({
        "bomFormat": "CycloneDX",
        "specVersion": "1.5",
        "serialNumber": format!("urn:uuid:{}", uuid(&binary.sha256)),
        "version": 1,
        "metadata": {
            "timestamp": epoch.rfc3339(),
            "component": {
                "type": "application",
                "bom-ref": reference(ROOT, VERSION),
                "name": "observer",
                "version": VERSION,
                "purl": format!("pkg:generic/observer@{VERSION}"),
                "licenses": [{ "expression": "Apache-2.0 OR MIT" }],
                "hashes": [hash(&binary.sha256)],
            },
            "properties": [{ "name": "target", "value": compiler }],
        },
        "components": components,
        "dependencies": dependencies,
    });
    let mut text = serde_json::to_vec_pretty(&bill)?;
    text.push(b'\n');
    Ok(text)
}

fn library(one: &Crate) -> Value {
    let mut library = json!({
        "type": "library",
        "bom-ref": reference(&one.name, &one.version),
        "name": one.name,
        "version": one.version,
        "scope": "required",
    });
    if let Some(licence) = &one.licence {
        library["licenses"] = json!([{ "expression": licence }]);
    }
    if let Some(checksum) = &one.checksum {
        library["hashes"] = json!([hash(checksum)]);
        library["purl"] = json!(format!("pkg:cargo/{}@{}", one.name, one.version));
    }
    library
}

fn dependency(one: &Crate) -> Value {
    let mut uses: Vec<String> = one
        .uses
        .iter()
        .map(|(name, version)| reference(name, version))
        .collect();
    if one.name == ROOT {
        uses.push(OBJECT.to_owned());
    }
    json!({ "ref": reference(&one.name, &one.version), "dependsOn": uses })
}

fn reference(name: &str, version: &str) -> String {
    format!("{name}@{version}")
}

fn hash(sha256: &str) -> Value {
    json!({ "alg": "SHA-256", "content": sha256 })
}

/// A UUID of a hash, of version 8 (RFC 9562: what we like).
fn uuid(sha256: &str) -> String {
    let part = |from: usize, to: usize| sha256.get(from..to).unwrap_or_default();
    format!(
        "{}-{}-8{}-8{}-{}",
        part(0, 8),
        part(8, 12),
        part(12, 15),
        part(15, 18),
        part(18, 30)
    )
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeSet;

    use super::*;

    /// Checks that whatever is referred to is there, each once, and that the bill is
    /// the same when made twice.
    #[test]
    fn references_lead_somewhere() {
        let target = Target::X86_64;
        let crates = super::super::crates::linked(target).expect("cargo tells");
        let binary = Binary {
            data: Vec::new(),
            sha256: super::super::hex(&Sha256::digest(b"")),
        };
        let make = || of(&crates, target, &binary, Epoch(0)).expect("a bill");
        let text = make();
        assert!(text == make(), "the bytes differ");
        let bill: Value = serde_json::from_slice(&text).expect("JSON");
        let components = bill["components"].as_array().expect("components");
        let mut known: Vec<&Value> = components.iter().map(|one| &one["bom-ref"]).collect();
        known.push(&bill["metadata"]["component"]["bom-ref"]);
        let distinct: BTreeSet<String> = known.iter().map(ToString::to_string).collect();
        assert_eq!(distinct.len(), known.len());
        let dependencies = bill["dependencies"].as_array().expect("dependencies");
        assert!(dependencies.len() > 100, "only {}", dependencies.len());
        for dependency in dependencies {
            let on = dependency["dependsOn"].as_array().expect("a list");
            for one in on.iter().chain([&dependency["ref"]]) {
                assert!(distinct.contains(&one.to_string()), "{one} is nowhere");
            }
        }
        assert_eq!(bill["metadata"]["timestamp"], "1970-01-01T00:00:00Z");
        let serial = bill["serialNumber"].as_str().expect("a number");
        assert_eq!(serial, "urn:uuid:e3b0c442-98fc-81c1-849a-fbf4c8996fb9");
    }
}
