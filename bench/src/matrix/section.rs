//! The results as a section of the report.

use serde_json::{Value, json};

use super::{Plan, Results, Role, Series};
use crate::report::{Section, Target};
use crate::stats::Spread;

const COLUMNS: &[&str] = &[
    "attached",
    "rate",
    "to nothing",
    "added",
    "to the floor's",
    "user + system",
    "BPF",
    "resident, peak",
    "lost",
    "truth",
];

/// Said of all such benchmarks.
fn usual(plan: &Plan) -> String {
    format!(
        " {} rounds; in each every contender is started, watches and is ended in turn, and the workload runs with \
         nothing attached just before and after, to which it is compared: median (and quartiles) of the rounds. \
         `added` is what an operation takes longer, in parts of what the empty programs add that are on the \
         same hooks (for peers: on those of the families that do the peers' job). CPU and BPF run time are in percent \
         of a core, from a further run of at least {} s in which the kernel measured; resident memory in MB. `truth` \
         is what the tool counted against what there was.",
        plan.rounds,
        plan.account.as_secs()
    )
}

impl Results {
    /// As a section.
    pub fn section(&self, plan: &Plan, targets: Vec<Target>, notes: Vec<String>) -> Section {
        let mut rows = Vec::new();
        let mut data = serde_json::Map::new();
        let mut all_notes = Vec::new();
        for one in &self.series {
            if let Some(failure) = &one.failure {
                let failure = failure.trim();
                all_notes.push(format!("{} can't be measured here: {failure}", one.name));
            }
            if !one.rounds.is_empty() {
                rows.push(self.row(one));
            }
            let losses = one.lost.iter().flatten().filter(|(_, lost)| **lost > 0);
            let losses: Vec<String> = losses
                .map(|(cause, lost)| format!("{cause} {lost}"))
                .collect();
            if !losses.is_empty() {
                all_notes.push(format!("{}, lost: {}", one.name, losses.join(", ")));
            }
            for note in &one.notes {
                all_notes.push(format!("{}: {note}", one.name));
            }
            data.insert(one.name.clone(), self.json(one));
        }
        all_notes.extend(notes);
        all_notes.push(format!("load average after it: {}", self.load));
        Section {
            name: plan.name,
            title: plan.title.clone(),
            method: plan.method.clone() + &usual(plan),
            columns: COLUMNS.to_vec(),
            rows,
            targets,
            notes: all_notes,
            data: json!({"unit": self.unit, "contenders": data}),
        }
    }

    fn row(&self, one: &Series) -> Vec<String> {
        let none = || "–".to_string();
        let spread = |values: &[f64], text: fn(&Spread) -> String| {
            Spread::of(values).as_ref().map_or_else(none, text)
        };
        let nothing = one.role == Role::Nothing;
        let mut cells = vec![one.name.clone()];
        let rate = spread(&one.rates(), |s| s.text(decimals(s.median)));
        cells.push(format!("{rate} {}", self.unit));
        if nothing {
            cells.extend(std::iter::repeat_with(none).take(COLUMNS.len() - 2));
            return cells;
        }
        cells.push(spread(&one.ratios(), |s| s.text(3)));
        cells.push(spread(&one.added(), time));
        let floor = self.floor_of(one).and_then(|floor| one.added_to(floor));
        cells.push(floor.map_or_else(none, |s| s.text(2)));
        let account = one.account.as_ref();
        let held = account.filter(|_| one.role != Role::Floor);
        cells.push(held.map_or_else(none, |a| {
            format!("{:.2} + {:.2} %", a.percent(a.user), a.percent(a.system))
        }));
        // What has no programs has no run time: it isn't 0 %, it's elsewhere.
        let programs = account.filter(|a| a.bpf_runs > 0);
        cells.push(programs.map_or_else(none, |a| format!("{:.2} %", a.percent(a.bpf))));
        cells.push(held.map_or_else(none, |a| {
            let peak = one.most_resident().unwrap_or(a.peak);
            format!("{:.1}, {peak:.1}", a.resident)
        }));
        cells.push(one.lost_of("").map_or_else(none, |lost| lost.to_string()));
        cells.push(truth(one));
        cells
    }

    fn json(&self, one: &Series) -> Value {
        let spread = |values: &[f64]| Spread::of(values).map_or(Value::Null, |s| s.json());
        let extra: serde_json::Map<_, _> = one
            .extra()
            .into_iter()
            .map(|(what, values)| {
                let value = json!({"spread": spread(&values), "rounds": values});
                (what.to_string(), value)
            })
            .collect();
        let added: Vec<f64> = one.added().iter().map(|seconds| seconds * 1e9).collect();
        let floor = self.floor_of(one).and_then(|floor| one.added_to(floor));
        let bare: Vec<f64> = one.rounds.iter().map(|round| round.bare).collect();
        json!({
            "role": format!("{:?}", one.role).to_lowercase(),
            "rate": spread(&one.rates()),
            "to_nothing": spread(&one.ratios()),
            "added_ns": spread(&added),
            "to_floor": floor.map(|s| s.json()),
            "rounds": {"rate": one.rates(), "nothing": bare},
            "extra": extra,
            "account": one.account.map(|a| json!({
                "seconds": a.seconds,
                "cpu_seconds": a.cpu,
                "user_percent": a.percent(a.user),
                "system_percent": a.percent(a.system),
                "bpf_percent": a.percent(a.bpf),
                "bpf_runs": a.bpf_runs,
                "resident_mb": a.resident,
                "peak_mb": a.peak,
            })),
            "peak_mb": one.most_resident(),
            "lost": one.lost,
            "facts": one.facts,
            "counted": one.counted,
            "failure": one.failure,
            "notes": one.notes,
        })
    }

    /// Targets that hold for every workload: memory with all probes, and no event
    /// that is neither counted nor lost by name: each of `facts` with the family
    /// whose losses may explain it.
    pub fn usual_targets(&self, facts: &[(&'static str, &'static str)]) -> Vec<Target> {
        let mut targets = Vec::new();
        for one in self.observers() {
            if let Some(peak) = one.most_resident() {
                targets.push(Target {
                    what: format!("{}: resident at its peak", one.name),
                    measured: peak,
                    limit: 100.0,
                    unit: " MB",
                });
            }
            for (what, family) in facts {
                let Some(apart) = one.apart(what) else {
                    continue;
                };
                targets.push(Target {
                    what: format!("{}: {what} neither counted nor lost by name", one.name),
                    measured: (apart - one.lost_of(family).unwrap_or(0) as f64).max(0.0),
                    limit: 0.0,
                    unit: "",
                });
            }
        }
        targets
    }
}

/// What it counted against what there was, figure by figure.
fn truth(one: &Series) -> String {
    let figures = one.counted.iter().filter_map(|(what, counted)| {
        let fact = *one.facts.get(what)?;
        let number = |figure: f64| format!("{figure:.*}", usize::from(figure.fract() != 0.0) * 3);
        Some(if *counted == fact {
            format!("{what} {} = {}", number(*counted), number(fact))
        } else {
            let share = counted / fact * 100.0;
            format!(
                "{what} {} of {} ({share:.2} %)",
                number(*counted),
                number(fact)
            )
        })
    });
    let figures: Vec<String> = figures.collect();
    if figures.is_empty() {
        return "–".into();
    }
    figures.join(", ")
}

/// So many that three digits are seen.
fn decimals(figure: f64) -> usize {
    match figure {
        f if f >= 100.0 => 0,
        f if f >= 10.0 => 1,
        _ => 2,
    }
}

/// Seconds in the unit in which they can be read.
fn time(seconds: &Spread) -> String {
    let (factor, unit) = match seconds.median.abs() {
        s if s < 1e-6 => (1e9, "ns"),
        s if s < 1e-3 => (1e6, "µs"),
        _ => (1e3, "ms"),
    };
    let scaled = Spread {
        median: seconds.median * factor,
        low: seconds.low * factor,
        high: seconds.high * factor,
    };
    format!("{} {unit}", scaled.text(decimals(scaled.median.abs())))
}
