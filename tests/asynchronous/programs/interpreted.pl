# Loops, hashes, regular expressions and sorting in Perl, with a timer.
use strict;
use Time::HiRes qw(setitimer ITIMER_REAL);
my $wanted = $ARGV[0] || 100;
my ($n, $x, $hash, $rounds) = (0, 0, 7, 0);
my %table;
$SIG{ALRM} = sub { $n++; $hash = ($hash * 31 + $x) % 1000000007; };
setitimer(ITIMER_REAL, 0.002, 0.002);
while ($n < $wanted) {
    $x++ for 1 .. 5000;
    $table{"k" . ($_ * 7 % 101)} += $_ for 1 .. 500;
    my $text = join ",", sort { $table{$a} <=> $table{$b} } keys %table;
    $x += () = $text =~ /k\d+3/g;
    $rounds++;
}
setitimer(ITIMER_REAL, 0);
print "$n $x $hash $rounds\n";
