"""One module for each command of the CLI (sandbox/main.py says what is in one)."""
