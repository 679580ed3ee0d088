# needs: nginx curl
mkdir -p n/logs; cat > n.conf <<X
worker_processes 2; daemon off; pid $PWD/n/pid; error_log $PWD/n/err; events {} http { access_log $PWD/n/acc; client_body_temp_path $PWD/n/a; proxy_temp_path $PWD/n/b; fastcgi_temp_path $PWD/n/c; uwsgi_temp_path $PWD/n/d; scgi_temp_path $PWD/n/e; server { listen 127.0.0.1:9388; root /etc; } }
X
nginx -c $PWD/n.conf -p $PWD/n & P=$!; for i in 1 2 3 4 5 6 7 8 9; do curl -s http://127.0.0.1:9388/hostname && break; sleep 0.2; done; for i in 1 2 3; do curl -s http://127.0.0.1:9388/passwd | md5sum; done; curl -s http://127.0.0.1:9388/none | head -1; kill -HUP $P; sleep 0.2; curl -s http://127.0.0.1:9388/hostname; kill -QUIT $P; wait $P; echo $?
