"""What compiled modules write public texts with; each includes it. Here is where the fields of structs lie, and a published interval's text.

Fields of structs are read where they lie in memory, as the interpreter does it; a lookup by name would cost more than it saves. No
function looks whether there is room: that is seen to before (`room_for`). What is not usual is told by *wrong = 1.
"""

from cpython.bytes cimport PyBytes_AS_STRING, PyBytes_FromStringAndSize, PyBytes_GET_SIZE
from cpython.object cimport PyObject
from libc.stdint cimport int64_t, uint64_t
from libc.string cimport memcpy

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

    /* Where the characters of a text are that is its own encoding; NULL for any other. */
    static inline const char *ascii_of(PyObject *text, Py_ssize_t *length) {
        if (!PyUnicode_IS_COMPACT_ASCII(text)) return NULL;
        *length = PyUnicode_GET_LENGTH(text);
        return (const char *)PyUnicode_1BYTE_DATA(text);
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
    const char *ascii_of(PyObject *text, Py_ssize_t *length)
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


# Writing

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

cdef inline char *write_amount(char *at, const char *name, Py_ssize_t length, PyObject *amount, int *wrong):
    """Write `,"name":"amount"`, or null in place of the amount."""
    at = write(at, name, length)
    return write_text_or_null(at, amount, wrong)


# Published intervals

cdef Py_ssize_t room_for(bytes before_id, bytes after_id, PackedInterval of):
    """Return how many bytes are enough for an interval's public form, and for its state."""
    cdef Py_ssize_t place
    cdef Py_ssize_t needed = PyBytes_GET_SIZE(before_id) + PyBytes_GET_SIZE(after_id) + HEAD_BYTES
    cdef PackedReading *reading
    for place in range(of.count):
        reading = &of.readings[place]
        needed += RECORD_BYTES + length_of(reading.reference) + length_of(reading.session)
    return needed

cdef char *write_head(
    char *at, bytes before_id, bytes after_id, PackedInterval of, int64_t energy_uwh, int64_t covered_us, int *wrong
) except NULL:
    cdef bint sure = True
    cdef Py_ssize_t place
    cdef bytes text
    if not is_usual(of.start_us) or not is_usual(of.end_us) or energy_uwh < 0 or covered_us < 0 or of.revision < 0:
        wrong[0] = 1
    if wrong[0]:
        return at
    at = write(at, PyBytes_AS_STRING(before_id), PyBytes_GET_SIZE(before_id))
    at = write_instant(at, of.start_us)
    at = write(at, PyBytes_AS_STRING(after_id), PyBytes_GET_SIZE(after_id))
    at = write_instant(at, of.start_us)
    at = write(at, b'","end_time":"', 14)
    at = write_instant(at, of.end_us)
    at = write(at, b'","energy_wh":', 14)
    at = write_decimal(at, energy_uwh)
    at = write(at, b',"covered_seconds":', 19)
    at = write_decimal(at, covered_us)
    if covered_us == of.end_us - of.start_us:
        at = write(at, b',"complete":true', 16)
    else:
        at = write(at, b',"complete":false', 17)
    for place in range(of.count):
        sure = sure and of.readings[place].confidence == 1.0
    if sure:
        at = write(at, b',"confidence":1', 15)
    else:
        average = of.interval().confidence()
        text = b',"confidence":1' if average == 1 else f',"confidence":{average:.15g}'.encode()
        at = write(at, PyBytes_AS_STRING(text), PyBytes_GET_SIZE(text))
    at = write(at, b',"revision":', 12)
    return write_whole(at, of.revision)

cdef struct Summary:
    Py_ssize_t head_bytes  # how long its beginning is, up to its records
    int64_t energy_uwh
    int64_t submitted_ms

cdef char *write_interval(char *room, bytes before_id, bytes after_id, PackedInterval of, Summary *summary, int *wrong) except NULL:
    """Write an interval's public form, and sum up what it says."""
    cdef int64_t energy_uwh = 0, covered_us = 0, submitted_ms = 0
    cdef PackedReading *reading
    cdef Py_ssize_t place
    cdef char *at = room
    # The sums stand before what they are the sums of.
    for place in range(of.count):
        reading = &of.readings[place]
        if reading.start_us < of.start_us or reading.end_us > of.end_us:
            wrong[0] = 1
        if not 0 <= reading.energy_uwh <= MOST_UWH or not 0 <= reading.submitted_ms < END_US // 1000:
            wrong[0] = 1
        if wrong[0]:
            return room
        energy_uwh += reading.energy_uwh
        covered_us += reading.end_us - reading.start_us
        submitted_ms = max(submitted_ms, reading.submitted_ms)
    at = write_head(room, before_id, after_id, of, energy_uwh, covered_us, wrong)
    if wrong[0]:
        return room
    summary.head_bytes, summary.energy_uwh, summary.submitted_ms = at - room, energy_uwh, submitted_ms
    at = write(at, b',"records":[', 12)
    for place in range(of.count):
        if place:
            at[0] = c','
            at += 1
        reading = &of.readings[place]
        at = write(at, b'{"record_reference_id":', 23)
        at = write_text_or_null(at, reading.reference, wrong)
        at = write(at, b',"session_reference_id":', 24)
        at = write_text_or_null(at, reading.session, wrong)
        at = write(at, b',"start_time":"', 15)
        at = write_instant(at, reading.start_us)
        at = write(at, b'","end_time":"', 14)
        at = write_instant(at, reading.end_us)
        at = write(at, b'","energy_wh":', 14)
        at = write_decimal(at, reading.energy_uwh)
        at = write(at, b',"submitted_at":"', 17)
        at = write_instant(at, reading.submitted_ms * 1000)
        at = write(at, b'"}', 2)
    at = write(at, b'],"submitted_at":"', 18)
    at = write_instant(at, submitted_ms * 1000)
    return write(at, b'"}', 2)
