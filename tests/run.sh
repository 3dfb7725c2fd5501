#!/usr/bin/env bash
# The one test command. Installs what it needs, builds three times (plain, with ASan + UBSan, with TSan), runs everything; the last
# line is "N passed, N failed". Suites: rules, unit, sanitized, races, parity, e2e (all by default); tsan (all that races shows a part
# of), analyse, fuzz and soak run only when named.
#
#   tests/run.sh                 all by default
#   tests/run.sh unit parity     some suites
set -u
cd "$(dirname "$0")/.." || exit 1
ROOT=$PWD
. deploy/common.sh
SUITES="${*:-rules unit sanitized races parity e2e}"
PASSED=0
FAILED=0
LOGS=$(mktemp -d)
trap 'rm -rf "$LOGS"' EXIT

wants() { case " $SUITES " in *" $1 "*) true ;; *) false ;; esac; }

# Adds the counts of a pytest or meson log; plain: one of what ends well.
count() { # log kind status
    local p=0 f=0
    if [ "$2" = pytest ]; then
        # only its last line counts: what failed may say "3 failed" itself
        local line
        line=$(grep -E '(passed|failed|errors?|deselected|skipped).* in [0-9.]+s' "$1" | tail -1)
        p=$(grep -oE '[0-9]+ passed' <<<"$line" | cut -d' ' -f1)
        f=$(grep -oE '[0-9]+ (failed|errors?)' <<<"$line" | cut -d' ' -f1 | paste -sd+ | bc 2>/dev/null)
    elif [ "$2" = plain ]; then
        p=$((! $3))
    else
        p=$(grep -E '^Ok:' "$1" | grep -oE '[0-9]+' | tail -1)
        f=$(grep -E '^(Fail|Timeout|Unexpected Pass):' "$1" | grep -oE '[0-9]+' | paste -sd+ | bc 2>/dev/null)
    fi
    PASSED=$((PASSED + ${p:-0}))
    FAILED=$((FAILED + ${f:-0}))
    # A runner that fell over without counting is a failure as well.
    [ "$3" -ne 0 ] && [ "${f:-0}" -eq 0 ] && FAILED=$((FAILED + 1))
    return 0
}

run() { # kind name command...
    local kind=$1 name=$2 log="$LOGS/$2" begun=$SECONDS
    shift 2
    "$@" >"$log" 2>&1
    local status=$?
    echo "== $name, $((SECONDS - begun)) s"
    if [ $status -ne 0 ]; then tail -60 "$log"; else tail -${TAIL:-3} "$log"; fi
    count "$log" "$kind" $status
}

build() { # folder options...
    local folder=$1
    shift
    [ -f "$folder/build.ninja" ] || meson setup "$folder" --werror "$@" >"$LOGS/setup" 2>&1 || { cat "$LOGS/setup"; return 1; }
    ninja -C "$folder" >"$LOGS/ninja" 2>&1 || { tail -40 "$LOGS/ninja"; return 1; }
}

fuzz_one() { # target
    # A look for leaks stops all threads, and where a daemon has many it would come after each input.
    local leaks=1
    [ "$1" = request ] && leaks=0
    mkdir -p "build-fuzz/found/$1"
    "build-fuzz/tests/fuzz_$1" -max_total_time="${HONE_FUZZ:-60}" -timeout=25 -rss_limit_mb=3000 -max_len=60000 -detect_leaks=$leaks -use_value_profile=1 \
        -dict="build-fuzz/dictionaries/$1" -artifact_prefix="build-fuzz/found/$1/" "build-fuzz/corpus/$1" "tests/fuzz/kept/$1" >"$LOGS/fuzz-$1" 2>&1
    echo $? >"$LOGS/fuzz-$1.status"
}

# Each target (or those of HONE_FUZZ_TARGETS) for HONE_FUZZ seconds, as many at a time as there are processors; what it finds stays in
# build-fuzz/found and belongs into tests/fuzz/kept.
fuzz() {
    command -v clang >/dev/null && command -v llvm-cov >/dev/null || as_root env DEBIAN_FRONTEND=noninteractive apt-get install -y -qq clang llvm >/dev/null
    CC=clang build build-fuzz -Dfuzz=true -Db_sanitize=address,undefined -Db_lundef=false -Dc_args=-fsanitize=fuzzer-no-link &&
        "$CACHE/venv/bin/python" tests/fuzz/seeds.py build-fuzz || { FAILED=$((FAILED + 1)); return; }
    local t targets="${HONE_FUZZ_TARGETS:-$(ls build-fuzz/corpus)}"
    export -f fuzz_one
    LOGS="$LOGS" xargs -n 1 -P "$(nproc)" bash -c 'fuzz_one "$1"' fuzz <<<"$targets"
    for t in $targets; do
        [ "$(cat "$LOGS/fuzz-$t.status")" = 0 ] && PASSED=$((PASSED + 1)) || FAILED=$((FAILED + 1))
        echo "fuzz $t: $(grep -E 'DONE|SUMMARY' "$LOGS/fuzz-$t" | tail -1 | cut -c1-100)"
    done
}

# What all inputs that the targets have come upon so far reach: lines run, of each file that any of them reaches.
cover() {
    local t programs=() raw="$ROOT/build-cover/raw"
    rm -rf "$raw"
    # Meson runs a program of its own when it sets up, which would leave its profile here.
    LLVM_PROFILE_FILE=/dev/null CC=clang build build-cover -Dc_args='-fprofile-instr-generate -fcoverage-mapping' -Dc_link_args=-fprofile-instr-generate || { FAILED=$((FAILED + 1)); return; }
    for t in $(ls build-fuzz/corpus); do
        LLVM_PROFILE_FILE="$raw/$t" "build-cover/tests/replay_$t" "build-fuzz/corpus/$t" "tests/fuzz/kept/$t" >"$LOGS/replay-$t" 2>&1 ||
            { tail -5 "$LOGS/replay-$t"; FAILED=$((FAILED + 1)); }
        programs+=(-object "build-cover/tests/replay_$t")
    done
    llvm-profdata merge -o "$raw/all" "$raw"/*[a-z] && llvm-cov export -summary-only "${programs[@]}" -instr-profile="$raw/all" |
        jq -r '.data[0].files[] | select(.filename | test("/(engine|server|api)/.*\\.c$")) |
            select(.summary.lines.covered > 0) | [(.filename | split("/")[-2:] | join("/")), .summary.lines.covered, .summary.lines.count] | @tsv' |
        awk '{ printf "%s %d%%  ", $1, 100 * $2 / $3; c += $2; n += $3 } END { printf "\ncovered: %d of %d lines\n", c, n }'
}

python_tools() {
    local stamp="$CACHE/venv/.tools-13"
    make_pip
    [ -f "$stamp" ] && return
    "$CACHE/venv/bin/pip" install -qq pytest pytest-xdist requests numpy prometheus_client schemathesis==4.32.5 &&
        "$CACHE/venv/bin/pip" install -qq --no-deps axe-playwright-python==0.1.8 &&
        "$CACHE/venv/bin/pip" install -qq torch==2.13.0 &&
        "$CACHE/venv/bin/pip" install -qq transformers==5.23.0 peft==0.21.2 gguf==0.19.0 sentencepiece==0.2.3 safetensors jinja2 scikit-learn scipy==1.17.1 openai==3.57.0 litellm==1.110.2 langchain-openai==1.7.4 optuna==5.0.0 cleanlab==2.9.0 seqeval sacrebleu==2.6.0 rouge-score==0.1.2 xllamacpp==2026.10.11549 &&
        "$CACHE/venv/bin/pip" install -qq --no-deps --upgrade --target "$CACHE/transformers4" transformers==4.57.6 huggingface_hub==0.36.0 tokenizers==0.22.1 && touch "$stamp"
}

install_packages || exit 1
# chromium: the dashboard's tests; groff: those of the man pages; clang-format: the rules; zsh, fish: completion
for tool in bc strace chromium clang-format groff zsh fish; do
    command -v $tool >/dev/null || as_root env DEBIAN_FRONTEND=noninteractive apt-get install -y -qq $tool >/dev/null
done
fetch_model
fetch_reviews
fetch_minilm
fetch_gemma || FAILED=$((FAILED + 1))
python_tools || { echo "the Python packages for the tests cannot be installed" >&2; FAILED=$((FAILED + 1)); }
export HONE_TEST_GGUF="$MODEL_FILE" HONE_TEST_REVIEWS="$REVIEWS_FILE" HONE_TEST_MINILM="$MINILM_FOLDER" HONE_TEST_GEMMA="$GEMMA_FILE" HF_HUB_OFFLINE=1 TOKENIZERS_PARALLELISM=false
# Every thread of the daemon at work, with a stand-in for the engine.
DAEMON_TESTS=$(printf 'tests/e2e/test_%s.py ' api lifecycle operations backup slow_clients exhaustion framing)
PYTEST="$CACHE/venv/bin/python -m pytest -q -p no:cacheprovider"
SIDE_BY_SIDE="-n 2 --dist loadfile" # a file a worker: the files share nothing

if ! build build-test; then
    FAILED=$((FAILED + 1))
else
    export HONE_BUILD="$ROOT/build-test" HONED="$ROOT/build-test/server/honed"
    wants rules && run pytest rules $PYTEST tests/rules
    wants unit && run meson unit meson test -C build-test --no-rebuild --print-errorlogs
    if wants sanitized; then
        if build build-asan -Db_sanitize=address,undefined -Db_lundef=false; then
            export ASAN_OPTIONS=detect_leaks=1:strict_string_checks=1 UBSAN_OPTIONS=halt_on_error=1:print_stacktrace=1
            run meson unit-sanitized meson test -C build-asan --no-rebuild --print-errorlogs -t 4
            HONED="$ROOT/build-asan/server/honed" run pytest e2e-sanitized $PYTEST $SIDE_BY_SIDE $DAEMON_TESTS
            HONED="$ROOT/build-asan/server/honed" run pytest sweeps-sanitized $PYTEST -k "grid or two_slots or folds or refusals or compare" tests/e2e/test_sweeps.py
            HONED="$ROOT/build-asan/server/honed" run pytest serving-sanitized $PYTEST $SIDE_BY_SIDE tests/e2e/test_openai.py tests/e2e/test_notices.py
            unset ASAN_OPTIONS UBSAN_OPTIONS
        else
            FAILED=$((FAILED + 1))
        fi
    fi
    if wants races || wants tsan; then
        if build build-tsan -Dtests=false -Db_sanitize=thread -Db_lundef=false; then
            export HONE_PATIENCE=5 TSAN_OPTIONS="suppressions=$ROOT/tests/tools/tsan.txt"
            wants tsan && only= || only="many_streams or side_by_side or anything_at_any_time or figures or all_changes or two_slots or depend_on_each or dead_helper"
            HONED="$ROOT/build-tsan/server/honed" run pytest e2e-races $PYTEST $SIDE_BY_SIDE -k "$only" $DAEMON_TESTS tests/e2e/test_verify.py tests/e2e/test_sweeps.py tests/e2e/test_openai.py
            unset HONE_PATIENCE TSAN_OPTIONS
        else
            FAILED=$((FAILED + 1))
        fi
    fi
    wants parity && OMP_NUM_THREADS=1 run pytest parity $PYTEST $SIDE_BY_SIDE --durations=15 tests/parity
    wants e2e && run pytest e2e $PYTEST $SIDE_BY_SIDE --durations=8 tests/e2e
    wants analyse && { command -v cppcheck >/dev/null || as_root env DEBIAN_FRONTEND=noninteractive apt-get install -y -qq cppcheck >/dev/null
        run plain analyse python3 tests/tools/analyse.py build-test; }
    wants fuzz && { fuzz; cover; }
    # Numbers and seed may be given: HONE_KILLS, HONE_CUTS, HONE_SWEEP, HONE_REQUESTS, HONE_JOBS, HONE_TEST_COUNT, HONE_SEED (each failure tells its own).
    if wants soak; then
        HONE_KILLS=${HONE_KILLS:-500} run pytest soak-kills $PYTEST -s tests/e2e/test_kills.py
        HONE_CUTS=${HONE_CUTS:-all} run pytest soak-power-loss $PYTEST -s tests/e2e/test_power_loss.py
        HONE_EXAMPLES=${HONE_EXAMPLES:-1000} run pytest soak-schema $PYTEST -s tests/e2e/test_schema.py
        HONE_SWEEP=${HONE_SWEEP:-200} run pytest soak-faults $PYTEST -s tests/e2e/test_faults.py
        HONE_REQUESTS=${HONE_REQUESTS:-1000000} HONE_JOBS=${HONE_JOBS:-1000} run pytest soak-load $PYTEST -s tests/e2e/test_load.py
        HONE_TEST_COUNT=${HONE_TEST_COUNT:-20000} run pytest soak-texts $PYTEST $SIDE_BY_SIDE tests/parity/test_{tokenizer,template,wordpiece,sentencepiece,folder}.py
    fi
fi
echo "$PASSED passed, $FAILED failed"
[ "$FAILED" -eq 0 ]
