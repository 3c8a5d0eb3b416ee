//! .NET: `dotnet x.dll`, `dotnet exec x.dll`, `dotnet run --project x.csproj`.

use super::Line;
use crate::arguments::{operand, value_of};
use crate::candidate::{Candidate, Source};
use crate::script;

/// Options of the host that are followed by a value.
const VALUED: &[&str] = &[
    "--additionalprobingpath",
    "--additional-deps",
    "--depsfile",
    "--fx-version",
    "--roll-forward",
    "--runtimeconfig",
];

pub(super) fn candidate(line: &Line<'_>) -> Option<Candidate> {
    let (first, rest) = operand(line.arguments, VALUED)?;
    let path = match first {
        "exec" => operand(rest, VALUED)?.0,
        "run" | "watch" => {
            let project = value_of(rest, &["--project", "-p"]);
            return match project {
                Some(project) => script::candidate(project, line.cwd, Source::Assembly),
                None => Some(Candidate::new(line.project()?, Source::Assembly)),
            };
        }
        path => path,
    };
    // Its other commands (`build`, `test`) are the SDK's.
    let is_assembly = path.ends_with(".dll") || path.ends_with(".exe");
    script::candidate(path, line.cwd, Source::Assembly).filter(|_| is_assembly)
}
