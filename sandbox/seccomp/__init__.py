"""Seccomp lists of the Sentry and the gofer as data, and their compiler (used at build time only)."""
