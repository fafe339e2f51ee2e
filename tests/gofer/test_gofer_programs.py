"""File system semantics as ordinary programs meet them: each script runs natively and in the sandbox, once in a volume
(through the gofer to the host) and once over the overlay (the host's directory stays as it is).  What it prints and, for the
volume, what it leaves behind must be equal."""

import os
import shutil
import stat
import subprocess

import pytest

pytestmark = pytest.mark.slow

# what find(1) says of everything below, times left out
LIST = (
    r"find . -printf '%P|%y|%m|%U|%G|%n|%s|%l\n' | sed 's/^\([^|]*|d|.*|\)[0-9]*|\([0-9]*\)|$/\1dir|/' | LC_ALL=C sort"
)

SCRIPTS = {
    "list": LIST,
    "find": r"find . -name 'f*' -type f | LC_ALL=C sort; find . -newer src/file1 | wc -l; find . -empty | LC_ALL=C sort; find . -links +1 -type f | LC_ALL=C sort",
    "grep": "grep -r line src | LC_ALL=C sort | md5sum; grep -rl 'line 1$' . | LC_ALL=C sort",
    "tar": f"tar cf /tmp/a.tar src && mkdir out && tar xpf /tmp/a.tar -C out && (cd src; {LIST}) > /tmp/1; (cd out/src; {LIST}) | diff /tmp/1 - && tar df /tmp/a.tar && echo same; rm /tmp/a.tar /tmp/1",
    "cp": f"cp -a src copy && (cd src; {LIST}) > /tmp/1; (cd copy; {LIST}) | diff /tmp/1 - && diff -r --no-dereference src copy && echo same; rm /tmp/1; stat -c '%n %Y' copy/* | LC_ALL=C sort",
    "mv": f"mkdir a b; mv src a/; mv a/src b/other; mv -n b/other a; mv a c; mv c/other/file1 c/other/file2; rmdir b; {LIST}",
    "mv over": "echo new > n; mv n src/file1; cat src/file1; mkdir d e; touch e/x; mv -T d e; echo $?; mv -T src e; echo $?; mv e/x e/y; ls e",
    "rm": f"rm -r src; {LIST}; mkdir -p deep/$(seq -s/ 1 40); rm -r deep; ls -a",
    "links": "ln src/file1 hard; ln -s src/file1 soft; ln -s loop loop; cat loop; ln src/link hardlink; readlink hardlink soft loop; stat -c '%h %F' hard hardlink; rm src/file1; cat hard | wc -l; cat soft; readlink -f soft; ls -L soft",
    "modes": "umask 027; touch f; mkdir d; chmod 4711 f; chmod 1777 d; chmod g+s d; touch d/x; mkdir d/y; stat -c '%a %n' f d d/x d/y; chmod 0 f; test -r f; echo $?; chmod -R u=rwX,go= src; stat -c %a src src/file1",
    "chown": "touch f; chown 12:34 f; stat -c '%u:%g %a' f; chmod 6755 f; chown 56 f; stat -c '%u:%g %a' f; chgrp 7 f; ln -s f l; chown -h 9:9 l; stat -c '%u:%g' f l; mkdir d; chmod g+s d; chgrp 77 d; touch d/x; mkdir d/y; stat -c '%u:%g %a' d/x d/y",
    "touch": "touch -d '2001-02-03 04:05:06.123456789' f; stat -c '%x %y' f; touch -a -d @5 f; stat -c '%X %Y' f; touch -m -d @-5 f; stat -c '%X %Y' f; touch -h -d @77 src/link; stat -c %Y src/link; touch -r f g; stat -c '%X %Y' g; test f -ot src/file1; echo $?",
    "write": "for i in 1 2 3; do echo $i >> log; done; cat log; echo x > log; cat log; dd if=/dev/zero of=z bs=1000 count=3 seek=7 2>/dev/null; stat -c '%s' z; md5sum < z; truncate -s 5 z; truncate -s +100 z; stat -c %s z; : > z; stat -c %s z",
    "noclobber": "set -C; echo a > n; echo b > n; echo $?; cat n; echo c >| n; cat n",
    "editors": "sed -i 's/line/LINE/' src/file1; head -1 src/file1; sort -r -o src/file1 src/file1; head -1 src/file1; split -l 10 src/file1 part; ls part* | wc -l; cat part* | cmp - src/file1 && echo same; perl -pi -e 's/LINE/l/' src/file1; tail -1 src/file1",
    "compress": "gzip -k src/file1; gunzip -c src/file1.gz | cmp - src/file1 && echo same; xz -0 src/file2; xz -d src/file2.xz; md5sum src/file2; stat -c %a src/file2",
    "fifo": "mkfifo p; (echo through > p &); cat p; stat -c '%F %a' p; rm p; ls p",
    "specials": "mknod fifo p; stat -c '%F' fifo; ls -l /dev/null | cut -c1; cat < /dev/null; cp -a fifo fifo2; stat -c %F fifo2",
    "errors": "cat nosuch; cat src; ls src/file1/x; mkdir src; rmdir src; rm src; ln src x; touch src/file1/x; cat ''; mv src src/in; touch $(printf 'n%.0s' $(seq 256)); mkdir -p a; rmdir a/.; touch a/..; cd nosuch; echo > src",
    "names": r"touch 'a b' $'new\nline' $'\xff\xfe' -- -x '*' '…'; ls -b; find . -maxdepth 1 -print0 | LC_ALL=C sort -z | md5sum; rm -- -x '*' 'a b'; ls | wc -l",
    "many": "mkdir m; cd m; seq 1 1500 | xargs touch; ls | wc -l; ls | sort -n | md5sum; rm [1-4]*; ls | wc -l; find . -type f -delete; ls | wc -l",
    "unlinked": "exec 3<>f; echo data >&3; rm f; cat /proc/self/fd/3; ls f; exec 3>&-; mkdir d; cd d; rmdir ../d; ls; touch x; pwd -P",
    "lock": "exec 3>l; flock 3; (exec 4>l; flock -n 4; echo $?); flock -u 3; flock -n l echo free",
    "du": "du -s --apparent-size src; stat -f -c %l .; df . > /dev/null && echo df",
}

PYTHON = {
    "rename": """
import os
fd = os.open('f', os.O_RDWR|os.O_CREAT, 0o600); os.write(fd, b'one')
os.rename('f', 'g'); os.write(fd, b'two'); print(open('g').read(), os.fstat(fd).st_nlink)
open('h','w').write('other'); os.rename('h','g'); print(os.fstat(fd).st_nlink, os.pread(fd, 9, 0), open('g').read())
for a, b in (('g','src'),('src','g'),('src','src/in'),('nosuch','x'),('g','nosuch/x')):
    try: os.rename(a, b)
    except OSError as e: print(e.errno)
""",
    "append": """
import os
a = os.open('f', os.O_WRONLY|os.O_CREAT|os.O_APPEND, 0o600); b = os.open('f', os.O_WRONLY|os.O_APPEND)
for i in range(5): os.write(a, b'a%d' % i); os.write(b, b'b%d' % i)
os.pwrite(a, b'X', 0); print(open('f').read(), os.lseek(a, 0, 1))
""",
    "holes": """
import os
fd = os.open('f', os.O_RDWR|os.O_CREAT, 0o600)
os.pwrite(fd, b'x'*4096, 1<<20); os.ftruncate(fd, 1<<21)
print(os.fstat(fd).st_size, os.fstat(fd).st_blocks < 100, os.lseek(fd, 0, os.SEEK_DATA), os.lseek(fd, 1<<20, os.SEEK_HOLE))
os.posix_fallocate(fd, 0, 8192); print(os.pread(fd, 4, 0)); os.ftruncate(fd, 3); print(os.fstat(fd).st_size)
""",
    "mmap": """
import mmap, os
fd = os.open('f', os.O_RDWR|os.O_CREAT, 0o600); os.write(fd, b'.'*10000)
m = mmap.mmap(fd, 10000); m[5000:5005] = b'hello'; print(os.pread(fd, 7, 4999))
os.pwrite(fd, b'there', 9000); print(m[8999:9006]); m.flush(); p = mmap.mmap(fd, 10000, mmap.MAP_PRIVATE); p[0:1] = b'!'
print(os.pread(fd, 1, 0), m[0:1]); m.close(); p.close()
r = os.open('f', os.O_RDONLY)
try: mmap.mmap(r, 100, mmap.MAP_SHARED, mmap.PROT_WRITE)
except OSError as e: print(e.errno)
""",
    "xattr": """
import os
try: os.setxattr('src/file1', 'user.k', b'v')
except OSError as e: print('set', e.errno)
else:
    print(os.getxattr('src/file1', 'user.k'), os.listxattr('src/file1'))
    for n in ('user.none', 'user.'):
        try: os.getxattr('src/file1', n)
        except OSError as e: print(e.errno)
    try: os.setxattr('src/file1', 'user.k', b'w', os.XATTR_CREATE)
    except OSError as e: print(e.errno)
    os.removexattr('src/file1', 'user.k'); print(os.listxattr('src/file1'))
""",
    "opens": """
import os
def t(path, flags, mode=0o600):
    try: os.close(os.open(path, flags, mode)); print('ok')
    except OSError as e: print(e.errno)
t('src', os.O_RDWR); t('src', os.O_RDONLY|os.O_DIRECTORY); t('src/file1', os.O_RDONLY|os.O_DIRECTORY); t('src/link', os.O_RDONLY|os.O_NOFOLLOW)
t('src/link', os.O_PATH|os.O_NOFOLLOW); t('new', os.O_RDONLY|os.O_CREAT|os.O_EXCL, 0); t('new', os.O_WRONLY|os.O_CREAT|os.O_EXCL); t('new', os.O_WRONLY|os.O_TRUNC)
t('dangling', os.O_RDONLY); os.symlink('target', 'dangling'); t('dangling', os.O_RDONLY|os.O_CREAT|os.O_EXCL); t('dangling', os.O_RDWR|os.O_CREAT); print(sorted(os.listdir('.')))
t('src', os.O_CREAT|os.O_RDWR); t('', os.O_RDONLY); t('src/file1/', os.O_RDONLY); t('x/', os.O_CREAT|os.O_RDWR); t('.', os.O_RDWR|os.O_TMPFILE)
s = os.stat('new'); print(oct(s.st_mode), s.st_nlink, s.st_size)
""",
    "stat": """
import os
for p in ('src/file1','src/link','src','src/empty'):
    s = os.lstat(p); print(p, oct(s.st_mode), s.st_nlink if not os.path.isdir(p) else 0, s.st_uid, s.st_gid, s.st_size if not os.path.isdir(p) else 0, s.st_mtime_ns)
a, b = os.stat('src/file1'), os.stat('src/../src/file1'); print(a.st_ino == b.st_ino, a.st_dev == b.st_dev, os.stat('src').st_dev == a.st_dev)
inodes = {e.inode() for e in os.scandir('src')}; print(a.st_ino in inodes, len(inodes))
d = os.open('src', os.O_RDONLY); print(sorted(os.listdir(d))[:2], os.stat('file1', dir_fd=d).st_size); os.fsync(d)
before = os.stat('src/file1').st_mtime_ns; open('src/file1','a').write('x'); print(os.stat('src/file1').st_mtime_ns > before, os.stat('src/file1').st_size)
os.utime('src/file1', ns=(5, 10**18+7)); print(os.stat('src/file1').st_atime_ns, os.stat('src/file1').st_mtime_ns)
""",
    "sqlite": """
import sqlite3
c = sqlite3.connect('db'); c.execute('create table t (a integer primary key, b)')
for i in range(300): c.execute('insert into t (b) values (?)', ('x' * i,))
c.commit(); c.execute('delete from t where a % 2'); c.commit(); c.execute('vacuum'); c.close()
c = sqlite3.connect('db'); print(c.execute('select count(*), sum(length(b)) from t').fetchone(), c.execute('pragma integrity_check').fetchone())
c.execute('pragma journal_mode=wal'); c.execute('insert into t (b) values (1)'); c.commit(); print(c.execute('select count(*) from t').fetchone()); c.close()
""",
}

GIT = """
export GIT_AUTHOR_DATE='2020-01-01T00:00:00Z' GIT_COMMITTER_DATE='2020-01-01T00:00:00Z' HOME=/nonexistent GIT_CONFIG_NOSYSTEM=1
g() { git -c user.name=n -c user.email=e@e -c init.defaultBranch=main -c safe.directory='*' -c gc.auto=0 "$@"; }
g init -q . && g add src && g commit -qm one && g log --oneline && echo more >> src/file1 && g diff --stat && g commit -qam two
g checkout -q HEAD~1 && tail -1 src/file1 && g checkout -q main && g branch b && g mv src moved && g commit -qm three && g status --short
g gc -q && g fsck --no-progress && g clone -q . clone && (cd clone && g log --oneline && ls moved | wc -l) && g rm -rq moved && g stash -q && ls
"""


def make(directory):
    """The tree that every script begins with."""
    src = directory / "src"
    src.mkdir(parents=True)
    for i in (1, 2, 3):
        (src / f"file{i}").write_text("".join(f"line {n} of {i}\n" for n in range(i * 100)))
    (src / "empty").touch()
    (src / "exec").write_text("#!/bin/sh\necho ran\n")
    (src / "exec").chmod(0o755)
    (src / "sub" / "subsub").mkdir(parents=True)
    (src / "sub" / "subsub" / "deep").write_bytes(bytes(range(256)) * 512)
    (src / "link").symlink_to("sub/subsub/deep")
    (src / "dangling").symlink_to("nowhere")
    os.link(src / "file3", src / "sub" / "file3")
    os.chmod(src / "file2", 0o640)
    for parent, names, files in os.walk(src, topdown=False):
        for name in [*names, *files, "."]:
            os.utime(os.path.join(parent, name), ns=(10**18, 10**18 + 123), follow_symlinks=False)


def left(directory):
    """What a script left behind, as the host sees it."""
    found = {}
    for parent, names, files in os.walk(directory):
        for name in names + files:
            path = os.path.join(parent, name)
            s = os.lstat(path)
            relative = os.path.relpath(path, directory)
            content = None
            if stat.S_ISREG(s.st_mode) and ".git" not in relative and "db" != relative:
                with open(path, "rb") as file:
                    content = file.read()
            elif stat.S_ISLNK(s.st_mode):
                content = os.readlink(path)
            if ".git" not in relative:
                found[relative] = (
                    oct(s.st_mode),
                    s.st_uid,
                    s.st_gid,
                    0 if stat.S_ISDIR(s.st_mode) else s.st_nlink,
                    content,
                )
    return found


def natively(argv, directory):
    result = subprocess.run(
        argv, cwd=directory, capture_output=True, timeout=60, check=False, stdin=subprocess.DEVNULL,
        env={"PATH": os.environ["PATH"], "LC_ALL": "C.UTF-8", "TZ": "UTC"},
    )  # fmt: skip
    return result.stdout, result.stderr, result.returncode


def inside(stockade, argv, directory, *options):
    result = stockade(
        "do", "-T", "--cwd", str(directory), "-e", "PATH=" + os.environ["PATH"], "-e", "LC_ALL=C.UTF-8", "-e", "TZ=UTC",
        *options, "--", *argv, timeout=120,
    )  # fmt: skip
    return result.stdout, result.stderr, result.returncode


ALL = {
    **{name: ["bash", "-c", script] for name, script in SCRIPTS.items()},
    **{"python " + name: ["/usr/bin/python3", "-c", script] for name, script in PYTHON.items()},
    "git": ["bash", "-c", GIT],
}


@pytest.fixture(params=ALL)
def program(request):
    argv = ALL[request.param]
    if request.param == "git" and not shutil.which("git"):
        pytest.skip("needs git")
    return argv


def test_in_a_volume(stockade, program, tmp_path):
    """The same path natively and inside, one run after the other."""
    work = tmp_path / "work"
    make(work)
    expected = natively(program, work)
    expected_left = left(work)
    shutil.rmtree(work)
    make(work)
    assert inside(stockade, program, work, "--volume", str(work)) == expected
    assert left(work) == expected_left


def test_over_the_overlay(stockade, program, tmp_path):
    work = tmp_path / "work"
    make(work)
    before = left(work)
    got = inside(stockade, program, work)
    assert left(work) == before
    assert got == natively(program, work)
