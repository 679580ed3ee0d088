# needs:
seq 1 300000; yes | head -n 100000 | md5sum; dd if=/dev/zero bs=1M count=20 2>/dev/null | sha1sum; head -c 5000000 /dev/urandom | gzip | wc -c | cut -c1
