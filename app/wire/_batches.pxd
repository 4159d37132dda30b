"""A fetched record, for the modules that read many of them."""

from libc.stdint cimport int64_t

cdef struct Bytes:
    const char *start  # NULL: there is nothing, not even none of them
    Py_ssize_t length

cdef class FetchedRecord:
    cdef bytes _data  # what was fetched, in which the key and the value lie; or what it was before it was compressed
    cdef Bytes _key, _value
    cdef readonly int64_t offset, timestamp
    cdef readonly int timestamp_type
    cdef readonly object headers
    cdef bytes bytes_of(self, Bytes of)
