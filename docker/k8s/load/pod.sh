#!/bin/sh
# One pod of the load: waits until load_pods.py has written the common start into its file, in
# milliseconds since 1970, and runs wrk from that moment on. histogram.lua prints the result.
set -eu
file=${START_FILE:-/start/at}

ulimit -n "$(ulimit -Hn)"
until [ -s "$file" ]; do sleep 0.05; done
at=$(cat "$file")
left=$((at - $(date +%s%3N)))
if [ "$left" -gt 0 ]; then
    sleep "$((left / 1000)).$(printf %03d $((left % 1000)))"
fi
STARTED_MS=$(date +%s%3N)
export STARTED_MS
exec wrk -t1 -c"$CONNECTIONS" -d"${SECONDS_OF_LOAD}s" --timeout 30s \
    -s "$(dirname "$0")/histogram.lua" "$TARGET"
