# needs: php
php -r 'echo random_int(1,1000000), " ", microtime(true), " ", getmypid(), "\n"; $a=range(1,1000); usort($a, fn($x,$y)=>$y-$x); echo json_encode(["a"=>1]),"\n"; echo shell_exec("date +%N");'
