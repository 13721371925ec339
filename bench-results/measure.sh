#!/usr/bin/env bash
# Measures every figure of the tables in README.md and writes the results to a folder here:
#   bench-results/measure.sh [NAME] [TICKS.csv.gz]
#   ONLY="slow-all resume" bench-results/measure.sh [NAME]
# NAME is the folder (default: today's date and the host name). With a file of ticks in the format
# of `loadgen replay --help`, the replays are run too; they take six minutes each. ONLY names the
# scenarios to measure, for one part at a time. All of them take three quarters of an hour.
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
  [[ -z "${ONLY:-}" || " $ONLY " == *" $scenario "* ]] || return 0
  local command
  command="loadgen$(printf ' %q' "$@")"
  echo "== $scenario: $command"
  { echo "\$ $command"; target/release/loadgen "$@" --name "$scenario" --out "$out/$scenario.json" 2>/dev/null; } |
    tee "$out/$scenario.txt"
}

# With a history of 100 messages and newest values kept, which costs no more than without.
kept=(--server-args "--config bench-results/latest.toml")
measure one-at-a-time fanout "${server[@]}" "${kept[@]}" --shards 1 --floor --rounds 5 \
  --in-flight 1 --duration 5s
measure sixteen-in-flight fanout "${server[@]}" "${kept[@]}" --shards 1 --rounds 5 \
  --in-flight 16 --duration 5s
measure many-topics fanout "${server[@]}" "${kept[@]}" --shards 1 --floor --rounds 5 \
  --connections 18000 --topics 1260 --topics-per-connection 7 --rate 1260 --size 512 --duration 10s
# Metrics of 10,000 connections, scraped each second and not at all, in turns.
measure scraping fanout "${server[@]}" "${kept[@]}" --rounds 3 --connections 10000 --topics 1000 \
  --rate 2000 --duration 10s --scrape-metrics 1s
measure idle idle "${server[@]}" "${kept[@]}" --rounds 5 --connections 10000 --duration 5s

# 10,000 subscribers, 1 % of them not reading, 20,000 deliveries a second for 60 s.
measure slow-all slow "${server[@]}" --mode all --topics 20 --rounds 3
measure slow-latest slow "${server[@]}" --mode latest --topics 20 --rounds 3
# 1,000 stalled readers of 1,000 topics each: memory after 10 s and after 60 s.
measure slow-only slow "${server[@]}" --server-args "--config bench-results/patient.toml" \
  --slow-only --mode latest --connections 1000 --topics 1000 --topics-per-connection 1000 \
  --rate 10000 --size 128 --durations 10s,60s --rounds 3
# A reader of newest values that stops for 30 s.
measure resume resume "${server[@]}" --server-args "--config bench-results/patient.toml" \
  --stall-for 30s --rounds 5
# 5,000 clients that come back at once and have missed 100 messages each.
measure storm storm "${server[@]}" --server-args "--config bench-results/recovery.toml" --rounds 5
# A broker with 15,000 connections and 10,000 deliveries a second that is told to end.
measure drain drain "${server[@]}" --rounds 3
# 200 that want in while a broker of 1,000 subscribers has no descriptor left for them.
measure exhaust exhaust "${server[@]}" --topics 20 --rounds 5
# One topic by every transport, and the articles' use cases: 200 clients of each and short
# measurements, eight minutes; then 1,000 clients and ten seconds each, seven minutes.
measure compare compare "${server[@]}" --quick --rounds 3
measure compare-full compare "${server[@]}"
if [ -n "$ticks" ]; then
  for replay in "binance 1x" "lean_us 20x"; do
    read -r src speed <<< "$replay"
    measure "replay-$src" replay "$ticks" --src "$src" --speed "$speed" --subscribers 10000 \
      --topics-per-connection 3 "${server[@]}"
  done
fi
# The page, the charts and the summary of whatever lies in the folder.
target/release/loadgen report "$out"
