#!/usr/bin/env bash
# The figures of bench/SPEED.md, side by side with peers where there are any, on a machine that should do nothing else meanwhile: 70 minutes.
#
#   bench/run.sh GSM8K_TRAIN.jsonl SST2_TRAIN.tsv [training.py's options]
#
# GSM8K: lines of {"question","answer"}; SST-2: `text TAB label`. The models are fetched, and the peers (PyTorch, Transformers, PEFT,
# llama.cpp, oneDNN, Optuna) installed into a folder of their own, the first time: some gigabytes and, for llama.cpp, ten minutes of compiling.
# LLMC=FOLDER names a checkout of llm.c as of April 2024 (one file, train_gpt2.c), which is built with its matmuls through OpenBLAS.
set -eu
cd "$(dirname "$0")/.."
. deploy/common.sh
[ $# -ge 2 ] || { sed -n '2,9p' "$0" | sed 's/^# \{0,1\}//'; exit 2; }
GSM8K=$1
SST2=$2
shift 2
install_packages
fetch_model
fetch_minilm
PEERS="$CACHE/peers"
if [ ! -f "$PEERS/.complete-3" ]; then
    python3 -m venv "$PEERS"
    "$PEERS/bin/pip" install -qq torch==2.13.0 transformers==5.23.0 peft==0.21.2 gguf==0.19.0 numpy safetensors llama-cpp-python==0.3.36 onednn-cpu-gomp==2023.2.0 optuna==5.0.0
    touch "$PEERS/.complete-3"
fi
[ -f build/build.ninja ] || meson setup build >/dev/null
ninja -C build >/dev/null
export HF_HUB_OFFLINE=1 TOKENIZERS_PARALLELISM=false
"$PEERS/bin/python" bench/training.py "$MODEL_FILE" "$MINILM_FOLDER" --gsm8k "$GSM8K" --sst2 "$SST2" "$@"
"$PEERS/bin/python" bench/share.py "$MODEL_FILE" "$GSM8K" --onednn "$PEERS/lib/libdnnl.so" \
    --openblas "$(ldconfig -p | awk '/libopenblas.so.0/ { print $NF; exit }')"
"$PEERS/bin/python" bench/slots.py "$MODEL_FILE" "$GSM8K"
peer=""
if [ -n "${LLMC:-}" ]; then
    sed -E 's/^void matmul_(forward|backward)\(/void llmc_loops_\1(/' "$LLMC/train_gpt2.c" >"$PEERS/llmc_train_gpt2.c"
    gcc -Ofast -march=native -fopenmp -DOMP -w -I"$PEERS" bench/llmc.c -o "$PEERS/llmc" -lopenblas -lm
    peer="$PEERS/llmc"
fi
"$PEERS/bin/python" bench/gpt2.py "$GSM8K" ${peer:+--peer "$peer"}
command -v wrk >/dev/null || as_root env DEBIAN_FRONTEND=noninteractive apt-get install -y -qq wrk >/dev/null
python3 bench/daemon.py "$MODEL_FILE"
"$PEERS/bin/python" bench/tuning.py --replay --forecast --overhead
"$PEERS/bin/python" bench/tokenizer.py "$MODEL_FILE" "$MINILM_FOLDER" "$GSM8K"
"$PEERS/bin/python" bench/inference.py "$MODEL_FILE" "$MINILM_FOLDER" "$SST2"
"$PEERS/bin/python" bench/startup.py "$MODEL_FILE" "$GSM8K"
"$PEERS/bin/python" bench/growth.py "$MODEL_FILE" "$GSM8K" --big
