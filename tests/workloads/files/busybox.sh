# A static multi-call binary: its shell, its tools, its network.
set -eu
i=0
while [ $i -lt 20 ]; do
    echo "line $i"
    i=$((i + 1))
done | busybox sed 's/1/one/g' | busybox sort -r | busybox awk 'NR % 5 == 0' | busybox md5sum
busybox seq 1 3000 >numbers
busybox gzip -k numbers
busybox gunzip -c numbers.gz | busybox wc
busybox tar cf all.tar numbers numbers.gz
busybox tar tf all.tar
busybox find . -type f | busybox sort
busybox date +%s%N
echo $$
busybox sh -c 'exit 7' || echo "status $?"
