"""``python -m proxy`` is the ``stillhere`` command."""

from proxy.cli import main

if __name__ == "__main__":
    main(prog_name="stillhere")
