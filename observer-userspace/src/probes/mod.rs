//! One file per probe family: attach it, read it, make signals of it.
