#!/usr/bin/env bash
# Measures every figure of the first table in README.md and writes the results to a folder here:
#   bench-results/measure.sh [NAME] [TICKS.csv.gz]
# NAME is the folder (default: today's date and the host name). With a file of ticks in the format
# of `loadgen replay --help`, the replays are run too; they take six minutes each.
# Close other programs first: `waited for` in each result tells how much they were in the way.
set -euo pipefail
cd "$(dirname "$0")/.."
name=${1:-$(date +%F)-$(hostname)}
ticks=${2:-}
out=bench-results/$name
mkdir -p "$out"
cargo build --release -p fanfare -p fanfare-loadgen
server=(--server target/release/fanfare)

measure() {
  local scenario=$1
  shift
  echo "== $scenario: loadgen $*"
  { echo "\$ loadgen $*"; target/release/loadgen "$@" --name "$scenario" --out "$out/$scenario.json" 2>/dev/null; } |
    tee "$out/$scenario.txt"
}

measure one-at-a-time fanout "${server[@]}" --shards 1 --floor --rounds 5 --in-flight 1 --duration 5s
measure sixteen-in-flight fanout "${server[@]}" --shards 1 --rounds 5 --in-flight 16 --duration 5s
measure many-topics fanout "${server[@]}" --shards 1 --floor --rounds 5 --connections 18000 \
  --topics 1260 --topics-per-connection 7 --rate 1260 --size 512 --duration 10s
measure idle idle "${server[@]}" --rounds 5 --connections 10000 --duration 5s
if [ -n "$ticks" ]; then
  for replay in "binance 1x" "lean_us 20x"; do
    read -r src speed <<< "$replay"
    measure "replay-$src" replay "$ticks" --src "$src" --speed "$speed" --subscribers 10000 \
      --topics-per-connection 3 "${server[@]}"
  done
fi
