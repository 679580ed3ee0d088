# needs: man ss lscpu ps free uptime
man -P cat ls 2>/dev/null | head -3; locale -a | head -2; getent hosts localhost; id; date; uptime; free | wc -l; df / | wc -l; ps aux | wc -l; top -b -n1 | head -1 | wc -w; lscpu | wc -l; ss -tln | wc -l; nproc; dmesg 2>&1 | wc -l
