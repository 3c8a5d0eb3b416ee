//! Configuration: defaults < file < environment < flags, one documented struct.
