# needs: rsync socat nc
mkdir a b; for i in $(seq 50); do echo $i > a/$i; done; rsync -a a/ b/; ls b | wc -l; (socat -u TCP-LISTEN:9395,bind=127.0.0.1,reuseaddr - &) ; sleep 0.3; echo over tcp | socat - TCP:127.0.0.1:9395; sleep 0.2; printf x | nc -N -U none; echo $?
