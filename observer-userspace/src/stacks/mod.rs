//! From addresses to named stacks: mappings, symbols, the interner.
