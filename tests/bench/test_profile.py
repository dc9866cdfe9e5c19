from bench.profile import numbers_table, parse_callgrind, parse_perf, parse_strace, samples_table

PERF = """\
# Samples: 128  of event 'cpu-clock'
#
# Overhead|Shared Object       |Symbol                  |IPC   [IPC Coverage]
 2.00%    |pump.cpython-311.so |[.] move                |-      -
 10.25%   |[kernel.kallsyms]   |[k] finish_task_switch  |-      -
 0.05%    |libc.so.6           |[.] memcpy              |-      -
"""

STRACE = """\
% time     seconds  usecs/call     calls    errors syscall
------ ----------- ----------- --------- --------- ----------------
 60.00    0.600000           3    200000     10000 recvfrom
 40.00    0.400000           4    100000           sendto
------ ----------- ----------- --------- --------- ----------------
100.00    1.000000           3    300000     10000 total
"""

CALLGRIND = """\
679,474,609 (100.0%)  PROGRAM TOTALS
 17,900,000 ( 2.63%)  protocol/walker.c:__pyx_f_8protocol_6walker_is_plain [/x/walker.cpython-311.so]
  3,320,000 ( 0.49%)  protocol/walker.c:__pyx_pw_8protocol_6walker_6Walker_13take [/x/walker.cpython-311.so]
"""


def test_perf() -> None:
    samples = parse_perf(PERF)
    assert samples == [
        (10.25, "[kernel.kallsyms]", "finish_task_switch"),
        (2.0, "pump.cpython-311.so", "move"),
        (0.05, "libc.so.6", "memcpy"),
    ]
    text = samples_table(samples)
    assert "| finish_task_switch | [kernel.kallsyms]   |      10.2 % |" in text
    assert "memcpy" not in text


def test_strace() -> None:
    assert parse_strace(STRACE) == {"recvfrom": 200_000, "sendto": 100_000}


def test_callgrind_counts_the_functions_that_run_without_python() -> None:
    assert parse_callgrind(CALLGRIND) == {"is_plain": 17_900_000}


def test_small_numbers_are_left_out() -> None:
    assert numbers_table("call", "each", {"a": 0.001, "b": 1.5, "c": 2.0}, 0.01).splitlines()[2:] == [
        "| c    | 2.00 |",
        "| b    | 1.50 |",
    ]
