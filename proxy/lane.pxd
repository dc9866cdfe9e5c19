# cython: language_level=3
"""What the pump needs of a lane: its state, and functions that need no interpreter."""

from cpython.ref cimport PyObject
from libc.stdint cimport uint8_t, uint64_t

from protocol.walker cimport Walk, Walker, is_at_rest

cdef enum:
    READ_BYTES = 131072
    TAIL_BYTES = 65536 + 4  # a row that is not whole yet: longer ones are passed on as they come
    BUFFER_BYTES = TAIL_BYTES + READ_BYTES  # the room that the functions below need

#: Why a ride ends; NONE: it goes on.
cdef enum Reason:
    NONE = 0
    RECALLED
    COMMAND
    REPLY
    SLOW
    UNSETTLED
    CLIENT_ENDED
    SERVER_ENDED

cdef struct Piece:
    uint8_t* data
    size_t length

cdef struct Side:
    int fd
    PyObject* tls  # an ssl.SSLSocket; NULL: the link is not encrypted
    Piece received  # and not passed on yet
    Piece unsent
    double heard_at
    int error  # number of the error with which a call has failed, 0: none

cdef struct State:
    Side client
    Side server
    Walk* walk
    PyObject* lane
    uint8_t* command  # the one that is being answered
    size_t command_length
    size_t command_room
    double validate_after
    double blocked_since
    int is_blocked
    int has_more  # to read from the server
    int server_is_ending
    int is_unsettled
    int waits_to_settle  # until there is nothing to look back at
    double settles_at  # in front of a command, too
    int code  # of the command that is being answered
    uint64_t commands
    uint64_t bytes_up
    uint64_t bytes_down
    Reason reason
    # What follows is the pump's own.
    int rides
    int listens_for_room  # epoll is to tell when the client's socket takes more
    int is_given
    int is_refused  # epoll had no room for it
    int is_recalled
    int is_in_mail
    int is_watched
    State* next_mail
    State* next_returned
    State* next_watched

#: Each takes what is there to be taken, with the pump's buffer and its time, and tells whether the ride goes on.
cdef Reason read_client(State* state, uint8_t* buffer, double now) noexcept nogil
cdef Reason hear_out_client(State* state, uint8_t* buffer, double now) noexcept nogil
cdef Reason read_server(State* state, uint8_t* buffer, double now) noexcept nogil
cdef Reason flush_client(State* state, uint8_t* buffer, double now) noexcept nogil
cdef Reason look_after(State* state, uint8_t* buffer, double now) noexcept nogil


cdef inline bint waits(const State* state) noexcept nogil:
    """Tell whether the lane waits for something that no socket tells, and has to be looked after."""
    return state.is_blocked or state.has_more or (state.is_unsettled and is_at_rest(state.walk))


cdef inline bint has_had_its_turn(const State* state) noexcept nogil:
    """Tell whether there is more to read, which could be read at once."""
    return state.has_more and not state.is_blocked


cdef class Lane(Walker):
    cdef State state
    #: What a link has failed with, where that is an exception: of the client's link, of the server's link.
    cdef readonly object client_failure
    cdef readonly object server_failure
    cdef object _sockets
    #: For whoever waits for the lane.
    cdef public object waiter
