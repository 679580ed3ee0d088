# needs: expect
expect -c 'spawn bash --norc; send "echo a\$((1+1))b\r"; expect "a2b"; send "stty -a | head -1\r"; expect "speed"; send "exit\r"; expect eof'
