#!/usr/bin/env bash
# How many polls one core of the broker answers, beside nginx with a static file of the same bytes:
#   bench-results/polling.sh [SECONDS] [ROUNDS]
# Both are asked with `wrk` over kept connections, in turn, in the same run: 304 for a client that
# has the newest page, and 200 with the page. Broker and nginx have core 0, wrk has core 1. The
# second figure of each line is what counts on a machine with other work: answers for each second
# that the server's threads ran on a core (`/proc/PID/task/*/schedstat`).
# Needs nginx, wrk and curl, and a core that is not busy with other things.
set -euo pipefail
cd "$(dirname "$0")/.."
seconds=${1:-5}
rounds=${2:-3}
connections=${CONNECTIONS:-64}
port=${NGINX_PORT:-18089}
broker=${BROKER:-target/release/fanfare}
[ -x "$broker" ] || cargo build --release -p fanfare

work=$(mktemp -d)
started=()
clean_up() {
  for pid in "${started[@]}"; do
    kill "$pid" 2>/dev/null || true
    while kill -0 "$pid" 2>/dev/null; do sleep 0.1; done
  done
  rm -rf "$work"
}
trap clean_up EXIT

taskset -c 0 "$broker" serve --shards 1 --listen 127.0.0.1:0 --admin-listen 127.0.0.1:0 \
  > "$work/broker.log" &
broker_pid=$!
started+=("$broker_pid")
until grep -q 'admin on' "$work/broker.log"; do sleep 0.1; done
address=$(sed -n 's|^fanfare: listening on ||p' "$work/broker.log")
topic=$address/v1/topics/stocks.AAPL
curl -sf -o "$work/published" -d '{"symbol":"AAPL","price":187.23,"size":100}' "$topic"
mkdir "$work/files"
curl -sf -D "$work/head" -o "$work/files/page.json" "$topic"
broker_tag=$(tr -d '\r' < "$work/head" | sed -n 's/^etag: //p')

# Its best: files kept open, nothing logged, connections kept for good.
cat > "$work/nginx.conf" <<CONF
worker_processes 1;
daemon off;
pid $work/nginx.pid;
error_log $work/nginx.log;
events { worker_connections 4096; }
http {
  access_log off;
  sendfile on;
  tcp_nopush on;
  keepalive_requests 1000000000;
  open_file_cache max=100;
  types { application/json json; }
  client_body_temp_path $work/body;
  proxy_temp_path $work/proxy;
  fastcgi_temp_path $work/fastcgi;
  uwsgi_temp_path $work/uwsgi;
  scgi_temp_path $work/scgi;
  server { listen 127.0.0.1:$port; root $work/files; }
}
CONF
chmod -R a+rX "$work"
taskset -c 0 nginx -c "$work/nginx.conf" 2> "$work/nginx.err" &
started+=("$!")
file=http://127.0.0.1:$port/page.json
until curl -sf -D "$work/head" -o "$work/copy" "$file"; do sleep 0.1; done
cmp -s "$work/copy" "$work/files/page.json"
nginx_tag=$(tr -d '\r' < "$work/head" | sed -n 's/^ETag: //p')
nginx_pid=$(pgrep -P "$!")

# Nanoseconds that a process was on a core.
busy() { cat /proc/"$1"/task/*/schedstat | awk '{ sum += $1 } END { printf "%.0f", sum }'; }

# NAME PID URL STATUS [TAG]: one line, also kept in a file.
measure() {
  local name=$1 pid=$2 url=$3 status=$4 tag=${5:-}
  local header=(-H 'Accept: */*')
  [ -z "$tag" ] || header+=(-H "If-None-Match: $tag")
  local got
  got=$(curl -s -o "$work/got" -w '%{http_code}' "${header[@]}" "$url")
  [ "$got" = "$status" ] || { echo "$name answers $got, not $status" >&2; exit 1; }
  local before after requests
  before=$(busy "$pid")
  taskset -c 1 wrk -t1 -c"$connections" -d"${seconds}s" "${header[@]}" "$url" > "$work/wrk"
  after=$(busy "$pid")
  requests=$(awk '/requests in/ { print $1 }' "$work/wrk")
  awk -v name="$name" -v n="$requests" -v s="$seconds" -v busy="$((after - before))" 'BEGIN {
    printf "%-12s %8.0f answers/s  %8.0f per second on the core  %5.2f µs each\n",
      name, n / s, n * 1e9 / busy, busy / n / 1e3 }' | tee -a "$work/results"
}

echo "page of $(stat -c %s "$work/files/page.json") bytes, $connections connections, $rounds rounds of $seconds s"
for _ in $(seq "$rounds"); do
  measure "broker 304" "$broker_pid" "$topic" 304 "$broker_tag"
  measure "nginx 304" "$nginx_pid" "$file" 304 "$nginx_tag"
  measure "broker 200" "$broker_pid" "$topic" 200
  measure "nginx 200" "$nginx_pid" "$file" 200
done

# The middle round of each.
median() {
  grep "^$1 " "$work/results" | awk -v column="$2" '{ print $column }' | sort -n |
    awk '{ values[NR] = $1 } END { print values[int((NR + 1) / 2)] }'
}
for status in 304 200; do
  awk -v status="$status" -v b="$(median "broker $status" 3)" -v n="$(median "nginx $status" 3)" \
    -v bc="$(median "broker $status" 5)" -v nc="$(median "nginx $status" 5)" 'BEGIN {
    printf "%s: broker %.2f x nginx by answers/s, %.2f x per second on the core\n",
      status, b / n, bc / nc }'
done
