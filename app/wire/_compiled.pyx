# cython: language_level=3, boundscheck=False, wraparound=False, cdivision=True
"""The parts of the hot path that write bytes, compiled: texts of intervals and prices, and states.

Each has its twin in Python (`app.wire.interval`, `app.wire.priced`), which says what is right and is taken where this was not built. Here is only what nearly all intervals are: a function returns None for whatever
else comes, and its twin writes that. Both write the same bytes: tests/unit/test_compiled.py.
"""

from app.domain.intervals import Interval
from app.domain.records import Reading

include "_writing.pxi"

cimport cython
from cpython.mem cimport PyMem_Free, PyMem_Malloc, PyMem_Realloc
from cpython.ref cimport Py_INCREF
from libc.string cimport memmove

from app.domain.rates import Component, IntervalPrice

cdef Py_ssize_t P_STATUS, P_REASON, P_CURRENCY, P_COST, P_NET, P_TAX, P_CARBON, P_TARIFF, P_VERSION, P_COMPONENTS
P_STATUS, P_REASON, P_CURRENCY, P_COST, P_NET, P_TAX, P_CARBON, P_TARIFF, P_VERSION, P_COMPONENTS = _offsets(
    IntervalPrice, IntervalPrice.__struct_fields__
)
cdef Py_ssize_t C_CHARGE, C_BAND, C_TIER, C_START, C_END, C_ENERGY, C_RATE, C_COST, C_NET, C_TARIFF, C_VERSION
C_CHARGE, C_BAND, C_TIER, C_START, C_END, C_ENERGY, C_RATE, C_COST, C_NET, C_TARIFF, C_VERSION = _offsets(
    Component, Component.__struct_fields__
)
cdef Py_ssize_t[8] PRICE_TEXTS = [P_STATUS, P_CURRENCY, P_COST, P_NET, P_TAX, P_CARBON, P_TARIFF, P_REASON]
cdef Py_ssize_t[6] COMPONENT_TEXTS = [C_CHARGE, C_BAND, C_RATE, C_COST, C_NET, C_TARIFF]
cdef PyObject *PRICE_TYPE = <PyObject *>IntervalPrice
cdef PyObject *COMPONENT_TYPE = <PyObject *>Component


# Intervals, as numbers

cdef Py_ssize_t I_START, I_END, I_REVISION, I_HELD, I_READINGS
I_START, I_END, I_REVISION, I_HELD, I_READINGS = _offsets(
    Interval, ("start_us", "end_us", "revision", "held", "readings")
)
cdef Py_ssize_t R_START, R_END, R_ENERGY, R_CONFIDENCE, R_SUBMITTED, R_SOURCE, R_OFFSET, R_NUMBER, R_REFERENCE, R_SESSION
R_START, R_END, R_ENERGY, R_CONFIDENCE, R_SUBMITTED, R_SOURCE, R_OFFSET, R_NUMBER, R_REFERENCE, R_SESSION = _offsets(
    Reading, Reading.__struct_fields__
)
cdef PyObject *INTERVAL_TYPE = <PyObject *>Interval
cdef PyObject *READING_TYPE = <PyObject *>Reading

cdef extern from "Python.h":
    void Py_DECREF_OF "Py_DECREF" (PyObject *of)


@cython.final
@cython.freelist(1024)
@cython.no_gc
cdef class PackedInterval:
    """The state of an interval as numbers, and its meter: one piece of memory, where `Interval` is a dozen objects.

    To Python it is the pair (interval, meter); each look makes the `Interval` anew. Unlike that it is changed in place: it belongs to
    the tables of one partition, which are forgotten with the transaction that is lost. `in_order` tells that its readings are known
    to be in order of time, without overlaps, and to take time, each of them.
    """

    def __cinit__(self):
        self.readings, self.room = self.own, 2

    def __dealloc__(self):
        cdef Py_ssize_t place
        for place in range(self.count):
            Py_DECREF_OF(self.readings[place].reference)
            Py_DECREF_OF(self.readings[place].session)
        if self.readings != self.own:
            PyMem_Free(self.readings)

    cdef PackedReading *insert(self, Py_ssize_t place, object reference, object session) except NULL:
        """Make room for a reading with two texts or None, before one that stands at a place; the numbers are the caller's to write."""
        cdef PackedReading *readings = self.readings
        if self.count == self.room:
            readings = <PackedReading *>PyMem_Realloc(
                NULL if readings == self.own else readings, 2 * self.room * sizeof(PackedReading)
            )
            if readings is NULL:
                raise MemoryError
            if self.readings == self.own:
                memcpy(readings, self.own, self.count * sizeof(PackedReading))
            self.readings, self.room = readings, 2 * self.room
        if place < self.count:
            memmove(&readings[place + 1], &readings[place], (self.count - place) * sizeof(PackedReading))
        self.count += 1
        Py_INCREF(reference)
        Py_INCREF(session)
        readings[place].reference, readings[place].session = <PyObject *>reference, <PyObject *>session
        return &readings[place]

    cdef object interval(self):
        cdef Py_ssize_t place
        cdef PackedReading *of
        cdef list readings = []
        for place in range(self.count):
            of = &self.readings[place]
            readings.append(Reading(
                of.start_us, of.end_us, of.energy_uwh, of.confidence, of.submitted_ms, of.source, of.offset, of.number,
                <object>of.reference, <object>of.session,
            ))
        return Interval(self.start_us, self.end_us, self.revision, bool(self.held), tuple(readings))

    def __getitem__(self, Py_ssize_t place):
        if place == 0:
            return self.interval()
        if place == 1:
            return self.meter
        raise IndexError(place)

    def __len__(self):
        return 2


cdef PackedInterval packed_of(PyObject *interval, object meter):
    """Return the state of an interval as numbers; None where there is one that has more than 64 bits, or is none."""
    cdef PyObject *readings
    cdef PyObject *of
    cdef PackedReading *to
    cdef Py_ssize_t place
    cdef int wrong = 0
    cdef PackedInterval packed
    if not IS_OF(interval, INTERVAL_TYPE):
        return None
    readings = FIELD(interval, I_READINGS)
    if readings is NULL or not PyTuple_CheckExact(readings):
        return None
    packed = PackedInterval.__new__(PackedInterval)
    packed.start_us, packed.end_us = whole_of(FIELD(interval, I_START), &wrong), whole_of(FIELD(interval, I_END), &wrong)
    packed.revision, packed.held = whole_of(FIELD(interval, I_REVISION), &wrong), FIELD(interval, I_HELD) is Py_True
    packed.meter = meter
    for place in range(PyTuple_GET_SIZE(readings)):
        of = PyTuple_GET_ITEM(readings, place)
        if wrong or not IS_OF(of, READING_TYPE) or not PyFloat_CheckExact(FIELD(of, R_CONFIDENCE)):
            return None
        to = packed.insert(place, <object>FIELD(of, R_REFERENCE), <object>FIELD(of, R_SESSION))
        to.start_us, to.end_us = whole_of(FIELD(of, R_START), &wrong), whole_of(FIELD(of, R_END), &wrong)
        to.energy_uwh, to.confidence = whole_of(FIELD(of, R_ENERGY), &wrong), PyFloat_AS_DOUBLE(FIELD(of, R_CONFIDENCE))
        to.submitted_ms, to.source = whole_of(FIELD(of, R_SUBMITTED), &wrong), whole_of(FIELD(of, R_SOURCE), &wrong)
        to.offset, to.number = whole_of(FIELD(of, R_OFFSET), &wrong), whole_of(FIELD(of, R_NUMBER), &wrong)
    return None if wrong else packed


# Published intervals

def head(bytes before_id not None, bytes after_id not None, interval, energy_uwh, covered_us):
    """Return the beginning of an interval's public form, as `MeterText.head` does, or None."""
    cdef char text[STACK_BYTES]
    cdef int wrong = 0
    cdef int64_t energy = whole_of(<PyObject *>energy_uwh, &wrong), covered = whole_of(<PyObject *>covered_us, &wrong)
    cdef PackedInterval packed = packed_of(<PyObject *>interval, None)
    cdef char *end
    if wrong or packed is None or PyBytes_GET_SIZE(before_id) + PyBytes_GET_SIZE(after_id) + HEAD_BYTES > STACK_BYTES:
        return None
    end = write_head(text, before_id, after_id, packed, energy, covered, &wrong)
    return None if wrong else PyBytes_FromStringAndSize(text, end - text)


cdef object published(char *room, bytes before_id, bytes after_id, PackedInterval interval):
    cdef int wrong = 0
    cdef Summary of = Summary(0, 0, 0)
    cdef char submitted[40]
    cdef char *end = write_interval(room, before_id, after_id, interval, &of, &wrong)
    if wrong:
        return None
    return (
        PyBytes_FromStringAndSize(room, end - room),
        PyBytes_FromStringAndSize(room, of.head_bytes),
        of.energy_uwh,
        PyUnicode_FromStringAndSize(submitted, write_instant(submitted, of.submitted_ms * 1000) - submitted),
    )

ctypedef object (*Writer)(char *room, bytes before_id, bytes after_id, PackedInterval interval)

cdef object written(Writer writer, bytes before_id, bytes after_id, PackedInterval interval):
    """Give a writer the room that it needs: nearly always on the stack."""
    cdef char on_stack[STACK_BYTES]
    cdef char *room
    cdef Py_ssize_t needed
    if interval is None:
        return None
    needed = room_for(before_id, after_id, interval)
    if needed <= STACK_BYTES:
        return writer(on_stack, before_id, after_id, interval)
    room = <char *>PyMem_Malloc(needed)
    if room is NULL:
        raise MemoryError
    try:
        return writer(room, before_id, after_id, interval)
    finally:
        PyMem_Free(room)


def publish(bytes before_id not None, bytes after_id not None, interval):
    """Return what `MeterText.publish` does, or None."""
    return written(published, before_id, after_id, packed_of(<PyObject *>interval, None))


# Prices

cdef enum:
    PRICE_BYTES = 400  # what is written beside the texts of a price
    COMPONENT_BYTES = 400

cdef inline char *write_number(char *at, PyObject *text, int *wrong):
    """Write a decimal text as a JSON number, or null."""
    return write(at, b"null", 4) if text is Py_None else write_plain(at, text, wrong)

cdef char *write_component(char *at, PyObject *of, int *wrong) except NULL:
    cdef int64_t start_us = whole_of(FIELD(of, C_START), wrong), end_us = whole_of(FIELD(of, C_END), wrong)
    cdef int64_t energy_uwh = whole_of(FIELD(of, C_ENERGY), wrong)
    if not is_usual(start_us) or not is_usual(end_us) or energy_uwh < 0:
        wrong[0] = 1
    if wrong[0]:
        return at
    at = write(at, b'{"charge_id":', 13)
    at = write_text_or_null(at, FIELD(of, C_CHARGE), wrong)
    at = write(at, b',"band":', 8)
    at = write_text_or_null(at, FIELD(of, C_BAND), wrong)
    at = write(at, b',"tier":', 8)
    at = write_whole_or_null(at, FIELD(of, C_TIER), wrong)
    at = write(at, b',"start_time":"', 15)
    at = write_instant(at, start_us)
    at = write(at, b'","end_time":"', 14)
    at = write_instant(at, end_us)
    at = write(at, b'","energy_wh":', 14)
    at = write_decimal(at, energy_uwh)
    at = write_amount(at, b',"rate":', 8, FIELD(of, C_RATE), wrong)
    at = write_amount(at, b',"cost":', 8, FIELD(of, C_COST), wrong)
    at = write_amount(at, b',"cost_excluding_tax":', 22, FIELD(of, C_NET), wrong)
    if FIELD(of, C_TARIFF) is not Py_None:
        at = write_amount(at, b',"tariff_id":', 13, FIELD(of, C_TARIFF), wrong)
        at = write(at, b',"tariff_version":', 18)
        at = write_whole_or_null(at, FIELD(of, C_VERSION), wrong)
    at[0] = c'}'
    return at + 1


def encode_body(bytes head not None, price):
    """Return what `app.wire.priced.encode_body` does, or None."""
    cdef char text[STACK_BYTES]
    cdef PyObject *of = <PyObject *>price
    cdef PyObject *components
    cdef PyObject *component
    cdef Py_ssize_t place, needed = PyBytes_GET_SIZE(head) + PRICE_BYTES
    cdef Py_ssize_t offset
    cdef int wrong = 0
    cdef char *at = text
    if not IS_OF(of, PRICE_TYPE):
        return None
    components = FIELD(of, P_COMPONENTS)
    if components is NULL or not PyTuple_CheckExact(components):
        return None
    for offset in PRICE_TEXTS:
        needed += length_of(FIELD(of, offset))
    for place in range(PyTuple_GET_SIZE(components)):
        component = PyTuple_GET_ITEM(components, place)
        if not IS_OF(component, COMPONENT_TYPE):
            return None
        needed += COMPONENT_BYTES
        for offset in COMPONENT_TEXTS:
            needed += length_of(FIELD(component, offset))
    if needed > STACK_BYTES:
        return None
    at = write(at, PyBytes_AS_STRING(head), PyBytes_GET_SIZE(head))
    at = write_amount(at, b',"status":', 10, FIELD(of, P_STATUS), &wrong)
    at = write_amount(at, b',"reason":', 10, FIELD(of, P_REASON), &wrong)
    at = write_amount(at, b',"currency":', 12, FIELD(of, P_CURRENCY), &wrong)
    at = write_amount(at, b',"cost":', 8, FIELD(of, P_COST), &wrong)
    at = write_amount(at, b',"cost_excluding_tax":', 22, FIELD(of, P_NET), &wrong)
    at = write_amount(at, b',"tax":', 7, FIELD(of, P_TAX), &wrong)
    at = write(at, b',"carbon_g":', 12)
    at = write_number(at, FIELD(of, P_CARBON), &wrong)
    at = write_amount(at, b',"tariff_id":', 13, FIELD(of, P_TARIFF), &wrong)
    at = write(at, b',"tariff_version":', 18)
    at = write_whole_or_null(at, FIELD(of, P_VERSION), &wrong)
    at = write(at, b',"components":[', 15)
    for place in range(PyTuple_GET_SIZE(components)):
        if place:
            at[0] = c','
            at += 1
        at = write_component(at, PyTuple_GET_ITEM(components, place), &wrong)
    if wrong:
        return None
    at[0] = c']'
    return PyBytes_FromStringAndSize(text, at + 1 - text)


def with_tail(bytes body not None, str submitted_at not None, int64_t sequence):
    """Return what `app.wire.priced.with_tail` does, or None."""
    cdef Py_ssize_t length = 0, before = PyBytes_GET_SIZE(body)
    cdef const char *plain = plain_of(<PyObject *>submitted_at, &length)
    cdef char tail[100]
    cdef char *at
    cdef bytes whole
    if plain is NULL or length > 40 or sequence < 0:
        return None
    at = write(tail, b',"submitted_at":"', 17)
    at = write(at, plain, length)
    at = write(at, b'","sequence":', 13)
    at = write_whole(at, sequence)
    at[0] = c'}'
    length = at + 1 - tail
    whole = PyBytes_FromStringAndSize(NULL, before + length)
    memcpy(PyBytes_AS_STRING(whole), PyBytes_AS_STRING(body), before)
    memcpy(PyBytes_AS_STRING(whole) + before, tail, length)
    return whole


# States, as MessagePack

cdef inline char *pack_tail(char *at, int kind, uint64_t number, int size) noexcept nogil:
    """Write a kind, and a number in so many bytes, the greatest first."""
    cdef int place
    at[0] = <char>kind
    for place in range(size, 0, -1):
        at[place] = number & 255
        number >>= 8
    return at + 1 + size

cdef inline char *pack_whole(char *at, int64_t number) noexcept nogil:
    """Write an integer in the fewest bytes."""
    if number >= 0:
        if number < 128:
            at[0] = number
            return at + 1
        if number < 256:
            return pack_tail(at, 0xCC, number, 1)
        if number < 65_536:
            return pack_tail(at, 0xCD, number, 2)
        if number >> 32 == 0:
            return pack_tail(at, 0xCE, number, 4)
        return pack_tail(at, 0xCF, number, 8)
    if number >= -32:
        at[0] = number
        return at + 1
    if number >= -128:
        return pack_tail(at, 0xD0, number, 1)
    if number >= -32_768:
        return pack_tail(at, 0xD1, number, 2)
    if number >> 31 == -1:
        return pack_tail(at, 0xD2, number, 4)
    return pack_tail(at, 0xD3, number, 8)

cdef inline char *pack_count(char *at, Py_ssize_t count) noexcept nogil:
    """Write how many items an array has."""
    if count < 16:
        at[0] = <char>(0x90 | count)
        return at + 1
    return pack_tail(at, 0xDC, count, 2) if count < 65_536 else pack_tail(at, 0xDD, count, 4)

cdef inline char *pack_text(char *at, PyObject *text, int *wrong):
    cdef Py_ssize_t length = 0
    cdef const char *plain
    if text is Py_None:
        at[0] = <char>0xC0
        return at + 1
    plain = plain_of(text, &length)
    if plain is NULL:
        wrong[0] = 1
        return at
    if length < 32:
        at[0] = <char>(0xA0 | length)
        return write(at + 1, plain, length)
    at = pack_tail(at, 0xD9, length, 1) if length < 256 else pack_tail(at, 0xDA, length, 2)
    if length >= 65_536:
        wrong[0] = 1
        return at
    return write(at, plain, length)

cdef inline char *pack_double(char *at, double value) noexcept nogil:
    cdef uint64_t bits
    memcpy(&bits, &value, 8)
    return pack_tail(at, 0xCB, bits, 8)

cdef object state_of(char *room, bytes before_id, bytes after_id, PackedInterval interval):
    cdef int wrong = 0
    cdef PackedReading *reading
    cdef Py_ssize_t place
    cdef char *at = room + 1
    room[0] = c'h' if interval.held else c'.'
    at = pack_count(at, 5)
    at = pack_whole(at, interval.start_us)
    at = pack_whole(at, interval.end_us)
    at = pack_whole(at, interval.revision)
    at[0] = <char>(0xC3 if interval.held else 0xC2)
    at = pack_count(at + 1, interval.count)
    for place in range(interval.count):
        reading = &interval.readings[place]
        at = pack_count(at, 10)
        at = pack_whole(at, reading.start_us)
        at = pack_whole(at, reading.end_us)
        at = pack_whole(at, reading.energy_uwh)
        at = pack_double(at, reading.confidence)
        at = pack_whole(at, reading.submitted_ms)
        at = pack_whole(at, reading.source)
        at = pack_whole(at, reading.offset)
        at = pack_whole(at, reading.number)
        at = pack_text(at, reading.reference, &wrong)
        at = pack_text(at, reading.session, &wrong)
    return None if wrong else PyBytes_FromStringAndSize(room, at - room)


def encode_state(interval):
    """Return what `app.wire.interval.encode_state` does, or None."""
    return written(state_of, b"", b"", packed_of(<PyObject *>interval, None))

cdef inline bytes marked(bytes mark, str text):
    """Return the bytes of a text with a mark before them."""
    cdef Py_ssize_t length, before = PyBytes_GET_SIZE(mark)
    cdef const char *characters = ascii_of(<PyObject *>text, &length)
    cdef bytes key
    if characters is NULL:
        return mark + text.encode()
    key = PyBytes_FromStringAndSize(NULL, before + length)
    write(write(PyBytes_AS_STRING(key), PyBytes_AS_STRING(mark), before), characters, length)
    return key


def marked_entries(bytes mark not None, dict values not None):
    """Return what `app.wire.interval.marked_entries` does."""
    cdef list entries = []
    cdef str interval_id
    cdef object value
    for interval_id, value in values.items():
        entries.append((marked(mark, interval_id), value))
    return entries


def encode_states(bytes mark not None, dict intervals not None, otherwise):
    """Return what `app.wire.interval.encode_states` does; `otherwise` encodes the states that are not usual."""
    cdef list entries = []
    cdef str interval_id
    cdef object of
    cdef PackedInterval packed
    for interval_id, of in intervals.items():
        packed = of if type(of) is PackedInterval else packed_of(<PyObject *>of[0], None)
        state = written(state_of, b"", b"", packed)
        entries.append((marked(mark, interval_id), otherwise(of[0]) if state is None else state))
    return entries
