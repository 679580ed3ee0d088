# needs: python3 curl
python3 -m http.server 9377 --bind 127.0.0.1 >log 2>&1 & P=$!; for i in 1 2 3 4 5 6 7 8 9 10; do curl -s -o out http://127.0.0.1:9377/ && break; sleep 0.3; done; head -c 100 out; curl -s --parallel http://127.0.0.1:9377/[1-5] | md5sum; kill $P; wait $P; echo $?
