"""See wire.pyx."""


cdef class Wire:
    cdef long push(self, const char *data, long length) except? -1
