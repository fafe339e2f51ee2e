# row: git, clone of a local repository, status, log and diff in it
# quick: yes
. /mnt/macro/lib.sh
export GIT_AUTHOR_NAME=a GIT_AUTHOR_EMAIL=a@b GIT_COMMITTER_NAME=a GIT_COMMITTER_EMAIL=a@b
cp -r /bench/src/hello /tmp/repository
cd /tmp/repository
git init -q .
git add -A
git commit -qm first
sed -i 's/the/The/' po/*.po
git commit -qam second
work() {
    git clone -q --no-hardlinks /tmp/repository /var/tmp/clone
    cd /var/tmp/clone
    git status --short
    git log --stat | wc -l
    git diff HEAD~1 | wc -l
}
timed work
