# redis-server in the background, redis-cli against it through a unix socket; a snapshot.
set -eu
dir=$(pwd)
mkfifo log
redis-server --port 0 --unixsocket "$dir/socket" --dir "$dir" --save '' --daemonize no >log 2>&1 &
server=$!
exec 3<log
# Its own words say when it is ready.
while read -r -u 3 line; do
    case $line in
    *"ready to accept connections"*) break ;;
    esac
done
cat <&3 >server.log &
reader=$!
redis() { redis-cli -s socket "$@"; }
redis set name value
redis get name
for i in $(seq 5); do redis incr counter; done
redis rpush list a b c d
redis lrange list 0 -1
redis eval 'return redis.call("get", KEYS[1]) .. ARGV[1]' 1 name '!'
redis time | wc -l
printf 'set key%d value%d\n' $(seq 400) | redis | sort | uniq -c | tr -s ' '
redis randomkey
redis save
ls dump.rdb
redis bgsave
until redis info persistence | grep -q '^rdb_bgsave_in_progress:0'; do :; done
redis shutdown nosave
wait $server
echo "server $?"
exec 3<&-
wait $reader
grep -c 'DB saved on disk' server.log
