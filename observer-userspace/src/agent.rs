//! Wires probes to signals to exporters: start, tick, stop.
