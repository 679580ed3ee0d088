# needs: rg fdfind
rg -c define /usr/include/linux | sort | md5sum; fdfind -e h . /usr/include/linux | sort | md5sum
