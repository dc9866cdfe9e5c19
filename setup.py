"""The compiled parts of the package, which it can do without; everything else is in pyproject.toml."""

import sys

from Cython.Build import cythonize
from setuptools import Extension, setup

MODULES = [Extension("protocol.walker", ["protocol/walker.pyx"], optional=True)]
if sys.platform.startswith("linux"):
    MODULES.extend(Extension(f"proxy.{name}", [f"proxy/{name}.pyx"], optional=True) for name in ("lane", "pump"))

setup(ext_modules=cythonize(MODULES))
