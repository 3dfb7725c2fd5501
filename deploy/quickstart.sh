#!/usr/bin/env bash
# From a fresh Debian 12 to a fine-tuned model, with nothing asked: packages, build, a real model and real rows, the daemon,
# one job over REST, its adapter downloaded, answers before and after. Can be run again; works in ./build and a state folder
# of its own (HONE_QUICKSTART_STATE, default ~/.local/state/hone-quickstart).
set -euo pipefail
cd "$(dirname "$0")/.."
. deploy/common.sh
STARTED=$(date +%s)
PORT="${HONE_QUICKSTART_PORT:-4664}"
STATE="${HONE_QUICKSTART_STATE:-${XDG_STATE_HOME:-$HOME/.local/state}/hone-quickstart}"
URL="http://127.0.0.1:$PORT"
OUT="$STATE/result"

say() { printf '\n\033[1m== %s\033[0m\n' "$*"; }
api() { # curl that shows the server's own sentence when it refuses
    local body status
    body=$(curl -sS -w '\n%{http_code}' "$@") || { echo "no answer from $URL" >&2; return 1; }
    status=${body##*$'\n'}
    body=${body%$'\n'*}
    if [ "$status" -ge 400 ]; then jq -r '.error | "\(.code): \(.message) \(.hint)"' <<<"$body" >&2; return 1; fi
    printf '%s' "$body"
}

say "packages"
install_packages
say "build"
[ -f build/build.ninja ] || meson setup build --buildtype=release >/dev/null
ninja -C build | tail -1
say "a real model and real rows"
fetch_model
fetch_reviews
mkdir -p "$STATE" "$OUT"
chmod 700 "$STATE"
# Movie-review snippets rated by people from -4 to 4; the clear ones become questions with one-word answers.
tar -xzOf "$REVIEWS_FILE" --wildcards '*/hutto_ICWSM_2014.tar.gz' | tar -xzO hutto_ICWSM_2014/movieReviewSnippets_GroundTruth.txt |
    iconv -c -f utf-8 -t utf-8 | awk -F'\t' '$2 >= 1 || $2 <= -1' |
    shuf --random-source=<(yes) | jq -cR 'split("\t") | {messages: [
        {role: "user", content: ("Is this movie review positive or negative? Answer with one word.\n\n" + .[2])},
        {role: "assistant", content: (if (.[1] | tonumber) > 0 then "positive" else "negative" end)}]}' >"$STATE/rows.jsonl"
sed -n '1,600p' "$STATE/rows.jsonl" >"$STATE/train.jsonl"
sed -n '601,700p' "$STATE/rows.jsonl" >"$STATE/validation.jsonl"
sed -n '701,900p' "$STATE/rows.jsonl" >"$STATE/test.jsonl"
wc -l "$STATE"/{train,validation,test}.jsonl | sed '$d'

say "daemon on $URL"
if curl -sf "$URL/readyz" >/dev/null 2>&1; then
    echo "one is running already"
else
    build/server/honed serve --state "$STATE/daemon" --listen "127.0.0.1:$PORT" --model_dirs "$CACHE" 2>>"$STATE/daemon.log" &
    DAEMON=$!
    trap 'kill -TERM $DAEMON 2>/dev/null; wait $DAEMON 2>/dev/null || true' EXIT
    for _ in $(seq 100); do
        curl -sf "$URL/readyz" >/dev/null 2>&1 && break
        kill -0 $DAEMON 2>/dev/null || { tail -5 "$STATE/daemon.log"; exit 1; }
        sleep 0.1
    done
fi
curl -sf "$URL/models/smollm2" >/dev/null 2>&1 ||
    api -X POST "$URL/models" -H 'Content-Type: application/json' -d "{\"name\":\"smollm2\",\"path\":\"$MODEL_FILE\"}" | jq -c '{name, family, quantisation, parameters}'

# Share of the test rows answered rightly. The base answers in sentences: the first "positive" or "negative" in them counts.
accuracy() { # route
    jq -sc '{inputs: [.[].messages[0:1]], max_tokens: 16}' "$STATE/test.jsonl" |
        api -X POST "$URL/$1/predict" -H 'Content-Type: application/json' --data-binary @- |
        jq -r --slurpfile rows "$STATE/test.jsonl" '[.data | to_entries[] | . as $answer |
            (($answer.value.text | ascii_downcase | [match("positive|negative")] | first.string) == $rows[$answer.key].messages[1].content)]
            | "\(map(select(.)) | length) of \(length)"'
}
ask() { # route
    jq -sc '{inputs: [.[3].messages[0:1]], max_tokens: 24}' "$STATE/test.jsonl" |
        api -X POST "$URL/$1/predict" -H 'Content-Type: application/json' --data-binary @- | jq -r '.data[0].text'
}

say "the base model, before"
jq -rs '.[3].messages[0].content' "$STATE/test.jsonl"
echo "→ $(ask models/smollm2)"
BEFORE=$(accuracy models/smollm2)
echo "right answers: $BEFORE"

say "fine-tuning over REST"
JOB=$(api "$URL/jobs" -F dataset=@"$STATE/train.jsonl" -F validation=@"$STATE/validation.jsonl" -F model=smollm2 -F name=reviews \
    -F 'hyperparameters={"epochs":1,"eval_every":25}' -F 'samples={"rows":2,"max_tokens":12}' | jq -r .id)
echo "job $JOB"
LAST=""
while :; do
    J=$(api "$URL/jobs/$JOB")
    LINE=$(jq -r '"\(.status)  step \(.progress.step // 0)/\(.progress.total_steps // "?")  loss \(.metrics.loss // "-")  val_loss \(.metrics.val_loss // "-")  eta \(.progress.eta_seconds // "-") s"' <<<"$J")
    [ "$LINE" = "$LAST" ] || echo "$LINE"
    LAST=$LINE
    case $(jq -r .status <<<"$J") in
        succeeded) break ;;
        failed | cancelled) jq .status_reason <<<"$J"; exit 1 ;;
    esac
    sleep 5
done
api "$URL/jobs/$JOB/metrics?format=csv" >"$OUT/metrics.csv"
FIRST=$(api "$URL/jobs/$JOB/metrics" | jq -r '[.data[] | select(.val_loss)] | first.val_loss')
FINAL=$(jq -r .metrics.best.value <<<"$J")

say "the adapter"
curl -sS "$URL/jobs/$JOB/artifacts.tar" | tar -xC "$OUT"
(cd "$OUT" && find . -name '*.*' -type f | sort | xargs ls -l | awk '{print $5, $NF}')

say "before and after"
AFTER=$(accuracy "jobs/$JOB")
jq -rs '.[3].messages[0].content' "$STATE/test.jsonl"
echo "→ $(ask "jobs/$JOB")"
echo
echo "validation loss       $FIRST → $FINAL"
echo "right answers (test)  $BEFORE → $AFTER"
echo "took $(($(date +%s) - STARTED)) s; adapter and metrics in $OUT"
echo "start again: build/server/honed serve --state $STATE/daemon --listen 127.0.0.1:$PORT   (dashboard at $URL)"
