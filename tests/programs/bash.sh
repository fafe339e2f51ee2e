# root: min
# Bash itself: pipelines, here-documents, traps, job control, process substitution, arrays, coprocesses.
set -u
cd /tmp
echo "--- pipelines"
seq 1 20 | grep 1 | sort -rn | head -n 3
false | true; echo "status ${PIPESTATUS[*]}"
set -o pipefail; false | true; echo "pipefail $?"; set +o pipefail
yes | head -n 2
echo "--- here-documents"
cat <<END
one $((1 + 1)) three
END
cat <<'END'
no $expansion
END
cat <<<"here string"
echo "--- expansions"
x=stockade; echo "${x^^} ${x:2:3} ${x/o/0} ${#x} ${y:-default}"
echo {a..e} {1..10..3}
a=(one two three); echo "${a[@]:1} ${#a[@]}"
declare -A m=([k]=v [z]=w); echo "${m[k]}${m[z]}"
printf '%05d|%-6s|%x\n' 42 ab 255
echo "--- traps"
trap 'echo got USR1' USR1
kill -USR1 $$
trap 'echo leaving' EXIT
(trap 'echo inner' EXIT; exit 3); echo "subshell $?"
trap 'echo error on line' ERR; false; trap - ERR
echo "--- functions and recursion"
fib() { (($1 < 2)) && echo "$1" || echo $(($(fib $(($1 - 1))) + $(fib $(($1 - 2))))); }
fib 8
echo "--- process substitution"
diff <(seq 1 3) <(seq 2 4)
paste <(echo a; echo b) <(echo c; echo d)
tee >(wc -c >count) <<<"12345" >/dev/null; sleep 0.2; cat count
echo "--- background and wait"
sleep 0.05 & sleep 0.1 & wait; echo "waited $?"
(exit 7) & wait $!; echo "code $?"
for i in 1 2 3; do (sleep 0.$((i * 2)); exit $i) & done
wait -n; echo "first $?"; wait
sleep 100 & pid=$!; sleep 0.1; kill $pid; wait $pid; echo "killed $?"
echo "--- job control"
set -m
sleep 100 &
kill -STOP %1; sleep 0.1; jobs | sed 's/  */ /g'
bg %1 >/dev/null; jobs | sed 's/  */ /g'
kill %1; wait %1; echo "job $?"
set +m
echo "--- coprocess"
coproc CAT { cat; }
echo "through a coprocess" >&"${CAT[1]}"; read -r line <&"${CAT[0]}"; echo "$line"
exec {CAT[1]}>&-
wait
echo "--- redirections"
echo out >file; echo more >>file; cat <file; wc -l <file
{ echo to stderr >&2; } 2>&1 | sed 's/^/piped: /'
exec 5<file; read -u 5 -r l; echo "$l"; exec 5<&-
ls /none 2>/dev/null || echo "ls failed with $?"
: >/none/file || echo "redirection failed"
echo "--- tests and limits"
[ -d /tmp ] && [[ abc == a* ]] && echo both
ulimit -n 100; ulimit -n
umask 077; touch private; stat -c %a private
command -v nosuchcommand || echo "not found"
nosuchcommand 2>/dev/null; echo "status $?"
/tmp 2>/dev/null; echo "status $?"
select z in p q; do echo "chose $z"; break; done <<<2 2>/dev/null
echo "$BASHPID" >/dev/null; [ "$BASHPID" = "$$" ] && echo same
exit 0
