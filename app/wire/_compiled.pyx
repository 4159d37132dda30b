# cython: language_level=3, boundscheck=False, wraparound=False, cdivision=True
"""The parts of the hot path that write bytes, compiled: texts of intervals and prices, and states.

Each has its twin in Python (`app.wire.interval`, `app.wire.priced`), which says what is right and is taken where this was not built. Here is only what nearly all intervals are: a function returns None for whatever
else comes, and its twin writes that. Both write the same bytes: tests/unit/test_compiled.py.

Fields of structs are read where they lie in memory, as the interpreter does it; a lookup by name would cost more than it saves.
"""

from cpython.bytes cimport PyBytes_AS_STRING, PyBytes_FromStringAndSize, PyBytes_GET_SIZE
from cpython.mem cimport PyMem_Free, PyMem_Malloc
from cpython.object cimport PyObject
from libc.stdint cimport int64_t, uint64_t
from libc.string cimport memcpy

from app.domain.intervals import Interval
from app.domain.rates import Component, IntervalPrice
from app.domain.records import Reading

cdef extern from *:
    """
    #include <stddef.h>

    #define US_PER_DAY 86400000000LL
    #define END_US 253402300800000000LL /* the end of the year 9999 */
    #define MOST_UWH 1000000000000000LL /* of one record: so many as one interval may have do not overflow */

    #include "structmember.h"

    static Py_ssize_t offset_of_field(PyObject *descriptor) {
        if (!Py_IS_TYPE(descriptor, &PyMemberDescr_Type)) {
            PyErr_SetString(PyExc_ImportError, "the fields of structs are not where they were");
            return -1;
        }
        return ((PyMemberDescrObject *)descriptor)->d_member->offset;
    }

    #define IS_OF(object, kind) Py_IS_TYPE(object, (PyTypeObject *)(kind))
    #define FIELD(object, offset) (*(PyObject **)((char *)(object) + (offset)))

    /* The whole of a Python integer, or *wrong = 1. */
    static inline long long whole_of(PyObject *number, int *wrong) {
        int overflow = 0;
        long long value;
        if (number == NULL || !PyLong_CheckExact(number)) { *wrong = 1; return 0; }
        value = PyLong_AsLongLongAndOverflow(number, &overflow);
        if (overflow) *wrong = 1;
        return value;
    }

    /* Where the characters of a text are that JSON writes as they are; NULL for any other. */
    static inline const char *plain_of(PyObject *text, Py_ssize_t *length) {
        const unsigned char *at;
        Py_ssize_t n, i;
        unsigned char strange = 0;
        if (text == NULL || !PyUnicode_CheckExact(text) || !PyUnicode_IS_COMPACT_ASCII(text)) return NULL;
        at = PyUnicode_1BYTE_DATA(text);
        n = PyUnicode_GET_LENGTH(text);
        for (i = 0; i < n; i++) strange |= (at[i] < 0x20) | (at[i] == '"') | (at[i] == '\\\\') | (at[i] == 0x7f);
        *length = n;
        return strange ? NULL : (const char *)at;
    }

    static inline Py_ssize_t length_of(PyObject *text) {
        return text != NULL && PyUnicode_CheckExact(text) ? PyUnicode_GET_LENGTH(text) : 0;
    }
    """
    const int64_t US_PER_DAY
    const int64_t END_US
    const int64_t MOST_UWH
    Py_ssize_t offset_of_field(object descriptor) except -1
    bint IS_OF(PyObject *value, PyObject *kind)
    PyObject *FIELD(PyObject *of, Py_ssize_t offset) nogil
    long long whole_of(PyObject *number, int *wrong)
    const char *plain_of(PyObject *text, Py_ssize_t *length)
    Py_ssize_t length_of(PyObject *text)

cdef extern from "Python.h":
    PyObject *Py_None
    PyObject *Py_True
    object PyUnicode_FromStringAndSize(const char *text, Py_ssize_t length)
    int PyTuple_CheckExact(PyObject *value)
    Py_ssize_t PyTuple_GET_SIZE(PyObject *value)
    PyObject *PyTuple_GET_ITEM(PyObject *value, Py_ssize_t place)
    int PyFloat_CheckExact(PyObject *value)
    double PyFloat_AS_DOUBLE(PyObject *value)


# Where the fields lie.

cdef list _offsets(kind, names):
    return [offset_of_field(kind.__dict__[name]) for name in names]

cdef Py_ssize_t I_START, I_END, I_REVISION, I_HELD, I_READINGS
I_START, I_END, I_REVISION, I_HELD, I_READINGS = _offsets(
    Interval, ("start_us", "end_us", "revision", "held", "readings")
)
cdef Py_ssize_t R_START, R_END, R_ENERGY, R_CONFIDENCE, R_SUBMITTED, R_SOURCE, R_OFFSET, R_NUMBER, R_REFERENCE, R_SESSION
R_START, R_END, R_ENERGY, R_CONFIDENCE, R_SUBMITTED, R_SOURCE, R_OFFSET, R_NUMBER, R_REFERENCE, R_SESSION = _offsets(
    Reading, Reading.__struct_fields__
)
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
cdef PyObject *INTERVAL_TYPE = <PyObject *>Interval
cdef PyObject *READING_TYPE = <PyObject *>Reading
cdef PyObject *PRICE_TYPE = <PyObject *>IntervalPrice
cdef PyObject *COMPONENT_TYPE = <PyObject *>Component


# Writing. Room is seen to before: no function here looks whether there is any.

cdef enum:
    STACK_BYTES = 4096
    HEAD_BYTES = 400  # of an interval's beginning, beside what its meter says
    RECORD_BYTES = 400  # of a record, beside its two references

cdef inline char *write(char *at, const char *text, Py_ssize_t length) noexcept nogil:
    memcpy(at, text, length)
    return at + length

cdef inline char *write_whole(char *at, int64_t number) noexcept nogil:
    """Write an integer of at least 0."""
    cdef char digits[20]
    cdef int n = 20
    cdef uint64_t rest = number
    while True:
        n -= 1
        digits[n] = c'0' + rest % 10
        rest //= 10
        if rest == 0:
            break
    return write(at, &digits[n], 20 - n)

cdef inline char *write_two(char *at, int number) noexcept nogil:
    at[0] = c'0' + number // 10
    at[1] = c'0' + number % 10
    return at + 2

cdef inline char *write_millionths(char *at, int micros) noexcept nogil:
    """Write the decimals of a number of millionths of at least 1, without zeros at the end."""
    cdef int place, last = 6
    at[0] = c'.'
    for place in range(6, 0, -1):
        at[place] = c'0' + micros % 10
        micros //= 10
    while at[last] == c'0':
        last -= 1
    return at + last + 1

cdef inline char *write_decimal(char *at, int64_t millionths) noexcept nogil:
    """Write a number of millionths of at least 0: µWh as Wh, µs as s."""
    cdef int micros = millionths % 1_000_000
    at = write_whole(at, millionths // 1_000_000)
    return write_millionths(at, micros) if micros else at

cdef int64_t _day = -1
cdef char _date[11]

cdef void set_date(int64_t day) noexcept nogil:
    """Remember the text of a day since 1970-01-01 in the Gregorian calendar.

    Source: H. Hinnant, chrono-compatible low-level date algorithms, `civil_from_days`.
    """
    global _day
    cdef int64_t shifted = day + 719_468
    cdef int era = shifted // 146_097
    cdef int of_era = shifted - <int64_t>era * 146_097
    cdef int year_of_era = (of_era - of_era // 1460 + of_era // 36_524 - of_era // 146_096) // 365
    cdef int of_year = of_era - (365 * year_of_era + year_of_era // 4 - year_of_era // 100)
    cdef int shifted_month = (5 * of_year + 2) // 153
    cdef int day_of_month = of_year - (153 * shifted_month + 2) // 5 + 1
    cdef int month = shifted_month + 3 if shifted_month < 10 else shifted_month - 9
    cdef int year = year_of_era + era * 400 + (month <= 2)
    write_two(&_date[0], year // 100)
    write_two(&_date[2], year % 100)
    _date[4] = c'-'
    write_two(&_date[5], month)
    _date[7] = c'-'
    write_two(&_date[8], day_of_month)
    _date[10] = c'T'
    _day = day

cdef inline char *write_instant(char *at, int64_t at_us) noexcept nogil:
    """Write an instant from 1970 to 9999."""
    cdef int64_t day = at_us // US_PER_DAY
    cdef int64_t of_day = at_us - day * US_PER_DAY
    cdef int seconds = of_day // 1_000_000
    cdef int micros = of_day - <int64_t>seconds * 1_000_000
    if day != _day:
        set_date(day)
    at = write_two(write(at, _date, 11), seconds // 3600)
    at[0] = c':'
    at = write_two(at + 1, seconds // 60 % 60)
    at[0] = c':'
    at = write_two(at + 1, seconds % 60)
    if micros:
        at = write_millionths(at, micros)
    at[0] = c'Z'
    return at + 1

cdef inline bint is_usual(int64_t at_us) noexcept nogil:
    return 0 <= at_us < END_US

cdef inline char *write_plain(char *at, PyObject *text, int *wrong):
    """Write a text as it is, where JSON would."""
    cdef Py_ssize_t length = 0
    cdef const char *plain = plain_of(text, &length)
    if plain is NULL:
        wrong[0] = 1
        return at
    return write(at, plain, length)

cdef inline char *write_text_or_null(char *at, PyObject *text, int *wrong):
    """Write a text in quotation marks, or null."""
    if text is Py_None:
        return write(at, b"null", 4)
    at[0] = c'"'
    at = write_plain(at + 1, text, wrong)
    at[0] = c'"'
    return at + 1

cdef inline char *write_whole_or_null(char *at, PyObject *number, int *wrong):
    cdef long long value
    if number is Py_None:
        return write(at, b"null", 4)
    value = whole_of(number, wrong)
    if value < 0:
        wrong[0] = 1
        return at
    return write_whole(at, value)


# Published intervals

cdef Py_ssize_t room_for(bytes before_id, bytes after_id, PyObject *interval):
    """Return how many bytes are enough for an interval's public form; -1 where it is not made of what its type says."""
    cdef PyObject *readings
    cdef PyObject *reading
    cdef Py_ssize_t place
    cdef Py_ssize_t needed = PyBytes_GET_SIZE(before_id) + PyBytes_GET_SIZE(after_id) + HEAD_BYTES
    if not IS_OF(interval, INTERVAL_TYPE):
        return -1
    readings = FIELD(interval, I_READINGS)
    if readings is NULL or not PyTuple_CheckExact(readings):
        return -1
    for place in range(PyTuple_GET_SIZE(readings)):
        reading = PyTuple_GET_ITEM(readings, place)
        if not IS_OF(reading, READING_TYPE):
            return -1
        needed += RECORD_BYTES + length_of(FIELD(reading, R_REFERENCE)) + length_of(FIELD(reading, R_SESSION))
    return needed

cdef char *write_head(
    char *at, bytes before_id, bytes after_id, PyObject *interval, int64_t energy_uwh, int64_t covered_us, int *wrong
) except NULL:
    cdef int64_t start_us = whole_of(FIELD(interval, I_START), wrong)
    cdef int64_t end_us = whole_of(FIELD(interval, I_END), wrong)
    cdef int64_t revision = whole_of(FIELD(interval, I_REVISION), wrong)
    cdef PyObject *readings = FIELD(interval, I_READINGS)
    cdef PyObject *confidence
    cdef bint sure = True
    cdef Py_ssize_t place
    cdef bytes text
    if not is_usual(start_us) or not is_usual(end_us) or energy_uwh < 0 or covered_us < 0 or revision < 0:
        wrong[0] = 1
    if wrong[0]:
        return at
    at = write(at, PyBytes_AS_STRING(before_id), PyBytes_GET_SIZE(before_id))
    at = write_instant(at, start_us)
    at = write(at, PyBytes_AS_STRING(after_id), PyBytes_GET_SIZE(after_id))
    at = write_instant(at, start_us)
    at = write(at, b'","end_time":"', 14)
    at = write_instant(at, end_us)
    at = write(at, b'","energy_wh":', 14)
    at = write_decimal(at, energy_uwh)
    at = write(at, b',"covered_seconds":', 19)
    at = write_decimal(at, covered_us)
    if covered_us == end_us - start_us:
        at = write(at, b',"complete":true', 16)
    else:
        at = write(at, b',"complete":false', 17)
    for place in range(PyTuple_GET_SIZE(readings)):
        confidence = FIELD(PyTuple_GET_ITEM(readings, place), R_CONFIDENCE)
        sure = sure and PyFloat_CheckExact(confidence) and PyFloat_AS_DOUBLE(confidence) == 1.0
    if sure:
        at = write(at, b',"confidence":1', 15)
    else:
        average = (<object>interval).confidence()
        text = b',"confidence":1' if average == 1 else f',"confidence":{average:.15g}'.encode()
        at = write(at, PyBytes_AS_STRING(text), PyBytes_GET_SIZE(text))
    at = write(at, b',"revision":', 12)
    return write_whole(at, revision)


def head(bytes before_id not None, bytes after_id not None, interval, energy_uwh, covered_us):
    """Return the beginning of an interval's public form, as `MeterText.head` does, or None."""
    cdef char text[STACK_BYTES]
    cdef int wrong = 0
    cdef int64_t energy = whole_of(<PyObject *>energy_uwh, &wrong), covered = whole_of(<PyObject *>covered_us, &wrong)
    cdef Py_ssize_t needed = room_for(before_id, after_id, <PyObject *>interval)
    cdef char *end
    if wrong or not 0 <= needed <= STACK_BYTES:
        return None
    end = write_head(text, before_id, after_id, <PyObject *>interval, energy, covered, &wrong)
    return None if wrong else PyBytes_FromStringAndSize(text, end - text)


cdef object published(char *room, bytes before_id, bytes after_id, PyObject *interval):
    cdef int wrong = 0
    cdef int64_t start_us = whole_of(FIELD(interval, I_START), &wrong), end_us = whole_of(FIELD(interval, I_END), &wrong)
    cdef int64_t energy_uwh = 0, covered_us = 0, submitted_ms = 0, begin_us, finish_us, amount_uwh, own_ms
    cdef PyObject *readings = FIELD(interval, I_READINGS)
    cdef PyObject *reading
    cdef Py_ssize_t place, count = PyTuple_GET_SIZE(readings)
    cdef char *at
    cdef char *end_of_head
    cdef char submitted[40]
    # The sums stand before what they are the sums of.
    for place in range(count):
        reading = PyTuple_GET_ITEM(readings, place)
        begin_us, finish_us = whole_of(FIELD(reading, R_START), &wrong), whole_of(FIELD(reading, R_END), &wrong)
        amount_uwh, own_ms = whole_of(FIELD(reading, R_ENERGY), &wrong), whole_of(FIELD(reading, R_SUBMITTED), &wrong)
        if wrong or begin_us < start_us or finish_us > end_us or not 0 <= amount_uwh <= MOST_UWH or not 0 <= own_ms < END_US // 1000:
            return None
        energy_uwh += amount_uwh
        covered_us += finish_us - begin_us
        submitted_ms = max(submitted_ms, own_ms)
    at = end_of_head = write_head(room, before_id, after_id, interval, energy_uwh, covered_us, &wrong)
    if wrong:
        return None
    at = write(at, b',"records":[', 12)
    for place in range(count):
        if place:
            at[0] = c','
            at += 1
        reading = PyTuple_GET_ITEM(readings, place)
        own_ms = whole_of(FIELD(reading, R_SUBMITTED), &wrong)
        at = write(at, b'{"record_reference_id":', 23)
        at = write_text_or_null(at, FIELD(reading, R_REFERENCE), &wrong)
        at = write(at, b',"session_reference_id":', 24)
        at = write_text_or_null(at, FIELD(reading, R_SESSION), &wrong)
        at = write(at, b',"start_time":"', 15)
        at = write_instant(at, whole_of(FIELD(reading, R_START), &wrong))
        at = write(at, b'","end_time":"', 14)
        at = write_instant(at, whole_of(FIELD(reading, R_END), &wrong))
        at = write(at, b'","energy_wh":', 14)
        at = write_decimal(at, whole_of(FIELD(reading, R_ENERGY), &wrong))
        at = write(at, b',"submitted_at":"', 17)
        at = write_instant(at, own_ms * 1000)
        at = write(at, b'"}', 2)
    if wrong:
        return None
    place = write_instant(submitted, submitted_ms * 1000) - submitted
    at = write(at, b'],"submitted_at":"', 18)
    at = write(at, submitted, place)
    at = write(at, b'"}', 2)
    return (
        PyBytes_FromStringAndSize(room, at - room),
        PyBytes_FromStringAndSize(room, end_of_head - room),
        energy_uwh,
        PyUnicode_FromStringAndSize(submitted, place),
    )


ctypedef object (*Writer)(char *room, bytes before_id, bytes after_id, PyObject *interval)

cdef object written(Writer writer, bytes before_id, bytes after_id, PyObject *interval):
    """Give a writer the room that it needs: nearly always on the stack."""
    cdef char on_stack[STACK_BYTES]
    cdef char *room
    cdef Py_ssize_t needed = room_for(before_id, after_id, interval)
    if needed < 0:
        return None
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
    return written(published, before_id, after_id, <PyObject *>interval)


# Prices

cdef enum:
    PRICE_BYTES = 400  # what is written beside the texts of a price
    COMPONENT_BYTES = 400

cdef inline char *write_amount(char *at, const char *name, Py_ssize_t length, PyObject *amount, int *wrong):
    """Write `,"name":"amount"`, or null in place of the amount."""
    at = write(at, name, length)
    return write_text_or_null(at, amount, wrong)

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

cdef inline char *pack_double(char *at, PyObject *number, int *wrong):
    cdef double value
    cdef uint64_t bits
    if number is NULL or not PyFloat_CheckExact(number):
        wrong[0] = 1
        return at
    value = PyFloat_AS_DOUBLE(number)
    memcpy(&bits, &value, 8)
    return pack_tail(at, 0xCB, bits, 8)

cdef object packed(char *room, bytes before_id, bytes after_id, PyObject *interval):
    cdef int wrong = 0
    cdef PyObject *readings = FIELD(interval, I_READINGS)
    cdef PyObject *reading
    cdef bint is_held = FIELD(interval, I_HELD) is Py_True
    cdef Py_ssize_t place
    cdef char *at = room + 1
    room[0] = c'h' if is_held else c'.'
    at = pack_count(at, 5)
    at = pack_whole(at, whole_of(FIELD(interval, I_START), &wrong))
    at = pack_whole(at, whole_of(FIELD(interval, I_END), &wrong))
    at = pack_whole(at, whole_of(FIELD(interval, I_REVISION), &wrong))
    at[0] = <char>(0xC3 if is_held else 0xC2)
    at = pack_count(at + 1, PyTuple_GET_SIZE(readings))
    for place in range(PyTuple_GET_SIZE(readings)):
        reading = PyTuple_GET_ITEM(readings, place)
        at = pack_count(at, 10)
        at = pack_whole(at, whole_of(FIELD(reading, R_START), &wrong))
        at = pack_whole(at, whole_of(FIELD(reading, R_END), &wrong))
        at = pack_whole(at, whole_of(FIELD(reading, R_ENERGY), &wrong))
        at = pack_double(at, FIELD(reading, R_CONFIDENCE), &wrong)
        at = pack_whole(at, whole_of(FIELD(reading, R_SUBMITTED), &wrong))
        at = pack_whole(at, whole_of(FIELD(reading, R_SOURCE), &wrong))
        at = pack_whole(at, whole_of(FIELD(reading, R_OFFSET), &wrong))
        at = pack_whole(at, whole_of(FIELD(reading, R_NUMBER), &wrong))
        at = pack_text(at, FIELD(reading, R_REFERENCE), &wrong)
        at = pack_text(at, FIELD(reading, R_SESSION), &wrong)
    return None if wrong else PyBytes_FromStringAndSize(room, at - room)


def encode_state(interval):
    """Return what `app.wire.interval.encode_state` does, or None."""
    return written(packed, b"", b"", <PyObject *>interval)


def encode_states(bytes mark not None, dict intervals not None, otherwise):
    """Return what `app.wire.interval.encode_states` does; `otherwise` encodes the states that are not usual."""
    cdef list entries = []
    cdef bytes key
    cdef str interval_id
    cdef tuple of
    for interval_id, of in intervals.items():
        state = written(packed, b"", b"", <PyObject *>of[0])
        key = mark + interval_id.encode()
        entries.append((key, otherwise(of[0]) if state is None else state))
    return entries
