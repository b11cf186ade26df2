"""The same operators with less work on a CPU; no network needs them to be understood."""
