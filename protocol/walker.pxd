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

cdef Walked walk(Walk* walk, uint8_t* data, size_t* end, size_t* passed) noexcept nogil
cdef bint admits(Walk* walk, const uint8_t* packet, size_t length) noexcept nogil
cdef void begin_reply(Walk* walk, const uint8_t* packet) noexcept nogil
cdef bint is_at_rest(Walk* walk) noexcept nogil

cdef class Walker:
    cdef Walk walk
    cdef object _types
