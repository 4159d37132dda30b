"""Usual intervals: what `Pipeline.settle` publishes, and what that costs. A part of _usual.pyx."""

cdef enum:
    AMOUNT_BYTES = 44
    MOST_LINES = 8
    PRICE_BYTES = 600  # what is written beside the texts of a price
    LINE_BYTES = 400
    FIRST_ROOM = 4096
    WAITING = 128  # messages that are put out together

cdef struct Amounts:
    char cost[AMOUNT_BYTES]
    char net[AMOUNT_BYTES]
    char tax[AMOUNT_BYTES]
    Py_ssize_t cost_length
    Py_ssize_t net_length
    Py_ssize_t tax_length
    char line_cost[MOST_LINES][AMOUNT_BYTES]
    char line_net[MOST_LINES][AMOUNT_BYTES]
    Py_ssize_t line_cost_length[MOST_LINES]
    Py_ssize_t line_net_length[MOST_LINES]

cdef int64_t[19] TENS = [10**power for power in range(19)]

cdef inline Py_ssize_t write_units(char *room, int64_t units, int scale) noexcept nogil:
    """Write what `units_text` does, and return its length; for a scale of at most 18."""
    cdef char *at = room
    cdef int64_t one = TENS[scale], fraction
    cdef int place = scale
    if units < 0:
        at[0] = c'-'
        at += 1
        units = -units
    at = write_whole(at, units // one)
    fraction = units % one
    if fraction:
        while fraction % 10 == 0:
            fraction //= 10
            place -= 1
        at[0] = c'.'
        at += place
        room_of_last(at, fraction, place)
        at += 1
    return at - room

cdef inline void room_of_last(char *last, int64_t fraction, int digits) noexcept nogil:
    """Write so many decimals, of which the last stands at a place."""
    for _ in range(digits):
        last[0] = c'0' + fraction % 10
        fraction //= 10
        last -= 1

cdef inline int64_t half_even(int64_t numerator, int64_t denominator) noexcept nogil:
    """Return what `divide_half_even` does: it is the same for both signs."""
    cdef bint negative = numerator < 0
    cdef uint64_t absolute = -<uint64_t>numerator if negative else <uint64_t>numerator
    cdef uint64_t quotient = absolute // <uint64_t>denominator, rest = absolute % <uint64_t>denominator
    if rest > <uint64_t>denominator - rest or (rest == <uint64_t>denominator - rest and quotient & 1):
        quotient += 1
    return -<int64_t>quotient if negative else <int64_t>quotient

cdef int64_t MOST_UNITS = 1 << 62  # so that a difference of two does not overflow

cdef bint count_amounts(PyObject *rates, Py_ssize_t lines, int64_t charged_uwh, Amounts *amounts) except -1:
    """Compute what `Rates.amounts` does; False where that takes more than 64 bits, or a text without end."""
    cdef int wrong = 0
    cdef PyObject *cost_factors = FIELD(rates, COST_FACTORS)
    cdef PyObject *net_factors = FIELD(rates, NET_FACTORS)
    cdef int64_t cost_scale = whole_of(FIELD(rates, COST_SCALE), &wrong), net_scale = whole_of(FIELD(rates, NET_SCALE), &wrong)
    cdef int64_t cost_units, net_units, units
    cdef bint taxed = FIELD(rates, RATES_TAXED) is Py_True
    cdef Py_ssize_t place
    if whole_of(FIELD(rates, NET_DIVISOR), &wrong) != 1 or not 0 <= cost_scale <= 18 or not 0 <= net_scale <= 18:
        return False
    if not PyList_CheckExact(cost_factors) or not PyList_CheckExact(net_factors):
        return False
    if PyList_GET_SIZE(cost_factors) != lines or PyList_GET_SIZE(net_factors) != lines:
        return False
    units = product_of(charged_uwh, whole_of(FIELD(rates, COST_TOTAL), &wrong), &wrong)
    net_units = product_of(charged_uwh, whole_of(FIELD(rates, NET_TOTAL), &wrong), &wrong)
    cost_units = whole_of(FIELD(rates, COST_EXCESS), &wrong)
    if wrong or units == INT64_MIN or net_units == INT64_MIN or cost_units < 1:
        return False
    cost_units = product_of(half_even(units, cost_units), whole_of(FIELD(rates, COST_LIFT), &wrong), &wrong)
    units = whole_of(FIELD(rates, NET_EXCESS), &wrong)
    if wrong or units < 1 or cost_units == INT64_MIN:
        return False
    net_units = half_even(net_units, units)
    if not -MOST_UNITS < cost_units < MOST_UNITS or not -MOST_UNITS < net_units < MOST_UNITS:
        return False
    amounts.cost_length = write_units(amounts.cost, cost_units, MONEY)
    amounts.net_length = write_units(amounts.net, net_units, MONEY)
    amounts.tax_length = write_units(amounts.tax, cost_units - net_units, MONEY)
    for place in range(lines):
        units = product_of(charged_uwh, whole_of(PyList_GET_ITEM(cost_factors, place), &wrong), &wrong)
        if wrong or units == INT64_MIN:
            return False
        amounts.line_cost_length[place] = write_units(amounts.line_cost[place], units, cost_scale)
        if taxed:
            units = product_of(charged_uwh, whole_of(PyList_GET_ITEM(net_factors, place), &wrong), &wrong)
            if wrong or units == INT64_MIN:
                return False
            amounts.line_net_length[place] = write_units(amounts.line_net[place], units, net_scale)
        else:
            memcpy(amounts.line_net[place], amounts.line_cost[place], amounts.line_cost_length[place])
            amounts.line_net_length[place] = amounts.line_cost_length[place]
    return True

cdef inline Py_ssize_t take_text(char *room, object text) except -2:
    """Copy a text of Python's, and return its length; -1 where it is too long, or none."""
    cdef Py_ssize_t length = 0
    cdef const char *plain = plain_of(<PyObject *>text, &length)
    if plain is NULL or length > AMOUNT_BYTES:
        return -1
    memcpy(room, plain, length)
    return length

cdef bint ask_amounts(object rates, Py_ssize_t lines, int64_t charged_uwh, Amounts *amounts) except -1:
    """Ask Python for the amounts; False where they are not usual."""
    cdef object charged = charged_uwh
    cdef tuple said
    cdef Py_ssize_t place
    try:
        said = rates.memo.get(charged) or rates.amounts(charged)
    except Exception:
        return False  # raised once more where somebody listens
    if len(said) != 3 + 2 * lines:
        return False
    amounts.cost_length = take_text(amounts.cost, said[0])
    amounts.net_length = take_text(amounts.net, said[1])
    amounts.tax_length = take_text(amounts.tax, said[2])
    if amounts.cost_length < 0 or amounts.net_length < 0 or amounts.tax_length < 0:
        return False
    for place in range(lines):
        amounts.line_cost_length[place] = take_text(amounts.line_cost[place], said[3 + place])
        amounts.line_net_length[place] = take_text(amounts.line_net[place], said[3 + lines + place])
        if amounts.line_cost_length[place] < 0 or amounts.line_net_length[place] < 0:
            return False
    return True

cdef inline char *write_quoted(char *at, const char *name, Py_ssize_t length, const char *text, Py_ssize_t text_length) noexcept nogil:
    """Write a name, and a text in quotation marks."""
    at = write(at, name, length)
    at[0] = c'"'
    at = write(at + 1, text, text_length)
    at[0] = c'"'
    return at + 1


def publish(
    list waiting not None, emit_all, slowly, bint at_once, now_s, dict held not None, pricer not None, tables not None
):
    """Publish and price intervals that wait for it, (interval_id, (interval, meter)), and return how many of them were usual.

    Messages are put out by `emit_all(output, entries)`; what is not usual is done by `slowly(interval_id, interval, meter)`, in its turn.
    `held` are those that wait until they are due, since when; with `at_once` nothing waits until it is whole.
    """
    cdef Publisher publisher = Publisher.__new__(Publisher)
    cdef object changes = tables.changes
    cdef object interval_id, of, interval, meter
    cdef PackedInterval packed
    publisher.emit_all, publisher.at_once, publisher.now_s, publisher.held = emit_all, at_once, now_s, held
    publisher.pricer, publisher.priced_value = pricer, tables.priced_value
    publisher.plans, publisher.followed = pricer.terms()
    publisher.intervals, publisher.fresh, publisher.changed = tables._intervals, tables._fresh, changes.intervals
    publisher.priced, publisher.unsorted_priced = changes.priced, changes._unsorted_priced
    publisher.interval_messages, publisher.priced_messages = [], []
    for interval_id, of in waiting:
        if type(of) is PackedInterval:
            packed, meter = of, (<PackedInterval>of).meter
        else:
            interval, meter = of
            packed = packed_of(<PyObject *>interval, meter)
        if packed is not None and not packed.held:
            continue
        if packed is None or not publisher.publish_one(interval_id, packed, meter):
            publisher.flush()
            slowly(interval_id, of[0], meter)
            # Prices may have been asked for in order, which begins a new list.
            publisher.unsorted_priced = changes._unsorted_priced
    publisher.flush()
    return publisher.count


@cython.final
cdef class Publisher:
    """What a transaction publishes, and what it changes by that."""

    cdef object emit_all, pricer, followed, now_s, priced_value
    cdef dict held, plans, intervals, changed, priced
    cdef set fresh
    cdef list unsorted_priced, interval_messages, priced_messages
    cdef bint at_once
    cdef Py_ssize_t count
    cdef char *rooms[2]
    cdef Py_ssize_t sizes[2]

    cdef int flush(self) except -1:
        if self.interval_messages:
            messages, self.interval_messages = self.interval_messages, []
            self.emit_all("intervals", messages)
            messages, self.priced_messages = self.priced_messages, []
            self.emit_all("priced", messages)
        return 0

    cdef char *room_of(self, int number, Py_ssize_t needed) except NULL:
        """Return memory to write in; what was there is lost when it grows."""
        cdef char *room
        if needed > self.sizes[number]:
            needed = max(needed, FIRST_ROOM)
            room = <char *>PyMem_Realloc(self.rooms[number], needed)
            if room is NULL:
                raise MemoryError
            self.rooms[number], self.sizes[number] = room, needed
        return self.rooms[number]

    def __dealloc__(self):
        PyMem_Free(self.rooms[0])
        PyMem_Free(self.rooms[1])

    cdef bint publish_one(self, str interval_id, PackedInterval packed, object meter) except -1:
        cdef char *room
        cdef char *text
        cdef char *end
        cdef char *at
        cdef PyObject *own = <PyObject *>meter
        cdef PyObject *meter_text
        cdef PyObject *meter_id
        cdef PyObject *found
        cdef PyObject *rates
        cdef PyObject *lines
        cdef PyObject *line
        cdef Amounts amounts
        cdef Summary summary = Summary(0, 0, 0)
        cdef int wrong = 0
        cdef int64_t at_us, charged_uwh
        cdef Py_ssize_t place, needed, count
        cdef bytes before_id, after_id, key, published, whole
        cdef object start_us, before
        cdef int64_t sequence = 1
        cdef bint complete
        if not IS_OF(own, METER_TYPE) or packed.count == 0:
            return False
        meter_text, meter_id = FIELD(own, METER_TEXT), FIELD(own, METER_ID)
        if not IS_OF(meter_text, METER_TEXT_TYPE) or not PyTuple_Check(meter_id):
            return False
        # Whether it is whole: as `Interval.is_complete`, of records that lie in it.
        at_us, complete = packed.start_us, True
        for place in range(packed.count):
            if packed.readings[place].start_us > at_us:
                complete = False
            at_us = max(at_us, packed.readings[place].end_us)
        complete = complete and at_us >= packed.end_us
        if not complete and not self.at_once:
            self.held.setdefault(interval_id, self.now_s)
            return True
        # What it costs: as `PricePlan.price`, where one set of rates holds for all of it.
        plan = self.plans.get((<object>PyTuple_GET_ITEM(meter_id, 0), <object>PyTuple_GET_ITEM(meter_id, 3)))
        if plan is None:
            try:
                plan = self.pricer.plan(<object>PyTuple_GET_ITEM(meter_id, 0), <object>PyTuple_GET_ITEM(meter_id, 3))
            except Exception:
                return False
        if not IS_OF(<PyObject *>plan, PLAN_TYPE) or FIELD(<PyObject *>plan, PLAN_CARBON) is not Py_None:
            return False
        if FIELD(<PyObject *>plan, PLAN_GRADUATED) is Py_True or <object>FIELD(meter_text, TEXT_PREFIX) in self.followed:
            return False
        span = <object>FIELD(<PyObject *>plan, PLAN_SPAN)
        if not IS_OF(<PyObject *>span, SPAN_TYPE):
            return False
        at_us = whole_of(FIELD(<PyObject *>span, SPAN_END), &wrong)
        if wrong or packed.start_us < whole_of(FIELD(<PyObject *>span, SPAN_START), &wrong) or packed.end_us > at_us:
            return False
        if not PyDict_CheckExact(FIELD(<PyObject *>span, SPAN_CELLS)):
            return False
        start_us = packed.start_us
        found = PyDict_GetItemWithError(<object>FIELD(<PyObject *>span, SPAN_CELLS), start_us)
        if found is not NULL:
            cell = <object>found
        elif FIELD(<PyObject *>span, SPAN_PRICER) is Py_None:
            return False
        else:
            try:
                cell = span.pricer.cell(start_us)
            except Exception:
                return False
        found = <PyObject *>cell
        if not PyTuple_Check(found):
            return False
        rates = PyTuple_GET_ITEM(found, 1)
        if packed.end_us > whole_of(PyTuple_GET_ITEM(found, 0), &wrong) or PyTuple_GET_ITEM(found, 2) is not Py_None or wrong:
            return False
        if not IS_OF(rates, RATES_TYPE) or FIELD(rates, RATES_MISSING) is Py_True:
            return False
        lines = FIELD(rates, RATES_LINES)
        if not PyTuple_CheckExact(lines) or PyTuple_GET_SIZE(FIELD(rates, RATES_GRADUATED)) or PyTuple_GET_SIZE(lines) > MOST_LINES:
            return False
        count = PyTuple_GET_SIZE(lines)
        # Its public form.
        before_id, after_id = <bytes>FIELD(meter_text, TEXT_BEFORE), <bytes>FIELD(meter_text, TEXT_AFTER)
        room = self.room_of(0, room_for(before_id, after_id, packed))
        end = write_interval(room, before_id, after_id, packed, &summary, &wrong)
        if wrong:
            return False
        charged_uwh = summary.energy_uwh
        if (<object>PyTuple_GET_ITEM(meter_id, 2)) in (<object>FIELD(<PyObject *>plan, PLAN_CREDITED)):
            charged_uwh = -charged_uwh
        if not count_amounts(rates, count, charged_uwh, &amounts) and not ask_amounts(<object>rates, count, charged_uwh, &amounts):
            return False
        before = None
        if interval_id not in self.fresh or interval_id in self.priced:
            try:
                before = self.priced_value(interval_id)
            except Exception:
                return False  # raised once more where somebody listens
        # Its price: as `encode_body` and `with_tail`.
        needed = summary.head_bytes + PRICE_BYTES + length_of(FIELD(rates, RATES_CURRENCY)) + length_of(FIELD(rates, RATES_TARIFF))
        for place in range(count):
            line = PyTuple_GET_ITEM(lines, place)
            needed += LINE_BYTES + length_of(PyTuple_GET_ITEM(line, 0)) + length_of(PyTuple_GET_ITEM(line, 1)) + length_of(PyTuple_GET_ITEM(line, 3))
        text = self.room_of(1, needed)
        at = write(text, room, summary.head_bytes)
        at = write(at, b',"status":"priced","reason":null', 32)
        at = write_amount(at, b',"currency":', 12, FIELD(rates, RATES_CURRENCY), &wrong)
        at = write_quoted(at, b',"cost":', 8, amounts.cost, amounts.cost_length)
        at = write_quoted(at, b',"cost_excluding_tax":', 22, amounts.net, amounts.net_length)
        at = write_quoted(at, b',"tax":', 7, amounts.tax, amounts.tax_length)
        at = write(at, b',"carbon_g":null', 16)
        at = write_amount(at, b',"tariff_id":', 13, FIELD(rates, RATES_TARIFF), &wrong)
        at = write(at, b',"tariff_version":', 18)
        at = write_whole_or_null(at, FIELD(rates, RATES_VERSION), &wrong)
        at = write(at, b',"components":[', 15)
        for place in range(count):
            line = PyTuple_GET_ITEM(lines, place)
            if place:
                at[0] = c','
                at += 1
            at = write(at, b'{"charge_id":', 13)
            at = write_text_or_null(at, PyTuple_GET_ITEM(line, 0), &wrong)
            at = write(at, b',"band":', 8)
            at = write_text_or_null(at, PyTuple_GET_ITEM(line, 1), &wrong)
            at = write(at, b',"tier":', 8)
            at = write_whole_or_null(at, PyTuple_GET_ITEM(line, 2), &wrong)
            at = write(at, b',"start_time":"', 15)
            at = write_instant(at, packed.start_us)
            at = write(at, b'","end_time":"', 14)
            at = write_instant(at, packed.end_us)
            at = write(at, b'","energy_wh":', 14)
            at = write_decimal(at, summary.energy_uwh)
            at = write_amount(at, b',"rate":', 8, PyTuple_GET_ITEM(line, 3), &wrong)
            at = write_quoted(at, b',"cost":', 8, amounts.line_cost[place], amounts.line_cost_length[place])
            at = write_quoted(at, b',"cost_excluding_tax":', 22, amounts.line_net[place], amounts.line_net_length[place])
            at[0] = c'}'
            at += 1
        at[0] = c']'
        at += 1
        if wrong:
            return False
        if before is not None:
            try:
                if has_body(before, PyBytes_FromStringAndSize(text, at - text)):
                    return False  # there is nothing new to say
                sequence = sequence_of(before) + 1
            except Exception:
                return False  # somebody else has written that
        at = write(at, b',"submitted_at":"', 17)
        at = write_instant(at, summary.submitted_ms * 1000)
        at = write(at, b'","sequence":', 13)
        at = write_whole(at, sequence)
        at[0] = c'}'
        at += 1
        # From here on it is published, and nothing is left to Python.
        key = interval_id.encode()
        published = PyBytes_FromStringAndSize(room, end - room)
        whole = PyBytes_FromStringAndSize(text, at - text)
        packed.held = False
        self.held.pop(interval_id, None)
        if complete:
            self.intervals.pop(interval_id, None)
        else:
            self.intervals[interval_id] = packed
        self.changed[interval_id] = packed
        self.fresh.discard(interval_id)
        if interval_id not in self.priced:
            self.unsorted_priced.append(interval_id)
        self.priced[interval_id] = whole
        self.interval_messages.append((key, published))
        self.priced_messages.append((key, whole))
        self.count += 1
        if len(self.interval_messages) == WAITING:
            self.flush()
        return True
