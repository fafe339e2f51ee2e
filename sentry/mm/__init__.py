"""Guest address spaces as the kernel sees them: areas, the calls that change them, ELF images.

The host holds the memory; `MM` holds the list of areas (VMAs) and decides. A change is made in the list at once
and carried out by a stub thread of that address space as a list of memory operations (platform/base.py: OP_*).
While an address space has several threads, operations are acknowledged, and one that overlaps an
unacknowledged one waits for it, so that the host's order is the list's order.
"""
