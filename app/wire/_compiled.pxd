"""An interval's state as compiled code keeps it, for the modules that work on it."""

from cpython.object cimport PyObject
from libc.stdint cimport int64_t

cdef struct PackedReading:
    int64_t start_us
    int64_t end_us
    int64_t energy_uwh
    double confidence
    int64_t submitted_ms
    int64_t source
    int64_t offset
    int64_t number
    PyObject *reference  # a text or None, which is owned
    PyObject *session

cdef class PackedInterval:
    cdef int64_t start_us, end_us, revision
    cdef bint held, in_order
    cdef Py_ssize_t count, room
    cdef PackedReading *readings
    cdef PackedReading[2] own
    cdef readonly object meter
    cdef PackedReading *insert(self, Py_ssize_t place, object reference, object session) except NULL
    cdef object interval(self)

cdef PackedInterval packed_of(PyObject *interval, object meter)
