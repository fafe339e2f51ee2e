"""The command line and the life cycle of sandboxes (README.md of this directory)."""

VERSION = "0.1.0"
OCI_VERSION = "1.1.0"
