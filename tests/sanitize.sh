#!/bin/sh
# Run the tests of the native code with AddressSanitizer and UndefinedBehaviorSanitizer built into it:
# sanitize.sh VENV [TESTS...]
# All happens in a copy of the tree, in build/sanitize, so that no other run meets the instrumented modules.
set -eu

bin=$PWD/$1/bin
shift
copy=$PWD/build/sanitize
reports=$copy/reports
flags="-fsanitize=address,undefined"

# These need no guard, and so can also be run in one process, at whose end leaks are looked for.
leaks=
if [ $# = 0 ]; then
    leaks="tests/protocol/test_walker.py tests/protocol/test_exchanges.py tests/proxy/test_pump.py"
    # shellcheck disable=SC2086
    set -- $leaks tests/e2e/test_relays.py tests/e2e/test_session.py tests/e2e/test_recovery_in_flight.py \
        tests/e2e/test_slow_reading.py tests/e2e/test_slow_sending.py tests/e2e/test_tls.py \
        tests/e2e/test_bad_clients.py tests/e2e/test_bad_servers.py
fi

rm -rf "$copy"
mkdir -p "$reports"
git ls-files -z | xargs -0 cp --parents -t "$copy"
CFLAGS="$flags -fno-sanitize-recover=undefined -fno-omit-frame-pointer -g -O1" LDFLAGS=$flags \
    "$bin/pip" install --quiet --disable-pip-version-check --no-deps --upgrade --target "$copy" "$copy"

cd "$copy"
for module in protocol/walker proxy/lane proxy/pump; do
    ldd "$module".*.so | grep -q libasan || { echo "$module is not instrumented" >&2; exit 1; }
done

run() {
    LD_PRELOAD="$(cc -print-file-name=libasan.so) $(cc -print-file-name=libubsan.so)" \
        "$bin/python" -m pytest --timeout 300 -p no:cacheprovider "$@" || status=$?
}

# Guards inherit all this; where one dies of a report, its test may not be about that. Processes that are killed have
# no end at which leaks could be told from what is in use.
export ASAN_OPTIONS="detect_leaks=0:log_path=$reports/address" PYTHONMALLOC=malloc
export UBSAN_OPTIONS=print_stacktrace=1
status=0
run -n "${WORKERS:-4}" --dist worksteal "$@"
if [ -n "$leaks" ]; then
    # What other packages never free is none of ours.
    echo leak:site-packages > suppressed
    export ASAN_OPTIONS="log_path=$reports/leaks" LSAN_OPTIONS="suppressions=$copy/suppressed:print_suppressions=0"
    # shellcheck disable=SC2086
    run $leaks
fi
for report in "$reports"/*; do
    [ ! -e "$report" ] || { cat "$report"; status=1; }
done
exit $status
