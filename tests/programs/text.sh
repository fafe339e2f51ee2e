# root: min
# timeout: 200
# find, grep, sed, awk over the whole root.
export LC_ALL=C
echo "--- find"
find / -xdev -not -path '/proc*' -not -path '/sys*' -not -path '/dev*' -not -path '/tmp*' -not -path '/programs*' | sort | md5sum
find /usr -type f | wc -l
find /usr/share -name '*.gz' -size +10k | sort | head -n 3
seq 1 2000 | (sleep 0.2; exec sort) | true; echo "${PIPESTATUS[@]}"
find /etc -maxdepth 1 -type l -printf '%f %l\n' | sort
find /var/lib/dpkg -newer /etc/hostname | wc -l
find / -xdev -perm -4000 | sort
echo "--- grep"
grep -r debian /etc 2>/dev/null | sort | md5sum
grep -rl 'GNU General Public' /usr/share/common-licenses | sort
grep -c . /etc/passwd; grep -n root /etc/passwd; grep -v nologin /etc/passwd; grep -E '^(a|b)' /etc/group; grep -w -o 'bin' /etc/passwd | wc -l
echo "--- sed and awk"
sed -n '1,3p;$p' /etc/passwd; sed 's/:/ /g;s/root/ROOT/' /etc/passwd | head -n 1; sed -i.bak 's/a/b/' /tmp/none 2>&1; cp /etc/group /tmp/group; sed -i.bak 's/root/toor/' /tmp/group; diff /tmp/group /tmp/group.bak
awk -F: '{ n[$7]++ } END { for (s in n) print s, n[s] }' /etc/passwd | sort
awk 'BEGIN { for (i = 1; i <= 5; i++) s += i * i; print s; "echo from a command" | getline x; print x; print "to a pipe" | "cat" }'
awk 'BEGIN { printf "%.4f %s\n", atan2(1, 1) * 4, toupper("awk"); system("exit 3"); print length("abc") }'
