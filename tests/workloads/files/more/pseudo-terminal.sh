# needs: script
script -qc 'tty; stty size; echo hi; sleep 0.1; read x < /dev/null; ls --color=auto /etc | head -3' /dev/null
