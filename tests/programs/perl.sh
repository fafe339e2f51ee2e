# root: min
# Perl: fork, pipes, signals, sockets, files.
perl -e 'use strict; pipe(my $r, my $w); my $pid = fork(); if (!$pid) { close $r; print $w "from the child $_\n" for 1..3; exit 5 } close $w; print while <$r>; waitpid($pid, 0); print "status ", $? >> 8, "\n"'
perl -e 'print `echo command`; system("sh", "-c", "exit 3"); print $? >> 8, "\n"; open(my $p, "-|", "seq 3") or die; print reverse <$p>; open(my $o, "|-", "cat") or die; print $o "to a pipe\n"; close $o'
perl -e '$SIG{ALRM} = sub { die "alarm\n" }; eval { alarm 1; select(undef, undef, undef, 5) }; print $@'
perl -e '$SIG{USR1} = sub { $n++ }; kill USR1 => $$ for 1..3; print "$n\n"; local $SIG{CHLD} = "IGNORE"; my @k = map { my $p = fork(); exit 0 if !$p; $p } 1..10; 1 while wait() > 0; print "all gone\n"'
perl -MSocket -e 'socketpair(my $a, my $b, AF_UNIX, SOCK_STREAM, 0) or die; syswrite($a, "over a socket\n"); sysread($b, $_, 100); print'
perl -e 'my $t = time; select(undef, undef, undef, 1.1); print time - $t >= 1 ? "slept\n" : "not\n"'
perl -MFile::Temp=tempfile -e '($f, $n) = tempfile(); print $f "x" x 100000; close $f; print -s $n, "\n"; unlink $n; print -e $n ? "there" : "gone", "\n"'
perl -MPOSIX -e 'print join(" ", (POSIX::uname())[0, 4]), "\n"; print POSIX::strftime("%Y", gmtime(0)), "\n"; my $p = POSIX::sysconf(POSIX::_SC_PAGESIZE()); print "$p\n"'
perl -e 'my %h = map { $_ => $_ ** 2 } 1..1000; my $s = 0; $s += $h{$_} for keys %h; print "$s\n"; print join(",", sort { $a <=> $b } map { $_ * 2 } grep { $_ % 2 } 1..9), "\n"'
