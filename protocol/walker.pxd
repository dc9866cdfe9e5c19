# cython: language_level=3
"""What the pump needs of the walker: plain structs, and functions that need no interpreter."""

from libc.stdint cimport int64_t, uint8_t, uint16_t, uint32_t, uint64_t

cdef enum Walked:
    WAITS = 0  # for more bytes
    ENDED = 1  # the reply is complete
    STOPPED = 2  # in front of a packet that is for Python to read

cdef struct Position:
    int stage
    int is_ping
    uint8_t sequence_id
    int reply_begun
    uint64_t count
    uint32_t unseen
    int continued
    uint16_t status
    int64_t row_count
    int left_warnings
    int may_have_warnings
    uint64_t insert_id
    int is_insert_id_unsettled
    int is_transaction_unsettled
    uint64_t transaction_state
    int has_ended_transaction
    int characteristics

cdef struct Statement:
    uint32_t id
    uint16_t parameters
    int is_named
    uint8_t* types
    size_t types_length

#: A command that need not be looked at, and one of the answers to it; see protocol.exchanges.
cdef struct Exchange:
    const uint8_t* command
    size_t command_length
    const uint8_t* reply
    size_t reply_length
    const uint8_t* shown  # what the client sees of the reply
    size_t shown_length
    uint16_t status  # as the reply has it
    int unsettles  # it leaves something to be read back

cdef enum:
    JOURNAL_LENGTH = 16

cdef struct Walk:
    Position position
    int deprecates_eof
    int counts_with_metadata_flag
    int has_attributes
    int hides_reports
    int admits_begin
    uint32_t limit
    Statement* statements
    size_t statement_count
    const Exchange* exchanges  # those of the same command follow one another
    size_t exchange_count
    size_t awaited  # how many of the exchanges begin with the command that is being answered, from here:
    const Exchange* first_awaited
    const Exchange* journal[JOURNAL_LENGTH]  # those that have passed and are still to be read
    size_t journal_length
    int is_unsettled  # one in the journal has left something to be read back

cdef Walked walk(Walk* walk, uint8_t* data, size_t* end, size_t* passed) noexcept nogil
cdef bint admits(Walk* walk, const uint8_t* packet, size_t length) noexcept nogil
cdef bint knows(Walk* walk, const uint8_t* packet, size_t length) noexcept nogil
cdef void begin_reply(Walk* walk, const uint8_t* packet) noexcept nogil
cdef bint is_at_rest(Walk* walk) noexcept nogil

cdef class ExchangeTable:
    cdef Exchange* entries
    cdef readonly tuple exchanges

cdef class Walker:
    cdef Walk walk
    cdef object _types
    cdef ExchangeTable _table
    cdef bint _expects_reply(self, bytes packet, bint is_known) except -1
