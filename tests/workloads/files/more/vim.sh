# needs: vim.tiny script
TERM=xterm script -qc "vim.tiny -u NONE -c 'normal ihello' -c 'wq' f.txt" /dev/null | wc -c; cat f.txt
