# root: full
# timeout: 200
# git, sqlite3, ps and its kin, file, bc.
export LC_ALL=C HOME=/tmp TZ=UTC
cd /tmp && mkdir repo && cd repo
export GIT_AUTHOR_DATE='2020-01-01T00:00:00Z' GIT_COMMITTER_DATE='2020-01-01T00:00:00Z'
git init -q -b main . && git config user.name n && git config user.email e@e
for i in 1 2 3; do echo "line $i" >>file; git add file; git commit -q -m "commit $i"; done
git log --oneline; git checkout -q -b side HEAD~1; echo side >other; git add other; git commit -q -m side; git merge -q -m merge main; git log --graph --oneline | wc -l; git status --short; git fsck 2>&1 | head -n 2; git gc -q; git count-objects
git clone -q . ../clone && ls ../clone; git stash -q 2>&1; git grep -c line
sqlite3 /tmp/db 'create table t(x); insert into t values(1),(2),(3); select sum(x) from t; begin; delete from t; rollback; select count(*) from t;'
seq 100000 | sed 's/.*/insert into n values(&);/' | { echo 'create table n(x); begin;'; cat; echo 'commit; select count(*), sum(x) from n;'; } | sqlite3 /tmp/db2
bc <<<'scale=20; 4*a(1)' 2>/dev/null || true; bc -l <<<'4*a(1)'
file /bin/bash | cut -c1-40; file -b /etc/passwd
ps -o comm= -p $$; ps aux >/dev/null && echo ps; pgrep -x bash >/dev/null && echo pgrep; sleep 50 & pkill -P $$ sleep; wait $! 2>/dev/null; echo "pkill $?"; free >/dev/null && echo free; uptime >/dev/null && echo uptime; top -b -n 1 >/dev/null && echo top; vmstat >/dev/null 2>&1; pstree -A $$ | head -c 4; echo; pidof bash >/dev/null && echo pidof; killall -q nosuch; echo "killall $?"
less /etc/hostname | cat; xz --version | head -n 1 | cut -c1-5
