"""Numbers and struct layouts of the Linux x86-64 ABI. Imports nothing of the project."""
