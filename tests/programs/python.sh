# root: full
# timeout: 200
# CPython: threads, subprocess, multiprocessing, asyncio, signal, mmap, sqlite3, ctypes.
cd /tmp
python3 - <<'END'
import asyncio, ctypes, concurrent.futures, json, mmap, multiprocessing, os, queue, select, signal, socket, sqlite3, subprocess, sys, tempfile, threading, time

print("--- threads")
lock, total = threading.Lock(), 0
def add():
    global total
    for _ in range(1000):
        with lock:
            total += 1
threads = [threading.Thread(target=add) for _ in range(8)]
[t.start() for t in threads]; [t.join() for t in threads]
print(total)
q = queue.Queue()
threading.Thread(target=lambda: [q.put(i) for i in range(5)]).start()
print([q.get(timeout=5) for _ in range(5)])
event = threading.Event()
threading.Timer(0.05, event.set).start()
print(event.wait(5))
with concurrent.futures.ThreadPoolExecutor(4) as pool:
    print(sum(pool.map(lambda x: x * x, range(100))))

print("--- subprocess")
print(subprocess.run(["echo", "hello"], capture_output=True, text=True).stdout.strip())
print(subprocess.run("cat; exit 3", shell=True, input=b"in", capture_output=True))
p = subprocess.Popen(["cat"], stdin=subprocess.PIPE, stdout=subprocess.PIPE)
print(p.communicate(b"x" * 200000)[0].count(b"x"), p.returncode)
try:
    subprocess.run(["sleep", "10"], timeout=0.1)
except subprocess.TimeoutExpired as e:
    print("timeout")
try:
    subprocess.run(["/none"])
except FileNotFoundError as e:
    print(e.errno)
p = subprocess.Popen(["sleep", "100"]); p.kill(); print(p.wait())

print("--- multiprocessing")
def square(x):
    return x * x
if True:
    with multiprocessing.Pool(3) as pool:
        print(pool.map(square, range(10)))
    v = multiprocessing.Value("i", 0)
    def inc(v):
        for _ in range(100):
            with v.get_lock():
                v.value += 1
    ps = [multiprocessing.Process(target=inc, args=(v,)) for _ in range(4)]
    [p.start() for p in ps]; [p.join() for p in ps]
    print(v.value, [p.exitcode for p in ps])
    a, b = multiprocessing.Pipe()
    p = multiprocessing.Process(target=lambda c: c.send({"k": [1, 2]}), args=(b,)); p.start(); print(a.recv()); p.join()
    from multiprocessing import shared_memory
    s = shared_memory.SharedMemory(create=True, size=100); s.buf[0] = 7; t = shared_memory.SharedMemory(s.name); print(t.buf[0]); t.close(); s.close(); s.unlink()

print("--- asyncio")
async def worker(n):
    await asyncio.sleep(0.01 * n)
    return n
async def main():
    print(await asyncio.gather(*(worker(n) for n in range(5))))
    p = await asyncio.create_subprocess_exec("echo", "async child", stdout=asyncio.subprocess.PIPE)
    print((await p.communicate())[0], p.returncode)
    try:
        await asyncio.wait_for(asyncio.sleep(5), 0.05)
    except asyncio.TimeoutError:
        print("timed out")
    server = await asyncio.start_unix_server(lambda r, w: (w.write(b"served"), w.close()), "/tmp/sock")
    r, w = await asyncio.open_unix_connection("/tmp/sock")
    print(await r.read()); w.close(); server.close()
asyncio.run(main())

print("--- signal")
hits = []
signal.signal(signal.SIGUSR1, lambda *a: hits.append(1))
os.kill(os.getpid(), signal.SIGUSR1); print(hits)
signal.signal(signal.SIGALRM, lambda *a: hits.append(2)); signal.setitimer(signal.ITIMER_REAL, 0.02); time.sleep(0.1); print(hits)
print(signal.sigtimedwait([signal.SIGUSR2], 0.01))
r, w = os.pipe(); os.set_blocking(w, False); signal.set_wakeup_fd(w); os.kill(os.getpid(), signal.SIGUSR1); print(os.read(r, 1)); signal.set_wakeup_fd(-1)

print("--- mmap")
with open("/tmp/map", "wb+") as f:
    f.truncate(8192)
    m = mmap.mmap(f.fileno(), 8192); m[0:5] = b"hello"; m.flush(); f.seek(0); print(f.read(5)); m.resize(16384); print(len(m)); m.close()
m = mmap.mmap(-1, 4096)
if os.fork() == 0:
    m[0:1] = b"c"; os._exit(0)
os.wait(); print(m[0:1])

print("--- sqlite3")
db = sqlite3.connect("/tmp/test.db")
db.execute("pragma journal_mode=wal"); db.execute("create table t(a integer primary key, b text)")
with db:
    db.executemany("insert into t(b) values(?)", ((f"row {i}",) for i in range(5000)))
print(db.execute("select count(*), max(b) from t").fetchone(), db.execute("pragma integrity_check").fetchone())
other = sqlite3.connect("/tmp/test.db", timeout=0.1); db.execute("begin immediate")
try:
    other.execute("begin immediate")
except sqlite3.OperationalError as e:
    print(e)
db.rollback(); db.close(); other.close()

print("--- ctypes")
libc = ctypes.CDLL(None, use_errno=True)
print(libc.abs(-5), libc.strlen(b"four"), libc.open(b"/none", 0), ctypes.get_errno())
call = ctypes.CFUNCTYPE(ctypes.c_int, ctypes.POINTER(ctypes.c_int), ctypes.POINTER(ctypes.c_int))(lambda a, b: a[0] - b[0])
array = (ctypes.c_int * 5)(5, 3, 1, 4, 2); libc.qsort(array, 5, 4, call); print(list(array))

print("--- others")
a, b = socket.socketpair(); a.send(b"x"); print(select.select([b], [], [], 1)[0] == [b], b.recv(1))
print(json.loads(json.dumps({"a": 1})), len(os.urandom(8)), os.cpu_count() > 0, os.path.exists("/proc/self/status"))
with tempfile.TemporaryDirectory() as d:
    open(d + "/f", "w").write("x"); print(os.listdir(d))
print(os.path.exists(d), sys.version_info[:2])
END
python3 -m compileall -q /usr/lib/python3/dist-packages >/dev/null 2>&1; echo "compileall $?"
python3 -c 'import unittest, http, email, xml.dom, decimal; print("imports")'
