//! Attaching programs, each for itself, and why one can't be.

use anyhow::{Context, Result, anyhow};
use aya::Btf;
use aya::programs::tp_btf::BtfTracePointLinkId;
use aya::programs::{BtfTracePoint, Iter, PerfEvent, Program, UProbe};
use observer_common::offsets::Offsets;

use super::Kernel;
use super::attach_error::AttachError;
use super::spec::{Attach, ProbeSpec, ProbeState, ProgramSpec};
use crate::kernel::btf::Misfit;

impl Kernel {
    /// Attaches a probe's programs, each for itself: what fails is remembered
    /// with its reason ([`Kernel::states`]) and the others go on. True if any
    /// is attached.
    pub fn attach(&mut self, spec: &ProbeSpec) -> bool {
        let mut any = false;
        let preemptible = self.preemption.tracepoints;
        let wanted = |program: &&ProgramSpec| program.is_wanted(preemptible);
        for program in spec.programs.iter().filter(wanted) {
            let result = self.attach_program(program);
            any |= result.is_ok();
            self.states.push(ProbeState {
                family: spec.family,
                program: *program,
                failure: result.err(),
            });
        }
        any
    }

    fn attach_program(&mut self, spec: &ProgramSpec) -> Result<(), AttachError> {
        if let Some(error) = lacking(spec, &self.offsets, &self.misfits) {
            return Err(error);
        }
        let Self {
            ebpf,
            btf,
            links,
            preemption,
            ..
        } = self;
        let failed = |text: String| AttachError::Failed(text);
        let Some(btf) = btf.as_ref() else {
            return Err(failed("attached after the types were dropped".to_owned()));
        };
        let program = ebpf
            .program_mut(spec.name)
            .ok_or_else(|| failed(format!("the kernel object has no program {}", spec.name)))?;
        match spec.attach {
            Attach::Tracepoint(tracepoint) | Attach::SecondLook(tracepoint) => {
                links.insert(spec.name, trace(program, &[tracepoint], btf)?);
            }
            Attach::FirstTracepoint(tracepoints) => {
                links.insert(spec.name, trace(program, tracepoints, btf)?);
            }
            Attach::Iterator(kind) => {
                let program: &mut Iter = program.try_into().map_err(AttachError::of)?;
                program.load(kind, btf).map_err(AttachError::of)?;
            }
            Attach::Manual => {
                let program: &mut PerfEvent = program.try_into().map_err(AttachError::of)?;
                program.load().map_err(AttachError::of)?;
            }
            // Another thread could write into its stack.
            Attach::UserFunction if !preemption.user_functions_are_safe() => {
                let text = "programs on user functions can't keep their stack on this kernel";
                return Err(failed(text.to_owned()));
            }
            Attach::UserFunction => {
                let program: &mut UProbe = program.try_into().map_err(AttachError::of)?;
                program.load().map_err(AttachError::of)?;
            }
        }
        Ok(())
    }

    /// Takes a program off its tracepoint; it stays loaded. Does nothing if it
    /// isn't attached.
    ///
    /// # Errors
    /// When the kernel object has no such program on a tracepoint.
    pub fn detach(&mut self, program: &str) -> Result<()> {
        let Some(link) = self.links.remove(program) else {
            return Ok(());
        };
        let found: &mut BtfTracePoint = self.loaded(program)?.try_into()?;
        found
            .detach(link)
            .with_context(|| format!("cannot detach {program}"))
    }

    /// Puts a program back that was detached.
    ///
    /// # Errors
    /// When the kernel object has no such program on a tracepoint, it isn't
    /// loaded, or the kernel refuses.
    pub fn attach_again(&mut self, program: &'static str) -> Result<()> {
        if self.is_attached(program) {
            return Ok(());
        }
        let found: &mut BtfTracePoint = self.loaded(program)?.try_into()?;
        let link = found
            .attach()
            .with_context(|| format!("cannot attach {program} again"))?;
        self.links.insert(program, link);
        Ok(())
    }

    fn loaded(&mut self, program: &str) -> Result<&mut Program> {
        self.ebpf
            .program_mut(program)
            .ok_or_else(|| anyhow!("the kernel object has no program {program}"))
    }
}

/// Attaches a program to the first of these tracepoints that the kernel has; it
/// is verified for that one only.
fn trace(
    program: &mut Program,
    tracepoints: &[&str],
    btf: &Btf,
) -> Result<BtfTracePointLinkId, AttachError> {
    let program: &mut BtfTracePoint = program.try_into().map_err(AttachError::of)?;
    for tracepoint in tracepoints {
        match program.load(tracepoint, btf).map_err(AttachError::of) {
            Ok(()) => return program.attach().map_err(AttachError::of),
            Err(AttachError::NoHook(_)) => {}
            Err(error) => return Err(error),
        }
    }
    let names = tracepoints.join(" or ");
    Err(AttachError::NoHook(format!("tracepoint {names}")))
}

/// Which of the fields that a program needs this kernel doesn't have as they are
/// read, all of them by name.
pub fn lacking(spec: &ProgramSpec, offsets: &Offsets, misfits: &[Misfit]) -> Option<AttachError> {
    let missing = spec.needs.iter().copied().filter(|need| !offsets.has(need));
    unfit(missing, misfits)
}

/// These fields, of which there is none as it is read, by name.
pub fn unfit(
    missing: impl Iterator<Item = &'static str>,
    misfits: &[Misfit],
) -> Option<AttachError> {
    let (mut sizes, mut names) = (Vec::new(), Vec::new());
    for need in missing {
        match misfits.iter().find(|misfit| misfit.name == need) {
            Some(misfit) => sizes.push(misfit.to_string()),
            None => names.push(field_name(need)),
        }
    }
    if !sizes.is_empty() {
        return Some(AttachError::FieldSize(sizes.join(", ")));
    }
    (!names.is_empty()).then(|| AttachError::NoField(names.join(", no ")))
}

/// A field as a person would look for it.
pub fn field_name(need: &str) -> String {
    let mut specs = Offsets::SPECS.iter();
    specs.find(|spec| spec.name == need).map_or_else(
        || need.to_owned(),
        |spec| format!("{}.{}", spec.structure, spec.paths.join(" or ")),
    )
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Checks that fields are named as the kernel's sources name them.
    #[test]
    fn fields_are_named() {
        assert_eq!(field_name("task_state"), "task_struct.__state or state");
        assert_eq!(field_name("no_such_field"), "no_such_field");
    }
}
