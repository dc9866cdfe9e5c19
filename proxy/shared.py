"""What all sessions have in common."""

from dataclasses import dataclass, field

from config import Config
from proxy.contact import Contact
from proxy.introduction import QuestionsByVersion
from proxy.known_answers import KnownAnswers
from proxy.passwords import PasswordBook
from proxy.reconnect import Reconnector
from proxy.spool import SpoolSpace
from proxy.tally import Tally
from proxy.threads import Threads
from proxy.tls import UpstreamTls


@dataclass
class Shared:
    """What all sessions have in common. What may change while they run, they look up here when they need it."""

    config: Config
    passwords: PasswordBook
    upstream_tls: UpstreamTls
    reconnector: Reconnector
    spool_space: SpoolSpace
    contact: Contact = field(default_factory=Contact)
    tally: Tally = field(default_factory=Tally)
    threads: Threads = field(default_factory=Threads)
    questions: QuestionsByVersion = field(default_factory=dict)
    known_answers: KnownAnswers = field(default_factory=KnownAnswers)

    def adopt(self, config: Config, upstream_tls: UpstreamTls) -> None:
        """Go by another configuration from now on. Learned passwords stay, unless ``auth`` has changed."""
        if config.auth != self.config.auth:
            self.passwords = PasswordBook(config.auth)
        self.config = config
        self.upstream_tls = upstream_tls
        self.reconnector.adopt(config.reconnect.concurrency, attempt_seconds(config))
        self.spool_space.adopt(config.spool)


def attempt_seconds(config: Config) -> float:
    """Tell how long one attempt to get a session from the server may take."""
    return config.upstream.connect_timeout + config.limits.login_timeout
