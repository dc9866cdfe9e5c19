"""Profiles for the property tests; `HYPOTHESIS_PROFILE=fuzz` (make fuzz) tries many more examples than the default."""

import os

from hypothesis import settings

settings.register_profile("ci", deadline=None, max_examples=300)
settings.register_profile("fuzz", deadline=None, max_examples=20_000)
settings.load_profile(os.environ.get("HYPOTHESIS_PROFILE", "ci"))
