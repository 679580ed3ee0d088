# redis-server under redis-benchmark, with a save in the background while it works.
set -eu
landings=${1:-25}
dir=$(mktemp -d)
mkfifo "$dir/log"
redis-server --port 0 --unixsocket "$dir/socket" --dir "$dir" --save '' >"$dir/log" 2>&1 &
server=$!
exec 3<"$dir/log"
# Its own words say when it is ready.
while read -r -u 3 line; do
    case $line in
    *"ready to accept connections"*) break ;;
    esac
done
cat <&3 >/dev/null &
reader=$!
redis() { redis-cli -s "$dir/socket" "$@"; }
redis-benchmark -s "$dir/socket" -n $((landings * 40)) -c 8 -P 4 -r 1000 -q -t set,get,incr,lpush,zadd >"$dir/report" &
benchmark=$!
until redis info persistence | grep -q '^rdb_bgsave_in_progress:1'; do
    redis bgsave >/dev/null
done
wait $benchmark
until redis info persistence | grep -q '^rdb_bgsave_in_progress:0'; do :; done
redis info persistence | grep '^rdb_last_bgsave_status'
redis dbsize
redis info stats | grep -E '^total_(commands|connections)' | tr -d '\r'
redis shutdown nosave
wait $server
exec 3<&-
wait $reader
rm -r "$dir"
