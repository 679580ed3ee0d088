# needs: perl
perl -MSocket -MTime::HiRes=time,usleep -MPOSIX -e 'print time," $$ ",rand,"\n"; socketpair(A,B,AF_UNIX,SOCK_STREAM,0); if(!fork){print A "hey\n"; exit 3} waitpid(-1,0); print $?>>8,"\n"; $SIG{ALRM}=sub{print "alarm\n"}; alarm 1; pause; @x=map{[$_,rand]}1..5000; @x=sort{$a->[1]<=>$b->[1]}@x; print scalar @x,"\n"; eval{local $SIG{__DIE__}; die "x\n"}; print $@'
