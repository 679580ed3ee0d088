# needs: tar zstd xz
tar cf t.tar /usr/include/linux 2>/dev/null; zstd -q -T2 t.tar; zstd -dc t.tar.zst | md5sum; xz -T2 -0 --block-size=1MiB -k t.tar; xz -T2 -dc t.tar.xz | md5sum; tar xf t.tar; find . | wc -l
