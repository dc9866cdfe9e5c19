"""What all sessions have in common."""

from dataclasses import dataclass, field

from config import Config
from proxy.contact import Contact
from proxy.introduction import WatchLists
from proxy.passwords import PasswordBook
from proxy.reconnect import Reconnector
from proxy.spool import SpoolSpace
from proxy.tally import Tally
from proxy.threads import Threads
from proxy.tls import UpstreamTls


@dataclass(frozen=True)
class Shared:
    """What all sessions have in common."""

    config: Config
    passwords: PasswordBook
    upstream_tls: UpstreamTls
    reconnector: Reconnector
    spool_space: SpoolSpace
    contact: Contact = field(default_factory=Contact)
    tally: Tally = field(default_factory=Tally)
    threads: Threads = field(default_factory=Threads)
    watch_lists: WatchLists = field(default_factory=dict)
