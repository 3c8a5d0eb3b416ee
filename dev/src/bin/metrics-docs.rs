//! Writes docs/metrics.md from the definitions in the code; `--check` compares.

use std::collections::BTreeSet;
use std::fmt::Write as _;
use std::path::Path;

use anyhow::{Context, bail};
use observer_common::family::Family;
use observer_common::loss::Loss;
use observer_common::unwind::Outcome;
use observer_export::otlp::{DropCause, self_metrics};
use observer_signals::{Instrument, MetricDef};
use observer_userspace::probes;
use observer_userspace::stacks::mappings::MappingLosses;

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
         a device or the host. Workloads that found no place are together in one, `other`, marked with \
         `otel.metric.overflow=true`.\n",
    );
    overview(&mut page);
    for probe in probes::all() {
        let spec = probe.spec();
        let _ = write!(
            page,
            "\n## {}\n\nObserves {}.\n",
            spec.family, spec.observes
        );
        if probe.metrics().is_empty() {
            page.push_str("It makes profiles, and no metrics.\n");
        }
        for def in probe.metrics() {
            metric(&mut page, def);
        }
    }
    page.push_str(
        "\n## Observer itself\n\n\
         The daemon's own cost and losses, with `service.name=observer`. Collected by the OpenTelemetry SDK; \
         `--own-telemetry false` turns it off.\n",
    );
    for def in self_metrics::metrics() {
        metric(&mut page, def);
    }
    outcomes(&mut page);
    causes(&mut page);
    page
}

/// One line per metric; two of one name are a mistake.
fn overview(page: &mut String) {
    page.push_str("\n| metric | unit | instrument | of |\n|---|---|---|---|\n");
    let mut seen = BTreeSet::new();
    let mut line = |family: &str, def: &MetricDef| {
        assert!(seen.insert(def.name), "two metrics are called {}", def.name);
        let anchor: String = def.name.chars().filter(|c| *c != '.').collect();
        let _ = writeln!(
            page,
            "| [`{}`](#{anchor}) | `{}` | {} | {family} |",
            def.name,
            def.unit,
            instrument(def)
        );
    };
    for probe in probes::all() {
        for def in probe.metrics() {
            line(probe.spec().family.as_str(), def);
        }
    }
    for def in self_metrics::metrics() {
        line("Observer itself", def);
    }
}

/// What unwinding a stack can come to.
fn outcomes(page: &mut String) {
    page.push_str(
        "\n## Outcomes of unwinding\n\n\
         Values of `observer.unwind.outcome` in [`observer.profile.samples`](#observerprofilesamples) and \
         [`observer.profile.off_cpu.time`](#observerprofileoff_cputime), and what `observer record` says of its \
         stacks. All but the first two are of incomplete stacks.\n\n\
         | outcome | meaning |\n|---|---|\n",
    );
    for outcome in Outcome::ALL {
        let _ = writeln!(page, "| `{}` | {} |", outcome.name(), outcome.meaning());
    }
}

/// Everything that can be lost, by the names under which it is counted.
fn causes(page: &mut String) {
    page.push_str(
        "\n## Causes of loss\n\n\
         Values of `error.type` in [`observer.probe.lost`](#observerprobelost): what was lost on the way to the \
         export queue.\n\n\
         | cause | `observer.probe` | what was lost |\n|---|---|---|\n",
    );
    let mut line = |name: &str, probe: &str, meaning: &str| {
        let _ = writeln!(page, "| `{name}` | `{probe}` | {meaning} |");
    };
    for loss in Loss::ALL {
        line(loss.name(), loss.part().as_str(), loss.meaning());
    }
    for (name, meaning, _) in MappingLosses::default().causes() {
        line(name, Family::Cpu.as_str(), meaning);
    }
    for cause in probes::losses::ALL {
        line(cause.name, cause.part, cause.meaning);
    }
    page.push_str(
        "\nValues of `error.type` in [`observer.export.lost`](#observerexportlost): what did not reach the endpoint.\n\n\
         | cause | what happened |\n|---|---|\n",
    );
    for cause in DropCause::ALL {
        let _ = writeln!(page, "| `{}` | {} |", cause.as_str(), cause.meaning());
    }
}

fn instrument(def: &MetricDef) -> &'static str {
    match def.instrument {
        Instrument::Counter => "Counter",
        Instrument::UpDownCounter => "UpDownCounter",
        Instrument::Gauge => "Gauge",
        Instrument::Histogram => "Exponential histogram",
    }
}

fn metric(page: &mut String, def: &MetricDef) {
    let _ = write!(
        page,
        "\n### `{}`\n\n{}, unit `{}`. {}\n",
        def.name,
        instrument(def),
        def.unit,
        def.description
    );
    if !def.attributes.is_empty() {
        page.push_str("\n| attribute | meaning |\n|---|---|\n");
        for (key, meaning) in def.attributes {
            let _ = writeln!(page, "| `{key}` | {meaning} |");
        }
    }
}
