# root: debug
# timeout: 120
# gdb on programs that are compiled here.
export LC_ALL=C HOME=/tmp TZ=UTC DEBUGINFOD_URLS=
mkdir /tmp/work && cd /tmp/work

# Numbers of processes, addresses and the order in which threads come and go differ between any two runs.
debug() {
    gdb -q -nx -batch -ex 'set pagination off' -ex 'set confirm off' -ex 'set width 0' -ex 'handle SIGUSR1 nostop noprint pass' "$@" 2>&1 |
        sed -E -e 's/(process|Process|LWP) +[0-9]+/\1 N/g' -e 's/Thread 0x[0-9a-f]+ \(LWP N\)/Thread N/g' -e 's/0x[0-9a-f]{6,}/ADDR/g' |
        grep -v -e 'libthread_db' -e 'index cache' -e 'SIGUSR1 .*User defined' -e '^Signal .*Description' -e '^\[New Thread' -e '^\[Thread .*exited' \
            -e 'Detaching after' -e 'in ?? ()' -e '^$' -e '^\[New inferior' -e '^\[Attaching after' -e '^\[Switching'
}

cat >main.c <<'EOF'
#include <math.h>
#include <pthread.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/wait.h>
#include <time.h>
#include <unistd.h>

int counter, table[8];
double real = 1.5;
char name[32] = "nobody";

static void handler(int number)
{
    counter += 100;
    name[0] = (char)('a' + number);
}

static int factorial(int n)
{
    if (n <= 1)
        return 1;
    return n * factorial(n - 1);
}

static void *work(void *argument)
{
    int *cell = argument;
    for (int i = 0; i < 10; i++)
        *cell += i;
    return NULL;
}

static double area(double radius)
{
    double square = radius * radius;
    return square * 3.0;
}

static void crash(int *where) { *where = 1; }

int main(int argc, char **argv)
{
    signal(SIGUSR1, handler);
    for (int i = 0; i < 3; i++)
        counter += i;
    int result = factorial(5);
    real = area(2.0);
    time_t now = time(NULL);
    raise(SIGUSR1);
    pthread_t threads[3];
    for (int i = 0; i < 3; i++)
        pthread_create(&threads[i], NULL, work, &table[i]);
    for (int i = 0; i < 3; i++)
        pthread_join(threads[i], NULL);
    pid_t child = fork();
    if (child == 0) {
        counter = 7;
        _exit(3);
    }
    int status;
    waitpid(child, &status, 0);
    printf("%d %d %g %s %d\n", result, counter, real, name, WEXITSTATUS(status) + (now == 0));
    fflush(stdout);
    if (argc > 1 && strcmp(argv[1], "crash") == 0)
        crash(NULL);
    if (argc > 1)
        execl("/bin/true", "true", NULL);
    return 0;
}
EOF
gcc -g -O0 -o main main.c -pthread || exit 1

echo "# breakpoints, stack, variables, steps"
debug -ex 'break factorial if n == 2' -ex 'run' -ex 'bt' -ex 'info args' -ex 'up' -ex 'print n * 10' -ex 'finish' \
    -ex 'delete' -ex 'break area' -ex 'continue' -ex 'next' -ex 'print square' -ex 'set var square = 10' -ex 'finish' \
    -ex 'next' -ex 'print real' -ex 'print counter' -ex 'print name' -ex 'print factorial(4)' -ex 'call (int)strlen(name)' \
    -ex 'ptype table' -ex 'x/4dw table' -ex 'kill' ./main
echo "# registers"
debug -ex 'break area' -ex 'run' -ex 'print $xmm0.v2_double[0]' -ex 'set var $xmm0.v2_double[0] = 4' -ex 'print $xmm0.v2_double[0]' \
    -ex 'print $cs' -ex 'print $ss' -ex 'print $eflags & 0x100' -ex 'info registers st0 fctrl mxcsr' -ex 'print $sp > 0' \
    -ex 'set var $rbx = 5' -ex 'print $rbx' -ex 'p $_siginfo.si_signo' -ex 'x/2i $pc' -ex 'stepi' -ex 'stepi' -ex 'nexti' ./main
echo "# watchpoints"
debug -ex 'break main' -ex 'run' -ex 'watch counter' -ex 'continue' -ex 'continue' -ex 'delete 2' -ex 'set can-use-hw-watchpoints 0' \
    -ex 'watch result' -ex 'continue' -ex 'delete' -ex 'hbreak area' -ex 'continue' -ex 'bt 1' ./main
echo "# signals"
debug -ex 'handle SIGUSR1 stop print pass' -ex 'run' -ex 'bt -1' -ex 'print $_siginfo.si_code' -ex 'break handler' -ex 'continue' -ex 'bt 2' -ex 'finish' -ex 'continue' ./main
debug -ex 'run crash' -ex 'bt' -ex 'print $_siginfo._sifields._sigfault.si_addr' -ex 'continue' ./main
echo "# threads"
debug -ex 'break work' -ex 'run' -ex 'bt 1' -ex 'set scheduler-locking on' -ex 'next' -ex 'next' -ex 'print *cell' -ex 'set scheduler-locking off' -ex 'delete' -ex 'continue' ./main | sed -E 's/^Thread [0-9]+/Thread N/'
echo "# forks, exec, catchpoints"
debug -ex 'set follow-fork-mode child' -ex "break $(sed -n '/counter = 7/=' main.c)" -ex 'run > out' -ex 'print child' -ex 'next' -ex 'print counter' -ex 'continue' ./main
debug -ex 'set detach-on-fork off' -ex 'catch fork' -ex 'run' -ex 'next' -ex 'info inferiors' -ex 'kill inferiors 2' ./main | grep -v '^warning' | tr -s ' '
debug -ex 'catch exec' -ex 'run again' -ex 'continue' ./main 
debug -ex 'catch syscall wait4' -ex 'catch syscall exit_group' -ex 'run' -ex 'continue' -ex 'continue' -ex 'continue' ./main 

echo "# attach, detach"
cat >loop.c <<'EOF'
#include <signal.h>
#include <unistd.h>
volatile int stop, spins;
static void *place;
int main(void)
{
    alarm(60);
    while (!stop) {
        spins++;
        usleep(1000);
    }
    return stop + (place != 0);
}
EOF
gcc -g -O0 -o loop loop.c
./loop &
sleep 0.2
debug -p $! -ex 'print spins > 0' -ex 'up' -ex 'detach' | grep -e '^\$' -e 'detached'
sleep 0.1
debug -p $! -ex 'print stop = 5' -ex 'detach' | grep '^\$'
wait $!
echo "exit $?"
./loop &
sleep 0.2
debug -p $! -ex 'break loop.c:10' -ex 'continue' -ex 'print spins > 0' -ex 'kill' | grep -e '^\$' -e Breakpoint
wait $! 2>/dev/null
echo "exit $?"

echo "# a breakpoint where a call site has been rewritten"
cat >calls.c <<'EOF'
#include <sys/syscall.h>
#include <unistd.h>
volatile int stop;
int calls;
extern char before[], site[], after[];
static long call(void)
{
    long result;
    __asm__ volatile("before: mov $110, %%eax\nsite: syscall\nafter: nop" : "=a"(result) : : "rcx", "r11", "memory");
    return result;
}
int main(void)
{
    alarm(60);
    while (!stop) {
        calls += call() == getppid();
        if (calls > 1000)
            usleep(100);
    }
    return stop;
}
EOF
gcc -g -O0 -o calls calls.c
./calls &
sleep 0.3
debug -p $! -ex 'print calls > 1000' -ex 'x/2i before' -ex 'break *before' -ex 'continue' -ex 'print $pc == before' -ex 'stepi' -ex 'print $pc == site' \
    -ex 'print $rax' -ex 'stepi' -ex 'print $pc == after' -ex 'print $rax == (long)getppid()' -ex 'continue' -ex 'delete' -ex 'break *site' -ex 'continue' \
    -ex 'print $pc == site' -ex 'set var stop = 9' -ex 'delete' -ex 'continue' | grep -e '^\$' -e '<call' -e exited
