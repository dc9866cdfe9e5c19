"""The compiled parts of the package, which it can do without; everything else is in pyproject.toml."""

import sys

from Cython.Build import cythonize
from setuptools import Extension, setup

MODULES = [Extension("protocol.walker", ["protocol/walker.pyx"], optional=True)]
if sys.platform.startswith("linux"):
    MODULES.append(Extension("proxy.pump", ["proxy/pump.pyx"], optional=True))

setup(ext_modules=cythonize(MODULES))
