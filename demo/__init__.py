"""The guard at work in front of a throwaway MariaDB, told as a story: `python -m demo`."""
