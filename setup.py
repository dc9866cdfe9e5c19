"""The compiled parts of the package, which it can do without; everything else is in pyproject.toml."""

import sys

from Cython.Build import cythonize
from setuptools import Extension, setup

MODULES = [Extension("protocol.walker", ["protocol/walker.pyx"])]
if sys.platform.startswith("linux"):
    MODULES.extend(Extension(f"proxy.{name}", [f"proxy/{name}.pyx"]) for name in ("lane", "pump"))

compiled = cythonize(MODULES)
for module in compiled:
    # The package is built without those that cannot be compiled. This is set here, because cythonize() makes extensions
    # of its own, which do not inherit it.
    module.optional = True
setup(ext_modules=compiled)
