"""What is measured, part by part: the command, and what the reader of its table has to know."""

from dataclasses import dataclass
from pathlib import Path

RESULTS = Path(__file__).parent / "results"


@dataclass(frozen=True)
class Part:
    """One bench with its arguments, those for a quick run too."""

    name: str
    title: str
    note: str
    module: str
    arguments: tuple[str, ...] = ()
    quick: tuple[str, ...] = ("--rounds=1", "--seconds=1")

    @property
    def result(self) -> Path:
        """Where its numbers are."""
        return RESULTS / f"{self.name}.json"

    def command(self, *, quick: bool) -> list[str]:
        """Return the module and its arguments."""
        return [self.module, *self.arguments, *(self.quick if quick else ())]


PARTS = (
    Part(
        "peers",
        "Point selects",
        "The cheapest query there is, and so the worst case for a proxy, as text.",
        "bench.overhead",
        ("--rounds=9", "--seconds=2"),
    ),
    Part(
        "one-cpu",
        "Point selects on one CPU",
        "Above, where the scheduler puts client, proxy and server, and how they wake one another, decides more than "
        "what they do: runs of one and the same proxy differ by 30 us in latency and by a tenth and more in "
        "throughput. Here all share one CPU, so that what counts is what is done, and the switches to who does it.",
        "bench.overhead",
        ("--seconds=2", "--one-cpu"),
    ),
    Part(
        "prepared",
        "Prepared point selects",
        "The same as binary prepared statements.",
        "bench.overhead",
        ("--seconds=2", "--workload=prepared", "--connections=1,8"),
    ),
    Part(
        "tls",
        "TLS towards the server",
        "Clients come without TLS, the link to the server is encrypted: MySQL Router has client_ssl_mode=DISABLED and "
        "server_ssl_mode=REQUIRED. The direct run is without TLS.",
        "bench.overhead",
        ("--seconds=2", "--lineup=tls", "--connections=8"),
    ),
    Part(
        "unix",
        "Unix socket",
        "Clients over a unix socket beside clients over TCP; the guard reaches the server over TCP in both.",
        "bench.overhead",
        ("--seconds=2", "--lineup=unix", "--connections=1,8"),
    ),
    Part(
        "workers",
        "Threads of the pump",
        "`workers: 1` and `workers: 2`. Two cores that load generator and server want too cannot show what a second "
        "thread is worth where cores are free: what they show is that it costs no more CPU time per query. A session "
        "stays with one thread, and threads share nothing while queries pass, so with idle cores throughput is to be "
        "expected to grow with them until the server or the network is the limit. Logins stay in one thread.",
        "bench.overhead",
        ("--seconds=2", "--lineup=workers", "--connections=8,32"),
    ),
    Part(
        "large",
        "Much data",
        "A result of 2 million rows of 100 bytes, to a reader that only drains; statements of 15 MiB, one by one.",
        "bench.large",
        quick=("--rounds=1", "--result=20", "--statements=30"),
    ),
    Part(
        "connect",
        "Connect, one query, quit",
        "8 clients at a time. The guard logs each client in itself, and then logs in at the server, in Python.",
        "bench.connect",
        ("--seconds=2",),
        ("--rounds=1", "--seconds=0.5"),
    ),
    Part(
        "logins",
        "Point selects beside logins",
        "8 connections send point selects while others log in, 200 times per second. Who cannot do so many has fewer.",
        "bench.logins",
        ("--seconds=2",),
    ),
    Part(
        "idle",
        "Idle sessions",
        "The same process of the guard with 5,000 idle sessions and without them.",
        "bench.idle",
        ("--seconds=2",),
        ("--rounds=1", "--seconds=1", "--sessions=200"),
    ),
    Part(
        "profile",
        "Where the rest goes",
        "Samples of the guard's process under point selects over 8 connections; system calls for each query (counted "
        "by strace, which slows things down, so that fewer events come with one epoll_wait or more); instructions of "
        "the judging for one point select and its reply. The floor for a proxy that judges what passes is six system "
        "calls: two recv, two send, and a share in two epoll_wait, which sessions that are busy at the same time "
        "divide among them. What these cost, the wakeups and the loopback's TCP, is in the kernel, and the same for "
        "everybody.",
        "bench.profile",
        quick=("--seconds=1",),
    ),
)
