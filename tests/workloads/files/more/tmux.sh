# needs: tmux
export TMUX_TMPDIR=$PWD TERM=xterm; tmux -f /dev/null new-session -d -s a 'sh -c "echo hello; sleep 0.2; tty; sleep 2"'; sleep 0.5; tmux list-sessions -F '#{session_name}'; tmux capture-pane -p -t a | head -2; tmux kill-server; echo $?
