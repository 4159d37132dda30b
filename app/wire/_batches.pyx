# cython: language_level=3, boundscheck=False, wraparound=False, cdivision=True
"""The parts of the hot path that carry messages, compiled: record batches that are sent, and those that have been fetched.

Each has its twin in Kafka's client, which is taken where this was not built, and to which is left whatever is not usual: what is
of an older format, or damaged. Both write the same bytes (tests/unit/test_compiled.py) and read the same records
(tests/unit/test_fetch.py). Source of the format: https://kafka.apache.org/documentation/#recordbatch.
"""

cimport cython
from cpython.bytes cimport PyBytes_AS_STRING, PyBytes_FromStringAndSize, PyBytes_GET_SIZE
from cpython.buffer cimport PyBUF_WRITE, PyBuffer_FillInfo
from cpython.mem cimport PyMem_Free, PyMem_Malloc
from cpython.memoryview cimport PyMemoryView_FromMemory
from libc.stdint cimport int32_t, int64_t, uint32_t, uint64_t
from libc.stdlib cimport free, malloc, qsort
from libc.string cimport memcmp, memcpy

cdef extern from *:
    """
    #include <string.h>

    #if defined(__x86_64__) && defined(__GNUC__)
    #include <nmmintrin.h>
    #define HAS_CRC32C (__builtin_cpu_supports("sse4.2"))
    __attribute__((target("sse4.2")))
    static uint32_t crc32c_of(const char *at, size_t length) {
        uint64_t crc = 0xffffffff, word;
        for (; length >= 8; length -= 8, at += 8) { memcpy(&word, at, 8); crc = _mm_crc32_u64(crc, word); }
        for (; length; length--, at++) crc = _mm_crc32_u8((uint32_t)crc, (unsigned char)*at);
        return (uint32_t)crc ^ 0xffffffff;
    }
    #else
    #define HAS_CRC32C 0
    static uint32_t crc32c_of(const char *at, size_t length) { return 0; }
    #endif
    """
    bint HAS_CRC32C
    uint32_t crc32c_of(const char *at, size_t length) nogil


counts_fast = bool(HAS_CRC32C)
"""Whether the processor has an instruction for CRC-32C, and it is used."""

cdef uint32_t checksum(const char *at, Py_ssize_t length) except? 0:
    """Return the CRC-32C (Castagnoli) of some bytes."""
    if counts_fast:
        return crc32c_of(at, length)
    from aiokafka.record.util import calc_crc32c  # here, because prices from files need no client of Kafka

    return calc_crc32c(at[:length])


cdef enum:
    MURMUR = 0x5BD1E995
    BATCH_HEADER = 61
    LEAST_BATCH = 26  # of any format
    FIRST_ROOM = 16_384
    ROOMS = 4  # their sizes: each has four times the bytes of the one before, the last a megabyte
    FREE_MOST = 12_582_912

cdef enum:
    # Where the fields of a batch are.
    LENGTH_AT = 8
    MAGIC_AT = 16
    CRC_AT = 17
    ATTRIBUTES_AT = 21
    LAST_DELTA_AT = 23
    FIRST_TIME_AT = 27
    LAST_TIME_AT = 35
    PRODUCER_AT = 43
    COUNT_AT = 57
    # What the bits of its attributes say.
    COMPRESSED = 7
    LAST_CODEC = 4
    OF_ARRIVAL = 8
    TRANSACTIONAL = 16
    CONTROL = 32


# Batches that are sent

cdef inline char *write(char *at, const char *text, Py_ssize_t length) noexcept nogil:
    memcpy(at, text, length)
    return at + length

cdef inline char *write_varint(char *at, int64_t number) noexcept nogil:
    """Write a zigzag integer of variable length (Protocol Buffers' sint64)."""
    cdef uint64_t rest = (<uint64_t>number << 1) ^ <uint64_t>(number >> 63)
    while rest > 127:
        at[0] = <char>(rest & 127 | 128)
        rest >>= 7
        at += 1
    at[0] = <char>rest
    return at + 1

cdef inline int varint_size(int64_t number) noexcept nogil:
    cdef uint64_t rest = (<uint64_t>number << 1) ^ <uint64_t>(number >> 63)
    cdef int size = 1
    while rest > 127:
        rest >>= 7
        size += 1
    return size

cdef inline char *write_big(char *at, uint64_t number, int size) noexcept nogil:
    """Write a number in so many bytes, the greatest first."""
    cdef int place
    for place in range(size - 1, -1, -1):
        at[place] = number & 255
        number >>= 8
    return at + size

cdef inline char *write_bytes(char *at, bytes value):
    """Write a length and so many bytes, or that there is nothing."""
    if value is None:
        at[0] = 1
        return at + 1
    at = write_varint(at, PyBytes_GET_SIZE(value))
    return write(at, PyBytes_AS_STRING(value), PyBytes_GET_SIZE(value))


# Rooms that nobody uses, of each size; each has the address of the next one in its first bytes.
cdef char *free_rooms[ROOMS]
cdef Py_ssize_t free_bytes = 0

@cython.final
cdef class Room:
    """Memory for the messages of a batch, which the next batch gets: what is allocated and freed by the megabyte leaves holes
    between what stays for longer, a hundred megabytes of them in a worker (docs/performance.md)."""

    cdef char *start
    cdef Py_ssize_t size
    cdef int number

    def __cinit__(self, Py_ssize_t needed):
        """Take one of at least so many bytes."""
        global free_bytes
        self.size = FIRST_ROOM
        while self.size < needed and self.number < ROOMS:
            self.size *= 4
            self.number += 1
        if self.number == ROOMS:  # only a message that is larger by itself than a batch
            self.size = needed
        elif free_rooms[self.number] is not NULL:
            self.start = free_rooms[self.number]
            free_rooms[self.number] = (<char **>self.start)[0]
            free_bytes -= self.size
            return
        self.start = <char *>malloc(self.size)
        if self.start is NULL:
            raise MemoryError

    def __dealloc__(self):
        global free_bytes
        if self.number == ROOMS or free_bytes + self.size > FREE_MOST:
            free(self.start)
        elif self.start is not NULL:
            (<char **>self.start)[0] = free_rooms[self.number]
            free_rooms[self.number] = self.start
            free_bytes += self.size

    def __getbuffer__(self, Py_buffer *buffer, int flags):
        PyBuffer_FillInfo(buffer, self, self.start, self.size, 1, flags)


cdef class RecordBatch:
    """The messages that go to one partition in one piece: a record batch of format 2, of one time.

    To the client's producer it is what its own builder of batches is; `add` is ours.
    """

    cdef Room _room
    cdef object _bytes
    cdef Py_ssize_t _size, _limit
    cdef int32_t _count
    cdef bint _closed, _transactional
    cdef int64_t _at_ms, _producer_id
    cdef int32_t _epoch, _sequence
    cdef int _codec

    def __cinit__(self, Py_ssize_t limit_bytes, int64_t at_ms, bint transactional, int codec=0):
        """Begin one of fewer bytes than so many: one message is taken in any case. Compressed by one of Kafka's codecs; 0: as it is."""
        self._room = Room(FIRST_ROOM)
        self._size = BATCH_HEADER
        self._limit = limit_bytes
        self._at_ms = at_ms
        self._transactional = transactional
        self._codec = codec
        self._producer_id = self._epoch = -1

    def add(self, bytes key, bytes value, headers):
        """Add a message, None for no key or no value. False: there is no room for it, and for no other."""
        return self._add(key, value, headers)

    cdef bint _add(self, bytes key, bytes value, headers) except -1:
        cdef Py_ssize_t needed, body
        cdef char *at
        cdef list named = None
        cdef bytes text
        cdef Room larger
        if self._closed:
            return False
        body = 2 + varint_size(self._count)
        body += 1 if key is None else varint_size(PyBytes_GET_SIZE(key)) + PyBytes_GET_SIZE(key)
        body += 1 if value is None else varint_size(PyBytes_GET_SIZE(value)) + PyBytes_GET_SIZE(value)
        if headers:
            named = [(name.encode(), content) for name, content in headers]
            body += varint_size(len(named))
            for name, content in named:
                body += varint_size(len(name)) + len(name)
                body += 1 if content is None else varint_size(len(content)) + len(content)
        else:
            body += 1
        needed = self._size + varint_size(body) + body
        if needed >= self._limit and self._count:
            self._closed = True
            return False
        if needed > self._room.size:
            larger = Room(needed)
            write(larger.start, self._room.start, self._size)
            self._room = larger
        at = self._room.start + self._size
        at = write_varint(at, body)
        at[0] = at[1] = 0  # no attributes; the time of the first message
        at = write_varint(at + 2, self._count)
        at = write_bytes(at, key)
        at = write_bytes(at, value)
        if named is None:
            at[0] = 0
        else:
            at = write_varint(at, len(named))
            for name, content in named:
                text = name
                at = write_bytes(at, text)
                text = content
                at = write_bytes(at, text)
        self._size = needed
        self._count += 1
        return True

    def add_from(self, list entries not None, Py_ssize_t at):
        """Add keys and values from a place on, as many as there is room for; return the place of the first that is left."""
        cdef tuple entry
        while at < len(entries):
            entry = entries[at]
            if not self._add(entry[0], entry[1], ()):
                break
            at += 1
        return at

    def close(self):
        """Take no more messages."""
        self._closed = True

    def closed(self):
        """Tell whether no more messages are taken."""
        return self._closed

    def record_count(self):
        """Return how many messages there are."""
        return self._count

    def size(self):
        """Return how many bytes there are."""
        return self._size

    def _set_producer_state(self, producer_id, producer_epoch, base_sequence):
        """Hear who sends it, and what number its first message has."""
        self._producer_id, self._epoch, self._sequence = producer_id, producer_epoch, base_sequence

    def _build(self):
        """Return the bytes of the batch, which is closed then."""
        cdef char *start = self._room.start
        cdef char *at
        if self._bytes is None:
            self._closed = True
            if self._codec:
                self._compress()
            at = write_big(start, 0, 8)  # the broker says which offset it begins at
            at = write_big(at, self._size - LENGTH_AT - 4, 4)
            at = write_big(at, <uint64_t>-1, 4)
            at[0] = 2
            at = write_big(start + ATTRIBUTES_AT, (TRANSACTIONAL if self._transactional else 0) | self._codec, 2)
            at = write_big(at, self._count - 1, 4)
            at = write_big(at, self._at_ms, 8)
            at = write_big(at, self._at_ms, 8)
            at = write_big(at, self._producer_id, 8)
            at = write_big(at, self._epoch, 2)
            at = write_big(at, self._sequence, 4)
            write_big(at, self._count, 4)
            write_big(start + CRC_AT, checksum(start + ATTRIBUTES_AT, self._size - ATTRIBUTES_AT), 4)
            self._bytes = memoryview(self._room)[:self._size]
        return self._bytes

    cdef void _compress(self) except *:
        """Put the messages in compressed form where they are, unless that were no shorter."""
        cdef bytes short = codec_of(self._codec)[0](self._room.start[BATCH_HEADER:self._size])
        if PyBytes_GET_SIZE(short) < self._size - BATCH_HEADER:
            write(self._room.start + BATCH_HEADER, PyBytes_AS_STRING(short), PyBytes_GET_SIZE(short))
            self._size = BATCH_HEADER + PyBytes_GET_SIZE(short)
        else:
            self._codec = 0


cdef dict codecs = {}

cdef tuple codec_of(int number):
    """Return what compresses, and what gives back, in one of Kafka's codecs: what the client itself uses."""
    if not codecs:
        from aiokafka import codec  # here, because prices from files need no client of Kafka

        codecs[1] = codec.gzip_encode, codec.gzip_decode
        codecs[2] = codec.snappy_encode, codec.snappy_decode
        codecs[3] = codec.lz4_encode, codec.lz4_decode
        codecs[4] = codec.zstd_encode, codec.zstd_decode
    return codecs[number]


# Batches that have been fetched

cdef inline int64_t read_big(const char *at, int size) noexcept nogil:
    """Read a signed number of so many bytes, the greatest first."""
    cdef uint64_t number = 0
    cdef int place
    for place in range(size):
        number = number << 8 | <unsigned char>at[place]
    return <int64_t>(number << (64 - 8 * size)) >> (64 - 8 * size)

cdef inline int64_t read_varint(const char **at, const char *end, bint *wrong) noexcept nogil:
    """Read a zigzag integer of variable length (Protocol Buffers' sint64)."""
    cdef uint64_t number = 0, byte
    cdef int shift = 0
    while at[0] < end and shift < 64:
        byte = <unsigned char>at[0][0]
        at[0] += 1
        number |= (byte & 127) << shift
        if byte < 128:
            return <int64_t>(number >> 1) ^ -<int64_t>(number & 1)
        shift += 7
    wrong[0] = True
    return 0

cdef inline Bytes read_bytes(const char **at, const char *end, bint *wrong) noexcept nogil:
    """Read a length, and find so many bytes, or that there is nothing."""
    cdef int64_t length = read_varint(at, end, wrong)
    cdef Bytes found = Bytes(at[0], length)
    if wrong[0] or length < 0:
        return Bytes(NULL, 0)
    if length > end - at[0]:
        wrong[0] = True
        return Bytes(NULL, 0)
    at[0] += length
    return found


@cython.final
@cython.freelist(1024)
@cython.no_gc
cdef class FetchedRecord:
    """One record: what the client's own parser says of it. Its key and its value are copied out of the fetch for each look."""

    cdef bytes bytes_of(self, Bytes of):
        return None if of.start is NULL else PyBytes_FromStringAndSize(of.start, of.length)

    @property
    def key(self):
        """The key, or None."""
        return self.bytes_of(self._key)

    @property
    def value(self):
        """The value, or None."""
        return self.bytes_of(self._value)

    @property
    def checksum(self):
        """There is one of the whole batch only."""
        return None


@cython.final
cdef class FetchedBatch:
    """One record batch of format 2 in the bytes of a fetch."""

    cdef bytes _data
    cdef const char *_start
    cdef const char *_end
    cdef object _records
    cdef readonly bint is_control_batch, is_transactional
    cdef readonly int64_t base_offset, next_offset, producer_id

    def __cinit__(self, bytes data not None, Py_ssize_t at, Py_ssize_t end):
        """Stand on the bytes [at, end)."""
        if not 0 <= at <= end - BATCH_HEADER or end > PyBytes_GET_SIZE(data):
            raise ValueError("a batch is its header at least, and lies in the bytes")
        self._data = data
        self._start, self._end = PyBytes_AS_STRING(data) + at, PyBytes_AS_STRING(data) + end
        cdef int64_t attributes = read_big(self._start + ATTRIBUTES_AT, 2)
        self.is_transactional, self.is_control_batch = (attributes & TRANSACTIONAL) != 0, (attributes & CONTROL) != 0
        self.base_offset = read_big(self._start, 8)
        self.next_offset = self.base_offset + read_big(self._start + LAST_DELTA_AT, 4) + 1
        self.producer_id = read_big(self._start + PRODUCER_AT, 8)

    def validate_crc(self):
        """Tell whether the bytes are those that were sent."""
        cdef uint32_t told = <uint32_t>read_big(self._start + CRC_AT, 4)
        return told == checksum(self._start + ATTRIBUTES_AT, self._end - self._start - ATTRIBUTES_AT)

    def __iter__(self):
        return iter(self._parse())

    def __next__(self):
        """Return the next record, as the client asks the end of a transaction for its only one."""
        if self._records is None:
            self._records = iter(self._parse())
        return next(self._records)

    cdef list _parse(self):
        """Return all records; what is wrong about them is the client's to say."""
        cdef bint wrong = False
        cdef const char *at = self._start + BATCH_HEADER
        cdef const char *end = self._end
        cdef bytes data = self._data
        cdef int64_t count = read_big(self._start + COUNT_AT, 4), place, length
        cdef bint of_arrival = (self._start[ATTRIBUTES_AT + 1] & OF_ARRIVAL) != 0
        cdef int64_t time = read_big(self._start + (LAST_TIME_AT if of_arrival else FIRST_TIME_AT), 8), delta
        cdef const char *end_of_record
        cdef FetchedRecord record
        cdef list records = []
        cdef int codec = self._start[ATTRIBUTES_AT + 1] & COMPRESSED
        if codec:
            data = codec_of(codec)[1](at[:end - at])
            at = PyBytes_AS_STRING(data)
            end = at + PyBytes_GET_SIZE(data)
        for place in range(count):
            length = read_varint(&at, end, &wrong)
            if wrong or not 0 < length <= end - at or at[0] != 0:  # no attributes are known
                wrong = True
                break
            end_of_record = at + length
            at += 1
            record = FetchedRecord.__new__(FetchedRecord)
            delta = read_varint(&at, end_of_record, &wrong)
            record.timestamp = time if of_arrival else time + delta
            record.timestamp_type = of_arrival
            record.offset = self.base_offset + read_varint(&at, end_of_record, &wrong)
            record._data = data
            record._key = read_bytes(&at, end_of_record, &wrong)
            record._value = read_bytes(&at, end_of_record, &wrong)
            if not wrong and at + 1 == end_of_record and at[0] == 0:
                record.headers = ()
                at += 1
            elif not wrong:
                record.headers = read_headers(&at, end_of_record, &wrong)
            if wrong or at != end_of_record:
                wrong = True
                break
            records.append(record)
        if wrong or at != end:
            return list(client_records(self._start[:self._end - self._start]).next_batch())
        return records


cdef list read_headers(const char **at, const char *end, bint *wrong):
    cdef int64_t count = read_varint(at, end, wrong)
    cdef list headers = []
    cdef Bytes name, value
    while not wrong[0] and count > 0:
        count -= 1
        name = read_bytes(at, end, wrong)
        value = read_bytes(at, end, wrong)
        if wrong[0] or name.start is NULL:
            wrong[0] = True
            break
        try:
            headers.append((
                name.start[:name.length].decode(), None if value.start is NULL else PyBytes_FromStringAndSize(value.start, value.length)
            ))
        except UnicodeDecodeError:
            wrong[0] = True
    wrong[0] = wrong[0] or count < 0
    return headers


cdef object client_records(bytes data):
    from aiokafka.record.memory_records import MemoryRecords  # here, because prices from files need no client of Kafka

    return MemoryRecords(data)


@cython.final
cdef class FetchedRecords:
    """The batches that a fetch brought of one partition, the last of them perhaps not whole. Twin: `MemoryRecords`."""

    cdef bytes _data
    cdef Py_ssize_t _at, _size
    cdef bint _has_next

    def __cinit__(self, bytes data not None):
        """Stand before the first batch."""
        self._data = data
        self._stand_at(0)

    cdef void _stand_at(self, Py_ssize_t at) noexcept:
        """Look at the batch that begins here, if there is a whole one."""
        cdef Py_ssize_t left = PyBytes_GET_SIZE(self._data) - at
        self._at, self._has_next = at, left >= LENGTH_AT + 4
        if self._has_next:
            self._size = read_big(PyBytes_AS_STRING(self._data) + at + LENGTH_AT, 4) + LENGTH_AT + 4
            self._has_next = self._size <= left

    def size_in_bytes(self):
        """Return how many bytes were fetched."""
        return PyBytes_GET_SIZE(self._data)

    def has_next(self):
        """Tell whether there is one more whole batch."""
        return self._has_next

    def next_batch(self):
        """Return the next batch; None: there is none."""
        cdef const char *start = PyBytes_AS_STRING(self._data) + self._at
        cdef Py_ssize_t at = self._at, end = at + self._size
        if not self._has_next:
            return None
        if end - at < LEAST_BATCH:
            return client_records(self._data[at:]).next_batch()  # it says that this is damaged
        self._stand_at(end)
        if end - at < BATCH_HEADER or start[MAGIC_AT] != 2 or start[ATTRIBUTES_AT + 1] & COMPRESSED > LAST_CODEC:
            return client_records(self._data[at:end]).next_batch()
        return FetchedBatch(self._data, at, end)


def writable_bytes(Py_ssize_t size):
    """Return bytes of a size, and the way to write them: before anybody else has them, and no longer than they live."""
    cdef bytes answer = PyBytes_FromStringAndSize(NULL, size)
    return answer, PyMemoryView_FromMemory(PyBytes_AS_STRING(answer), size, PyBUF_WRITE)


# What fetched records mean for a table

cdef struct Place:
    const char *key
    Py_ssize_t length
    Py_ssize_t at

cdef int order_of(const void *one, const void *other) noexcept nogil:
    """Compare two keys, and where they are the same their places: the newer one is behind."""
    cdef const Place *left = <const Place *>one
    cdef const Place *right = <const Place *>other
    cdef int by_bytes = memcmp(left.key, right.key, min(left.length, right.length))
    if by_bytes:
        return by_bytes
    if left.length != right.length:
        return -1 if left.length < right.length else 1
    return -1 if left.at < right.at else 1


def newest_entries(list records not None, bytes mark not None):
    """Return what `app.streams.changelog.newest_entries` does, or None."""
    cdef Py_ssize_t count = len(records), at
    cdef FetchedRecord record
    cdef Place *places
    cdef list entries = []
    cdef bytes key
    for each in records:
        if type(each) is not FetchedRecord or (<FetchedRecord>each)._key.start is NULL:
            return None
    places = <Place *>PyMem_Malloc(count * sizeof(Place))
    if places is NULL:
        raise MemoryError
    try:
        for at in range(count):
            record = <FetchedRecord>records[at]
            places[at] = Place(record._key.start, record._key.length, at)
        qsort(places, count, sizeof(Place), order_of)
        for at in range(count):
            record = <FetchedRecord>records[places[at].at]
            if at + 1 < count and places[at + 1].length == places[at].length:
                if memcmp(places[at].key, places[at + 1].key, places[at].length) == 0:
                    continue  # there is a newer one
            key = PyBytes_FromStringAndSize(NULL, PyBytes_GET_SIZE(mark) + record._key.length)
            write(
                write(PyBytes_AS_STRING(key), PyBytes_AS_STRING(mark), PyBytes_GET_SIZE(mark)), record._key.start, record._key.length
            )
            entries.append((key, record.bytes_of(record._value)))
        return entries
    finally:
        PyMem_Free(places)


def keys_by_beginning(list entries not None, bytes key not None, bytes value not None):
    """Return the keys of those entries whose key, and whose value, begin with some bytes."""
    cdef list found = []
    cdef bytes own
    cdef bytes of
    for own, of in entries:
        if of is not None and begins_with(of, value) and begins_with(own, key):
            found.append(own)
    return found

cdef inline bint begins_with(bytes text, bytes start) noexcept:
    cdef Py_ssize_t length = PyBytes_GET_SIZE(start)
    return PyBytes_GET_SIZE(text) >= length and memcmp(PyBytes_AS_STRING(text), PyBytes_AS_STRING(start), length) == 0


# Which partition a message belongs to

cdef uint32_t murmur2(const char *key, Py_ssize_t length) noexcept nogil:
    cdef uint32_t hashed = <uint32_t>0x9747B28Cu ^ <uint32_t>length, word
    while length >= 4:
        word = <unsigned char>key[0] | <unsigned char>key[1] << 8 | <unsigned char>key[2] << 16
        word |= <uint32_t><unsigned char>key[3] << 24
        word *= MURMUR
        hashed = hashed * MURMUR ^ (word ^ word >> 24) * MURMUR
        key += 4
        length -= 4
    if length:
        word = 0
        while length:
            length -= 1
            word = word << 8 | <unsigned char>key[length]
        hashed = (hashed ^ word) * MURMUR
    hashed = (hashed ^ hashed >> 13) * MURMUR
    return hashed ^ hashed >> 15


def partition_for(str location_id not None, int partitions):
    """Return what `app.domain.partitioning.partition_for` does."""
    cdef bytes key = location_id.encode()
    if partitions < 1:
        raise ValueError("there is one partition at least")
    return (murmur2(PyBytes_AS_STRING(key), PyBytes_GET_SIZE(key)) & 0x7FFFFFFF) % <uint32_t>partitions
