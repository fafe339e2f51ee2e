"""The gofer: the process that holds a container's files."""
