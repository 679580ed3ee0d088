# needs: vmstat watch flock taskset chrt
vmstat 1 1 | wc -l; lsof -p $$ 2>/dev/null | wc -l; pgrep -c bash; pstree $$ 2>/dev/null| wc -l; watch -n1 -g true & sleep 0.1; kill %1; wait; timeout 0.2 sleep 5; echo $?; nohup true; nice -n 5 nice; setsid echo x; flock f echo locked; mktemp; stdbuf -oL echo y; ionice; taskset -p $$ | wc -w; chrt -p $$ | wc -l
