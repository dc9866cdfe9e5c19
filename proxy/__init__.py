"""The guard itself: moves bytes between applications and a server. All I/O is trio's."""
