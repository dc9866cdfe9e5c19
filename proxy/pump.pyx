# cython: language_level=3, boundscheck=False, wraparound=False, cdivision=True, initializedcheck=False
"""The pump: a thread that moves the bytes of all sessions that need nobody's attention.

Theory of operation
-------------------
A ``Lane`` is one session's place in the pump: two sockets, and the position in what passes over them
(``protocol.walker``). A session gives its lane to the pump and waits; while the lane is there, nobody else touches its
sockets. The pump waits for all of them with one epoll and never for anything else. It sends a command on when it is
whole and of the ordinary kind, and packets of the reply as they come. Whatever else happens, it hands the lane back
with all that it holds, at a packet boundary, and the session goes on from there in trio: an unusual command, a packet
that says more than the walker understands, the end of a link, a client that does not read.

Between the threads there are two lists under a lock: lanes given or called back (``mail``), and lanes handed back
(``returned``); each has an eventfd that wakes who has to look. A lane is handed back only at the end of a round, so that
no event of that round can meet one that is gone.

At rest a lane holds no buffers but the last command, if that was short. The pump reads into one buffer of its own. What
a client does not take at once is copied, and given to the session, which has a spool, after ``PATIENCE`` seconds.
"""

from cpython.buffer cimport PyBUF_READ, PyBUF_WRITE
from cpython.bytes cimport PyBytes_FromStringAndSize
from cpython.memoryview cimport PyMemoryView_FromMemory
from cpython.ref cimport PyObject
from libc.errno cimport EAGAIN, EINTR, ENOMEM, errno
from libc.stdint cimport uint8_t, uint32_t, uint64_t, uintptr_t
from libc.stdlib cimport free, malloc
from libc.string cimport memcpy

from protocol.walker cimport ENDED, STOPPED, Walk, Walker, Walked, admits, begin_reply, is_at_rest, walk

import os
import ssl

cdef extern from "<pthread.h>" nogil:
    ctypedef struct pthread_mutex_t:
        pass
    int pthread_mutex_init(pthread_mutex_t* mutex, void* attributes)
    int pthread_mutex_lock(pthread_mutex_t* mutex)
    int pthread_mutex_unlock(pthread_mutex_t* mutex)
    int pthread_mutex_destroy(pthread_mutex_t* mutex)

cdef extern from "<sys/epoll.h>" nogil:
    enum:
        EPOLLIN, EPOLLOUT, EPOLLRDHUP, EPOLLHUP, EPOLLERR, EPOLLET
        EPOLL_CTL_ADD, EPOLL_CTL_DEL, EPOLL_CLOEXEC
    ctypedef union epoll_data_t:
        uint64_t u64
    struct epoll_event:
        uint32_t events
        epoll_data_t data
    int epoll_create1(int flags)
    int epoll_ctl(int epfd, int operation, int fd, epoll_event* event)
    int epoll_wait(int epfd, epoll_event* events, int most, int timeout)

cdef extern from "<sys/eventfd.h>" nogil:
    enum:
        EFD_CLOEXEC, EFD_NONBLOCK
    int eventfd(unsigned int count, int flags)
    int eventfd_write(int fd, uint64_t value)
    int eventfd_read(int fd, uint64_t* value)

cdef extern from "<sys/ioctl.h>" nogil:
    enum:
        FIONREAD
    int ioctl(int fd, unsigned long request, ...)

cdef extern from "<sys/socket.h>" nogil:
    enum:
        MSG_DONTWAIT, MSG_NOSIGNAL
    ssize_t recv(int fd, void* data, size_t length, int flags)
    ssize_t send(int fd, const void* data, size_t length, int flags)

cdef extern from "<time.h>" nogil:
    enum:
        CLOCK_MONOTONIC
    struct timespec:
        long tv_sec
        long tv_nsec
    int clock_gettime(int clock, timespec* time)

cdef extern from "<unistd.h>" nogil:
    int close(int fd)

cdef enum:
    READ_BYTES = 131072
    TAIL_BYTES = 65536 + 4  # a row that is not whole yet: longer ones are passed on as they come
    KEPT_COMMAND_BYTES = 512  # the memory of a longer command is given back when it has been answered
    READS = 8  # how often a lane may read before the others have their turn
    EVENTS = 256
    TICK_MILLISECONDS = 10

#: What a call on a socket returns in the place of a number of bytes.
cdef enum:
    NOTHING = -1  # is there to be received
    OVER = -2  # the link has ended, or failed

cdef double PATIENCE = 0.02
#: A session that has been quiet for so long is settled, as by proxy.upstream.
cdef double QUIET = 0.1

cdef enum:
    CLIENT = 0
    SERVER = 1

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
    int rides
    int is_recalled
    int is_in_mail
    int is_watched
    int is_unsettled
    Reason reason
    int code  # of the command that is being answered
    uint64_t commands
    uint64_t bytes_up
    uint64_t bytes_down
    int is_given
    State* next_mail
    State* next_returned
    State* next_watched

cdef struct Engine:
    int epoll
    int mail_fd
    int returned_fd
    int is_stopped
    pthread_mutex_t lock
    State* mail
    State* returned
    State* done  # handed back in this round
    State* watched
    int is_behind  # there is more to read, of which epoll will not tell again
    double now
    double ticked_at
    double longest_round  # since somebody last asked, in seconds
    uint8_t* buffer


cdef double clock() noexcept nogil:
    cdef timespec time
    clock_gettime(CLOCK_MONOTONIC, &time)
    return time.tv_sec + time.tv_nsec * 1e-9


# Pieces


cdef bint keep(Piece* piece, const uint8_t* data, size_t length) noexcept nogil:
    """Keep a copy of bytes; False where there is no memory."""
    drop(piece)
    if not length:
        return True
    piece.data = <uint8_t*> malloc(length)
    if piece.data == NULL:
        return False
    memcpy(piece.data, data, length)
    piece.length = length
    return True


cdef bint keep_or_end(Engine* engine, State* state, Piece* piece, const uint8_t* data, size_t length) noexcept nogil:
    """Keep a copy of bytes of a session; where there is no memory, the session cannot go on, and False is returned."""
    if keep(piece, data, length):
        return True
    state.client.error = state.server.error = ENOMEM
    hand_back(engine, state, CLIENT_ENDED)
    return False


cdef void drop(Piece* piece) noexcept nogil:
    free(piece.data)
    piece.data = NULL
    piece.length = 0


cdef bytes taken(Piece* piece):
    """Give what is kept to Python."""
    cdef bytes data = PyBytes_FromStringAndSize(<char*> piece.data, piece.length) if piece.length else b""
    drop(piece)
    return data


# Sockets


cdef ssize_t receive(State* state, Side* side, uint8_t* data, size_t room) noexcept nogil:
    """Receive what is there, or tell that nothing is, or that the link has ended."""
    cdef ssize_t count
    if side.tls != NULL:
        return receive_encrypted(state, side, data, room)
    while True:
        count = recv(side.fd, data, room, MSG_DONTWAIT)
        if count > 0:
            return count
        if count < 0 and errno == EAGAIN:
            return NOTHING
        if count < 0 and errno == EINTR:
            continue
        if count < 0:
            side.error = errno
        return OVER


cdef ssize_t transmit(State* state, Side* side, const uint8_t* data, size_t length) noexcept nogil:
    """Send what the peer takes at once; return how much that is, or that the link has ended."""
    cdef ssize_t count
    if side.tls != NULL:
        return transmit_encrypted(state, side, data, length)
    while True:
        count = send(side.fd, data, length, MSG_DONTWAIT | MSG_NOSIGNAL)
        if count >= 0:
            return count
        if errno == EAGAIN:
            return 0
        if errno != EINTR:
            side.error = errno
            return OVER


cdef ssize_t receive_encrypted(State* state, Side* side, uint8_t* data, size_t room) noexcept with gil:
    try:
        view = PyMemoryView_FromMemory(<char*> data, room, PyBUF_WRITE)
        return (<object> side.tls).recv_into(view) or OVER
    except (BlockingIOError, ssl.SSLWantReadError, ssl.SSLWantWriteError):
        return NOTHING
    except Exception as error:
        (<Lane> state.lane)._note_failure(side == &state.client, error)
        return OVER


cdef ssize_t transmit_encrypted(State* state, Side* side, const uint8_t* data, size_t length) noexcept with gil:
    try:
        return (<object> side.tls).send(PyMemoryView_FromMemory(<char*> data, length, PyBUF_READ))
    except (BlockingIOError, ssl.SSLWantReadError, ssl.SSLWantWriteError):
        return 0
    except Exception as error:
        (<Lane> state.lane)._note_failure(side == &state.client, error)
        return OVER


cdef bint may_have_more(Side* side, ssize_t count, size_t room) noexcept nogil:
    """Tell whether there may be more to receive, of which epoll will not tell again."""
    cdef int waiting = 0
    if side.tls == NULL:
        return <size_t> count == room
    # OpenSSL reads one record at a time, so what it has not given out yet the kernel still has.
    return ioctl(side.fd, FIONREAD, &waiting) == 0 and waiting > 0


# Lists


cdef void watch(Engine* engine, State* state) noexcept nogil:
    """Look at a lane at every tick, until there is nothing more to wait for."""
    if not state.is_watched:
        state.is_watched = True
        state.next_watched = engine.watched
        engine.watched = state


cdef void unwatch(Engine* engine, State* state) noexcept nogil:
    cdef State** place = &engine.watched
    if state.is_watched:
        while place[0] != state:
            place = &place[0].next_watched
        place[0] = state.next_watched
        state.is_watched = False


cdef void hand_back(Engine* engine, State* state, Reason reason) noexcept nogil:
    """End a lane's ride."""
    if not state.rides:
        return
    epoll_ctl(engine.epoll, EPOLL_CTL_DEL, state.client.fd, NULL)
    epoll_ctl(engine.epoll, EPOLL_CTL_DEL, state.server.fd, NULL)
    unwatch(engine, state)
    state.rides = False
    state.reason = reason
    state.next_returned = engine.done
    engine.done = state


cdef void take_out_of_mail(Engine* engine, State* state) noexcept nogil:
    cdef State** place = &engine.mail
    while place[0] != state:
        place = &place[0].next_mail
    place[0] = state.next_mail
    state.is_in_mail = False


cdef void publish(Engine* engine) noexcept nogil:
    """Let the sessions have what was handed back in this round."""
    cdef State* state = engine.done
    cdef State* last = NULL
    cdef bint was_empty
    if state == NULL:
        return
    pthread_mutex_lock(&engine.lock)
    while state != NULL:
        state.is_given = False
        if state.is_in_mail:
            take_out_of_mail(engine, state)
        last = state
        state = state.next_returned
    was_empty = engine.returned == NULL
    last.next_returned = engine.returned
    engine.returned = engine.done
    pthread_mutex_unlock(&engine.lock)
    engine.done = NULL
    if was_empty:
        eventfd_write(engine.returned_fd, 1)


# A command


cdef bint keep_command(State* state, const uint8_t* data, size_t length) noexcept nogil:
    if length > state.command_room:
        free(state.command)
        state.command_room = 0
        state.command = <uint8_t*> malloc(max(length, <size_t> KEPT_COMMAND_BYTES // 2))
        if state.command == NULL:
            return False
        state.command_room = max(length, <size_t> KEPT_COMMAND_BYTES // 2)
    if length:
        memcpy(state.command, data, length)
    state.command_length = length
    return True


cdef void forget_command(State* state) noexcept nogil:
    state.command_length = 0
    if state.command_room > KEPT_COMMAND_BYTES:
        free(state.command)
        state.command = NULL
        state.command_room = 0


cdef void read_client(Engine* engine, State* state) noexcept nogil:
    """Receive from a client that is owed nothing, and send its command on if it is of the ordinary kind."""
    cdef uint8_t* data = engine.buffer
    cdef ssize_t count = receive(state, &state.client, data, TAIL_BYTES + 1)
    cdef ssize_t sent
    if count == NOTHING:
        return
    if count == OVER:
        hand_back(engine, state, CLIENT_ENDED)
        return
    state.client.heard_at = engine.now
    if (
        state.server_is_ending
        # Another command waits in a record of its own, of which epoll would not tell again.
        or (state.client.tls != NULL and may_have_more(&state.client, count, 0))
        or engine.now - state.server.heard_at > state.validate_after
        or not admits(state.walk, data, count)
        or not keep_command(state, data, count)
    ):
        if keep_or_end(engine, state, &state.client.received, data, count):
            hand_back(engine, state, COMMAND)
        return
    sent = transmit(state, &state.server, data, count)
    if sent == OVER:
        # Not a byte of it has gone out.
        forget_command(state)
        if keep_or_end(engine, state, &state.client.received, data, count):
            hand_back(engine, state, SERVER_ENDED)
        return
    begin_reply(state.walk, data)
    state.code = data[4]
    state.commands += 1
    state.bytes_up += count
    if sent < count:
        if keep_or_end(engine, state, &state.server.unsent, data + sent, count - sent):
            hand_back(engine, state, SLOW)


# A reply


cdef void read_server(Engine* engine, State* state) noexcept nogil:
    """Receive from the server, and give the client what is its."""
    cdef Side* server = &state.server
    cdef uint8_t* data = engine.buffer
    cdef size_t kept, end, passed
    cdef ssize_t count
    cdef Walked walked
    cdef int turn
    for turn in range(READS):
        state.has_more = False
        if state.is_blocked:
            state.has_more = True
            return
        kept = server.received.length
        count = receive(state, server, data + kept, READ_BYTES)
        if count == NOTHING:
            state.server_is_ending = False  # it was something of TLS's own
            return
        if count == OVER:
            hand_back(engine, state, SERVER_ENDED)
            return
        server.heard_at = engine.now
        if kept:
            memcpy(data, server.received.data, kept)
            drop(&server.received)
        end = kept + count
        if is_at_rest(state.walk):
            if keep_or_end(engine, state, &server.received, data, end):
                hand_back(engine, state, REPLY)
            return
        walked = walk(state.walk, data, &end, &passed)
        if passed:
            state.bytes_down += passed
            if not give_client(engine, state, data, passed):
                keep(&server.received, data + passed, end - passed)  # for the reply to be followed to its end
                return
        if not keep_or_end(engine, state, &server.received, data + passed, end - passed):
            return
        if walked == ENDED:
            note_rest(engine, state)
            if end > passed:
                hand_back(engine, state, REPLY)
                return
        elif walked == STOPPED or end - passed > TAIL_BYTES:
            hand_back(engine, state, REPLY)
            return
        if not may_have_more(server, count, READ_BYTES):
            return
    state.has_more = True
    if not state.is_blocked:
        # It has had its turn: there is more, but others wait.
        engine.is_behind = True
        watch(engine, state)


cdef void note_rest(Engine* engine, State* state) noexcept nogil:
    """Take note that a command has been answered."""
    forget_command(state)
    if (
        state.walk.position.is_insert_id_unsettled or state.walk.position.is_transaction_unsettled
    ) and not state.walk.position.left_warnings:
        state.is_unsettled = True
        watch(engine, state)


cdef bint give_client(Engine* engine, State* state, const uint8_t* data, size_t length) noexcept nogil:
    """Send bytes to the client, and keep what it does not take; False: its link has ended."""
    cdef ssize_t sent = transmit(state, &state.client, data, length)
    if sent == OVER:
        hand_back(engine, state, CLIENT_ENDED)
        return False
    if <size_t> sent < length:
        if not keep_or_end(engine, state, &state.client.unsent, data + sent, length - sent):
            return False
        state.is_blocked = True
        state.blocked_since = engine.now
        watch(engine, state)
    return True


cdef void flush_client(Engine* engine, State* state) noexcept nogil:
    """Go on sending to a client that did not take all."""
    cdef Piece* unsent = &state.client.unsent
    cdef ssize_t sent = transmit(state, &state.client, unsent.data, unsent.length)
    cdef Piece rest
    if sent == OVER:
        hand_back(engine, state, CLIENT_ENDED)
        return
    if <size_t> sent < unsent.length:
        if sent:
            rest.data = NULL
            if not keep_or_end(engine, state, &rest, unsent.data + sent, unsent.length - sent):
                return
            drop(unsent)
            unsent[0] = rest
            state.blocked_since = engine.now
        return
    drop(unsent)
    state.is_blocked = False
    if state.has_more:
        read_server(engine, state)


# Rounds


cdef void begin_ride(Engine* engine, State* state) noexcept nogil:
    cdef epoll_event event
    state.rides = True
    event.events = <uint32_t> (EPOLLIN | EPOLLRDHUP | EPOLLET)
    event.data.u64 = <uintptr_t> state | SERVER
    if epoll_ctl(engine.epoll, EPOLL_CTL_ADD, state.server.fd, &event) < 0:
        hand_back(engine, state, SERVER_ENDED)
        return
    event.events = <uint32_t> (EPOLLIN | EPOLLOUT | EPOLLRDHUP | EPOLLET)
    event.data.u64 = <uintptr_t> state | CLIENT
    if epoll_ctl(engine.epoll, EPOLL_CTL_ADD, state.client.fd, &event) < 0:
        hand_back(engine, state, CLIENT_ENDED)
        return
    if state.is_unsettled:
        watch(engine, state)


cdef void read_mail(Engine* engine) noexcept nogil:
    """Take in the lanes that were given, and hand back those that are called back."""
    cdef uint64_t count
    cdef State* state
    cdef State* following
    eventfd_read(engine.mail_fd, &count)
    pthread_mutex_lock(&engine.lock)
    state = engine.mail
    engine.mail = NULL
    following = state
    while following != NULL:
        following.is_in_mail = False
        following = following.next_mail
    pthread_mutex_unlock(&engine.lock)
    while state != NULL:
        following = state.next_mail
        if not state.rides and state.reason == NONE:
            begin_ride(engine, state)
        if state.is_recalled:
            hand_back(engine, state, RECALLED)
        state = following


cdef void handle(Engine* engine, State* state, int side, uint32_t events) noexcept nogil:
    """Do what is to be done about a socket of which something can be said."""
    if not state.rides:
        return
    if side == SERVER:
        if events & (EPOLLRDHUP | EPOLLHUP | EPOLLERR):
            hand_back(engine, state, SERVER_ENDED)
        elif events & EPOLLIN:
            read_server(engine, state)
        return
    if events & (EPOLLRDHUP | EPOLLHUP | EPOLLERR):
        hand_back(engine, state, CLIENT_ENDED)
        return
    if events & EPOLLOUT and state.is_blocked:
        flush_client(engine, state)
    if events & EPOLLIN and state.rides:
        if is_at_rest(state.walk) and not state.is_blocked:
            read_client(engine, state)
        else:
            hand_back(engine, state, COMMAND)


cdef void tick(Engine* engine) noexcept nogil:
    """Look at the lanes that wait for something which no socket tells."""
    cdef State* state = engine.watched
    cdef State* following
    engine.ticked_at = engine.now
    engine.is_behind = False
    while state != NULL:
        following = state.next_watched
        if state.is_blocked:
            if engine.now - state.blocked_since > PATIENCE:
                hand_back(engine, state, SLOW)
        elif state.has_more:
            read_server(engine, state)
        elif not state.is_unsettled:
            unwatch(engine, state)
        elif is_at_rest(state.walk) and engine.now - state.server.heard_at > QUIET:
            hand_back(engine, state, UNSETTLED)
        state = following


cdef void run(Engine* engine) noexcept nogil:
    """Go round until the pump is stopped."""
    cdef epoll_event events[EVENTS]
    cdef int count, i, timeout
    cdef bint has_mail
    cdef State* state
    while not engine.is_stopped:
        timeout = -1
        if engine.is_behind:
            timeout = 0
        elif engine.watched != NULL:
            timeout = TICK_MILLISECONDS
        count = epoll_wait(engine.epoll, events, EVENTS, timeout)
        engine.now = clock()
        has_mail = False
        for i in range(count):
            # A command that came in the same round must not go to a server that has left already.
            if events[i].data.u64 & SERVER and events[i].events & (EPOLLIN | EPOLLRDHUP | EPOLLHUP | EPOLLERR):
                state = <State*> <uintptr_t> (events[i].data.u64 & ~<uint64_t> 1)
                if is_at_rest(state.walk):
                    state.server_is_ending = True
        for i in range(count):
            if events[i].data.u64:
                state = <State*> <uintptr_t> (events[i].data.u64 & ~<uint64_t> 1)
                handle(engine, state, events[i].data.u64 & 1, events[i].events)
            else:
                has_mail = True
        if engine.is_behind or (engine.watched != NULL and engine.now - engine.ticked_at > TICK_MILLISECONDS * 0.001):
            tick(engine)
        if has_mail:
            read_mail(engine)
        publish(engine)
        engine.longest_round = max(engine.longest_round, clock() - engine.now)


cdef class Lane(Walker):
    """One session's place in the pump; give it all it needs with :meth:`load`, and take out what it holds afterwards."""

    cdef State state
    #: What a link has failed with, where that is an exception: of the client's link, of the server's link.
    cdef readonly object client_failure
    cdef readonly object server_failure
    cdef object _sockets
    #: For whoever waits for the lane.
    cdef public object waiter

    def __cinit__(self):
        self.state.walk = &self.walk
        self.state.lane = <PyObject*> self

    def __dealloc__(self):
        free(self.state.command)
        drop(&self.state.client.received)
        drop(&self.state.client.unsent)
        drop(&self.state.server.received)
        drop(&self.state.server.unsent)

    def load(self, client, server, *, double heard_at, double validate_after, bytes received, bytes command,
             bint is_unsettled):
        """Get ready for a ride.

        ``client`` and ``server`` are the sockets, plain or ``ssl.SSLSocket``; ``heard_at`` is when the server was last
        heard, by CLOCK_MONOTONIC. ``received`` is the beginning of a packet of the server's, ``command`` is what it is
        answering.
        """
        cdef State* state = &self.state
        if len(received) > TAIL_BYTES:
            raise ValueError(f"{len(received)} bytes are more than the beginning of a packet")
        self._sockets = (client, server)
        self.client_failure = self.server_failure = None
        state.client.fd = client.fileno()
        state.server.fd = server.fileno()
        state.client.tls = <PyObject*> client if isinstance(client, ssl.SSLSocket) else NULL
        state.server.tls = <PyObject*> server if isinstance(server, ssl.SSLSocket) else NULL
        state.client.error = state.server.error = 0
        state.client.heard_at = 0
        state.server.heard_at = heard_at
        state.validate_after = validate_after
        state.is_blocked = state.has_more = state.server_is_ending = state.is_recalled = False
        state.is_unsettled = is_unsettled
        state.reason = NONE
        state.commands = state.bytes_up = state.bytes_down = 0
        if not keep(&state.server.received, received, len(received)) or not keep_command(state, command, len(command)):
            raise MemoryError
        if command:
            state.code = command[4]

    def unload(self):
        """Give what the pump held: received from the client and from the server, not yet sent to the client and to the server."""
        cdef State* state = &self.state
        self._sockets = None
        return (
            taken(&state.client.received),
            taken(&state.server.received),
            taken(&state.client.unsent),
            taken(&state.server.unsent),
        )

    @property
    def command(self):
        """The command that is being answered, as a packet; empty at rest."""
        return PyBytes_FromStringAndSize(<char*> self.state.command, self.state.command_length)

    @property
    def running(self):
        """The code of the command that is being answered, None at rest. May be read during a ride."""
        return None if is_at_rest(self.state.walk) else self.state.code

    @property
    def has_ended(self):
        """A link has ended, or seems to have."""
        return self.state.reason == CLIENT_ENDED or self.state.reason == SERVER_ENDED

    @property
    def heard_at(self):
        """When the client and the server were last heard, by CLOCK_MONOTONIC; 0: not on this ride. As :attr:`running`."""
        return self.state.client.heard_at, self.state.server.heard_at

    @property
    def traffic(self):
        """Commands carried on this ride, and bytes from the client and to it. As :attr:`running`."""
        return self.state.commands, self.state.bytes_up, self.state.bytes_down

    @property
    def errors(self):
        """The numbers of the errors with which calls on the client's and the server's socket have failed; 0: none."""
        return self.state.client.error, self.state.server.error

    def _note_failure(self, bint is_client, failure):
        if is_client:
            self.client_failure = failure
        else:
            self.server_failure = failure


cdef class Pump:
    """An engine, and the thread's work: call :meth:`run` in a thread of its own."""

    cdef Engine engine
    #: Readable when lanes have been handed back.
    cdef readonly int returned_fd

    def __cinit__(self):
        cdef epoll_event event
        pthread_mutex_init(&self.engine.lock, NULL)
        self.engine.epoll = epoll_create1(EPOLL_CLOEXEC)
        self.engine.mail_fd = eventfd(0, EFD_CLOEXEC | EFD_NONBLOCK)
        self.engine.returned_fd = self.returned_fd = eventfd(0, EFD_CLOEXEC | EFD_NONBLOCK)
        self.engine.buffer = <uint8_t*> malloc(TAIL_BYTES + READ_BYTES)
        if self.engine.buffer == NULL:
            raise MemoryError
        event.events = EPOLLIN
        event.data.u64 = 0
        if self.engine.returned_fd < 0 or epoll_ctl(self.engine.epoll, EPOLL_CTL_ADD, self.engine.mail_fd, &event):
            raise OSError(errno, os.strerror(errno))

    def __dealloc__(self):
        for fd in (self.engine.epoll, self.engine.mail_fd, self.engine.returned_fd):
            if fd >= 0:
                close(fd)
        free(self.engine.buffer)
        pthread_mutex_destroy(&self.engine.lock)

    def run(self):
        """Move bytes until :meth:`stop`."""
        with nogil:
            run(&self.engine)

    def stop(self):
        """Have :meth:`run` return."""
        self.engine.is_stopped = True
        eventfd_write(self.engine.mail_fd, 1)

    def give(self, Lane lane not None):
        """Have a lane that was loaded carried; keep it alive until :meth:`collect` gives it back."""
        lane.state.is_given = True
        self._send(&lane.state, False)

    def recall(self, Lane lane not None):
        """Have a lane handed back at the next packet boundary; if it is not carried, nothing happens."""
        self._send(&lane.state, True)

    cdef void _send(self, State* state, bint is_recall) noexcept:
        cdef bint must_wake = False
        pthread_mutex_lock(&self.engine.lock)
        if state.is_given:
            state.is_recalled = state.is_recalled or is_recall
            if not state.is_in_mail:
                must_wake = self.engine.mail == NULL
                state.is_in_mail = True
                state.next_mail = self.engine.mail
                self.engine.mail = state
        pthread_mutex_unlock(&self.engine.lock)
        if must_wake:
            eventfd_write(self.engine.mail_fd, 1)

    def take_longest_round(self):
        """Give the longest that the pump was busy at a stretch since the last call, in seconds: so long others waited."""
        longest = self.engine.longest_round
        self.engine.longest_round = 0
        return longest

    def collect(self):
        """Give the lanes that have been handed back."""
        cdef uint64_t count
        cdef State* state
        eventfd_read(self.engine.returned_fd, &count)
        pthread_mutex_lock(&self.engine.lock)
        state = self.engine.returned
        self.engine.returned = NULL
        pthread_mutex_unlock(&self.engine.lock)
        lanes = []
        while state != NULL:
            lanes.append(<Lane> state.lane)
            state = state.next_returned
        return lanes
