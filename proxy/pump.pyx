# cython: language_level=3, boundscheck=False, wraparound=False, cdivision=True, initializedcheck=False
"""The pump: a thread that moves the bytes of all sessions that need nobody's attention.

Theory of operation
-------------------
A session gives its lane (``proxy.lane``) to the pump and waits; while the lane is there, nobody else touches its
sockets. The pump waits for those of all lanes with one epoll and never for anything else. It has a lane move what can be
moved when epoll tells of one of its sockets, and at every tick while it waits for something that no socket tells. When
the lane says that its ride has to end, the pump hands it back, and the session goes on from there in trio.

A lane's ride begins when its sockets are in the epoll, where the session's thread puts them itself: the pump wakes when
something comes, not before. For the rest there are two lists between the threads: lanes to be looked at, most often
because they are called back (``mail``), and lanes handed back (``returned``); each has an eventfd that wakes who has to
look. A lane is handed back only at the end of a round, so that no event of that round can meet one that is gone.
One lock is for all of this.
"""

from libc.errno cimport errno
from libc.stdint cimport uint8_t, uint32_t, uint64_t, uintptr_t
from libc.stdlib cimport free, malloc

from protocol.walker cimport is_at_rest
from proxy.lane cimport (
    BUFFER_BYTES,
    CLIENT_ENDED,
    NONE,
    RECALLED,
    SERVER_ENDED,
    Lane,
    Reason,
    State,
    flush_client,
    has_had_its_turn,
    hear_out_client,
    look_after,
    read_client,
    read_server,
    waits,
)

import os

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
        EPOLL_CTL_ADD, EPOLL_CTL_DEL, EPOLL_CTL_MOD, EPOLL_CLOEXEC
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
    EVENTS = 256
    TICK_MILLISECONDS = 10

#: Of which of a lane's sockets an event tells.
cdef enum:
    CLIENT = 0
    SERVER = 1

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


# Rounds


cdef bint listen(Engine* engine, int operation, State* state, int side, uint32_t events) noexcept nogil:
    """Have epoll tell of what happens at one of a lane's sockets; False where it cannot."""
    cdef epoll_event event
    event.events = events | <uint32_t> (EPOLLIN | EPOLLRDHUP | EPOLLET)
    event.data.u64 = <uintptr_t> state | side
    return not epoll_ctl(engine.epoll, operation, state.server.fd if side == SERVER else state.client.fd, &event)


cdef bint begin_ride(Engine* engine, State* state) noexcept nogil:
    """Let a lane ride, with the lock held; False where epoll has no room for it."""
    if not listen(engine, EPOLL_CTL_ADD, state, SERVER, 0):
        return False
    if not listen(engine, EPOLL_CTL_ADD, state, CLIENT, 0):
        epoll_ctl(engine.epoll, EPOLL_CTL_DEL, state.server.fd, NULL)
        return False
    state.listens_for_room = False
    return True


cdef bint is_riding(Engine* engine, State* state) noexcept nogil:
    """Tell whether a lane of which epoll tells rides."""
    cdef bint rides
    if state.rides:
        return True
    # Whose thread is just putting it in has the lock.
    pthread_mutex_lock(&engine.lock)
    rides = state.rides
    pthread_mutex_unlock(&engine.lock)
    return rides


cdef State* take_mail(Engine* engine) noexcept nogil:
    """Take one lane out of the mail; NULL where there is none. From then on it may be mailed again."""
    cdef State* state
    pthread_mutex_lock(&engine.lock)
    state = engine.mail
    if state != NULL:
        engine.mail = state.next_mail
        state.is_in_mail = False
    pthread_mutex_unlock(&engine.lock)
    return state


cdef void read_mail(Engine* engine) noexcept nogil:
    """Look at the lanes that wait for something from the beginning, and hand back those that are called back."""
    cdef uint64_t count
    cdef State* state
    eventfd_read(engine.mail_fd, &count)
    while True:
        state = take_mail(engine)
        if state == NULL:
            return
        if state.is_refused:
            hand_back(engine, state, SERVER_ENDED)
        elif state.is_recalled:
            hand_back(engine, state, RECALLED)
        elif state.rides:
            go_on(engine, state, NONE)


cdef void go_on(Engine* engine, State* state, Reason reason) noexcept nogil:
    """Do what a lane that has moved its bytes asks for."""
    if reason != NONE:
        hand_back(engine, state, reason)
    elif waits(state):
        if state.is_blocked and not state.listens_for_room:
            state.listens_for_room = listen(engine, EPOLL_CTL_MOD, state, CLIENT, EPOLLOUT)
        watch(engine, state)
        if has_had_its_turn(state):
            engine.is_behind = True


cdef void handle(Engine* engine, State* state, int side, uint32_t events) noexcept nogil:
    """Do what is to be done about a socket of which something can be said."""
    cdef bint has_ended = (events & (EPOLLRDHUP | EPOLLHUP | EPOLLERR)) != 0
    if not is_riding(engine, state):
        return
    if side == SERVER:
        if has_ended:
            hand_back(engine, state, SERVER_ENDED)
        elif events & EPOLLIN:
            go_on(engine, state, read_server(state, engine.buffer, engine.now))
        return
    if has_ended:
        hand_back(engine, state, hear_out_client(state, engine.buffer, engine.now))
        return
    if events & EPOLLOUT and state.is_blocked:
        go_on(engine, state, flush_client(state, engine.buffer, engine.now))
    if events & EPOLLIN and state.rides:
        go_on(engine, state, read_client(state, engine.buffer, engine.now))


cdef void tick(Engine* engine) noexcept nogil:
    """Look at the lanes that wait for something that no socket tells."""
    cdef State* state = engine.watched
    cdef State* following
    engine.ticked_at = engine.now
    engine.is_behind = False
    while state != NULL:
        following = state.next_watched
        go_on(engine, state, look_after(state, engine.buffer, engine.now))
        if not waits(state):
            unwatch(engine, state)
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
        self.engine.buffer = <uint8_t*> malloc(BUFFER_BYTES)
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
        cdef State* state = &lane.state
        pthread_mutex_lock(&self.engine.lock)
        state.is_given = True
        # As if a link had ended: the session goes on by itself, and finds out what can be done.
        state.is_refused = not begin_ride(&self.engine, state)
        # The pump may have heard of it already, so it is for the pump to hand it back.
        state.rides = True
        pthread_mutex_unlock(&self.engine.lock)
        if state.is_refused or waits(state):
            self._send(state, False)

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
