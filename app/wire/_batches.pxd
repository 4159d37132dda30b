"""A fetched record, for the modules that read many of them."""

from libc.stdint cimport int64_t

cdef class FetchedRecord:
    cdef readonly bytes key, value
    cdef readonly int64_t offset, timestamp
    cdef readonly int timestamp_type
    cdef readonly object headers
