# What shells do: pipelines, subshells, here-documents, traps, job control, process substitution.
set -u

seq 1 2000 | sort -rn | awk '$1 % 7 == 0 {sum += $1} END {print "sum", sum}'
echo "status ${PIPESTATUS[*]}"
false | true | exit 3 | true
echo "status ${PIPESTATUS[*]}"

value=outer
(value=inner; cd /; echo "$value in $PWD"; exit 7)
echo "subshell $? leaves $value"

cat <<END | tr a-z A-Z
here $value
$(echo nested "$(echo deeper)")
END
cat <<'END'
no $expansion
END
wc -c <<<"a here-string"
diff <(seq 1 5) <(seq 2 6) | grep -c '^[<>]'

trap 'echo caught USR1' USR1
kill -USR1 $$
trap 'echo caught CHLD >&2' CHLD
(exit 4) &
wait $!
echo "waited $?"
trap - CHLD

mkfifo ready
set -m
sh -c 'trap "echo continued" CONT; echo >ready; kill -STOP $$; echo >ready; exec sleep 1000' &
job=$!
read -r <ready
wait $job
echo "stopped $?"
jobs | sed 's/ .*//'
bg %1 >made.txt
read -r <ready
kill -TERM %1
wait %1
echo "killed $?"
set +m

# Shells find out whether background writers are done by their pipe.
mkfifo queue
for i in 1 2 3; do
    (read -r line <queue; echo "reader $line") &
    echo "$i" >queue
    wait $!
done
rm queue ready

trap 'echo leaving with $?' EXIT
words=(one two three)
declare -A map=([a]=1 [b]=2)
echo "${#words[@]} ${words[-1]} ${map[b]} ${value^^} ${value/out/inn} $((7 ** 3 % 10))"
function recurse { (($1 == 0)) || { echo -n "$1 "; recurse $(($1 - 1)); }; }
recurse 10
echo
for ((i = 0; i < 30; i++)); do
    /bin/true
    output=$(/bin/echo $i)
done
echo "last $output"
read -r -t 0.01 nothing < <(exec 5>&1; exec sleep 0.05) && echo read || echo "timed out"
printf '%s\n' *.txt b a c | sort | paste -sd,
echo "to a file" >made.txt
exec 4<>made.txt
read -r -u 4 back
echo "$back"
exec 4>&-
command -v nothing-of-this-name || echo "not found $?"
eval 'echo ${BASH_VERSION:0:1} >/dev/null; echo evaluated'
exit 5
