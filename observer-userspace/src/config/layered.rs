//! Laying what one source says over what another says.

/// Options of which each may be unset.
pub trait Layered {
    /// `self` where it says something, else `below`.
    fn over(self, below: Self) -> Self;
}

impl<T> Layered for Option<T> {
    fn over(self, below: Self) -> Self {
        self.or(below)
    }
}

/// Structs of options, and of structs of options: laid over each other field by field.
macro_rules! layered {
    ($(
        $(#[$about:meta])*
        pub struct $name:ident {
            $(
                $(#[$option_about:meta])*
                pub $option:ident: $type:ty,
            )*
        }
    )*) => {$(
        $(#[$about])*
        pub struct $name {
            $(
                $(#[$option_about])*
                pub $option: $type,
            )*
        }

        impl Layered for $name {
            fn over(self, below: Self) -> Self {
                Self {
                    $($option: self.$option.over(below.$option),)*
                }
            }
        }
    )*};
}

pub(super) use layered;
