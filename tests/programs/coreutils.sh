# root: min
# GNU coreutils in ordinary use.
export LC_ALL=C TZ=UTC
mkdir -p /tmp/c && cd /tmp/c
echo "--- files"
printf 'b 2\na 1\nc 3\n' >f
cat f; tac f; nl f; head -n 1 f; tail -n 1 f; sort f; sort -k2 -n -r f; wc f; cut -d' ' -f2 f; paste -sd, f; tr a-z A-Z <f
uniq -c <<<$'x\nx\ny'; comm <(sort f) <(echo "a 1"); join <(sort f) <(echo "a z"); fold -w 3 <<<abcdefgh; expand <<<$'a\tb'; fmt -w 10 <<<"some words to fill"
split -l 1 f part-; ls part-*; csplit -s f 2; ls xx*; rm part-* xx*
echo "--- numbers"
seq -s' ' 5; factor 360; expr 6 \* 7; numfmt --to=iec 1048576; od -An -tx1 f | head -n 1; base64 f; basenc --base16 f; cksum f; md5sum f; sha1sum f; sha256sum f; sha512sum f | cut -c1-20; b2sum f | cut -c1-20; sum f
shuf -i 1-10 | sort -n | tr '\n' ' '; echo
echo "--- copying, moving, linking"
cp f g; cp -a f h; mv g i; ln f hard; ln -s f soft; ls -1; stat -c '%n %s %a %h %F' *; readlink soft; realpath soft; cmp f h && echo same
install -m 640 f installed; stat -c %a installed; mkdir -p d/e/f; cp -r d d2; find d2; rmdir -p d/e/f; ls d 2>&1; mktemp -u | cut -c1-5; mkfifo fifo; test -p fifo && echo fifo
(cat fifo) & echo through the fifo >fifo; wait
touch -d '2020-01-02 03:04:05' dated; stat -c %y dated; date -r dated +%s; truncate -s 1M big; stat -c %s big; du -k --apparent-size big; dd if=/dev/zero of=zeros bs=1k count=10 2>/dev/null; stat -c %s zeros; shred -u zeros; ls zeros 2>&1
chmod u=rwx,go= f; stat -c %a f; chown 1:2 f; stat -c '%u %g' f; chgrp 3 f; stat -c %g f; sync
echo "--- names"
basename /a/b.c .c; dirname /a/b.c; pathchk ok && echo ok; pwd; printf '%q\n' "a b"; echo -e 'a\tb'; true; false; echo $?; test 1 -lt 2 && echo less; [ -s f ] && echo nonempty
echo "--- the system"
uname -s; nproc >/dev/null && echo nproc; id -u; id -un; whoami; groups; logname 2>/dev/null; hostname >/dev/null && echo hostname; tty; env -i A=1 env; printenv A; df / >/dev/null && echo df; arch; users; who; nice; nice -n 5 nice; uptime >/dev/null 2>&1; date -u -d @0 +%F; stty size 2>&1 | head -c 20; echo
echo "--- processes"
timeout 0.1 sleep 5; echo $?; timeout -s KILL 0.1 sleep 5; echo $?; sleep 0.01; nohup true 2>/dev/null; echo $?; stdbuf -o0 echo buffered; yes | head -c 10000000 | wc -c; tee a b <<<x; cat a b; seq 100000 | tail -n 1; seq 1 1000 | xargs -n 100 echo | wc -l; seq 4 | xargs -P 4 -I{} sh -c 'exit 0'; echo $?; chroot / /bin/echo chrooted; setsid echo setsid
ls -la --time-style=+%Y /etc/passwd | cut -d' ' -f1; ls -d /usr/*; ls / >/dev/null; dircolors >/dev/null; vdir >/dev/null; dir >/dev/null; link f linked; unlink linked; tsort <<<"a b b c"; ptx <<<"a word" | wc -l; pr -l 5 -t <<<x; pinky 2>/dev/null | head -n 0
