# root: debug
# timeout: 120
# strace, ltrace and python-ptrace.
export LC_ALL=C HOME=/tmp TZ=UTC
mkdir /tmp/work && cd /tmp/work
cat >main.c <<'EOF'
#include <pthread.h>
#include <stdio.h>
#include <stdlib.h>
#include <unistd.h>
static void *work(void *argument) { return argument; }
int main(void)
{
    pthread_t threads[3];
    for (int i = 0; i < 3; i++) {
        pthread_create(&threads[i], NULL, work, NULL);
        pthread_join(threads[i], NULL);
    }
    printf("%d\n", abs(-5));
    return atoi("0");
}
EOF
gcc -O0 -o main main.c -pthread || exit 1

# Numbers of processes and addresses differ between any two runs.
trace() { strace -o log "$@"; sed -E -e 's/^[0-9]+ +//' -e 's/0x[0-9a-f]{6,}/ADDR/g' -e 's/(kill\(|pid=)[0-9]+/\1N/g' log; }
echo "# strace"
trace -e trace=openat,write,close,execve cat /etc/hostname | tail -n 5 | sed 's/ADDR.*//'
trace -e trace=fork,vfork,clone,wait4,exit_group -f sh -c '/bin/true; (exit 3); exit 2' | grep -c 'exited with'
trace -c true >/dev/null; echo "strace $?"
trace -e trace=kill,rt_sigreturn sh -c 'trap "echo got" USR1; kill -USR1 $$; kill -TERM $$'; echo "strace $?"
trace -e inject=getuid:retval=7 -e trace=getuid id -ru
strace -o log -e inject=openat:error=EACCES:when=3+ cat /etc/hostname; echo "cat $?"
trace -e inject=close:signal=SIGUSR1:when=2 -e trace=close true | tail -n 2; echo "strace $?"
trace -f -e trace=clone3 ./main | grep -c 'exited with'
sleep 30 & sleep 0.1; timeout -s INT 1 strace -p $! -o log 2>/dev/null; sed 's/{.*//' log; kill $!; wait $! 2>/dev/null; echo "sleep $?"
sh -c 'while :; do :; done' & sleep 0.1; timeout -s INT 1 strace -p $! -o log 2>/dev/null; cat log; kill $!; wait $! 2>/dev/null; echo "spinner $?"
strace -D -o log true; for i in 1 2 3 4 5 6 7 8 9 10; do grep -q exited log && break; sleep 0.1; done; grep -c exit_group log
strace -k -o log -e trace=exit_group true; grep -c ' > .*exit' log
strace --seccomp-bpf -f -o log -e trace=exit_group true 2>/dev/null; tail -n 1 log | sed -E 's/^[0-9]+ +//'
strace -f -q -o log -e signal=none python3 -c 'import subprocess; print(subprocess.check_output(["echo", "hi"]))'; grep -c 'exited with 0' log
trace -e trace=none -e signal=all sh -c '(sleep 0.1; kill -STOP $$; sleep 0.1; kill -CONT $$) & wait' | grep -c 'stopped by'

echo "# ltrace"
ltrace -o log -e abs+atoi ./main; sed -E 's/0x[0-9a-f]+/ADDR/g' log
ltrace -f -o log -e atoi -- sh -c './main; ./main'; grep -c atoi log

echo "# python-ptrace"
cat >tracer.py <<'EOF'
import signal
from ptrace.debugger import PtraceDebugger
from ptrace.debugger.child import createChild
debugger = PtraceDebugger()
process = debugger.addProcess(createChild(["/tmp/work/main"], False, None), True)
print(process.is_attached, process.getreg("orig_rax") >= 0)
calls = 0
process.syscall()
while calls < 20:
    debugger.waitSyscall()
    calls += 1
    process.syscall()
debugger.waitSyscall()
ip = process.getInstrPointer()
print(len(process.readBytes(ip, 8)), any(m.pathname and m.pathname.endswith("main") for m in process.readMappings()))
process.singleStep()
print(process.waitSignals(signal.SIGTRAP).signum == signal.SIGTRAP, process.getInstrPointer() != ip)
process.kill(signal.SIGKILL)
process.waitExit()
debugger.quit()
EOF
python3 tracer.py
