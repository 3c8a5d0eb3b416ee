//! What begins where the side that asks takes its turn.

/// What begins where the side that asks takes its turn.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Beginning {
    /// Another exchange; otherwise an earlier one goes on.
    pub exchange: bool,
    /// It is one for whoever counts exchanges.
    pub counted: bool,
    /// Later ones can't be understood without it.
    pub needed: bool,
}

impl Beginning {
    /// An earlier exchange goes on.
    pub const NONE: Self = Self {
        exchange: false,
        counted: false,
        needed: false,
    };
    /// An exchange begins.
    pub const EXCHANGE: Self = Self {
        exchange: true,
        counted: true,
        needed: false,
    };
    /// An exchange begins that matters later.
    pub const NEEDED: Self = Self {
        exchange: true,
        counted: true,
        needed: true,
    };
}
