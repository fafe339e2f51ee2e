"""What the packet stack's end of a connection (lwip.pyx) is to handlers in C, which must not need that stack."""


cdef class Wire:
    cdef long push(self, const char *data, long length) except? -1:
        """Send: bytes taken, or -EAGAIN."""
        raise NotImplementedError
