"""What ends connections in a given setup, and what to set against it: ``stillhere doctor``.

Facts are gathered first (:mod:`proxy.doctor.server`, :mod:`proxy.doctor.machine`, :mod:`proxy.doctor.error_log`), then
judged (:mod:`proxy.doctor.judging`, without any I/O), then shown (:mod:`proxy.doctor.report`).
"""

from proxy.doctor.examination import examine_setup
from proxy.doctor.findings import Verdict
from proxy.doctor.judging import judge
from proxy.doctor.report import as_data, show
from proxy.doctor.server import Account, CannotExamine

__all__ = ["Account", "CannotExamine", "Verdict", "as_data", "examine_setup", "judge", "show"]
