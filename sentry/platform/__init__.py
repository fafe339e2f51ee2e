"""Carriers of guest threads: `base` is the interface, `systrap` and `ptrace` the two platforms."""
