"""What the MySQL client/server protocol says: judges bytes, does no I/O.

Nothing here reads a clock, a socket or a configuration. Bytes come in, decisions go out, and the only exceptions that
bytes can cause are those of :mod:`protocol.errors`.
"""
