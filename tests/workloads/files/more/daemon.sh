# needs: setsid
cat > d.sh <<'X'
trap 'echo term; exit 0' TERM
while :; do date +%N >> t; sleep 0.05; done
X
(setsid bash d.sh > o 2>&1 < /dev/null & echo $! > pid); sleep 0.4; kill $(cat pid); sleep 0.2; cat o; wc -l < t | wc -l
