#!/bin/sh
# Fuzz the native walker, built by clang with coverage and AddressSanitizer, beside its twins: run.sh VENV SECONDS
# What is found lies in build/fuzz. The corpus stays there for the next time.
set -eu

bin=$PWD/$1/bin
seconds=$2
tests/servers/install_debian.sh clang clang libclang-rt-14-dev

fuzz=$PWD/build/fuzz
copy=$fuzz/tree
rm -rf "$copy"
mkdir -p "$copy" "$fuzz/corpus"
git ls-files -z | xargs -0 cp --parents -t "$copy"
CC=clang LDSHARED="clang -shared" \
    CFLAGS="-fsanitize=fuzzer-no-link,address -fno-omit-frame-pointer -g -O1" \
    "$bin/pip" install --quiet --disable-pip-version-check --no-deps --upgrade --target "$copy" "$copy" "atheris>=3"

cd "$copy"
ASAN_OPTIONS=detect_leaks=0 PYTHONHASHSEED=0 PYTHONPATH=$copy PYTHONMALLOC=malloc LD_PRELOAD=$copy/asan_with_fuzzer.so \
    "$bin/python" -m tests.fuzz "$fuzz/corpus" -max_total_time="$seconds" -max_len=4096 -timeout=30 \
    -artifact_prefix="$fuzz/" -print_final_stats=1
