//! Writes docs/metrics.md from the definitions in the code; `--check` compares.

use std::collections::BTreeSet;
use std::fmt::Write as _;
use std::path::Path;

use anyhow::{Context, bail};
use observer_common::loss::Loss;
use observer_userspace::export::self_metrics;
use observer_userspace::probes;
use observer_userspace::signals::{Instrument, MetricDef};

fn main() -> anyhow::Result<()> {
    let path = Path::new(env!("CARGO_MANIFEST_DIR")).join("../docs/metrics.md");
    let page = page();
    if std::env::args().any(|arg| arg == "--check") {
        let committed = std::fs::read_to_string(&path).context("docs/metrics.md can't be read")?;
        if committed != page {
            bail!(
                "docs/metrics.md is older than the code; run `cargo xtask docs` and commit the result"
            );
        }
        println!("docs/metrics.md is up to date");
        return Ok(());
    }
    std::fs::write(&path, page).context("docs/metrics.md can't be written")?;
    println!("wrote docs/metrics.md");
    Ok(())
}

fn page() -> String {
    let mut page = String::from(
        "# Metrics\n\n\
         Generated from the code by `cargo xtask docs`; don't edit.\n\n\
         Histograms are OTLP exponential histograms of scale 2 (bucket borders 19 % apart), filled in \
         the kernel and exported bucket for bucket. Counters and histograms are cumulative since the \
         series' first event unless delta temporality is asked for. Every point belongs to the resource \
         of a workload (`service.name`, `process.executable.name`, `container.id`, …) unless it is about \
         a device or the host.\n",
    );
    let mut seen = BTreeSet::new();
    for probe in probes::all() {
        let spec = probe.spec();
        let _ = write!(
            page,
            "\n## {}\n\nObserves {}.\n",
            spec.family, spec.observes
        );
        for def in probe.metrics() {
            assert!(seen.insert(def.name), "two metrics are called {}", def.name);
            metric(&mut page, def);
        }
    }
    page.push_str("\n## observer itself\n\nThe daemon's own cost and losses, through the OpenTelemetry SDK.\n");
    for own in self_metrics::CATALOGUE {
        metric(&mut page, own.def);
    }
    page.push_str(
        "\n## Causes of loss\n\n\
         Values of the loss metric's cause attribute that the kernel half counts.\n\n\
         | cause | probe | what was lost |\n|---|---|---|\n",
    );
    for loss in Loss::ALL {
        let _ = writeln!(
            page,
            "| `{}` | {} | {} |",
            loss.name(),
            loss.family(),
            loss.meaning()
        );
    }
    page
}

fn metric(page: &mut String, def: &MetricDef) {
    let instrument = match def.instrument {
        Instrument::Counter => "Counter",
        Instrument::UpDownCounter => "UpDownCounter",
        Instrument::Gauge => "Gauge",
        Instrument::Histogram => "Exponential histogram",
    };
    let _ = write!(
        page,
        "\n### `{}`\n\n{instrument}, unit `{}`. {}\n",
        def.name, def.unit, def.description
    );
    if !def.attributes.is_empty() {
        page.push_str("\n| attribute | meaning |\n|---|---|\n");
        for (key, meaning) in def.attributes {
            let _ = writeln!(page, "| `{key}` | {meaning} |");
        }
    }
}
