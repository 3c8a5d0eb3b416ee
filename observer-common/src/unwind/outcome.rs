//! What unwinding a stack comes to.

/// Names each outcome once; the discriminant travels with each sample.
macro_rules! outcomes {
    ($($(#[$attribute:meta])* $variant:ident = $number:literal, $name:literal, $meaning:literal;)*) => {
        /// What became of unwinding one sample's user stack.
        #[repr(u8)]
        #[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash, PartialOrd, Ord)]
        pub enum Outcome { $(#[doc = $meaning] $(#[$attribute])* $variant = $number,)* }

        impl Outcome {
            /// All outcomes.
            pub const ALL: &'static [Outcome] = &[$(Outcome::$variant,)*];

            /// The name, as in metrics and summaries.
            pub const fn name(self) -> &'static str {
                match self { $(Outcome::$variant => $name,)* }
            }

            /// What it means, as a sentence.
            pub const fn meaning(self) -> &'static str {
                match self { $(Outcome::$variant => $meaning,)* }
            }

            /// The outcome with this number.
            pub const fn from_number(number: u8) -> Option<Outcome> {
                match number { $($number => Some(Outcome::$variant),)* _ => None }
            }
        }
    };
}

outcomes! {
    #[default] Complete = 0, "complete", "The stack was walked to its outermost frame.";
    NoUser = 1, "no_user_stack", "A kernel thread, or one that has given up its memory at its end: there is no user stack.";
    Truncated = 2, "truncated", "The stack has more frames than are walked.";
    NoProcess = 3, "no_process", "The process was so new that its mappings were not known yet; walked by frame pointers.";
    NoMapping = 4, "no_mapping", "A frame's address is in no known executable mapping.";
    NoTable = 5, "no_table", "A file's unwinding table was not there yet, or was evicted; walked by frame pointers.";
    NoRow = 6, "no_row", "Code without unwinding information, and its frame pointers led nowhere, or may have left out a caller.";
    BadRule = 7, "bad_rule", "The unwinding information uses a rule that tables can't express.";
    BadFrame = 8, "bad_frame", "A frame did not lie above the one that it called.";
    ReadFault = 9, "read_fault", "The stack's memory could not be read.";
    ForeignAbi = 10, "foreign_abi", "A 32-bit process, whose stacks are walked by frame pointers only.";
    NotWalked = 11, "not_walked", "The user stack was not walked: the thread left the place before it could be.";
    CPythonThreads = 12, "cpython_threads", "The interpreter has more threads than are looked at to find this one's Python frames.";
    CPythonFault = 13, "cpython_read_fault", "The interpreter's memory could not be read: Python frames are missing.";
    CPythonTruncated = 14, "cpython_truncated", "The stack has more Python frames than are walked.";
    CPythonNotWalked = 15, "cpython_not_walked", "The Python frames were not walked: the thread has waited since before the profile began, and was not current.";
}

impl Outcome {
    /// Whether the stack is whole: nothing above its last frame is missing.
    #[inline(always)]
    pub const fn is_complete(self) -> bool {
        matches!(self, Self::Complete | Self::NoUser)
    }
}
