# Perl: hashes in random order, sorting, regular expressions, sockets, fork, pipes, sleep, eval.
use strict;
use warnings;
use IO::Socket::INET;
use POSIX ":sys_wait_h";
use Time::HiRes qw(time usleep);
use File::Temp qw(tempfile);

$| = 1;
my %count;
for my $number (1 .. 5000) {
    my $word = "word" . ($number * 7919 % 97);
    $count{$word} += $number if $word =~ /^word(\d)\d?$/ && $1 % 2;
}
print join(" ", keys %count), "\n";    # another order in every run
print join(" ", map { "$_=$count{$_}" } sort { $count{$a} <=> $count{$b} } keys %count), "\n";
printf "%d %.6f %s\n", $$, time, rand;
usleep(500);

my ($handle, $name) = tempfile(UNLINK => 1);
print $handle "line $_\n" for 1 .. 1000;
close $handle;
open(my $in, "<", $name) or die;
my $length = 0;
$length += length while <$in>;
close $in;
print "length $length of $name\n";

my $server = IO::Socket::INET->new(Listen => 5, LocalAddr => "127.0.0.1") or die "socket: $@";
my $port = $server->sockport;
my $child = fork;
die unless defined $child;
if (!$child) {
    my $client = IO::Socket::INET->new(PeerAddr => "127.0.0.1", PeerPort => $port) or die;
    print $client "number $_\n" for 1 .. 50;
    shutdown($client, 1);
    my $answer = <$client>;
    exit($answer eq "thanks\n" ? 3 : 1);
}
my $connection = $server->accept;
my $lines = 0;
$lines++ while <$connection>;
print $connection "thanks\n";
close $connection;
waitpid($child, 0);
printf "port %d lines %d status %d\n", $port, $lines, WEXITSTATUS($?);

print "backquotes ", `echo \$\$`;
local $SIG{ALRM} = sub { die "alarm\n" };
eval { alarm 1; select(undef, undef, undef, 100); };
print "died: $@";
local $SIG{USR1} = sub { print "signal\n" };
kill USR1 => $$ for 1 .. 3;
exit 6;
