"""The demo goes as it is told."""

import re
import subprocess
import sys
from pathlib import Path

ROOT = Path(__file__).parents[2]


def test_the_demo_tells_real_errors_beside_the_guards_answers() -> None:
    done = subprocess.run(
        [sys.executable, "-m", "demo"],
        cwd=ROOT,
        check=False,
        stdin=subprocess.DEVNULL,
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
        timeout=100,
    )
    assert done.returncode == 0, done.stdout
    told = " ".join(done.stdout.split())
    # Which error the driver sees of a connection that ends while it sends, is a matter of timing.
    without, with_guard = told.split("Scene 2")[0].split("With the guard")
    assert re.search(r"INSERT of 2 MiB ERROR \w+Error (1153: Got a packet|2006|2013)", without)
    assert re.search(r"SELECT COUNT\(\*\) FROM notes ERROR", without)
    assert re.search(r"INSERT of 2 MiB ERROR \w+Error 1153: stillhere: .* not sent", with_guard)
    assert re.search(r"SELECT COUNT\(\*\) FROM notes ok 1 COMMIT ok", with_guard)

    idle = told.split("Scene 2")[1].split("Scene 3")[0]
    assert re.search(r"Without the guard ERROR \w+Error (2006|2013|4031)", idle)
    before, after = re.findall(r"With the guard ok (\d+)", idle)
    assert before == after

    gone = r"ERROR \w+Error (2006|2013|1927)"
    whole = "EXECUTE hello USING @name ok Hello, Ada SELECT @name ok Ada SELECT 'still ' || 'ANSI' ok still ANSI"
    without, with_guard = told.split("Scene 3")[1].split("Scene 4")[0].split("With the guard")
    assert re.search(rf"KILL CONNECTION \d+ ok .* EXECUTE hello USING @name {gone}", without)
    assert whole in with_guard
    killed, *threads = re.findall(r"(?:KILL CONNECTION|SELECT CONNECTION_ID\(\) ok) (\d+)", with_guard)[1:]
    assert threads
    assert killed not in threads

    crash, log = told.split("Scene 4")[1].split("From the guard's log")
    without, idle, writer = crash.split("After, with the guard")
    assert re.search(rf"kill -9 \d+ ok .* EXECUTE hello USING @name {gone}.* COMMIT {gone}", without)
    assert whole in idle
    assert re.search(
        r"COMMIT ERROR \w+Error 1213: stillhere: .* rolled back.* BEGIN ok INSERT of a job ok COMMIT ok "
        r"SELECT COUNT\(\*\) FROM jobs ok 1 ",
        writer,
    )

    assert "refused session=1 command=COM_QUERY size=2097" in log
    assert "probe session=2" in log
    assert re.search(r"link lost and restored session=3 cause=killed seconds=[\d.]+ outcome=the client has not", log)
    for session, outcome in ((4, "the client has not noticed"), (5, "transaction rolled back")):
        assert re.search(
            rf"link lost and restored session={session} cause=restart seconds=[\d.]+ outcome={outcome}", log
        )
    assert max(map(len, done.stdout.splitlines())) <= 100
