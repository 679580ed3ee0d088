# needs: gdb
gdb -batch -ex run /bin/true 2>&1 | tail -3
