# cython: language_level=3, boundscheck=False, wraparound=False, cdivision=True
"""What nearly all records and intervals are, decided by compiled code: a run of usual records is taken, usual intervals are published and priced.

Python's functions say what is right: `Pipeline` with `validate`, `bucket`, `pricing` and the tables. What is done here is what they
do, for what is usual; whatever else comes is left to them as it is, with nothing changed. Both lead to the same states and the same
bytes: tests/unit/test_usual.py.

A record is usual when each rule is sure to let it pass, its meter, its times and the interval around it have been met before, and
no other record of its period is there, or the very same. An interval is usual when its records lie in it, and it has one tariff
without tiers, whose rates hold for all of it.
"""

from app.wire._batches cimport FetchedRecord
from app.wire._compiled cimport PackedInterval, PackedReading, packed_of

include "../wire/_writing.pxi"

cimport cython
from cpython.dict cimport PyDict_GetItemWithError
from cpython.mem cimport PyMem_Free, PyMem_Realloc
from libc.math cimport fabs, rint
from libc.stdint cimport INT64_MIN

from app.domain.intervals import Interval
from app.domain.energy import _SAFE_UWH, _TIE_MARGIN
from app.domain.money import MONEY_DECIMALS
from app.domain.pricing import PricePlan, Span
from app.domain.rates import Rates
from app.domain.records import MeterRecord
from app.domain.rules import EARLIEST_US, ID_LIMIT, LATEST_US
from app.domain.intervals import READINGS_LIMIT
from app.streams import validate
from app.streams.validate import Meter
from app.wire import interval as texts, record as records
from app.wire.interval import MeterText
from app.wire.priced import has_body, sequence_of

cdef extern from *:
    """
    /* The product of two numbers, or *wrong = 1. */
    static inline long long product_of(long long one, long long other, int *wrong) {
        long long product = 0;
    #if defined(__GNUC__)
        if (__builtin_mul_overflow(one, other, &product)) *wrong = 1;
    #else
        *wrong = 1;
    #endif
        return product;
    }

    /* Whether two texts are the same, or both None; of others than plain ones it is not told. */
    static inline int is_same(PyObject *one, PyObject *other) {
        return one == other || (
            PyUnicode_CheckExact(one) && PyUnicode_CheckExact(other)
            && PyUnicode_IS_COMPACT_ASCII(one) && PyUnicode_IS_COMPACT_ASCII(other)
            && PyUnicode_GET_LENGTH(one) == PyUnicode_GET_LENGTH(other)
            && memcmp(PyUnicode_1BYTE_DATA(one), PyUnicode_1BYTE_DATA(other), PyUnicode_GET_LENGTH(one)) == 0
        );
    }
    """
    bint is_same(PyObject *one, PyObject *other)
    long long product_of(long long one, long long other, int *wrong)

cdef extern from "Python.h":
    int PyTuple_Check(PyObject *value)
    int PyList_CheckExact(PyObject *value)
    Py_ssize_t PyList_GET_SIZE(PyObject *value)
    PyObject *PyList_GET_ITEM(PyObject *value, Py_ssize_t place)
    int PyDict_CheckExact(PyObject *value)


# Where the fields lie.

cdef Py_ssize_t M_LOCATION, M_UNITS, M_VALUE, M_START, M_END, M_DEVICE, M_SESSION, M_REFERENCE, M_FLOW, M_DIRECTION, M_CONFIDENCE
M_LOCATION, M_UNITS, M_VALUE, M_START, M_END, M_DEVICE, M_SESSION, M_REFERENCE, M_FLOW, M_DIRECTION, M_CONFIDENCE = _offsets(
    MeterRecord,
    ("location_id", "units", "value", "start_time", "end_time", "device_id", "session_reference_id", "record_reference_id",
     "energy_flow_direction", "tariff_direction", "confidence"),
)
cdef Py_ssize_t METER_ID, METER_GRID, METER_TEXT, METER_LIMIT, METER_NEWEST, METER_MONTHS, METER_LATEST, METER_LATEST_ID
METER_ID, METER_GRID, METER_TEXT, METER_LIMIT, METER_NEWEST, METER_MONTHS, METER_LATEST, METER_LATEST_ID = _offsets(
    Meter, ("meter_id", "grid", "text", "power_limit_w", "newest_start_us", "has_months", "latest_us", "latest_id")
)
cdef Py_ssize_t TEXT_BEFORE, TEXT_AFTER, TEXT_PREFIX
TEXT_BEFORE, TEXT_AFTER, TEXT_PREFIX = _offsets(MeterText, ("_before_id", "_after_id", "prefix"))
cdef Py_ssize_t PLAN_SPAN, PLAN_CARBON, PLAN_CREDITED, PLAN_GRADUATED
PLAN_SPAN, PLAN_CARBON, PLAN_CREDITED, PLAN_GRADUATED = _offsets(PricePlan, ("_span", "_carbon", "_credited", "is_graduated"))
cdef Py_ssize_t SPAN_START, SPAN_END, SPAN_CELLS, SPAN_PRICER
SPAN_START, SPAN_END, SPAN_CELLS, SPAN_PRICER = _offsets(Span, ("start_us", "end_us", "cells", "pricer"))
cdef Py_ssize_t RATES_MISSING, RATES_GRADUATED, RATES_LINES, RATES_CURRENCY, RATES_TARIFF, RATES_VERSION, RATES_TAXED
RATES_MISSING, RATES_GRADUATED, RATES_LINES, RATES_CURRENCY, RATES_TARIFF, RATES_VERSION, RATES_TAXED = _offsets(
    Rates, ("missing", "graduated", "lines", "currency", "tariff_id", "tariff_version", "_taxed")
)
cdef Py_ssize_t COST_FACTORS, COST_SCALE, COST_TOTAL, COST_EXCESS, COST_LIFT
COST_FACTORS, COST_SCALE, COST_TOTAL, COST_EXCESS, COST_LIFT = _offsets(
    Rates, ("_cost_factors", "_cost_scale", "_cost_total", "_cost_excess", "_cost_lift")
)
cdef Py_ssize_t NET_FACTORS, NET_SCALE, NET_DIVISOR, NET_TOTAL, NET_EXCESS
NET_FACTORS, NET_SCALE, NET_DIVISOR, NET_TOTAL, NET_EXCESS = _offsets(
    Rates, ("_net_factors", "_net_scale", "_net_divisor", "_net_total", "_net_excess")
)
cdef PyObject *INTERVAL_TYPE = <PyObject *>Interval
cdef PyObject *RECORD_TYPE = <PyObject *>MeterRecord
cdef PyObject *METER_TYPE = <PyObject *>Meter
cdef PyObject *METER_TEXT_TYPE = <PyObject *>MeterText
cdef PyObject *PLAN_TYPE = <PyObject *>PricePlan
cdef PyObject *SPAN_TYPE = <PyObject *>Span
cdef PyObject *RATES_TYPE = <PyObject *>Rates

cdef object instants = validate.instants, instant_texts = texts.instant_texts, decode = records._decode_record
cdef int64_t EARLIEST = EARLIEST_US, LATEST = LATEST_US
cdef Py_ssize_t LONGEST_ID = ID_LIMIT, SHORT_VALUE = records.NESTING_LIMIT, MOST_READINGS = READINGS_LIMIT
cdef double USUAL_VALUE = validate._USUAL_VALUE, SAFE_UWH = _SAFE_UWH, SURE = 0.5 - _TIE_MARGIN
cdef int MONEY = MONEY_DECIMALS


include "_usual_records.pxi"
include "_usual_intervals.pxi"
