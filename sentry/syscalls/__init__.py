"""The system calls, one file a family. Importing a file registers its calls (core/syscall.py)."""
