//! What is found about one address: its functions, its line.

use std::sync::Arc;

/// One function at an address, not demangled.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct SourceLine {
    /// The function as linkers or the source call it; `None` when the debug
    /// information has only the line.
    pub name: Option<String>,
    /// Whether that is the linker's name; else it is the source's, which
    /// doesn't say of which namespace or class.
    pub is_linkage: bool,
    /// Source file.
    pub file: Option<Arc<str>>,
    /// Source line, 0 when unknown.
    pub line: u32,
}

/// A function that an address belongs to.
#[derive(Clone, Debug)]
pub(super) struct Function {
    pub(super) name: Option<String>,
    pub(super) is_linkage: bool,
    /// Where the function before it calls it.
    pub(super) call: (Option<Arc<str>>, u32),
}

/// What is known about one address.
#[derive(Clone, Debug, Default)]
pub(super) struct Place {
    pub(super) row: Option<(Option<Arc<str>>, u32)>,
    /// Outermost first.
    pub(super) functions: Vec<Function>,
    /// Which entry the outermost one is, and how much code it has.
    pub(super) owner: Option<usize>,
    pub(super) length: u64,
}

impl Place {
    pub(super) fn into_lines(self) -> Vec<SourceLine> {
        let mut at = self.row;
        if self.functions.is_empty() {
            let (file, line) = match at {
                Some(at) => at,
                None => return Vec::new(),
            };
            return vec![SourceLine {
                name: None,
                is_linkage: false,
                file,
                line,
            }];
        }
        let mut lines = Vec::with_capacity(self.functions.len());
        let outermost = self.functions.len() - 1;
        for (depth, function) in self.functions.into_iter().rev().enumerate() {
            let (file, line) = at.take().unwrap_or_default();
            at = Some(function.call);
            // Nothing can be said about an inlined function without a name.
            if function.name.is_some() || depth == outermost {
                lines.push(SourceLine {
                    name: function.name,
                    is_linkage: function.is_linkage,
                    file,
                    line,
                });
            }
        }
        lines
    }
}
