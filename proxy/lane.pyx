# cython: language_level=3, boundscheck=False, wraparound=False, cdivision=True, initializedcheck=False
"""A lane: one session's place in the pump, and how its bytes are moved.

Theory of operation
-------------------
A ``Lane`` has two sockets, and the position in what passes over them (``protocol.walker``). A command is sent on when it
is whole and either ordinary or known, packets of the reply as they come. Whatever else happens ends the ride, at a packet
boundary, with all that the lane holds: an unusual command, a packet that says more than the walker understands, the end
of a link, a client that does not read.

The functions that move bytes (see ``lane.pxd``) take what the sockets give at once, never wait, and know nothing of
other lanes. They do not end a ride themselves: they return why it has to end, or ``NONE``, and ``proxy.pump`` does it.

At rest a lane holds no buffers but the last command, if that was short; what is read goes into a buffer of the pump's.
What a client does not take at once is copied, and given to the session, which has a spool, after ``PATIENCE`` seconds.
"""

from cpython.buffer cimport PyBUF_READ, PyBUF_WRITE
from cpython.bytes cimport PyBytes_FromStringAndSize
from cpython.memoryview cimport PyMemoryView_FromMemory
from cpython.ref cimport PyObject
from libc.errno cimport EAGAIN, EINTR, ENOMEM, errno
from libc.stdint cimport uint8_t
from libc.stdlib cimport free, malloc
from libc.string cimport memcpy

from protocol.walker cimport ENDED, STOPPED, Walked, Walker, admits, begin_reply, is_at_rest, knows, walk

import ssl

cdef extern from "<sys/ioctl.h>" nogil:
    enum:
        FIONREAD
    int ioctl(int fd, unsigned long request, ...)

cdef extern from "<sys/socket.h>" nogil:
    enum:
        MSG_DONTWAIT, MSG_NOSIGNAL
    ssize_t recv(int fd, void* data, size_t length, int flags)
    ssize_t send(int fd, const void* data, size_t length, int flags)

cdef enum:
    KEPT_COMMAND_BYTES = 512  # the memory of a longer command is given back when it has been answered
    READS = 2  # how often a lane may read before the others have their turn

#: What a call on a socket returns in the place of a number of bytes.
cdef enum:
    NOTHING = -1  # is there to be received
    OVER = -2  # the link has ended, or failed

cdef double PATIENCE = 0.02
#: A session that has been quiet for so long is settled, as by proxy.upstream.
cdef double QUIET = 0.1
#: What has been to be settled for so long is settled in front of the next command, as by proxy.upstream.
cdef double BUSY = 0.03


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


cdef Reason keep_for(State* state, Piece* piece, const uint8_t* data, size_t length, Reason reason) noexcept nogil:
    """Keep a copy of bytes of a session, and return the reason; another one where there is no memory to go on with."""
    if keep(piece, data, length):
        return reason
    state.client.error = state.server.error = ENOMEM
    return CLIENT_ENDED


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


cdef Reason read_client(State* state, uint8_t* buffer, double now) noexcept nogil:
    """Receive from a client that is owed nothing, and send its command on if it is of the ordinary kind."""
    cdef ssize_t count, sent
    if state.is_blocked or not is_at_rest(state.walk):
        return COMMAND
    count = receive(state, &state.client, buffer, TAIL_BYTES + 1)
    if count == NOTHING:
        return NONE
    if count == OVER:
        return CLIENT_ENDED
    state.client.heard_at = now
    if (
        state.server_is_ending
        # Another command waits in a record of its own, of which epoll would not tell again.
        or (state.client.tls != NULL and may_have_more(&state.client, count, 0))
        or now - state.server.heard_at > state.validate_after
        or now > state.settles_at
        or not (admits(state.walk, buffer, count) or knows(state.walk, buffer, count))
        or not keep_command(state, buffer, count)
    ):
        return keep_for(state, &state.client.received, buffer, count, COMMAND)
    sent = transmit(state, &state.server, buffer, count)
    if sent == OVER:
        # Not a byte of it has gone out.
        forget_command(state)
        return keep_for(state, &state.client.received, buffer, count, SERVER_ENDED)
    begin_reply(state.walk, buffer)
    state.code = buffer[4]
    state.commands += 1
    state.bytes_up += count
    if sent < count:
        return keep_for(state, &state.server.unsent, buffer + sent, count - sent, SLOW)
    return NONE


cdef Reason hear_out_client(State* state, uint8_t* buffer, double now) noexcept nogil:
    """Receive what a client has said before it ended its side, which most often is goodbye."""
    cdef ssize_t count
    if state.is_blocked or not is_at_rest(state.walk):
        return CLIENT_ENDED
    count = receive(state, &state.client, buffer, TAIL_BYTES + 1)
    if count <= 0:
        return CLIENT_ENDED
    state.client.heard_at = now
    return keep_for(state, &state.client.received, buffer, count, CLIENT_ENDED)


# A reply


cdef Reason read_server(State* state, uint8_t* buffer, double now) noexcept nogil:
    """Receive from the server, and give the client what is its."""
    cdef Side* server = &state.server
    cdef size_t kept, end, passed
    cdef ssize_t count
    cdef Walked walked
    cdef Reason reason
    cdef int turn
    for turn in range(READS):
        state.has_more = False
        if state.is_blocked:
            state.has_more = True
            return NONE
        kept = server.received.length
        count = receive(state, server, buffer + kept, READ_BYTES)
        if count == NOTHING:
            state.server_is_ending = False  # it was something of TLS's own
            return NONE
        if count == OVER:
            return SERVER_ENDED
        server.heard_at = now
        if kept:
            memcpy(buffer, server.received.data, kept)
            drop(&server.received)
        end = kept + count
        if is_at_rest(state.walk):
            return keep_for(state, &server.received, buffer, end, REPLY)
        walked = walk(state.walk, buffer, &end, &passed)
        if walked == ENDED:
            note_rest(state, now)
        if passed:
            state.bytes_down += passed
            reason = give_client(state, buffer, passed, now)
            if reason != NONE:
                keep(&server.received, buffer + passed, end - passed)  # for the reply to be followed to its end
                return reason
        reason = keep_for(state, &server.received, buffer + passed, end - passed, NONE)
        if reason != NONE:
            return reason
        if walked == ENDED:
            if end > passed:
                return REPLY
        elif walked == STOPPED or end - passed > TAIL_BYTES:
            return REPLY
        if not may_have_more(server, count, READ_BYTES):
            return NONE
    state.has_more = True  # but others wait for their turn
    return NONE


cdef void note_rest(State* state, double now) noexcept nogil:
    """Take note that a command has been answered."""
    forget_command(state)
    if (
        state.walk.position.is_insert_id_unsettled or state.walk.position.is_transaction_unsettled
    ) and not state.walk.position.left_warnings:
        state.is_unsettled = True
    if state.walk.journal_length:
        state.is_unsettled = True  # what has passed may be something to be settled
    if state.walk.is_unsettled:
        state.settles_at = min(state.settles_at, now + BUSY)
    if state.waits_to_settle and not state.walk.position.left_warnings and -1 <= state.walk.position.row_count <= 0:
        state.is_unsettled = True


cdef Reason give_client(State* state, const uint8_t* data, size_t length, double now) noexcept nogil:
    """Send bytes to the client, and keep what it does not take."""
    cdef ssize_t sent = transmit(state, &state.client, data, length)
    if sent == OVER:
        return CLIENT_ENDED
    if <size_t> sent == length:
        return NONE
    state.is_blocked = True
    state.blocked_since = now
    return keep_for(state, &state.client.unsent, data + sent, length - sent, NONE)


cdef Reason flush_client(State* state, uint8_t* buffer, double now) noexcept nogil:
    """Go on sending to a client that did not take all."""
    cdef Piece* unsent = &state.client.unsent
    cdef ssize_t sent = transmit(state, &state.client, unsent.data, unsent.length)
    cdef Piece rest
    cdef Reason reason
    if sent == OVER:
        return CLIENT_ENDED
    if <size_t> sent < unsent.length:
        if not sent:
            return NONE
        rest.data = NULL
        reason = keep_for(state, &rest, unsent.data + sent, unsent.length - sent, NONE)
        if reason == NONE:
            drop(unsent)
            unsent[0] = rest
            state.blocked_since = now
        return reason
    drop(unsent)
    state.is_blocked = False
    return read_server(state, buffer, now) if state.has_more else NONE


# While nothing comes


cdef Reason look_after(State* state, uint8_t* buffer, double now) noexcept nogil:
    """Do what is due though no socket tells."""
    if state.is_blocked:
        return SLOW if now - state.blocked_since > PATIENCE else NONE
    if state.has_more:
        return read_server(state, buffer, now)
    if state.is_unsettled and is_at_rest(state.walk) and now - state.server.heard_at > QUIET:
        return UNSETTLED
    return NONE


cdef class Lane(Walker):
    """One session's place in the pump; give it all it needs with :meth:`load`, and take out what it holds afterwards."""

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
             bint is_unsettled, bint waits_to_settle, double settles_at):
        """Get ready for a ride.

        ``client`` and ``server`` are the sockets, plain or ``ssl.SSLSocket``; ``heard_at`` is when the server was last
        heard, by CLOCK_MONOTONIC. ``received`` is the beginning of a packet of the server's, ``command`` is what it is
        answering. ``is_unsettled``: the session is to be settled once it is quiet; ``waits_to_settle``: that can only be
        done once another statement has left nothing to be looked back at; ``settles_at``: from then on, by
        CLOCK_MONOTONIC, in front of a command, too.
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
        state.waits_to_settle = waits_to_settle
        state.settles_at = settles_at
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
    def is_interrupted(self):
        """The client has something to say, which was not received, while it is being answered."""
        return self.state.reason == COMMAND and not is_at_rest(self.state.walk)

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
