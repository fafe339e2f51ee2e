# root: min
# timeout: 120
# Two hundred short-lived processes in a row, a hundred at once, deep trees, pipes of many.
for i in $(seq 1 200); do /bin/true; done; echo two hundred
for i in $(seq 1 100); do sleep 0.2 & done; wait; echo a hundred at once
for i in $(seq 1 100); do (exit $((i % 3))) & p[i]=$!; done; n=0; for i in $(seq 1 100); do wait ${p[i]}; n=$((n + $?)); done; echo "codes add up to $n"
deep() { if [ "$1" -gt 0 ]; then (deep $(($1 - 1))); else echo bottom; fi; }
deep 30
p='cat'; for i in $(seq 1 20); do p="$p | cat"; done; echo through | eval "$p"
seq 300 | xargs -P 8 -n 1 sh -c 'exit 0'; echo "xargs $?"
ls /proc >/tmp/list; grep -c '^[0-9]' /tmp/list
