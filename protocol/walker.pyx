# cython: language_level=3, boundscheck=False, wraparound=False, cdivision=True, initializedcheck=False
"""The native twin of ``CommandReader`` and ``ReplyTracker``, for what most commands and replies are like.

Theory of operation
-------------------
A ``Walker`` walks the same bytes by the same rules, without the interpreter, but it knows only the commonest of them.
Of commands it admits statements that surely do nothing to their session, executions of prepared statements that it has
been told of, and COM_PING. Of replies it reads results; where a packet says more than that (an error, a change of the
session other than that of its transaction, a request for a file, whatever is not as the protocol has it), it stops in
front of it. ``protocol.riding`` then puts the twins' positions in agreement, and Python goes on from there. So the
walker never has to know better: where it is in doubt it stops, and its twin decides.

It also lets exchanges pass that it has been told of (``protocol.exchanges``). Their replies it does not read, but
compares with what they were before, and keeps in a journal which have passed, for its twins to read later.

Sources of the rules: as for the twins.
"""

from libc.stdint cimport int64_t, uint8_t, uint16_t, uint32_t, uint64_t
from libc.stdlib cimport calloc, free, malloc
from libc.string cimport memcmp, memcpy, memmove

# The stages are those of protocol.reply.Stage; its import below makes sure that they have the same numbers.
cdef enum:
    IDLE = 1
    STATUS = 2
    RESULT = 4
    COLUMNS = 5
    COLUMNS_END = 6
    ROWS = 7

cdef enum:
    HEADER = 4
    MAX_FRAME = 0xFFFFFF
    STREAM_ABOVE = 65536
    HOLD_ABOVE = 65536
    EOF_BELOW = 9

cdef enum:
    OK_BYTE = 0x00
    LOCAL_INFILE_BYTE = 0xFB
    EOF_BYTE = 0xFE
    ERR_BYTE = 0xFF

cdef enum:
    COM_QUERY = 0x03
    COM_PING = 0x0E
    COM_STMT_EXECUTE = 0x17

cdef enum:
    IN_TRANSACTION = 0x0001
    MORE_RESULTS = 0x0008
    CURSOR_EXISTS = 0x0040
    PS_OUT_PARAMS = 0x1000
    SESSION_STATE_CHANGED = 0x4000

cdef enum:
    TRACK_VARIABLE = 0
    TRACK_CHARACTERISTICS = 4
    TRACK_STATE = 5

cdef enum:
    PARAMETER_COUNT_AVAILABLE = 0x08
    NO_ROW_COUNT = -1

# What the server has last said of the characteristics of the transaction.
cdef enum:
    UNSAID = 0
    NO_CHARACTERISTICS = 1
    STARTED = 2

cdef const char* START_TRANSACTION = b"start transaction;"
cdef enum:
    START_TRANSACTION_LENGTH = 17  # without the semicolon

cdef const char* LAST_INSERT_ID = b"last_insert_id"
cdef const char* LAST_GTID = b"last_gtid"
cdef enum:
    LAST_INSERT_ID_LENGTH = 14
    LAST_GTID_LENGTH = 9

#: "________" as the integer that a little-endian machine makes of it.
cdef uint64_t NO_TRANSACTION = 0x5F5F5F5F5F5F5F5F


# Commands


cdef inline uint8_t lower(uint8_t byte) noexcept nogil:
    return byte | 0x20 if 0x41 <= byte <= 0x5A else byte


cdef inline bint is_word(const uint8_t* text, const char* word, size_t length) noexcept nogil:
    cdef size_t i
    for i in range(length):
        if lower(text[i]) != <uint8_t> word[i]:
            return False
    return True


cdef inline bint is_space(uint8_t byte) noexcept nogil:
    return byte == 0x20 or 0x09 <= byte <= 0x0D


cdef bint is_plain(const uint8_t* text, size_t length) noexcept nogil:
    """Tell whether a statement surely does nothing to its session: a part of what ``protocol.plain`` says of it."""
    cdef size_t i = 0
    cdef uint8_t byte
    cdef bint has_at = False
    cdef bint has_into = False
    while i < length and is_space(text[i]):
        i += 1
    if length - i < 6:
        return False
    byte = lower(text[i])
    if byte == c"s":
        if not (is_word(text + i, b"sele", 4) or is_word(text + i, b"show", 4) or is_word(text + i, b"save", 4)):
            return False
    elif byte == c"c":
        if not is_word(text + i, b"comm", 4):
            return False
    elif byte == c"r":
        if not (is_word(text + i, b"repl", 4) or is_word(text + i, b"roll", 4)):
            return False
    elif byte == c"d":
        if not (is_word(text + i, b"dele", 4) or is_word(text + i, b"desc", 4)):
            return False
    elif byte == c"u":
        if not is_word(text + i, b"upda", 4):
            return False
    elif byte == c"i":
        if not is_word(text + i, b"inse", 4):
            return False
    elif byte == c"w":
        if not is_word(text + i, b"with", 4):
            return False
    elif byte == c"e":
        if not is_word(text + i, b"expl", 4):
            return False
    else:
        return False
    i += 4
    while i < length:
        byte = text[i]
        if byte == c";":
            return False  # another statement may follow
        if byte == c":":
            if i + 1 < length and text[i + 1] == c"=":
                return False
        elif byte == c"@":
            has_at = True
        elif byte == c"_":
            if length - i >= 5 and is_word(text + i, b"_lock", 5):
                return False
            if length - i >= 10 and is_word(text + i, b"_insert_id", 10):
                return False
        elif byte == c"s" or byte == c"S":
            if length - i >= 5 and is_word(text + i, b"share", 5):
                return False
        elif byte == c"r" or byte == c"R":
            if length - i >= 9 and is_word(text + i, b"returning", 9):
                return False
        elif byte == c"i" or byte == c"I":
            if length - i >= 4 and is_word(text + i, b"into", 4):
                has_into = True
        i += 1
    return not (has_at and has_into)


cdef inline bint is_begin(const uint8_t* text, size_t length) noexcept nogil:
    """Tell whether a statement begins a transaction, and says nothing more of it."""
    return (length == 5 and is_word(text, b"begin", 5)) or (
        length == START_TRANSACTION_LENGTH and is_word(text, START_TRANSACTION, START_TRANSACTION_LENGTH)
    )


cdef inline bint admits_text(Walk* walk, const uint8_t* text, size_t length) noexcept nogil:
    return is_plain(text, length) or (walk.admits_begin and is_begin(text, length))


cdef Statement* find_statement(Walk* walk, uint32_t statement_id) noexcept nogil:
    cdef size_t i
    for i in range(walk.statement_count):
        if walk.statements[i].id == statement_id:
            return &walk.statements[i]
    return NULL


cdef inline uint32_t integer4(const uint8_t* data) noexcept nogil:
    return data[0] | data[1] << 8 | data[2] << 16 | <uint32_t> data[3] << 24


cdef bint admits_execution(Walk* walk, const uint8_t* payload, size_t length) noexcept nogil:
    """Tell whether an execution is an ordinary one, without a cursor, and of a statement that is known.

    Where it says the parameters' types, they have to be those that it had before.
    """
    cdef Statement* statement
    cdef size_t place = 10
    if length < 10:
        return False
    statement = find_statement(walk, integer4(payload + 1))
    if statement == NULL:
        return False
    if payload[5] != (PARAMETER_COUNT_AVAILABLE if statement.is_named else 0):
        return False
    if not statement.parameters:
        return length == place
    if statement.is_named:
        if length <= place or payload[place] >= 0xFB or payload[place] != statement.parameters:
            return False
        place += 1
    place += (statement.parameters + 7) // 8
    if length <= place:
        return False
    if not payload[place]:
        return True
    place += 1
    return length - place >= statement.types_length and not memcmp(
        payload + place, statement.types, statement.types_length
    )


cdef bint admits(Walk* walk, const uint8_t* packet, size_t length) noexcept nogil:
    """Tell whether bytes from the client are one whole command that may go to the server without Python's looking."""
    cdef size_t payload
    if length <= HEADER:
        return False
    payload = packet[0] | packet[1] << 8 | packet[2] << 16
    if packet[3] or payload != length - HEADER or payload > HOLD_ABOVE or payload >= walk.limit:
        return False
    if packet[4] == COM_QUERY:
        if walk.has_attributes:
            return length > 7 and not packet[5] and packet[6] == 1 and admits_text(walk, packet + 7, length - 7)
        return admits_text(walk, packet + 5, length - 5)
    if packet[4] == COM_STMT_EXECUTE:
        return admits_execution(walk, packet + HEADER, payload)
    return packet[4] == COM_PING and payload == 1


cdef bint knows(Walk* walk, const uint8_t* packet, size_t length) noexcept nogil:
    """Tell whether bytes from the client are the command of a known exchange, which may go out to be read later."""
    cdef size_t i, count = 0
    cdef const Exchange* entry
    if walk.journal_length == JOURNAL_LENGTH or length - HEADER >= walk.limit:
        return False
    for i in range(walk.exchange_count):
        entry = &walk.exchanges[i]
        if entry.command_length == length and not memcmp(entry.command, packet, length):
            if not count:
                walk.first_awaited = entry
            count += 1
        elif count:
            break
    walk.awaited = count
    return count > 0


cdef void begin_reply(Walk* walk, const uint8_t* packet) noexcept nogil:
    """Expect the reply to a command that goes out."""
    cdef Position* at = &walk.position
    at.is_ping = packet[4] == COM_PING
    at.stage = STATUS if at.is_ping else RESULT
    at.sequence_id = 1
    at.reply_begun = False


cdef bint is_at_rest(Walk* walk) noexcept nogil:
    return walk.position.stage == IDLE


# Replies


cdef inline bint read_lenenc(const uint8_t* data, size_t end, size_t* place, uint64_t* number) noexcept nogil:
    """Read a length-encoded integer; False where it does not end before ``end``, or is none."""
    cdef int i, width
    cdef uint8_t first
    if place[0] >= end:
        return False
    first = data[place[0]]
    place[0] += 1
    if first < 0xFB:
        number[0] = first
        return True
    if first == 0xFC:
        width = 2
    elif first == 0xFD:
        width = 3
    elif first == 0xFE:
        width = 8
    else:
        return False
    if end - place[0] < <size_t> width:
        return False
    number[0] = 0
    for i in range(width):
        number[0] |= <uint64_t> data[place[0] + i] << (8 * i)
    place[0] += width
    return True


cdef inline bint read_block(const uint8_t* data, size_t end, size_t* place, size_t* start) noexcept nogil:
    """Read over length-encoded bytes: from ``start`` up to ``place``; False where they do not end before ``end``."""
    cdef uint64_t length
    if not read_lenenc(data, end, place, &length) or length > end - place[0]:
        return False
    start[0] = place[0]
    place[0] += length
    return True


cdef bint read_variable(Position* at, const uint8_t* data, size_t place, size_t end) noexcept nogil:
    """Read the report of a variable; False unless it is ``last_insert_id``, or ``last_gtid``, which nobody needs."""
    cdef size_t name, length, value, i
    cdef uint64_t number = 0
    if not read_block(data, end, &place, &name):
        return False
    length = place - name
    if not read_block(data, end, &place, &value) or place != end:
        return False
    if length == LAST_GTID_LENGTH and is_word(data + name, LAST_GTID, length):
        return True
    if length != LAST_INSERT_ID_LENGTH or not is_word(data + name, LAST_INSERT_ID, length) or not 0 < end - value < 19:
        return False
    for i in range(value, end):
        if not 0x30 <= data[i] <= 0x39:
            return False
        number = number * 10 + data[i] - 0x30
    at.insert_id = number
    at.is_insert_id_unsettled = False
    return True


cdef bint read_reports(Position* at, const uint8_t* data, size_t place, size_t end) noexcept nogil:
    """Read a session-track block; False unless it has only to do with the transaction and the last insert id."""
    cdef size_t start, text, inside
    cdef uint8_t kind
    cdef int i
    cdef uint64_t state
    while place < end:
        kind = data[place]
        place += 1
        if not read_block(data, end, &place, &start):
            return False
        inside = start
        if kind == TRACK_VARIABLE:
            if not read_variable(at, data, start, place):
                return False
        elif kind == TRACK_CHARACTERISTICS:
            if not read_block(data, place, &inside, &text) or inside != place:
                return False
            if text == place:
                at.characteristics = NO_CHARACTERISTICS
            elif place - text == START_TRANSACTION_LENGTH + 1 and is_word(data + text, START_TRANSACTION, place - text):
                at.characteristics = STARTED
            else:
                return False
        elif kind == TRACK_STATE:
            if not read_block(data, place, &inside, &text) or inside != place or place - text != 8:
                return False
            state = 0
            for i in range(8):
                if data[text + i] >= 0x80:
                    return False
                state |= <uint64_t> data[text + i] << (8 * i)
            at.transaction_state = state
            if state == NO_TRANSACTION:
                at.has_ended_transaction = True
        else:
            return False
    return True


cdef void end_reply(Position* at) noexcept nogil:
    at.stage = IDLE
    at.sequence_id = 0
    at.reply_begun = False


cdef void end_result(Position* at, uint16_t status, int64_t row_count) noexcept nogil:
    at.status = status
    at.row_count = row_count
    if status & MORE_RESULTS and not at.is_ping:
        at.stage = RESULT
    else:
        end_reply(at)


cdef bint read_ok(Walk* walk, uint8_t* data, size_t start, size_t* stop, size_t* end) noexcept nogil:
    """Read an OK packet with a payload from ``start`` to ``stop``, and take out of it what the client did not ask for.

    Where that makes it shorter, what follows it moves up, and ``stop`` and ``end`` with it. False: it is for Python.
    """
    cdef Position seen = walk.position
    cdef Position* at = &walk.position
    cdef bint ends_rows = at.stage == ROWS
    cdef uint64_t affected_rows, insert_id
    cdef size_t place = start + 1
    cdef size_t fixed, info, reports, new_stop
    cdef uint16_t status, warnings
    if not read_lenenc(data, stop[0], &place, &affected_rows) or affected_rows >> 63:
        return False
    if not read_lenenc(data, stop[0], &place, &insert_id) or stop[0] - place < 4:
        return False
    fixed = place
    status = data[place] | data[place + 1] << 8
    warnings = data[place + 2] | data[place + 3] << 8
    if status & CURSOR_EXISTS:
        return False
    if insert_id and insert_id != seen.insert_id:
        seen.insert_id = insert_id
        seen.is_insert_id_unsettled = True
    place += 4
    info = place
    if place < stop[0] and not read_block(data, stop[0], &place, &info):
        return False
    if status & SESSION_STATE_CHANGED:
        if not walk.hides_reports:
            return False
        new_stop = place if place > info else fixed + 4
        if not read_block(data, stop[0], &place, &reports) or place != stop[0] or reports == place:
            return False
        if not read_reports(&seen, data, reports, place):
            return False
        status &= ~SESSION_STATE_CHANGED
        data[fixed] = status & 0xFF
        data[fixed + 1] = status >> 8
        shorten(data, start, stop, end, new_stop)
        status |= SESSION_STATE_CHANGED
    if at.is_ping:
        seen.left_warnings = seen.left_warnings or warnings > 0
        end_result(&seen, status, 0)
    else:
        seen.left_warnings = warnings > 0
        if warnings or affected_rows:
            seen.may_have_warnings = warnings > 0
        end_result(&seen, status, NO_ROW_COUNT if ends_rows else <int64_t> affected_rows)
    at[0] = seen
    return True


cdef void shorten(uint8_t* data, size_t start, size_t* stop, size_t* end, size_t new_stop) noexcept nogil:
    """Have the packet whose payload begins at ``start`` end at ``new_stop``, and move up what follows it."""
    cdef size_t length = new_stop - start
    memmove(data + new_stop, data + stop[0], end[0] - stop[0])
    end[0] -= stop[0] - new_stop
    stop[0] = new_stop
    data[start - HEADER] = length & 0xFF
    data[start - HEADER + 1] = length >> 8 & 0xFF
    data[start - HEADER + 2] = length >> 16


cdef bint read_eof(Walk* walk, const uint8_t* payload, size_t length) noexcept nogil:
    """Read the EOF packet behind definitions or rows; False: it is for Python."""
    cdef Position* at = &walk.position
    cdef uint16_t status
    if length != 5 or payload[0] != EOF_BYTE:
        return False
    status = payload[3] | payload[4] << 8
    if at.stage == COLUMNS_END:
        if status & (CURSOR_EXISTS | PS_OUT_PARAMS):
            return False
        at.stage = ROWS
        return True
    if status & (SESSION_STATE_CHANGED | IN_TRANSACTION) == SESSION_STATE_CHANGED:
        return False
    if status & IN_TRANSACTION:
        at.is_transaction_unsettled = True
    at.left_warnings = payload[1] or payload[2]
    if at.left_warnings:
        at.may_have_warnings = True
    end_result(at, status, NO_ROW_COUNT)
    return True


cdef bint read_column_count(Walk* walk, const uint8_t* payload, size_t length) noexcept nogil:
    """Read the first packet of a result with rows; False: it is for Python."""
    cdef Position* at = &walk.position
    cdef uint64_t count
    cdef size_t place = 0
    if payload[0] == LOCAL_INFILE_BYTE or not read_lenenc(payload, length, &place, &count):
        return False
    if walk.counts_with_metadata_flag and place < length:
        if not payload[place]:
            count = 0
        place += 1
    if place < length:
        return False
    at.count = count
    if count:
        at.stage = COLUMNS
    else:
        at.stage = ROWS if walk.deprecates_eof else COLUMNS_END
    return True


cdef bint read_packet(Walk* walk, uint8_t* data, size_t start, size_t* stop, size_t* end) noexcept nogil:
    """Read a packet that is not a row, with a payload from ``start`` to ``stop``; False: it is for Python."""
    cdef Position* at = &walk.position
    cdef uint8_t first = data[start]
    if at.stage == COLUMNS:
        at.count -= 1
        if not at.count:
            at.stage = ROWS if walk.deprecates_eof else COLUMNS_END
        return True
    if at.stage == COLUMNS_END or (at.stage == ROWS and not walk.deprecates_eof):
        return read_eof(walk, data + start, stop[0] - start)
    if first == OK_BYTE or (at.stage == ROWS and first == EOF_BYTE):
        return read_ok(walk, data, start, stop, end)
    return at.stage == RESULT and read_column_count(walk, data + start, stop[0] - start)


cdef size_t pass_rows(Walk* walk, const uint8_t* data, size_t place, size_t end) noexcept nogil:
    """Walk over rows, as many as there are; return where the last one that can be given out ends."""
    cdef Position* at = &walk.position
    cdef size_t start = place
    cdef size_t length, stop
    cdef size_t rows_end_below = MAX_FRAME if walk.deprecates_eof else EOF_BELOW
    cdef uint8_t sequence_id = at.sequence_id
    cdef bint continued = at.continued
    while end - place > HEADER:
        length = data[place] | data[place + 1] << 8 | data[place + 2] << 16
        if data[place + HEADER] >= EOF_BYTE and not continued:
            if data[place + HEADER] == ERR_BYTE or length < rows_end_below:
                break
        if data[place + 3] != sequence_id or not (length or continued):
            break
        stop = place + HEADER + length
        if stop > end:
            if length <= STREAM_ABOVE:
                break
            at.unseen = <uint32_t> (stop - end)
            stop = end
        place = stop
        sequence_id += 1
        continued = length == MAX_FRAME
    if place > start:
        at.sequence_id = sequence_id
        at.reply_begun = True
        at.continued = continued
    return place


cdef Walked take_known(Walk* walk, uint8_t* data, size_t* end, size_t* passed) noexcept nogil:
    """Give the client what it is to see of the reply to the command of a known exchange; :func:`walk` otherwise."""
    cdef Position* at = &walk.position
    cdef const Exchange* entry
    cdef Walked walked = STOPPED
    cdef size_t i
    passed[0] = 0
    for i in range(walk.awaited):
        entry = walk.first_awaited + i
        if memcmp(data, entry.reply, min(end[0], entry.reply_length)):
            continue
        if end[0] < entry.reply_length:
            walked = WAITS
            continue
        memmove(data + entry.shown_length, data + entry.reply_length, end[0] - entry.reply_length)
        memcpy(data, entry.shown, entry.shown_length)
        end[0] -= entry.reply_length - entry.shown_length
        passed[0] = entry.shown_length
        walk.journal[walk.journal_length] = entry
        walk.journal_length += 1
        walk.is_unsettled = walk.is_unsettled or entry.unsettles
        walk.awaited = 0
        at.left_warnings = False
        end_result(at, entry.status, 0)
        return ENDED
    return walked


#: Where a result began of which no row has passed, and the position there.
cdef struct Beginning:
    bint is_known
    size_t place
    uint8_t sequence_id
    bint reply_begun


cdef inline size_t stop_at(Position* at, size_t place, const Beginning* result) noexcept nogil:
    """Stop in front of a packet, or of the result that it comes in the place of; return where that is."""
    if not result.is_known or at.stage == RESULT or at.stage == IDLE:
        return place
    at.stage = RESULT
    at.count = 0
    at.sequence_id = result.sequence_id
    at.reply_begun = result.reply_begun
    return result.place


cdef Walked walk(Walk* walk, uint8_t* data, size_t* end, size_t* passed) noexcept nogil:
    """Walk over what has come from the server, up to ``end``; ``passed`` is how much of it is for the client.

    Where an OK packet is made shorter, ``end`` becomes less.
    """
    if walk.awaited:
        return take_known(walk, data, end, passed)
    cdef Position* at = &walk.position
    cdef size_t place = min(<size_t> at.unseen, end[0])
    cdef size_t begin, stop, length
    cdef Beginning result
    result.is_known = False
    at.unseen -= <uint32_t> place
    while at.stage != IDLE and end[0] - place > HEADER:
        begin = place
        if at.stage == ROWS:
            place = pass_rows(walk, data, place, end[0])
            if place > begin:
                result.is_known = False
            if end[0] - place <= HEADER:
                break
        elif at.stage == RESULT:
            result.is_known = True
            result.place = place
            result.sequence_id = at.sequence_id
            result.reply_begun = at.reply_begun
        length = data[place] | data[place + 1] << 8 | data[place + 2] << 16
        # What is a row here is one that is not whole yet.
        if data[place + 3] != at.sequence_id or not 0 < length < MAX_FRAME or data[place + HEADER] == ERR_BYTE:
            passed[0] = stop_at(at, place, &result)
            return STOPPED
        stop = place + HEADER + length
        if stop > end[0]:
            break
        if at.stage == ROWS and data[place + HEADER] != EOF_BYTE:
            passed[0] = stop_at(at, place, &result)
            return STOPPED
        at.sequence_id += 1
        if not read_packet(walk, data, place + HEADER, &stop, end):
            at.sequence_id -= 1
            passed[0] = stop_at(at, place, &result)
            return STOPPED
        if at.stage != IDLE:
            at.reply_begun = True
        place = stop
        if place == begin:
            break
    passed[0] = place
    return ENDED if at.stage == IDLE else WAITS


# The interpreter's view


cdef uint8_t* copied(bytes data) except NULL:
    """Copy bytes to where nothing follows them; what follows an object's hides a step too far from a sanitizer."""
    cdef size_t length = len(data)
    cdef uint8_t* copy = <uint8_t*> malloc(max(length, 1))
    if copy == NULL:
        raise MemoryError
    memcpy(copy, <const uint8_t*> data, length)
    return copy


cdef class ExchangeTable:
    """Exchanges that walkers are to know, each a :class:`protocol.exchanges.Exchange`.

    Those of the same command have to follow one another.

    Raises:
        ValueError: a client would see more than has come.
    """

    def __cinit__(self, exchanges):
        cdef size_t count = len(exchanges)
        cdef Exchange* entry
        cdef bytes command, reply, shown
        self.exchanges = tuple(exchanges)  # keeps alive what the entries point to
        self.entries = <Exchange*> calloc(max(count, 1), sizeof(Exchange))
        if self.entries == NULL:
            raise MemoryError
        for index, (command, reply, shown, status, unsettles) in enumerate(self.exchanges):
            entry = &self.entries[index]
            entry.command, entry.command_length = command, len(command)
            entry.reply, entry.reply_length = reply, len(reply)
            entry.shown, entry.shown_length = shown, len(shown)
            entry.status = status
            entry.unsettles = unsettles
            if entry.shown_length > entry.reply_length:
                raise ValueError(f"{len(shown)} bytes are shown of {len(reply)}")

    def __dealloc__(self):
        free(self.entries)


cdef class Walker:
    """The positions of one session in both of its streams, and what has been noted on the way."""

    def __cinit__(self):
        self._types = []
        self.walk.position.stage = IDLE

    def __dealloc__(self):
        free(self.walk.statements)

    def __repr__(self):
        return f"<Walker in stage {self.walk.position.stage}>"

    @property
    def position(self):
        """What :data:`protocol.riding.Position` says."""
        return self.walk.position

    @position.setter
    def position(self, position):
        self.walk.position = position
        self.walk.awaited = self.walk.journal_length = self.walk.is_unsettled = 0

    @property
    def journal(self):
        """The known exchanges that have passed since the position was set, in their order."""
        return [self._table.exchanges[self.walk.journal[i] - self.walk.exchanges] for i in range(self.walk.journal_length)]

    def agree(self, *, bint deprecates_eof, bint counts_with_metadata_flag, bint has_attributes, bint hides_reports,
              bint admits_begin, uint32_t limit):
        """Take note of what holds for the whole link."""
        self.walk.deprecates_eof = deprecates_eof
        self.walk.counts_with_metadata_flag = counts_with_metadata_flag
        self.walk.has_attributes = has_attributes
        self.walk.hides_reports = hides_reports
        self.walk.admits_begin = admits_begin
        self.walk.limit = limit

    def allow(self, statements):
        """Take note of the prepared statements that may be executed: id, number of parameters, their types' form and types."""
        cdef size_t count = len(statements)
        cdef Statement* table = <Statement*> calloc(max(count, 1), sizeof(Statement))
        cdef Statement* entry
        cdef bytes types
        if table == NULL:
            raise MemoryError
        self._types = [types for *_, types in statements]
        for index, (statement_id, parameters, is_named, types) in enumerate(statements):
            entry = &table[index]
            entry.id = statement_id
            entry.parameters = parameters
            entry.is_named = is_named
            entry.types = types
            entry.types_length = len(types)
        free(self.walk.statements)
        self.walk.statements = table
        self.walk.statement_count = count

    def know(self, ExchangeTable table not None):
        """Take note of the exchanges that are known on this link."""
        self._table = table
        self.walk.exchanges = table.entries
        self.walk.exchange_count = len(table.exchanges)

    def admits(self, bytes packet):
        """Tell whether bytes from the client are one command that may pass; the reply to it is expected then."""
        return self._expects_reply(packet, False)

    def knows(self, bytes packet):
        """Tell whether bytes from the client are the command of a known exchange; the reply to it is expected then."""
        return self._expects_reply(packet, True)

    cdef bint _expects_reply(self, bytes packet, bint is_known) except -1:
        cdef uint8_t* copy = copied(packet)
        cdef bint passes = knows(&self.walk, copy, len(packet)) if is_known else admits(&self.walk, copy, len(packet))
        if passes:
            begin_reply(&self.walk, copy)
        free(copy)
        return passes

    def take(self, bytes data):
        """Walk over bytes from the server; return what is for the client, how many bytes that accounts for, and whether it stopped."""
        cdef size_t passed = 0
        cdef size_t end = len(data)
        cdef uint8_t* copy = copied(data)
        try:
            outcome = walk(&self.walk, copy, &end, &passed)
            return copy[:passed], passed + len(data) - end, outcome == STOPPED
        finally:
            free(copy)
