# needs: busybox
busybox sh -c 'for i in 1 2 3; do echo $i; done | busybox sort -r; busybox date; busybox ls /etc | busybox wc -l; busybox ps | busybox wc -l'; busybox httpd -f -p 127.0.0.1:9321 -h /etc & sleep 0.2; busybox wget -q -O - http://127.0.0.1:9321/hostname; kill %1; wait
