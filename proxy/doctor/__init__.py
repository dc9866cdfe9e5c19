"""What ends connections in a given setup, and what to set against it: ``stillhere doctor``.

Facts are gathered first (:mod:`proxy.doctor.server`, :mod:`proxy.doctor.machine`, :mod:`proxy.doctor.error_log`), then
judged (:mod:`proxy.doctor.judging`, without any I/O), then shown (:mod:`proxy.doctor.report`).
"""
