# needs: gdb
gdb --version | head -1; gdb -batch -ex 'print 1+1' -ex 'info files' /bin/true | head -3
