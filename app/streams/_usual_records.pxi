"""Usual records: what `Pipeline.take_records` does with them, and with their intervals. A part of _usual.pyx."""

cdef inline bint is_id_or_none(PyObject *text):
    """Tell whether a text is one that an identifier may be for sure, or none."""
    cdef Py_ssize_t length = 0
    return text is Py_None or (plain_of(text, &length) is not NULL and length <= LONGEST_ID)

cdef int64_t energy_of(double value, str units, int64_t duration_us):
    """Return what `energy_uwh` does, or -1 where that takes decimals. Its estimate, step by step."""
    cdef double estimate, nearest
    if units == "KWH":
        estimate = value * 1e9
    elif units == "WH":
        estimate = value * 1e6
    elif units == "KW":
        estimate = value * <double>(1000 * duration_us) / 3600.0
    elif units == "W":
        estimate = value * <double>duration_us / 3600.0
    else:
        return -1
    if not 0 <= estimate < SAFE_UWH:
        return -1
    nearest = rint(estimate)
    return <int64_t>nearest if fabs(estimate - nearest) < SURE else -1


cdef bint is_in_order(PackedInterval of):
    """Tell whether the records of an interval are in order of time, without overlaps, and take time, each of them."""
    cdef Py_ssize_t place
    if not of.in_order:
        for place in range(of.count):
            if of.readings[place].end_us <= of.readings[place].start_us:
                return False
            if place and of.readings[place].start_us < of.readings[place - 1].end_us:
                return False
        of.in_order = True
    return True


def take(
    list messages not None, Py_ssize_t at, source, dict meters not None, find_meter, tables not None, retention not None
):
    """Take usual records, the values of messages from a place on.

    Return the place of the first that is not usual, and how many were there already; all others are accepted. `source` numbers
    where they were first published; `meters` are those that were met before, by what names them in a record, and
    `find_meter(record)` finds others.
    """
    cdef Taker taker = Taker.__new__(Taker)
    cdef Py_ssize_t count = len(messages)
    cdef object window = retention.window, changes = tables.changes
    taker.source, taker.meters, taker.find_meter = source, meters, find_meter
    taker.intervals, taker.fresh = tables._intervals, tables._fresh
    taker.changed, taker.changes = changes.intervals, changes
    taker.next_us, taker.bounded = retention.next_us, window is not None
    if window is not None:
        taker.oldest_us, taker.ahead_us = window
    while at < count and taker.take(messages[at]):
        at += 1
    return at, taker.duplicates


@cython.final
cdef class Taker:
    """What records are taken with, and what the record before was about: meters report the same period one after the other."""

    cdef object find_meter, changes
    cdef dict meters, intervals, changed
    cdef set fresh
    cdef bint bounded
    cdef int64_t source, oldest_us, ahead_us, next_us
    cdef Py_ssize_t duplicates
    cdef object start_time, start, end_time, end, grid, place, bounds, bounds_text

    cdef int look_up(self, PyObject *start_time, PyObject *end_time) except -1:
        """Find the instants that two texts say; they are None where they were not met before."""
        cdef PyObject *found
        if not is_same(start_time, <PyObject *>self.start_time):
            found = PyDict_GetItemWithError(instants, <object>start_time)
            self.start_time, self.start = <object>start_time, None if found is NULL else <object>found
        if not is_same(end_time, <PyObject *>self.end_time):
            found = PyDict_GetItemWithError(instants, <object>end_time)
            self.end_time, self.end = <object>end_time, None if found is NULL else <object>found
        return 0

    cdef bint find_bounds(self, PyObject *grid) except -1:
        """Find the interval of a grid around `start`, and the text of its beginning; tell whether they were met before."""
        cdef PyObject *found
        if <PyObject *>self.grid is grid and self.place is self.start:
            return self.bounds is not None
        self.grid, self.place, self.bounds = <object>grid, self.start, None
        found = PyDict_GetItemWithError((<object>grid)._bounds, self.start)
        if found is NULL or not PyTuple_CheckExact(found):
            return False
        bounds = <object>found
        found = PyDict_GetItemWithError(instant_texts, <object>PyTuple_GET_ITEM(found, 0))
        if found is NULL:
            return False
        self.bounds, self.bounds_text = bounds, <object>found
        return True

    cdef bint take(self, object message) except -1:
        """Take the record of a message, or tell that it is not usual."""
        cdef PyObject *of
        cdef PyObject *own
        cdef PyObject *found
        cdef PyObject *confidence
        cdef PackedInterval packed = None
        cdef PackedReading *reading
        cdef int wrong = 0
        cdef int64_t start_us, end_us, amount_uwh, submitted_ms, offset, bound_us, begin_us, close_us
        cdef double value, sure
        cdef Py_ssize_t place
        cdef object raw, record, meter, interval_id, headers, number
        if type(message) is FetchedRecord:
            raw, headers = (<FetchedRecord>message).bytes_of((<FetchedRecord>message)._value), (<FetchedRecord>message).headers
            submitted_ms, offset = (<FetchedRecord>message).timestamp, (<FetchedRecord>message).offset
        else:
            raw, headers, number = message.value, message.headers, message.timestamp
            submitted_ms = whole_of(<PyObject *>number, &wrong)
            number = message.offset
            offset = whole_of(<PyObject *>number, &wrong)
        if wrong or type(raw) is not bytes or PyBytes_GET_SIZE(raw) > SHORT_VALUE or headers:
            return False
        try:
            record = decode(raw)
        except Exception:
            return False  # whoever looks closer says what is wrong
        of = <PyObject *>record
        if not IS_OF(of, RECORD_TYPE):
            return False
        if FIELD(of, M_DEVICE) is Py_None and FIELD(of, M_FLOW) is Py_None and FIELD(of, M_DIRECTION) is Py_None:
            meter = self.meters.get(<object>FIELD(of, M_LOCATION))
        else:
            meter = self.meters.get((
                <object>FIELD(of, M_LOCATION), <object>FIELD(of, M_DEVICE), <object>FIELD(of, M_FLOW), <object>FIELD(of, M_DIRECTION)
            ))
        if meter is None:
            try:
                meter = self.find_meter(record)
            except Exception:
                return False  # raised once more where somebody listens
        own = <PyObject *>meter
        if not IS_OF(own, METER_TYPE) or FIELD(own, METER_MONTHS) is Py_True:
            return False
        # The rules: as `reading_of` lets the usual ones pass. An interval is an hour at most, and so is what lies in one: nothing overflows.
        self.look_up(FIELD(of, M_START), FIELD(of, M_END))
        if self.start is None or self.end is None or not self.find_bounds(FIELD(own, METER_GRID)):
            return False
        start_us, end_us = whole_of(<PyObject *>self.start, &wrong), whole_of(<PyObject *>self.end, &wrong)
        bound_us = whole_of(PyTuple_GET_ITEM(<PyObject *>self.bounds, 0), &wrong)
        close_us = whole_of(PyTuple_GET_ITEM(<PyObject *>self.bounds, 1), &wrong)
        if wrong or start_us < EARLIEST or end_us > LATEST or end_us <= start_us or end_us >= self.next_us:
            return False
        if end_us > close_us or not 0 <= submitted_ms <= LATEST // 1000 or not PyFloat_CheckExact(FIELD(of, M_VALUE)):
            return False
        value = PyFloat_AS_DOUBLE(FIELD(of, M_VALUE))
        if not 0 <= value <= USUAL_VALUE:
            return False
        amount_uwh = energy_of(value, <str>FIELD(of, M_UNITS), end_us - start_us)
        if amount_uwh < 0 or not amount_uwh <= PyFloat_AS_DOUBLE(FIELD(own, METER_LIMIT)) * (end_us - start_us) / 3600.0:
            return False
        confidence = FIELD(of, M_CONFIDENCE)
        if confidence is not Py_None and not (PyFloat_CheckExact(confidence) and 0 < PyFloat_AS_DOUBLE(confidence) <= 1):
            return False
        if not is_id_or_none(FIELD(of, M_REFERENCE)) or not is_id_or_none(FIELD(of, M_SESSION)):
            return False
        if self.bounded and (start_us < self.oldest_us or end_us > submitted_ms * 1000 + self.ahead_us):
            return False
        sure = 1.0 if confidence is Py_None else PyFloat_AS_DOUBLE(confidence)
        # The interval: as `Bucketer.place` and `intervals.place` find and change it.
        found = FIELD(own, METER_LATEST)
        if found is not Py_None and whole_of(found, &wrong) == bound_us:
            interval_id = <object>FIELD(own, METER_LATEST_ID)
        else:
            interval_id = <str>FIELD(FIELD(own, METER_TEXT), TEXT_PREFIX) + <str>self.bounds_text
            meter.latest_us, meter.latest_id = self.bounds[0], interval_id
        found = FIELD(own, METER_NEWEST)
        begin_us = -1 if found is Py_None else whole_of(found, &wrong)
        place = 0
        if bound_us <= begin_us:
            found = PyDict_GetItemWithError(self.intervals, interval_id)
            if found is NULL:
                return False
            packed = <PackedInterval>found if type(<object>found) is PackedInterval else packed_of(found, meter)
            if packed is None or packed.start_us != bound_us or packed.end_us != close_us or not is_in_order(packed):
                return False
            if not 0 < packed.count < MOST_READINGS:
                return False
            place = packed.count
            while place and packed.readings[place - 1].start_us >= end_us:
                place -= 1
            # What stands before that place begins before our end; what stands before that, ends before its beginning.
            if place and packed.readings[place - 1].end_us > start_us:
                reading = &packed.readings[place - 1]
                if reading.start_us != start_us or reading.end_us != end_us or reading.energy_uwh != amount_uwh or wrong:
                    return False
                if reading.confidence != sure or not is_same(reading.reference, FIELD(of, M_REFERENCE)):
                    return False
                if not is_same(reading.session, FIELD(of, M_SESSION)):
                    return False
                if (
                    offset > reading.offset
                    if self.source == reading.source
                    else submitted_ms > reading.submitted_ms
                    or (submitted_ms == reading.submitted_ms and self.source > reading.source)
                ):
                    # There is nothing to publish, but later ones must yield.
                    reading.submitted_ms, reading.source, reading.offset, reading.number = submitted_ms, self.source, offset, 0
                    self.keep(interval_id, packed, meter)
                self.duplicates += 1
                return True
        if wrong:
            return False
        if packed is None:
            packed = PackedInterval.__new__(PackedInterval)
            packed.start_us, packed.end_us, packed.revision, packed.in_order = bound_us, close_us, 1, True
            meter.newest_start_us = self.bounds[0]
            self.fresh.add(interval_id)
        reading = packed.insert(place, <object>FIELD(of, M_REFERENCE), <object>FIELD(of, M_SESSION))
        reading.start_us, reading.end_us, reading.energy_uwh, reading.confidence = start_us, end_us, amount_uwh, sure
        reading.submitted_ms, reading.source, reading.offset, reading.number = submitted_ms, self.source, offset, 0
        packed.held = True
        self.keep(interval_id, packed, meter)
        return True

    cdef int keep(self, object interval_id, PackedInterval packed, object meter) except -1:
        """Let the tables have a changed interval."""
        cdef PyObject *found = PyDict_GetItemWithError(self.changed, interval_id)
        if found is NULL:
            self.changes.unsorted.append(interval_id)  # another list once somebody has asked for the ids in order
        elif found == <PyObject *>packed and packed.meter is meter:
            return 0  # then they have it
        packed.meter = meter
        self.changed[interval_id] = self.intervals[interval_id] = packed
        return 0
