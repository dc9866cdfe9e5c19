"""What the guard's log has to say, as a reader of the demo wants it."""

from collections import Counter
from collections.abc import Sequence
from typing import Any

from demo.story import Story

#: What is told of an event, line by line, where it is not everything.
_FIELDS = {
    "session begins": (("session", "server_thread", "limit_bytes"),),
    "refused": (("session", "command", "size", "limit_bytes"),),
    "link lost and restored": (("session", "cause", "seconds"), ("outcome",)),
    "session lost": (("session", "cause", "seconds"), ("outcome",), ("advice",)),
    "server is away": ((),),
    "server is back": ((),),
}
_USUAL = ("event", "level", "timestamp")


def tell_all(story: Story, events: Sequence[dict[str, Any]]) -> None:
    """Tell what the guard has done, in order, and how often it has probed."""
    for event in events:
        if event["event"] in _FIELDS:
            tell_event(story, event)
    probes = Counter((event["session"], event["command"]) for event in events if event["event"] == "probe")
    for (session, command), count in probes.items():
        story.fact("probe", f"session={session} command={command} ({count} times)")


def tell_event(story: Story, event: dict[str, Any]) -> None:
    """Tell an event."""
    every = (tuple(key for key in event if key not in _USUAL),)
    lines = _FIELDS.get(event["event"], every)
    story.fact(event["event"], *(" ".join(f"{key}={event[key]}" for key in line if key in event) for line in lines))
