//! The kernel's reasons to drop a packet, by their numbers.

use std::collections::HashMap;

use observer_common::net::NO_REASON;
use observer_signals::Value;

/// What all begin with in the kernel (include/net/dropreason-core.h).
const PREFIX: &str = "SKB_DROP_REASON_";
/// Reasons of a module's own have the module's number in the upper bits
/// (`SKB_DROP_REASON_SUBSYS_SHIFT` of include/net/dropreason.h).
const SUBSYSTEM_SHIFT: u32 = 16;

/// What a drop is called where the kernel tells no reasons.
const UNTOLD: &str = "untold";

/// Their names.
#[derive(Debug, Default)]
pub(super) struct Reasons(HashMap<u32, String>);

impl Reasons {
    /// Of the kernel's enumerators.
    pub(super) fn of(enumerators: &[(String, u32)]) -> Self {
        let names = enumerators.iter();
        let named = names.map(|(name, number)| {
            let name = name.strip_prefix(PREFIX).unwrap_or(name);
            (*number, name.to_owned())
        });
        Self(named.collect())
    }

    /// The name as the kernel has it, without what all begin with.
    pub(super) fn name(&self, number: u32) -> Value {
        if number == NO_REASON {
            return UNTOLD.into();
        }
        match self.0.get(&number) {
            Some(name) => name.clone().into(),
            // Of a module: Wi-Fi, Open vSwitch.
            None if number >> SUBSYSTEM_SHIFT != 0 => {
                let (subsystem, reason) = (number >> SUBSYSTEM_SHIFT, number & 0xffff);
                format!("SUBSYSTEM_{subsystem}_{reason}").into()
            }
            None => format!("REASON_{number}").into(),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Checks names: of enumerators, of modules' reasons, and of none.
    #[test]
    fn names() {
        let reasons = Reasons::of(&[
            ("SKB_CONSUMED".to_owned(), 1),
            ("SKB_DROP_REASON_NO_SOCKET".to_owned(), 3),
        ]);
        assert_eq!(reasons.name(3), "NO_SOCKET".into());
        assert_eq!(reasons.name(1), "SKB_CONSUMED".into());
        assert_eq!(reasons.name(0x3_0002), "SUBSYSTEM_3_2".into());
        assert_eq!(reasons.name(77), "REASON_77".into());
        assert_eq!(reasons.name(NO_REASON), "untold".into());
    }
}
