# needs: jq tclsh guile gawk
echo '{"a":[1,2,{"b":3}]}' | jq '.a[2].b'; tclsh <<< 'puts [clock seconds]; puts [exec echo hi]; after 10; puts [expr rand()]'; guile -c '(display (random 100 (random-state-from-platform))) (newline)'; gawk 'BEGIN{srand(); print rand(), systime(); "date" | getline x; print x}'
